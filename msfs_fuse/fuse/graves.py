"""Slots that died: forgotten here, and by the kernel, so that names that come and go cost nothing.

A dead slot stays known for as long as a client's open may bring it back. Then its number is gone,
whether or not the kernel has let go of it; numbers are never used again.
"""

import os
from collections import deque

from msfs_fuse.core.mailslots import REVIVAL
from msfs_fuse.core.slot import Slot
from msfs_fuse.fuse import procfs
from msfs_fuse.fuse.invalidations import Invalidations
from msfs_fuse.fuse.nodes import Inodes

# How many threads are known that came too late.
_MOST_LATE = 1024


class Graves:
    """Forgets what died, and has the kernel forget it."""

    def __init__(self, inodes: Inodes, invalidations: Invalidations) -> None:
        self._inodes = inodes
        self._invalidations = invalidations
        self._recent: deque[Slot] = deque()

    def bury(self, slot: Slot, now: int) -> None:
        """A slot has died.

        Args:
            now: nanoseconds since the epoch.
        """
        recent = self._recent
        recent.append(slot)
        while recent and not 0 <= now - recent[0].died_at <= REVIVAL:  # clocks may step back
            dead = recent.popleft()
            if not dead.handles:
                self._inodes.drop(dead.id)
        if slot.grave is not None:
            self._invalidations.add(slot.grave.id, os.fsencode(slot.name))


class LateOpens:
    """Threads that looked a slot up, and came to open it when it was dead.

    They get ESTALE, and the kernel has them try again, once. Then it could be too late again: so
    a thread whose open(2) is to create what is missing finds nothing, and comes to create it. That
    opens what is there, and is never too late.
    """

    def __init__(self) -> None:
        self._threads: set[int] = set()

    def add(self, tid: int) -> None:
        """A thread came too late."""
        if len(self._threads) >= _MOST_LATE:
            self._threads.clear()
        self._threads.add(tid)

    def is_to_create(self, tid: int) -> bool:
        """Whether a thread that looks a slot up is to create it instead."""
        return tid in self._threads and procfs.is_opening_to_create(tid)

    def discard(self, tid: int) -> None:
        """A thread creates."""
        self._threads.discard(tid)
