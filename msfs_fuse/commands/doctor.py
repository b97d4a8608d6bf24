"""`msfs doctor`: what can be wrong with mailslots on this host, and what to do about it."""

import argparse
import os
from collections.abc import Iterator

from msfs_fuse import hostinfo
from msfs_fuse.commands import output, targets
from msfs_fuse.commands.check import Check, State
from msfs_fuse.commands.command import Command
from msfs_fuse.config.file import read_configuration
from msfs_fuse.core.network import CONNECTED
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import fstab_mounts, is_alive, our_mounts

_EPILOG = """\
There is a line for each check: ok, warn or fail, what was found, and what to do about it. Checked
are FUSE, the configuration and the files that it names, the ports, /etc/fstab and the mounts.

exit codes:
  0  no check failed; there may be warnings
  1  a check failed
"""

_SERVICE = "/etc/systemd/system/multi-user.target.wants/msfs.service"
_SERVICE_MOUNT = "/mnt/mailslot"

# A mount is said to be near a limit from this share of it on.
_NEAR = 0.8
_LIMITS = {"waiting": "max_waiting", "messages": "max_total_messages", "bytes": "max_bytes"}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="instead of the one in /etc or ~/.config")


def _run(args: argparse.Namespace) -> Exit:
    """Print the result of every check: FAILED if one of them failed; warnings do not count."""
    checks = [
        *_device(),
        *_right(),
        *_helper(),
        *_extension(),
        *_request_timeouts(),
        *_configuration(args.config),
        *_fstab(),
        *_mounts(),
    ]
    if args.json:
        output.print_json([each._asdict() for each in checks])
    else:
        output.print_lines(f"{each.state:<4}  {each.message}" for each in checks)
    return Exit.FAILED if any(each.state is State.FAIL for each in checks) else Exit.OK


def _verdict(check: str, problem: str | None, fine: str) -> Check:
    return Check(check, State.OK, fine) if problem is None else Check(check, State.FAIL, problem)


def _device() -> Iterator[Check]:
    yield _verdict("device", hostinfo.device_problem(), f"{hostinfo.DEVICE} can be opened")


def _right() -> Iterator[Check]:
    yield _verdict("right", hostinfo.right_problem(), "nothing takes away the right to mount")


def _helper() -> Iterator[Check]:
    if os.geteuid() == 0:
        yield Check("fusermount3", State.OK, "root mounts without fusermount3")
        return
    yield _verdict("fusermount3", hostinfo.helper_problem(), "fusermount3 lets users mount")
    if hostinfo.user_allows_other():
        message = "users may mount with allow_other"
        yield Check("user_allow_other", State.OK, message)
    else:
        message = (
            "your mounts are for you alone: allow_other needs the line user_allow_other "
            "in /etc/fuse.conf"
        )
        yield Check("user_allow_other", State.WARN, message)


def _extension() -> Iterator[Check]:
    try:
        from msfs_fuse.fuse import interpose

        interpose.check_loaded()
        import pyfuse3  # noqa: F401  that it loads is the check
    except ImportError as error:
        message = f"{error}: reinstall it (pip install --force-reinstall pyfuse3 msfs-fuse)"
        yield Check("extension", State.FAIL, message)
    except interpose.InterposeError as error:
        yield Check("extension", State.FAIL, str(error))
    else:
        message = f"the C extension reaches libfuse {interpose.libfuse_version()}"
        yield Check("extension", State.OK, message)


def _request_timeouts() -> Iterator[Check]:
    timeouts = hostinfo.request_timeouts()
    for name, seconds in timeouts.items():
        message = (
            f"fs.fuse.{name} is {seconds}: the kernel ends a mount when a read has waited so many "
            f"seconds (sysctl -w fs.fuse.{name}=0, or give the slots a shorter read_timeout)"
        )
        yield Check(name, State.WARN, message)
    if not timeouts:
        yield Check("request_timeout", State.OK, "the kernel lets reads wait as long as they like")


def _configuration(path: str | None) -> Iterator[Check]:
    try:
        network = read_configuration(path).network
    except CommandError as error:
        yield Check("configuration", State.FAIL, str(error))
        return
    domains = network.domains if network is not None else ()
    netbios = network.netbios if network is not None else None
    names = [f"domain {each.name}" for each in domains]
    if netbios is not None:
        names.append(f"NetBIOS workgroup {netbios.workgroup}")
    told = ", ".join(names) or "other hosts are out of reach"
    message = f"the configuration can be read: {told}"
    yield Check("configuration", State.OK, message)
    if domains:
        from msfs_fuse.commands import doctor_network

        yield from doctor_network.check(domains)
    if netbios is not None:
        from msfs_fuse.commands import doctor_netbios

        yield from doctor_netbios.check(netbios)


def _fstab() -> Iterator[Check]:
    entries = fstab_mounts()
    for path, fstype in entries:
        helper = f"/sbin/mount.{fstype}"
        if os.path.exists(helper):
            yield Check("fstab", State.OK, f"{helper} mounts {path} of /etc/fstab")
        else:
            message = (
                f"/etc/fstab has mailslots at {path}, but {helper} is missing: "
                "scripts/install or the package brings it"
            )
            yield Check("fstab", State.FAIL, message)
    if any(path == _SERVICE_MOUNT for path, _ in entries) and os.path.lexists(_SERVICE):
        message = (
            f"both /etc/fstab and msfs.service mount {_SERVICE_MOUNT}: take the line out of "
            "/etc/fstab, or systemctl disable msfs.service"
        )
        yield Check("fstab_and_service", State.WARN, message)


def _mounts() -> Iterator[Check]:
    paths = sorted({each.path for each in our_mounts()})
    if not paths:
        yield Check("mount", State.WARN, "no mailslots are mounted (msfs mount DIR)")
    for path in paths:
        if is_alive(path):
            yield from _live_mount(path)
        else:
            word = output.quoted(path)
            message = f"{path} is dead or hangs (msfs umount -l {word}; msfs mount {word})"
            yield Check("mount", State.FAIL, message)


def _live_mount(path: str) -> Iterator[Check]:
    try:
        status = targets.read_status(path)
    except CommandError as error:
        yield Check("mount", State.WARN, str(error))
        return
    yield Check("mount", State.OK, f"{path} is served by process {status['pid']}")
    for name, state in status.items():
        if name.startswith("link ") and state != CONNECTED:
            yield Check("link", State.WARN, f"{path}: {name} is {state}")
    for name, limit_name in _LIMITS.items():
        used, limit = int(status[name]), int(status[limit_name])
        if used >= _NEAR * limit:
            message = (
                f"{path}: {name} is at {used} of {limit}: see who uses it up (msfs ls), or mount "
                f"with a larger {limit_name}"
            )
            yield Check(limit_name, State.WARN, message)


COMMAND = Command(_run, _add_arguments, _EPILOG, json=True)
