"""Directories that are open: what readdir shows, part by part.

No copy is kept. A part goes on after the entry that the part before ended with (`core/order`), so
an open directory costs two numbers however long it is. What comes after the first part was read
is for the next listing, so that each ends; rewinding begins a new one.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyfuse3

from msfs_fuse.core.shares import Held, Shares
from msfs_fuse.core.slot import Directory, Node
from msfs_fuse.fuse.nodes import Inodes, attributes

_DOTS = (b".", b"..")

# Where to go on, as the kernel is told: the extra entries by their position, and from here on the
# others by their place.
_PLACES = 1 << 32

# How many entries one reply has at most, so that those of others are not behind a long one.
_PART = 32


@dataclass(slots=True)
class _Listing:
    directory: Directory
    held: Held
    end: int = 0


class Listings:
    """Open directories by their number.

    Args:
        shares: where open directories are charged.
        extra: names in a directory beside its own entries, and before them; for a new listing, or
            one that goes on.
        find: the node of such a name.
    """

    def __init__(
        self,
        inodes: Inodes,
        shares: Shares,
        extra: Callable[[Directory, bool], Sequence[str]],
        find: Callable[[Directory, str], Node],
    ) -> None:
        self._inodes = inodes
        self._shares = shares
        self._extra = extra
        self._find = find
        self._open: dict[int, _Listing] = {}

    def open(self, number: int, directory: Directory, uid: int) -> None:
        """A user opens a directory.

        Raises:
            SlotError: ENFILE.
        """
        self._open[number] = _Listing(directory, self._shares.open_handle(uid))

    def close(self, number: int) -> None:
        """It is closed."""
        self._shares.discharge_handle(self._open.pop(number).held)

    def read(self, number: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        """Show a part, by pyfuse3.readdir_reply.

        Args:
            start: where to go on; 0 for a new listing.
        """
        listing = self._open[number]
        directory, uid = listing.directory, listing.held.uid
        if not start:
            listing.end = directory.order.last
        dots = [directory, directory.parent or directory]
        if start < _PLACES:
            names = self._extra(directory, not start)
            end = len(dots) + len(names)
            for position in range(start, min(end, start + _PART)):
                if position < len(dots):
                    node: Node = dots[position]
                else:
                    node = self._find(directory, names[position - len(dots)])
                if not self._show(token, uid, node, position, position + 1):
                    return
            if start + _PART < end:
                return
        rest = directory.order.after(max(start - _PLACES, 0))
        for place, node in itertools.islice(rest, _PART):
            if place > listing.end or not self._show(token, uid, node, len(_DOTS), _PLACES + place):
                return

    def _show(
        self, token: pyfuse3.ReaddirToken, uid: int, node: Node, position: int, next: int
    ) -> bool:
        is_dots = position < len(_DOTS)
        name = _DOTS[position] if is_dots else os.fsencode(node.name)
        if not pyfuse3.readdir_reply(token, name, attributes(node), next):
            return False
        if not is_dots:  # the kernel does not count these
            self._inodes.remember(node, uid)
        return True
