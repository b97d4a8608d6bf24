"""Slots that died: forgotten here, and by the kernel, so that names that come and go cost nothing.

A dead slot stays known for as long as a client's open may bring it back. Then its number is gone,
whether or not the kernel has let go of it; numbers are never used again.
"""

import os
from collections import deque

from msfs_fuse.core.mailslots import REVIVAL
from msfs_fuse.core.slot import Slot
from msfs_fuse.fuse.invalidations import Invalidations
from msfs_fuse.fuse.nodes import Inodes


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
