"""No datagram twice: a window of counters for each sender's epoch, and how old one may be.

The window is that of RFC 6479: check, open the datagram, then mark. Times are milliseconds since
1970 and are passed in; a datagram's is by its sender's clock.
"""

from dataclasses import dataclass, field

from msfs_fuse.net.datagram import Reason, Refused

# How far a sender's clock, and the way here, may differ from ours, in milliseconds.
FRESHNESS = 60_000

# One whose clock is ahead by FRESHNESS stays fresh for twice that time: no window goes before.
_KEEP = 2 * FRESHNESS + 1000

# How far behind the newest counter of an epoch one may come.
WINDOW = 2048

_MASK = (1 << WINDOW) - 1


@dataclass(slots=True)
class Window:
    """Which of the last WINDOW counters have been seen.

    Attributes:
        highest: the newest one; -1 before the first.
        seen: bit n stands for the counter `highest - n`.
    """

    highest: int = -1
    seen: int = 0

    def is_new(self, counter: int) -> bool:
        """Whether it has not been seen, and is not too old to tell."""
        behind = self.highest - counter
        return behind < 0 or (behind < WINDOW and not self.seen >> behind & 1)

    def mark(self, counter: int) -> None:
        """It has been seen."""
        ahead = counter - self.highest
        if ahead > 0:
            self.seen = (self.seen << ahead & _MASK if ahead < WINDOW else 0) | 1
            self.highest = counter
        else:
            self.seen |= 1 << -ahead


@dataclass(slots=True)
class _Sender:
    oldest: int  # what it sent before that may have been here when it had no window, or another one
    window: Window = field(default_factory=Window)
    accepted_at: int = 0  # by our clock
    newest: int = 0  # by the sender's


class Replays:
    """The windows of all senders, of whom there are `capacity` at most.

    Only what has been opened makes a window, so a flood of forged datagrams makes none. One is
    dropped when nothing that it has seen can be fresh any more; until then a full table refuses
    new senders rather than forget an old one.

    Args:
        now: our start. We do not know what came before, so it is refused.
    """

    def __init__(self, now: int, capacity: int = 4096) -> None:
        self._senders: dict[bytes, _Sender] = {}  # the one heard last comes last
        self._capacity = capacity
        # What an unknown sender has sent until then may have been here before. Dropped windows
        # raise it, so that a clock that is set back does not make old datagrams fresh again.
        self._forgotten = now

    def __len__(self) -> int:
        return len(self._senders)

    def check(self, epoch: bytes, counter: int) -> None:
        """Refuse what has been here, before the cost of opening it.

        Raises:
            Refused: REPLAYED.
        """
        sender = self._senders.get(epoch)
        if sender is not None and not sender.window.is_new(counter):
            raise Refused(Reason.REPLAYED)

    def accept(
        self, epoch: bytes, counter: int, sent_at: int, now: int, *, stored: bool = False
    ) -> None:
        """Take a datagram that has been opened, for the first and the last time.

        Args:
            stored: it is a HELLO that a broker kept for those who come later, and may be from
                before our start, as long as it is fresh. It leaves no window then, so nothing
                else from before our start comes in after it. All that replaying it can do is to
                make its sender seem alive for FRESHNESS and the expiry of a peer longer.

        Raises:
            Refused: REPLAYED; STALE if its time is not near ours; BEFORE_START if it may have
                been here before we remember; TOO_MANY_SENDERS.
        """
        if abs(now - sent_at) > FRESHNESS:
            raise Refused(Reason.STALE)
        self._age(now)
        sender = self._senders.get(epoch)
        if sent_at < (sender.oldest if sender else self._forgotten):
            if stored:
                return
            raise Refused(Reason.BEFORE_START)
        if sender is None:
            if len(self._senders) >= self._capacity:
                raise Refused(Reason.TOO_MANY_SENDERS)
            sender = _Sender(self._forgotten)
        elif not sender.window.is_new(counter):
            raise Refused(Reason.REPLAYED)
        self._senders.pop(epoch, None)
        self._senders[epoch] = sender
        sender.window.mark(counter)
        sender.accepted_at = now
        sender.newest = max(sender.newest, sent_at)

    def _age(self, now: int) -> None:
        while self._senders:
            epoch, sender = next(iter(self._senders.items()))
            if now - sender.accepted_at <= _KEEP:
                return
            del self._senders[epoch]
            self._forgotten = max(self._forgotten, sender.newest + 1)
