"""No datagram twice: a window of counters for each mount that was proven.

As in RFC 6479: check, open the datagram, then mark. A mount has one counter, and two windows here:
what it sends to all does not wait behind what it sends to us, and may be far ahead.
"""

from dataclasses import dataclass

from msfs_fuse.net.trust.wire import Reason, Refused

# How far behind the newest counter one may come.
WINDOW = 2048

_MASK = (1 << WINDOW) - 1


@dataclass(slots=True)
class Window:
    """Which counters of a mount have been seen.

    Attributes:
        floor: the least that is taken: what is below was sealed before we could tell.
        highest: the newest one that was marked.
        seen: bit n stands for the counter `highest - n`.
    """

    floor: int = 0
    highest: int = -1
    seen: int = 0

    def check(self, counter: int) -> None:
        """Refuse what has been here, or may have been.

        Raises:
            Refused: REPLAYED, BELOW_FLOOR.
        """
        if counter < self.floor:
            raise Refused(Reason.BELOW_FLOOR)
        behind = self.highest - counter
        if behind >= WINDOW or (behind >= 0 and self.seen >> behind & 1):
            raise Refused(Reason.REPLAYED)

    def mark(self, counter: int) -> None:
        """It has been seen."""
        ahead = counter - self.highest
        if ahead > 0:
            self.seen = (self.seen << ahead & _MASK if ahead < WINDOW else 0) | 1
            self.highest = counter
        else:
            self.seen |= 1 << -ahead
