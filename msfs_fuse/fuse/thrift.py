"""What takes long, and what any user may ask for at any rate: it gets a part of the time."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Making things anew may take this part of the daemon's time, after so many seconds at once.
_PART = 0.25
_AT_ONCE = 0.2


class Credit:
    """Time that may be spent.

    Args:
        part: of the time that goes by.
        at_once: seconds that are saved at most.
        clock: seconds.
    """

    def __init__(
        self, part: float, at_once: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._part = part
        self._at_once = at_once
        self._left = at_once
        self._clock = clock
        self._since = clock()

    def is_left(self) -> bool:
        """Whether something may begin that takes some time."""
        now = self._clock()
        self._left = min(self._at_once, self._left + (now - self._since) * self._part)
        self._since = now
        return self._left > 0

    def spend(self, call: Callable[[], T]) -> T:
        """Call something, and note how long that took."""
        start = self._clock()
        try:
            return call()
        finally:
            self._left -= self._clock() - start


class Thrift(Generic[T]):
    """Makes something for each who asks, and while they are very many, gives what it made last.

    Args:
        clock: seconds.

    Attributes:
        last: what was made last.
    """

    def __init__(self, make: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self.last: T | None = None
        self._credit = Credit(_PART, _AT_ONCE, clock)

    def __call__(self) -> T:
        if self._credit.is_left() or self.last is None:
            self.last = self._credit.spend(self._make)
        return self.last
