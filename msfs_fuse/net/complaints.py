"""Which sources of what is dropped were named in the log of late: a flood does not fill it."""

from collections import OrderedDict
from collections.abc import Hashable

# A source is named once in so many seconds; so many of them.
_INTERVAL = 60.0
_SOURCES = 256


class Complaints:
    """A full table says no more until it has aged."""

    def __init__(self) -> None:
        self._named: OrderedDict[Hashable, float] = OrderedDict()

    def is_due(self, source: Hashable, now: float) -> bool:
        """Whether to name it now.

        Args:
            now: monotonic, in seconds.
        """
        while self._named and now - next(iter(self._named.values())) > _INTERVAL:
            self._named.popitem(last=False)
        if source in self._named or len(self._named) >= _SOURCES:
            return False
        self._named[source] = now
        return True
