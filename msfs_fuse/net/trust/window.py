"""No datagram twice: a window of counters for each mount that was proven.

As in RFC 6479: check, open the datagram, then mark; the bits are a ring, of which a part is cleared
as the window moves on. A mount has one counter, and two windows here: what it sends to all does not
wait behind what it sends to us, and may be far ahead.
"""

from dataclasses import dataclass, field

from msfs_fuse.net.trust.wire import Reason, Refused

# Of the ring, in bytes.
_SIZE = 2048

# How far behind the newest counter one may come. Where one way takes the place of another, what
# comes by it overtakes what waits in the other's socket: some 11,000 datagrams of 128 bytes. The
# byte of the newest counter holds none of the oldest ones.
WINDOW = 8 * (_SIZE - 1)


@dataclass(slots=True)
class Window:
    """Which counters of a mount have been seen.

    Attributes:
        floor: the least that is taken: what is below was sealed before we could tell.
        highest: the newest one that was marked.
    """

    floor: int = 0
    highest: int = -1
    _ring: bytearray = field(default_factory=bytearray)  # empty until something is marked

    def check(self, counter: int) -> None:
        """Refuse what has been here, or may have been.

        Raises:
            Refused: REPLAYED, BELOW_FLOOR; OVERTAKEN: too late to tell whether it has been here.
        """
        if counter < self.floor:
            raise Refused(Reason.BELOW_FLOOR)
        if counter > self.highest:
            return
        if self.highest - counter > WINDOW:
            raise Refused(Reason.OVERTAKEN)
        if self._ring[(counter >> 3) % _SIZE] >> (counter & 7) & 1:
            raise Refused(Reason.REPLAYED)

    def mark(self, counter: int) -> None:
        """It has been seen."""
        if counter > self.highest:
            self._clear((self.highest >> 3) + 1, (counter >> 3) + 1)
            self.highest = counter
        self._ring[(counter >> 3) % _SIZE] |= 1 << (counter & 7)

    def _clear(self, begin: int, end: int) -> None:
        """Make room for the counters of these bytes, which are new."""
        if not self._ring or end - begin >= _SIZE:
            self._ring = bytearray(_SIZE)
        elif begin < end:
            begin, end = begin % _SIZE, (end - 1) % _SIZE + 1
            if begin < end:
                self._ring[begin:end] = bytes(end - begin)
            else:
                self._ring[begin:] = bytes(_SIZE - begin)
                self._ring[:end] = bytes(end)
