"""Inodes: what the kernel knows by number, and what stat(2) shows of it."""

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import pyfuse3

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.names import Address
from msfs_fuse.core.slot import Directory, Node, Slot
from msfs_fuse.fuse.invalidations import Invalidations
from msfs_fuse.fuse.recent import RecentLookups

# How long the kernel may believe attributes, in seconds. A file's only from the lookup to the
# permission check of the same open(2), which would otherwise ask again; what reads and writes
# change, the kernel asks for anyway. A directory's mode and owner change only by the kernel's
# doing.
_FILE_TIMEOUT = 0.001
_DIRECTORY_TIMEOUT = 1.0

# How many names of other hosts the kernel may keep, which all users can make up; counted for each
# user who looked them up.
_MOST_REMOTE = 4096

# How many nodes are kept that only somebody who holds them can reach, as with O_PATH, for which no
# open file is charged.
_MOST_UNREACHABLE = 4096


# What stat(2) shows as the size of a slot that has a server, in bytes.
SERVED_SIZE = 4096


@dataclass(slots=True, eq=False)
class ControlDirectory(Directory):
    """`.msfs`."""


@dataclass(slots=True, eq=False)
class ControlText(Node):
    """A read-only file in `.msfs`, made anew each time it is opened.

    Attributes:
        content: makes it.
    """

    content: Callable[[], bytes] = bytes


@dataclass(eq=False)
class RemoteDirectory(Directory):
    """`@NAME`, or a directory made below it, which is only a prefix kept by this mount.

    Attributes:
        host: host or domain.
        path: the prefix.
    """

    host: str = ""
    path: tuple[str, ...] = ()


@dataclass(eq=False)
class RemoteSlot(Node):
    """A name on another host, which may or may not be a slot there."""

    address: Address = field(kw_only=True)


_REMOTE = (RemoteSlot, RemoteDirectory)


def attributes(node: Node) -> pyfuse3.EntryAttributes:
    """The reply to stat(2).

    A slot that has a server has a size, as files of sysfs have one whatever is in them: splice(2)
    and sendfile(2) take a file of size 0 to be at its end, and with them uutils' and busybox's cat.
    With a size they ask, get EIO at once (they read through the page cache, which must not wait),
    and those programs fall back to read(2). Without a server nobody may read, and size 0 has tar
    and rsync leave it alone. No name is cached, since names come and go without the kernel's doing.
    """
    is_directory = isinstance(node, Directory)
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = node.id
    entry.entry_timeout = 0
    entry.attr_timeout = _DIRECTORY_TIMEOUT if is_directory else _FILE_TIMEOUT
    if isinstance(node, Slot):
        if node.server is not None:
            entry.st_size = SERVED_SIZE
        else:
            entry.attr_timeout = 0  # whoever opens it next may be its server
    entry.st_mode = node.mode | (stat.S_IFDIR if is_directory else stat.S_IFREG)
    # A directory has one link whatever is in it, as on btrfs: find(1) then counts for itself.
    entry.st_nlink = 0 if node.parent is None and isinstance(node, Slot) else 1
    entry.st_uid = node.uid
    entry.st_gid = node.gid
    entry.st_atime_ns = node.atime
    entry.st_mtime_ns = node.mtime
    entry.st_ctime_ns = node.ctime
    return entry


class Inodes:
    """Nodes by number, each for as long as the kernel remembers it, within bounds.

    Slots, directories and control files are bounded by what users may have. Names of other hosts
    are not: any of them is there as soon as it is looked up. So beyond a number the kernel lets go
    of those that the user with most of them looked up least lately. Whoever has one open or works
    in it goes on, and so does who is in a directory that was removed; of these, too, only so many
    are known. What is beyond is ESTALE.
    """

    def __init__(self, root: Directory, invalidations: Invalidations) -> None:
        self._nodes: dict[int, Node] = {root.id: root}
        self._lookups: dict[int, int] = {}
        self._root = root
        self._invalidations = invalidations
        self._remote = RecentLookups(_MOST_REMOTE)
        self._unreachable: OrderedDict[int, None] = OrderedDict()  # longest so comes first

    def __getitem__(self, inode: int) -> Node:
        """The node of that number.

        Raises:
            SlotError: ESTALE, which has the kernel look the name up again.
        """
        try:
            return self._nodes[inode]
        except KeyError:
            raise SlotError(errno.ESTALE) from None

    def directory(self, inode: int) -> Directory:
        """The directory of users' slots of that number.

        Raises:
            SlotError: EACCES for what is not one: control and remote directories.
        """
        node = self[inode]
        if type(node) is not Directory:
            raise SlotError(errno.EACCES)
        return node

    def remember(self, node: Node, uid: int) -> pyfuse3.EntryAttributes:
        """Note that the kernel is told of this node once more, for a user, and make the reply."""
        number = node.id
        self._nodes[number] = node
        self._lookups[number] = self._lookups.get(number, 0) + 1
        if isinstance(node, _REMOTE):
            self._note_remote(node, uid)
        return attributes(node)

    def _note_remote(self, node: Node, uid: int) -> None:
        assert node.parent is not None
        self._unreachable.pop(node.id, None)
        oldest = self._remote.note(node.id, uid, node.parent.id)
        if oldest is not None:
            lost = self._nodes[oldest]
            assert lost.parent is not None
            self._invalidations.add(lost.parent.id, os.fsencode(lost.name))
            self.cut_off(oldest)

    def cut_off(self, inode: int) -> None:
        """Its name is gone: only who holds it still can reach it."""
        if inode in self._nodes:
            self._unreachable[inode] = None
        if len(self._unreachable) > _MOST_UNREACHABLE:
            self.drop(next(iter(self._unreachable)))

    def drop(self, inode: int) -> None:
        """Let go of a node, whatever the kernel still remembers."""
        self._nodes.pop(inode, None)
        self._lookups.pop(inode, None)
        self._remote.drop(inode)
        self._unreachable.pop(inode, None)

    def forget(self, inode: int, count: int) -> None:
        """The kernel lets go of so many of its lookups."""
        left = self._lookups.get(inode, 0) - count
        if left > 0:
            self._lookups[inode] = left
        elif inode != self._root.id:
            self.drop(inode)
