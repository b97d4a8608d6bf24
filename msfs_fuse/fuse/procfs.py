"""What FUSE does not tell about the caller, from /proc. All answers are best effort."""

import os
import re

# Numbers of system calls: writev, pwritev, pwritev2; mkdir, mkdirat.
_MACHINE = os.uname().machine
_VECTORED = {"x86_64": {20, 296, 328}, "aarch64": {66, 70, 287}}.get(_MACHINE, set())
_MKDIR = {"x86_64": {83, 258}, "aarch64": {34}}.get(_MACHINE, set())

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


def _system_call(tid: int) -> tuple[int, list[int]]:
    """Number and arguments of the system call that a thread waits in; -1 if it cannot be seen."""
    try:
        with open(f"/proc/{tid}/syscall", "rb") as file:
            number, *arguments = file.read().split()
        return int(number), [int(each, 16) for each in arguments]
    except (OSError, ValueError):
        return -1, []


def is_making_directory(tid: int) -> bool:
    """Whether a thread is in mkdir(2), which looks the name up before it makes the directory."""
    return _system_call(tid)[0] in _MKDIR


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
    number, arguments = _system_call(tid)
    return number not in _VECTORED or 2 * arguments[2] + size // _PAGE_SIZE <= max_pages
