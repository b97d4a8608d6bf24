"""What this machine allows: what a mount is checked against, and what `msfs doctor` reports."""

import contextlib
import errno
import os
import re
import shutil
import stat

DEVICE = "/dev/fuse"
FUSE_CONF = "/etc/fuse.conf"
_HELPER = "fusermount3"
_REQUEST_TIMEOUTS = ("default_request_timeout", "max_request_timeout")

_CAP_SYS_ADMIN = 21  # capabilities(7)


def user_allows_other() -> bool:
    """Whether a user who is not root may mount with allow_other."""
    try:
        with open(FUSE_CONF) as file:
            return any(line.strip() == "user_allow_other" for line in file)
    except OSError:
        return False


def request_timeouts() -> dict[str, int]:
    """The kernel's limits in seconds on how old a FUSE request may get, where there are any."""
    found = {}
    for name in _REQUEST_TIMEOUTS:
        with contextlib.suppress(OSError, ValueError), open(f"/proc/sys/fs/fuse/{name}") as file:
            seconds = int(file.read())
            if seconds:
                found[name] = seconds
    return found


def device_problem() -> str | None:
    """What keeps FUSE's device from being opened, with the remedy; None if nothing does."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        remedy = {
            errno.ENOENT: "load the module (modprobe fuse), or give the container the device "
            f"(--device {DEVICE})",
            errno.ENODEV: "load the module (modprobe fuse)",
            errno.EACCES: f"it should be open to all (chmod 666 {DEVICE})",
            errno.EPERM: f"give the container the device (--device {DEVICE})",
        }.get(error.errno or 0, "mount and unmount need it")
        return f"{DEVICE}: {error.strerror}: {remedy}"
    return None


def helper_problem() -> str | None:
    """What keeps users from mounting by fusermount3, with the remedy; None if nothing does."""
    path = shutil.which(_HELPER)
    if path is None:
        return f"{_HELPER} is not installed: users cannot mount (apt install fuse3)"
    if not os.stat(path).st_mode & stat.S_ISUID:
        return f"{path} is not setuid root: users cannot mount (chmod u+s {path})"
    return None


def right_problem() -> str | None:
    """What takes this process the right to mount, with the remedy; None if nothing does."""
    with open("/proc/self/status") as file:
        status = dict(re.findall(r"^(\w+):\s*(\S+)", file.read(), re.MULTILINE))
    is_root = os.geteuid() == 0
    if not is_root and status.get("NoNewPrivs") == "1":
        return (
            f"no_new_privs is set, so {_HELPER} cannot become root: mount from outside of what set "
            "it (in a service NoNewPrivileges=, and hardening that implies it)"
        )
    held = status["CapEff" if is_root else "CapBnd"]
    if not int(held, 16) >> _CAP_SYS_ADMIN & 1:
        return (
            "the right to mount has been taken away here: give the container CAP_SYS_ADMIN "
            "(--cap-add SYS_ADMIN), or the service by CapabilityBoundingSet="
        )
    return None


def mount_problem() -> str | None:
    """The first thing that keeps this user from mounting, with the remedy, or None."""
    helper = None if os.geteuid() == 0 else helper_problem()
    return device_problem() or helper or right_problem()
