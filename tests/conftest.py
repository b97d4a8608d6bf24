"""A real mount for each test, served by another process, and gone afterwards whatever happens."""

import contextlib
import ctypes
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from msfs_fuse.hostinfo import mount_problem
from msfs_fuse.mounts import our_mounts
from tests.support.boot import CHECKOUT, Machine

# Enough where others have the cores, in seconds.
START_TIMEOUT = 60.0
END_TIMEOUT = 30.0

_CLONE_NEWNS = 0x20000  # <linux/sched.h>


def pytest_configure() -> None:
    """Give the tests a mount table of their own, with none of this machine's mailslots in it.

    What they mount is seen by nobody else, and is gone with them.
    """
    # Under nohup, and in the background of a script, these come ignored, and programs that the
    # tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # How long an example takes says nothing where others have the cores.
    settings.register_profile("msfs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("msfs")
    if os.geteuid() != 0 or mount_problem() is not None:
        return
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for mount in our_mounts():
        subprocess.run(["umount", "-i", "-l", mount.path], check=True)
    let_others_reach(CHECKOUT)


def let_others_reach(path: Path) -> None:
    """Have other users reach a path, though it may be below a directory that keeps them out.

    Tests run programs of the checkout as other users, and the checkout may be in a home of mode
    0700. In the mount table of the tests, and nowhere else, such a directory is covered by one
    that all may pass, with what was in it mounted there again.
    """
    for closed in reversed(path.parents):
        if closed.stat().st_mode & stat.S_IXOTH:
            continue
        behind = os.open(closed, os.O_PATH)
        try:
            entries = [each for each in closed.iterdir() if each.is_dir() and not each.is_symlink()]
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", closed], check=True)
            for entry in entries:
                entry.mkdir()
                source = f"/proc/self/fd/{behind}/{entry.name}"
                subprocess.run(
                    ["mount", "-c", "--rbind", source, entry], check=True, pass_fds=[behind]
                )
        finally:
            os.close(behind)


# From what is pure, and says at once what is wrong, to whole machines.
_ROOMS = [
    "core",
    "net",
    "config",
    "fuse",
    "daemon",
    "commands",
    "mount",
    "docs",
    "hosts",
    "brokers",
    "samba",
    "system",
]


# What is tested there needs no mount.
_WITHOUT_MOUNTS = ("core", "net", "config", "fuse")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the rooms in their order, and what is in none of them first.

    Where nothing can be mounted, the rooms that need mounts are skipped, with the reason.
    """
    rooms = {name: number for number, name in enumerate(_ROOMS, 1)}
    items.sort(key=lambda item: rooms.get(item.path.parent.name, 0))
    problem = mount_problem()
    if problem is None:
        return
    for item in items:
        if item.path.parent.name in rooms.keys() - _WITHOUT_MOUNTS:
            item.add_marker(pytest.mark.skip(reason=problem))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure in a machine show the machine's journal."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Machine):
                report.sections.append(("journal", value.journal()))
    return report


@dataclass
class Mount:
    """A live mount.

    Attributes:
        path: the mount point.
        daemon: the process that serves it.
        log: what the daemon said.
    """

    path: Path
    daemon: "subprocess.Popen[bytes]"
    log: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def status(self) -> dict[str, str]:
        """What `.msfs/status` says."""
        lines = (self.path / ".msfs/status").read_text().splitlines()
        return dict(line.split(": ", 1) for line in lines)

    def attribute(self, name: str, attribute: str) -> str:
        """An extended attribute of a slot."""
        return os.getxattr(self.path / name, f"user.mailslot.{attribute}").decode()

    def set_attribute(self, name: str, attribute: str, value: str) -> None:
        """Set an extended attribute of a slot."""
        os.setxattr(self.path / name, f"user.mailslot.{attribute}", value.encode())


def is_mounted(path: Path) -> bool:
    return f" {path} " in Path("/proc/self/mountinfo").read_text()


def force_unmount(path: Path) -> None:
    """Take a mount away, live or dead, used or not."""
    command = ["umount", "-i", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
    while is_mounted(path):
        subprocess.run([*command, str(path)], check=True, timeout=60)


MountFactory = Callable[..., Mount]


@pytest.fixture
def mount_with(tmp_path: Path) -> Iterator[MountFactory]:
    """Make mounts: `mount_with("strict", "max_messages=3", allow_log="Traceback")`.

    The daemon's log must be free of warnings, errors and tracebacks, but for the lines that hold
    `allow_log`.
    """
    with contextlib.ExitStack() as stack:
        yield lambda *options, **named: stack.enter_context(_mounted(tmp_path, options, **named))


@contextlib.contextmanager
def _mounted(
    tmp_path: Path,
    options: tuple[str, ...],
    *,
    program: tuple[str, ...] = ("-m", "msfs_fuse"),
    allow_log: str | None = None,
) -> Iterator[Mount]:
    number = len(list(tmp_path.glob("mailslot*")))
    path = tmp_path / f"mailslot{number}"
    path.mkdir()
    log = tmp_path / f"daemon{number}.log"
    command = [sys.executable, *program, "mount", "-f", "--config", "/dev/null"]
    command += ["-o", ",".join(options), str(path)]
    with log.open("wb") as output:
        daemon = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not is_mounted(path):
            assert daemon.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        yield Mount(path, daemon, log)
    finally:
        if daemon.poll() is None:
            daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(END_TIMEOUT)
            raise
        finally:
            force_unmount(path)
    if allow_log is None:
        said = log.read_text()
        assert not any(word in said for word in ("WARNING", "ERROR", "CRITICAL", "Traceback")), said


@pytest.fixture
def mount(mount_with: MountFactory) -> Mount:
    """A mount with default options, open to other users if the tests run as root."""
    return mount_with(*(["allow_other"] if os.geteuid() == 0 else []))
