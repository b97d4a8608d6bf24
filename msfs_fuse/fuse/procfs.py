"""What FUSE does not tell about the caller, from /proc. All answers are best effort."""

import os
import re
import time

from msfs_fuse.fuse import interpose
from msfs_fuse.fuse.thrift import Credit

# Numbers of system calls. Those of i386 are among those of x86_64.
MACHINE = os.uname().machine
_MKDIR = {"x86_64": {b"83", b"258"}, "aarch64": {b"34"}}
# Which argument has the flags: open and openat; those of i386.
_OPEN = {"x86_64": {b"2": 2, b"257": 3, b"5": 2, b"295": 3}, "aarch64": {b"56": 3}}
# What is shown of a thread that does not sleep.
_RUNNING = [b"running"]
# How long such a thread is waited for: at a time, in all at once, and in all as a part of the time.
# The first two in seconds.
_PATIENCE, _MOST_PATIENCE, _PATIENCE_BACK = 0.01, 0.03, 0.01
_PAUSE = 20e-6


# What is read of callers in other user namespaces may take this part of the time, after so many
# seconds at once. In one of his own, whoever has subordinate ids puts his processes into 65,536
# groups, and the kernel takes milliseconds to write these down, whatever of it is read.
_strangers = Credit(part=0.05, at_once=0.02)


def _user_namespace(process: int | str) -> str | None:
    try:
        return os.readlink(f"/proc/{process}/ns/user")
    except OSError:
        return None


_OUR_USER_NAMESPACE = _user_namespace("self")


def _status_field(tid: int, field: str) -> str | None:
    """The rest of a line of /proc/TID/status; None if it cannot be seen, or others took too long.

    Of our own user namespace all are looked at: there only root puts processes into groups.
    """
    if _user_namespace(tid) == _OUR_USER_NAMESPACE:
        return _read_status(tid, field)
    if not _strangers.is_left():
        return None
    return _strangers.spend(lambda: _read_status(tid, field))


def _read_status(tid: int, field: str) -> str | None:
    try:
        # The name of the process comes first, cut at 15 bytes wherever that is.
        with open(f"/proc/{tid}/status", errors="replace") as file:
            match = re.search(rf"^{field}:[ \t]*(.*)", file.read(), re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else None


def umask_of(tid: int) -> int:
    """The umask of a thread that waits for us, 0o077 if it cannot be seen."""
    value = _status_field(tid, "Umask")
    return int(value, 8) if value else 0o077


def groups_of(tid: int) -> set[int]:
    """The supplementary groups of a thread; none if they cannot be seen."""
    return set(map(int, (_status_field(tid, "Groups") or "").split()))


def process_of(tid: int) -> int:
    """The process that a thread belongs to; the thread id itself if it cannot be told."""
    try:
        os.close(os.pidfd_open(tid))  # takes none but a process's first thread
        return tid
    except OSError:
        return interpose.first_thread(tid) or tid


class SystemCalls:
    """The system calls that threads wait in, from /proc/TID/syscall.

    A thread that asks us sleeps until it has the answer, but it may be preempted just before. Then
    it is looked at again after a pause: a moment later it sleeps, if it gets the processor. All
    such pauses together are bounded, so that nobody can hold up the daemon by not sleeping.

    Attributes:
        waited: seconds spent in such pauses.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        self._patience = _MOST_PATIENCE
        self._counted = time.monotonic()

    def of(self, tid: int) -> list[bytes]:
        """The call that a thread sleeps in: its number, and its arguments in hexadecimal.

        [] if it cannot be seen; [b"running"] if it has not gone to sleep in time.

        Raises:
            PermissionError: the kernel lets us not look at that process.
        """
        call = self._look(tid)
        return self._wait(tid) if call == _RUNNING else call

    def _wait(self, tid: int) -> list[bytes]:
        start = time.monotonic()
        back = (start - self._counted) * _PATIENCE_BACK
        self._patience = min(self._patience + back, _MOST_PATIENCE)
        end = start + min(self._patience, _PATIENCE)
        call, now = _RUNNING, start
        while call == _RUNNING and now < end:
            time.sleep(_PAUSE)  # it may need this very processor
            call, now = self._look(tid), time.monotonic()
        self._counted = now
        self._patience -= now - start
        self.waited += now - start
        return call

    def _look(self, tid: int) -> list[bytes]:
        return interpose.system_call(tid).split()


system_calls = SystemCalls()


def _visible_call(tid: int) -> list[bytes]:
    try:
        return system_calls.of(tid)
    except PermissionError:
        return []


def is_making_directory(tid: int) -> bool:
    """Whether a thread is in mkdir(2), which looks the name up before it makes the directory."""
    call = _visible_call(tid)
    return bool(call) and call[0] in _MKDIR.get(MACHINE, ())


def is_opening_to_create(tid: int) -> bool:
    """Whether a thread is in an open(2) with O_CREAT, and so gets what is there or a new file."""
    call = _visible_call(tid)
    argument = _OPEN.get(MACHINE, {}).get(call[0]) if len(call) > 3 else None
    return argument is not None and bool(int(call[argument], 16) & os.O_CREAT)
