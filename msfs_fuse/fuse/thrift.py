"""What takes long to make, and what any user may ask for at any rate."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Making things anew may take this part of the daemon's time, after so many seconds at once.
_PART = 0.25
_AT_ONCE = 0.2


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
        self._credit = _AT_ONCE
        self._clock = clock
        self._since = clock()

    def __call__(self) -> T:
        now = self._clock()
        self._credit = min(_AT_ONCE, self._credit + (now - self._since) * _PART)
        self._since = now
        if self._credit > 0 or self.last is None:
            self.last = self._make()
            self._credit -= self._clock() - now
        return self.last
