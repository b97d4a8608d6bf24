"""Who has how much of what all users share."""

import errno
from collections import Counter

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.limits import Limits

ROOT_UID = 0


class Shares:
    """What each user has, and whether he may have more.

    Attributes:
        limits: upper bounds; whoever replaces them evicts nothing.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._names: Counter[int] = Counter()

    def charge_name(self, uid: int) -> None:
        """Count one more slot or directory as this user's.

        Raises:
            SlotError: EDQUOT at the limit; never for root.
        """
        if uid != ROOT_UID and self._names[uid] >= self.limits.max_slots_per_user:
            raise SlotError(errno.EDQUOT)
        self._names[uid] += 1

    def discharge_name(self, uid: int) -> None:
        """Count one slot or directory less as this user's."""
        self._names[uid] -= 1
        if not self._names[uid]:
            del self._names[uid]
