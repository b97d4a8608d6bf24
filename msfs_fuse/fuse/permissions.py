"""Permission bits, where the kernel does not check them for us."""

import stat
from typing import NamedTuple

import pyfuse3

from msfs_fuse.core.shares import ROOT_UID
from msfs_fuse.core.slot import Access, Node, Slot
from msfs_fuse.fuse import procfs


class Credentials(NamedTuple):
    """Who a process is to the file system.

    Attributes:
        groups: its group and its supplementary ones.
    """

    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, ctx: pyfuse3.RequestContext) -> "Credentials":
        """Those of the process that makes a request."""
        others = procfs.groups_of(ctx.pid) if ctx.uid != ROOT_UID else ()
        return cls(ctx.uid, frozenset({ctx.gid, *others}))

    def may_open(self, slot: Slot, access: Access) -> bool:
        """Whether the slot's own permission bits let it."""
        wanted = (stat.S_IROTH if access.reads else 0) | (stat.S_IWOTH if access.writes else 0)
        return self._may(slot, wanted)

    def may_reach_and_write(self, slot: Slot) -> bool:
        """Whether it could write to the slot by its path, from the root."""
        node: Node | None = slot
        wanted = stat.S_IWOTH
        while node is not None:
            if not self._may(node, wanted):
                return False
            node, wanted = node.parent, stat.S_IXOTH
        return True

    def _may(self, node: Node, wanted: int) -> bool:
        if self.uid == ROOT_UID:
            return True
        if self.uid == node.uid:
            shift = 6
        elif node.gid in self.groups:
            shift = 3
        else:
            shift = 0
        return not wanted & ~(node.mode >> shift)


# A user who owns nothing and is in no group: (uid_t) -1 is nobody's.
ANYBODY = Credentials(-1, frozenset())
