"""The entries of a directory in the order in which they came, so that a listing can go on.

A listing is read in parts, and names come and go in between. Each entry gets a place, a number
that only grows, and a listing goes on after the place where it stopped: no entry that stays is
shown twice or left out, and nobody has to keep a copy.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

# Fewer gaps than these are not worth moving the rest together.
_FEW = 64


class Order(Generic[T]):
    """Entries by their place. All is logarithmic, or amortized constant."""

    __slots__ = ("_entries", "_gaps", "_places", "last")

    def __init__(self) -> None:
        self.last = 0
        self._places: list[int] = []
        self._entries: list[T | None] = []
        self._gaps = 0

    def add(self, entry: T) -> int:
        """Append an entry; its place, which is 1 or more."""
        self.last += 1
        self._places.append(self.last)
        self._entries.append(entry)
        return self.last

    def remove(self, place: int) -> None:
        """Take the entry of that place away."""
        index = bisect_left(self._places, place)
        assert self._entries[index] is not None
        self._entries[index] = None
        self._gaps += 1
        if self._gaps > _FEW and 2 * self._gaps > len(self._places):
            kept = list(self.after(0))
            self._places = [place for place, _ in kept]
            self._entries = [entry for _, entry in kept]
            self._gaps = 0

    def after(self, place: int) -> Iterator[tuple[int, T]]:
        """The entries whose place is higher, with their places. Nothing may change meanwhile."""
        for index in range(bisect_right(self._places, place), len(self._places)):
            entry = self._entries[index]
            if entry is not None:
                yield self._places[index], entry
