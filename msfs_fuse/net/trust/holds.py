"""What waits for a host to be proven, for two seconds at most: both ways, bounded."""

from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Holds(Generic[Item]):
    """Items in their order, each with a group that has a share of the room.

    Args:
        size, share: how many in all, and how many of one group.
    """

    def __init__(self, size: int, share: int) -> None:
        self._size = size
        self._share = share
        self._items: deque[tuple[float, Hashable, Item]] = deque()
        self._groups: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, group: Hashable, item: Item, until: float) -> bool:
        """Keep an item. False if there is no room."""
        if len(self._items) >= self._size or self._groups[group] >= self._share:
            if not self._groups[group]:
                del self._groups[group]
            return False
        self._items.append((until, group, item))
        self._groups[group] += 1
        return True

    def has(self, wanted: Callable[[Item], bool]) -> bool:
        """Whether one that is wanted is kept."""
        return any(wanted(item) for _, _, item in self._items)

    def count(self, wanted: Callable[[Item], bool]) -> int:
        """How many of those that are kept are wanted."""
        return sum(wanted(item) for _, _, item in self._items)

    def take(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Those that are wanted, in their order. They are not kept any more."""
        return self._split(lambda _, item: wanted(item))

    def expire(self, now: float) -> list[Item]:
        """Those whose time is over."""
        return self._split(lambda until, _: until <= now)

    def clear(self) -> None:
        self._items.clear()
        self._groups.clear()

    def _split(self, wanted: Callable[[float, Item], bool]) -> list[Item]:
        if not self._items:
            return []
        taken: list[Item] = []
        kept: deque[tuple[float, Hashable, Item]] = deque()
        for until, group, item in self._items:
            if wanted(until, item):
                taken.append(item)
                self._groups[group] -= 1
                if not self._groups[group]:
                    del self._groups[group]
            else:
                kept.append((until, group, item))
        self._items = kept
        return taken
