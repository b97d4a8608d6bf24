"""Inodes: what the kernel knows by number, and what stat(2) shows of it."""

import errno
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

import pyfuse3

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.names import Address
from msfs_fuse.core.slot import Directory, Node, Slot

# How long the kernel may believe attributes, in seconds. A file's only from the lookup to the
# permission check of the same open(2), which would otherwise ask again; what reads and writes
# change, the kernel asks for anyway. A directory's mode and owner change only by the kernel's
# doing.
_FILE_TIMEOUT = 0.001
_DIRECTORY_TIMEOUT = 1.0


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
    """Nodes by number, each for as long as the kernel remembers it."""

    def __init__(self, root: Directory) -> None:
        self._nodes: dict[int, Node] = {root.id: root}
        self._lookups: dict[int, int] = {}
        self._root = root

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

    def remember(self, node: Node) -> pyfuse3.EntryAttributes:
        """Note that the kernel is told of this node once more, and make the reply."""
        self._nodes[node.id] = node
        self._lookups[node.id] = self._lookups.get(node.id, 0) + 1
        return attributes(node)

    def drop(self, inode: int) -> None:
        """Let go of what died, whatever the kernel still remembers."""
        self._nodes.pop(inode, None)
        self._lookups.pop(inode, None)

    def forget(self, inode: int, count: int) -> None:
        """The kernel lets go of so many of its lookups."""
        left = self._lookups.get(inode, 0) - count
        if left > 0:
            self._lookups[inode] = left
            return
        self._lookups.pop(inode, None)
        if inode != self._root.id:
            self._nodes.pop(inode, None)
