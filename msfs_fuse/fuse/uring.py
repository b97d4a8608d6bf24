"""Reads by io_uring: one read is one message there too.

io_uring takes a slot for a regular file, and a short read of one for unfinished: it asks again for
the rest, and would get the next message into the same buffer. It asks in this order:

    FUSE_POLL   whether it may read: a thread asks that just before each of its reads
    FUSE_READ   in the same thread; the answer is short
    FUSE_POLL   when there will be more: the same thread, next
    FUSE_POLL   whether it may read
    FUSE_READ   of exactly the rest

So it is told that there is more at once, and then that this was the end. `_messages.c` tells these
polls from all others by the events that they ask for.
"""

from collections import deque

# Threads between two of the steps, and rests that were not asked for yet, of one handle. A thread
# that is killed stays between two steps.
_MOST = 64

_MAY_READ = 0


class UringReads:
    """How far io_uring's reads of one handle are."""

    __slots__ = ("_rests", "_threads")

    def __init__(self) -> None:
        self._threads: dict[int, int] = {}  # _MAY_READ, or the rest of its short read in bytes
        self._rests: deque[int] = deque(maxlen=_MOST)

    def may_read(self, tid: int, has_message: bool) -> bool:
        """A thread reads next, if it can. Whether it can, for the rest of a read or a message."""
        if len(self._threads) >= _MOST:
            self._threads.clear()
        self._threads.pop(tid, None)
        can = has_message or bool(self._rests)
        if can:
            self._threads[tid] = _MAY_READ
        return can

    def is_read(self, tid: int) -> bool:
        """A thread reads. Whether it does so for io_uring."""
        return self._threads.pop(tid, None) == _MAY_READ

    def note_short(self, tid: int, rest: int) -> None:
        """Its read got a message, and had room for `rest` bytes more."""
        self._threads[tid] = rest

    def wants_rest(self, tid: int) -> bool:
        """A thread wants to know when there is more. Whether that is for the rest of a read."""
        rest = self._threads.pop(tid, _MAY_READ)
        if rest == _MAY_READ:
            return False
        self._rests.append(rest)
        self._threads[tid] = _MAY_READ  # a worker of the kernel's does not ask again
        return True

    def is_rest(self, size: int) -> bool:
        """io_uring asks for so many bytes. Whether they are the rest of a read, which ends now."""
        try:
            self._rests.remove(size)
        except ValueError:
            return False
        return True
