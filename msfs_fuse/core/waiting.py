"""The reads that wait, of all slots: found by their token, given up at their deadline."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator

from msfs_fuse.core.deadlines import Deadlines
from msfs_fuse.core.shares import Held
from msfs_fuse.core.slot import Slot
from msfs_fuse.core.tables import is_too_roomy


class WaitingReads:
    """What the slots' own queues do not tell: whose slot a token waits at, and until when."""

    def __init__(self) -> None:
        self._slots: dict[Hashable, tuple[Slot, Held]] = {}
        self._deadlines = Deadlines()

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._slots)

    def add(self, token: Hashable, slot: Slot, size: int, deadline: int | None, held: Held) -> None:
        """Queue a read at a slot.

        Args:
            size: bytes that its buffer holds.
            deadline: when to give up, in monotonic nanoseconds; None for never.
            held: what its user has.
        """
        slot.waiting[token] = size
        self._slots[token] = slot, held
        held.waiting += 1
        if deadline is not None:
            self._deadlines.add(token, deadline)

    def remove(self, token: Hashable) -> bool:
        """Take a read out of the queue. False if it does not wait any more."""
        entry = self._slots.pop(token, None)
        if entry is None:
            return False
        slot, held = entry
        held.waiting -= 1
        del slot.waiting[token]
        if is_too_roomy(slot.waiting):
            slot.waiting = OrderedDict(slot.waiting)
        self._deadlines.discard(token)
        return True

    def next_deadline(self) -> int | None:
        """The earliest deadline in monotonic nanoseconds, or None."""
        return self._deadlines.next()

    def pop_due(self, monotonic: int, most: int | None = None) -> list[Hashable]:
        """Remove and return the reads whose time is over, or `most` of them, the earliest first."""
        due = self._deadlines.pop_due(monotonic, most)
        for token in due:
            self.remove(token)
        return due
