"""Floods: the first messages of a burst are shown, the others counted."""


class Folder:
    """Lets a burst through, and after it so many in a period; counts what it holds back.

    Attributes:
        held: how many were held back since the last `release`.
    """

    def __init__(self, burst: int = 5, period: float = 10.0) -> None:
        """Begin.

        Args:
            burst: how many may come at once.
            period: in so many seconds as many may come again.
        """
        self.held = 0
        self._burst = burst
        self._period = period
        self._room = float(burst)
        self._at: float | None = None

    def admits(self, now: float) -> bool:
        """Whether one more is to be shown at this time, in seconds by any clock."""
        if self._at is not None:
            grown = max(0.0, now - self._at) * self._burst / self._period
            self._room = min(self._burst, self._room + grown)
        self._at = now
        if self._room < 1:
            self.held += 1
            return False
        self._room -= 1
        return True

    def release(self) -> int:
        """How many were held back; the count begins anew."""
        held, self.held = self.held, 0
        return held
