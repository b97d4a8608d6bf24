"""Which waiting reads give up when."""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from itertools import count

# Below this a heap of cancelled entries is not worth rebuilding.
_SMALL = 64


class Deadlines:
    """A heap of deadlines whose owners may leave early.

    Reads that get their message leave their entry behind; the heap is rebuilt when most of it
    is such leavings, so that its size stays within a constant of what waits.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Hashable]] = []
        self._live: dict[Hashable, int] = {}
        self._serial = count()

    def __len__(self) -> int:
        return len(self._live)

    def add(self, token: Hashable, deadline: int) -> None:
        """Note that `token` gives up at `deadline` (nanoseconds)."""
        serial = next(self._serial)  # keeps equal deadlines in order, and tokens uncompared
        self._live[token] = serial
        heappush(self._heap, (deadline, serial, token))

    def discard(self, token: Hashable) -> None:
        """Forget `token`, if it is there."""
        if self._live.pop(token, None) is None:
            return
        if len(self._heap) > _SMALL + 2 * len(self._live):
            self._heap = [entry for entry in self._heap if self._is_live(entry)]
            heapify(self._heap)

    def next(self) -> int | None:
        """The earliest deadline, in nanoseconds, or None."""
        while self._heap and not self._is_live(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: int, most: int | None = None) -> list[Hashable]:
        """Remove and return the tokens whose time has come, or `most` of them, earliest first."""
        due: list[Hashable] = []
        while (deadline := self.next()) is not None and deadline <= now and len(due) != most:
            token = heappop(self._heap)[2]
            del self._live[token]
            due.append(token)
        return due

    def _is_live(self, entry: tuple[int, int, Hashable]) -> bool:
        return self._live.get(entry[2]) == entry[1]
