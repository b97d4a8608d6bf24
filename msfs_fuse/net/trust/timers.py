"""Things to do later, without a clock: the time is an argument."""

import heapq
import itertools
from collections.abc import Callable


class Timers:
    """A heap of calls. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._serial = itertools.count()

    def at(self, when: float, call: Callable[[float], None]) -> None:
        """Have it called with the time, once that has come."""
        heapq.heappush(self._heap, (when, next(self._serial), call))

    @property
    def next(self) -> float | None:
        """When run() has something to do."""
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Call what is due."""
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2](now)

    def clear(self) -> None:
        self._heap.clear()
