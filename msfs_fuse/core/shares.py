"""Who has how much of what all users share."""

import errno
import heapq
from collections.abc import Callable
from dataclasses import dataclass

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.limits import Limits

ROOT_UID = 0


# The user that messages from other hosts count for.
OTHER_HOSTS = -1

# The last part of each total, one in so many, is for root alone.
_RESERVE = 32

# Records of users who have nothing are looked for when there are so many, and then not before there
# are twice as many as were left.
_FEW = 1000


def usable_by_all(total: int) -> int:
    """What all users may have of a total, root aside."""
    return total - total // _RESERVE


def share_of(total: int, percent: int) -> int:
    """What one user may have of a total, root aside."""
    return max(1, total * percent // 100)


def leaves_enough(own: int, all_: int, most: int) -> bool:
    """Whether a user who has `own` of what all have may have more, where there is no other bound.

    He may have as much as is left for all others: alone he has half of `most`.
    """
    return own < most - all_


@dataclass(slots=True, eq=False)
class Bounds:
    """What a user may have: messages queued, their bytes, and waiting reads.

    Attributes:
        all_messages, all_bytes, all_waiting: what all together may have when he asks for more.
    """

    messages: int = 0
    bytes: int = 0
    waiting: int = 0
    all_messages: int = 0
    all_bytes: int = 0
    all_waiting: int = 0

    def use(self, limits: Limits, percent: int, usable: Callable[[int], int]) -> None:
        """Take new upper bounds.

        Args:
            percent: of each total, for one user; and `usable` tells how much for all.
        """
        self.messages = share_of(limits.max_total_messages, percent)
        self.bytes = share_of(limits.max_bytes, percent)
        self.waiting = share_of(limits.max_waiting, percent)
        self.all_messages = usable(limits.max_total_messages)
        self.all_bytes = usable(limits.max_bytes)
        self.all_waiting = usable(limits.max_waiting)


@dataclass(slots=True, eq=False)
class Held:
    """What a user has of what all share: messages queued, their bytes, and waiting reads.

    Attributes:
        bounds: how much of that he may have.
        names: directories he owns, and slots that he pays for (`Slot.payer`).
        handles: what is open of his: slots, directories, control files, names on other hosts. Those
            of slots refer to this record, so that no write looks for it.
    """

    uid: int
    bounds: Bounds
    names: int = 0
    messages: int = 0
    bytes: int = 0
    waiting: int = 0
    handles: int = 0


class Shares:
    """What each user has, and whether he may have more.

    Attributes:
        bounds: of everyone but root, who may have all there is.
        handles: those that are open, of all users.
    """

    def __init__(self, limits: Limits) -> None:
        self.bounds = Bounds()
        self._roots = Bounds()
        self._held: dict[int, Held] = {}
        self._many = _FEW
        self.handles = 0
        self.use(limits)

    def use(self, limits: Limits) -> None:
        """Take new upper bounds. Nothing is evicted."""
        self.limits = limits
        self.bounds.use(limits, limits.max_user_share, usable_by_all)
        self._roots.use(limits, 100, lambda total: total)

    def __len__(self) -> int:
        """For how many users there is a record."""
        return len(self._held)

    def of(self, uid: int) -> Held:
        """What a user has; whoever holds this may count in it."""
        held = self._held.get(uid)
        if held is None:
            if len(self._held) > self._many:
                self._held = {
                    user: each
                    for user, each in self._held.items()
                    if each.messages or each.waiting or each.handles or each.names
                }
                self._many = max(_FEW, 2 * len(self._held))
            held = Held(uid, self._roots if uid == ROOT_UID else self.bounds)
            self._held[uid] = held
        return held

    def largest(self, most: int) -> list[Held]:
        """The users who have the largest part of what one may have of anything, the first first."""
        handles = self.limits.max_handles * self.limits.max_user_share / 100
        bounds = self.bounds

        def part(held: Held) -> float:
            return max(
                held.bytes / bounds.bytes,
                held.messages / bounds.messages,
                held.waiting / bounds.waiting,
                held.handles / handles,
                held.names / self.limits.max_slots_per_user,
            )

        return [held for held in heapq.nlargest(most, self._held.values(), key=part) if part(held)]

    def check_handle(self, uid: int, weight: int = 1) -> None:
        """Refuse one more open handle.

        Args:
            weight: for how many it counts.

        Raises:
            SlotError: ENFILE at the limit, or at this user's share of it.
        """
        most = self.limits.max_handles
        handles = self.handles + weight
        if uid == ROOT_UID:
            if handles > most:
                raise SlotError(errno.ENFILE, "max_handles is reached, for root too")
            return
        if handles > usable_by_all(most):
            raise SlotError(errno.ENFILE, f"max_handles is reached, at user {uid}")
        if self.of(uid).handles + weight > share_of(most, self.limits.max_user_share):
            raise SlotError(errno.ENFILE, f"user {uid} has his share of max_handles open")

    def charge_handle(self, uid: int, weight: int = 1) -> Held:
        """Count one more open handle as this user's; the result is what he has."""
        held = self.of(uid)
        held.handles += weight
        self.handles += weight
        return held

    def discharge_handle(self, held: Held, weight: int = 1) -> None:
        """Count one open handle less."""
        held.handles -= weight
        self.handles -= weight

    def open_handle(self, uid: int, weight: int = 1) -> Held:
        """Check and charge in one step.

        Raises:
            SlotError: as check_handle.
        """
        self.check_handle(uid, weight)
        return self.charge_handle(uid, weight)

    def charge_name(self, uid: int) -> Held:
        """Count one more slot or directory as this user's; the result is what he has.

        Raises:
            SlotError: EDQUOT at the limit; never for root.
        """
        held = self.of(uid)
        if uid != ROOT_UID and held.names >= self.limits.max_slots_per_user:
            raise SlotError(errno.EDQUOT)
        held.names += 1
        return held

    def discharge_name(self, uid: int) -> None:
        """Count one slot or directory less as this user's."""
        self.of(uid).names -= 1
