"""What FUSE does not tell about the caller, from /proc. All answers are best effort."""

import os
import re

# Numbers of system calls: writev, pwritev, pwritev2; mkdir, mkdirat.
_MACHINE = os.uname().machine
_VECTORED = {"x86_64": {b"20", b"296", b"328"}, "aarch64": {b"66", b"70", b"287"}}
_MKDIR = {"x86_64": {b"83", b"258"}, "aarch64": {b"34"}}

_LINE_LENGTH = 256
_KEPT_OPEN = 64
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_MAX_PAGES = 256  # what libfuse asks for: a write of 1 MiB


def pages_per_request() -> int:
    """How many pages, whole or begun, the kernel passes in one FUSE request."""
    try:
        with open("/proc/sys/fs/fuse/max_pages_limit") as file:
            return min(int(file.read()), _MAX_PAGES)
    except (OSError, ValueError):  # kernels before 6.13
        return _MAX_PAGES


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


class _SystemCalls:
    """The system calls that threads wait in, from /proc/TID/syscall.

    The files of the threads that asked last are kept open, since looking at an open one costs a
    third of opening it, and this is in the way of every long write. A file stays with its thread:
    it does not show another one that gets the same number later.
    """

    def __init__(self) -> None:
        self._files: dict[int, int] = {}

    def of(self, tid: int) -> list[bytes]:
        """The number of the call and its arguments in hexadecimal; [] if they cannot be seen."""
        for _ in range(2):
            fd = self._files.get(tid)
            try:
                if fd is None:
                    fd = self._open(tid)
                return os.pread(fd, _LINE_LENGTH, 0).split()
            except OSError:  # of a thread that was, perhaps
                if self._files.pop(tid, None) is None:
                    break
                assert fd is not None
                os.close(fd)
        return []

    def _open(self, tid: int) -> int:
        if len(self._files) >= _KEPT_OPEN:
            os.close(self._files.pop(next(iter(self._files))))
        fd = self._files[tid] = os.open(f"/proc/{tid}/syscall", os.O_RDONLY)
        return fd


_system_calls = _SystemCalls()


def is_making_directory(tid: int) -> bool:
    """Whether a thread is in mkdir(2), which looks the name up before it makes the directory."""
    call = _system_calls.of(tid)
    return bool(call) and call[0] in _MKDIR.get(_MACHINE, ())


def is_whole_write(tid: int, size: int, max_pages: int) -> bool:
    """Whether `size` bytes are all that a thread is writing, not the first piece of it.

    The kernel splits a write of more than `max_pages` pages, and each segment of a writev takes
    a page or more. Nothing in the request tells, so this looks at the system call that the
    thread waits in. True where that cannot be seen, false where the segments could be too many:
    how long they are stands in the caller's memory, and whoever reads that may have to wait for
    the caller, whose memory can be a file of his own file system.
    """
    if size < max_pages:  # a piece has at least one byte in each of its pages
        return True
    call = _system_calls.of(tid)
    if not call or call[0] not in _VECTORED.get(_MACHINE, ()):
        return True
    segments = int(call[3], 16)
    return 2 * segments + size // _PAGE_SIZE <= max_pages
