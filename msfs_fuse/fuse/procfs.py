"""What FUSE does not tell about the caller, from /proc. All answers are best effort."""

import os
import re
import time

from msfs_fuse.fuse import interpose

# Numbers of system calls. Those of i386 are among those of x86_64, since no number that writes in
# one of them writes in the other.
_MACHINE = os.uname().machine
_MKDIR = {"x86_64": {b"83", b"258"}, "aarch64": {b"34"}}
# Which argument has the flags: open and openat; those of i386.
_OPEN = {"x86_64": {b"2": 2, b"257": 3, b"5": 2, b"295": 3}, "aarch64": {b"56": 3}}
# By what they write: one buffer whose length is the third argument, or so many segments.
_ONE_BUFFER = {
    "x86_64": {b"1", b"18", b"4", b"181"},  # write, pwrite64; of i386
    "aarch64": {b"64", b"68"},
}
_SEGMENTS = {
    "x86_64": {b"20", b"296", b"328", b"146", b"334", b"379"},  # writev, pwritev, pwritev2
    "aarch64": {b"66", b"70", b"287"},
}
# Those that fetch what they write, in pieces of their own, and which argument has how much.
_FETCHING = {
    "x86_64": {
        b"40": 4,  # sendfile
        b"275": 5,  # splice
        b"326": 5,  # copy_file_range
        b"187": 4,  # and of i386: sendfile, sendfile64, splice, copy_file_range
        b"239": 4,
        b"313": 5,
        b"377": 5,
    },
    "aarch64": {b"71": 4, b"76": 5, b"285": 5},
}

# What is shown of a thread that does not sleep.
_RUNNING = [b"running"]
# How long such a thread is waited for: at a time, in all at once, and in all as a part of the time.
# The first two in seconds.
_PATIENCE, _MOST_PATIENCE, _PATIENCE_BACK = 0.01, 0.03, 0.01
_PAUSE = 20e-6

_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
MAX_PAGES = 256  # what libfuse asks for: a write of 1 MiB

# sendfile(2) moves sixteen pages at a time. Less than that, less one that may be begun at either
# end, is the end of what it was to move.
_FETCHED_AT_ONCE = 15 * _PAGE_SIZE


def pages_per_request() -> int:
    """How many pages, whole or begun, the kernel passes in one FUSE request."""
    try:
        with open("/proc/sys/fs/fuse/max_pages_limit") as file:
            return min(int(file.read()), MAX_PAGES)
    except (OSError, ValueError):  # kernels before 6.13
        return MAX_PAGES


def _status_field(tid: int, field: str) -> str | None:
    try:
        # The name of the process comes first, cut at 15 bytes wherever that is.
        with open(f"/proc/{tid}/status", errors="replace") as file:
            match = re.search(rf"^{field}:\s*(\S+)", file.read(), re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else None


def umask_of(tid: int) -> int:
    """The umask of a thread that waits for us, 0o077 if it cannot be seen."""
    value = _status_field(tid, "Umask")
    return int(value, 8) if value else 0o077


def process_of(tid: int) -> int:
    """The process that a thread belongs to; the thread id itself if it cannot be told."""
    try:
        os.close(os.pidfd_open(tid))  # takes none but a process's first thread
        return tid
    except OSError:
        pass
    value = _status_field(tid, "Tgid")
    return int(value) if value else tid


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


_system_calls = SystemCalls()


def _visible_call(tid: int) -> list[bytes]:
    try:
        return _system_calls.of(tid)
    except PermissionError:
        return []


def is_making_directory(tid: int) -> bool:
    """Whether a thread is in mkdir(2), which looks the name up before it makes the directory."""
    call = _visible_call(tid)
    return bool(call) and call[0] in _MKDIR.get(_MACHINE, ())


def is_opening_to_create(tid: int) -> bool:
    """Whether a thread is in an open(2) with O_CREAT, and so gets what is there or a new file."""
    call = _visible_call(tid)
    argument = _OPEN.get(_MACHINE, {}).get(call[0]) if len(call) > 3 else None
    return argument is not None and bool(int(call[argument], 16) & os.O_CREAT)


def expect_pieces(max_pages: int) -> None:
    """Have the extension find out by itself that a plain write(2) is whole.

    What is so short that it is no piece, or is all that write(2) was given, comes to `on_write`
    without the number of its thread. The rest is asked for by `is_whole_write`.
    """
    interpose.set_pieces(max_pages, bytes(map(int, _ONE_BUFFER.get(_MACHINE, ()))))


def is_whole_write(tid: int, size: int, max_pages: int) -> bool:
    """Whether `size` bytes are all that a thread is writing, not a piece of it.

    The kernel splits a write of more than `max_pages` pages, and each segment of a writev takes
    a page or more. Nothing in the request tells. But the first piece has a byte or more in each
    of its pages, and if it is refused, no other comes. So what has fewer bytes is whole, and for
    the rest this looks at the system call that the thread waits in:

    - write(2) says how long its one buffer is;
    - of writev(2) the number of segments is known: one, or so few that they fit in one request. How
      long each is stands in the caller's memory, and whoever reads that may have to wait for the
      caller, whose memory can be a file of a file system of his own;
    - sendfile(2), splice(2) and copy_file_range(2) say how much they are to move, and a piece
      that is shorter than the pieces they make is the last;
    - any other call (io_uring_enter, io_submit, none at all) tells nothing: False.

    True where the kernel does not let us look: a private mount on a system with Yama. There a
    piece counts as whole, and the caller of writev sees from its result that it wrote a part.
    """
    if size < max_pages:
        return True
    try:
        call = _system_calls.of(tid)
    except PermissionError:
        return True
    if len(call) < 7:
        return False
    number = call[0]
    if number in _ONE_BUFFER.get(_MACHINE, ()):
        return int(call[3], 16) == size
    if number in _SEGMENTS.get(_MACHINE, ()):
        segments = int(call[3], 16)
        return segments == 1 or 2 * segments + size // _PAGE_SIZE <= max_pages
    argument = _FETCHING.get(_MACHINE, {}).get(number)
    if argument is None:
        return False
    return int(call[argument], 16) == size or size < _FETCHED_AT_ONCE
