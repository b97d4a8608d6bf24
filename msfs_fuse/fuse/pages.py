"""How much the kernel passes in one request: no message is split, and no more of what is none.

A read or a write goes into one request if it has no more pages than that: each segment of a readv
or writev has a page or more of its own. Of 256 pages, the kernel's usual limit, long vectors are
split, and a piece does not tell that it is one (`Pieces.is_whole_write`). With ENOUGH pages no
message is. Since Linux 6.13 the limit is a sysctl. A mount takes it when it is made, so root raises
it for that moment, and it is as before when others look.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from msfs_fuse.core.limits import MESSAGE_SIZE_CEILING
from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE

_LIMIT = "/proc/sys/fs/fuse/max_pages_limit"
_LOCK = "/run/msfs.lock"
_LOCK_PATIENCE, _PAUSE = 1.0, 0.005  # in seconds

PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
USUAL = 256  # all that kernels before 6.13 pass
_MOST_SEGMENTS = 1024  # of one system call: UIO_MAXIOV


def longest_write(max_message_size: int) -> int:
    """How many bytes of a write the kernel is to pass at once, where messages have so many at most.

    Whole pages, and more bytes than a message: the first piece of what is too long is too long
    itself. Messages to other hosts may be longer than those of slots.
    """
    return (max(max_message_size, REMOTE_MESSAGE_SIZE) // PAGE_SIZE + 1) * PAGE_SIZE


# A segment may begin on one page and end on another, and what lies between is of whole pages.
ENOUGH = 2 * _MOST_SEGMENTS + longest_write(MESSAGE_SIZE_CEILING) // PAGE_SIZE


def smallest_piece(pages: int, longest: int) -> int:
    """The bytes that the first piece of a split write has at least.

    It is split because its pages are used up, with a byte or more in each, or its bytes, of which
    there are `longest`. Where there are more pages than segments can begin and end on, the others
    are full.
    """
    full = max(0, pages - 2 * _MOST_SEGMENTS)
    return min(longest, max(pages, full * PAGE_SIZE))


def mounted_with(pages: int, mount: Callable[[], None]) -> int:
    """Call `mount`, and have the kernel pass so many pages, or as many as can be had.

    Returns:
        How many a request of that mount has at most.
    """
    with _locked() as is_locked:
        before = _limit()
        is_raised = is_locked and before < pages and _set(pages)
        try:
            mount()
            after = _limit()
        finally:
            if is_raised:
                _set(before)
    if not is_locked:  # somebody else may have raised it just now
        pages = min(pages, USUAL)
    return min(pages, after) if is_raised else min(pages, before, after)


@contextlib.contextmanager
def _locked() -> Iterator[bool]:
    """Whether nobody else raises the limit meanwhile. Only root can take this lock."""
    try:
        fd = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield False
        return
    try:
        yield _lock(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    end = time.monotonic() + _LOCK_PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_PAUSE)
    return False


def _limit() -> int:
    try:
        with open(_LIMIT) as file:
            return int(file.read())
    except (OSError, ValueError):  # an older kernel, or /proc is not there
        return USUAL


def _set(pages: int) -> bool:
    try:
        with open(_LIMIT, "w") as file:
            file.write(str(pages))
    except OSError:  # not in this container, or an older kernel
        return False
    return True
