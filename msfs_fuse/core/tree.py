"""The names below the mount: directories, and the slots in them.

A slot is attached to its directory when it is made and detached when it dies, by `Mailslots`.
Directories live until rmdir, and count for their owner (`Shares`). A slot counts for whoever keeps
it alive, which `Mailslots` knows.
"""

import errno
import stat
from itertools import count, islice

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.names import check_new_name, fold
from msfs_fuse.core.shares import ROOT_UID, Shares, usable_by_all
from msfs_fuse.core.slot import Caller, Directory, Node, Slot
from msfs_fuse.core.tables import is_too_roomy

ROOT_ID = 1

# To so many slots of one name, but for the case of its letters, goes a message from other hosts.
_MOST_ALIKE = 64


class Tree:
    """Every method is atomic, none waits, and whatever it refuses leaves no trace.

    Args:
        shares: where names are charged.
        owner: uid and gid of the root directory.
        root_mode: permission bits of the root directory.
        now: the time, in nanoseconds since the epoch.

    Attributes:
        directories: how many there are, the root aside.
    """

    def __init__(self, shares: Shares, *, owner: tuple[int, int], root_mode: int, now: int) -> None:
        self.root = Directory(ROOT_ID, "", None, *owner, root_mode, now, now, now)
        self.directories = 0
        self._shares = shares
        self._ids = count(ROOT_ID + 1)

    def new_id(self) -> int:
        """A number that no node of this mount has had."""
        return next(self._ids)

    # ---- looking ----

    def find(self, path: tuple[str, ...]) -> Node | None:
        """The node at `path` below the root."""
        node: Node | None = self.root
        for name in path:
            node = node.children.get(name) if isinstance(node, Directory) else None
        return node

    def matching(self, path: tuple[str, ...]) -> list[Slot]:
        """The slots of that name without regard to ASCII case, as other hosts name them.

        The one of exactly that name comes first. Of the others there are so many at most: a user
        can make thousands, and a message to all of them would keep everybody waiting.
        """
        nodes: list[Node] = [self.root]
        for name in path:
            found = (
                child for node in nodes if isinstance(node, Directory) for child in node.alike(name)
            )
            nodes = list(islice(found, _MOST_ALIKE))
        return [node for node in nodes if isinstance(node, Slot)]

    def is_attached(self, directory: Directory) -> bool:
        """Whether the directory has not been removed."""
        return directory.parent is not None or directory is self.root

    # ---- what users ask for ----

    def mkdir(self, parent: Directory, name: str, mode: int, caller: Caller, now: int) -> Directory:
        """Make a directory.

        Raises:
            SlotError: EEXIST; EDQUOT for a user who has too many, and where there are as many as
                may be open of all kinds (somebody with subordinate ids is thousands of users);
                ENOENT in a directory that is gone, or what check_new_name says.
        """
        self.check_new(parent, name)
        most = self._shares.limits.max_handles
        if self.directories >= (most if caller.uid == ROOT_UID else usable_by_all(most)):
            raise SlotError(errno.EDQUOT)
        self._shares.charge_name(caller.uid)
        gid, mode = parent.group_for(caller), mode | parent.mode & stat.S_ISGID
        directory = Directory(self.new_id(), name, parent, caller.uid, gid, mode, now, now, now)
        self.attach(directory, parent, now)
        self.directories += 1
        return directory

    def rmdir(self, parent: Directory, name: str, caller: Caller, now: int) -> Directory:
        """Remove an empty directory; the result is what it was.

        Raises:
            SlotError: ENOENT, ENOTDIR, ENOTEMPTY; EPERM for another user's directory.
        """
        directory = self._removable(parent, name, caller)
        if not isinstance(directory, Directory):
            raise SlotError(errno.ENOTDIR)
        if directory.children:
            raise SlotError(errno.ENOTEMPTY)
        self.detach(directory, now)
        self._shares.discharge_name(directory.uid)
        self.directories -= 1
        return directory

    @staticmethod
    def unlink(parent: Directory, name: str) -> None:
        """Refuse to take a slot's name away: it goes with its last handle.

        A slot without a name would wait for messages that nobody can send. And programs that
        replace a file (mv, install) would put their own where the slot was, where no one reads.

        Raises:
            SlotError: always: EBUSY, for root too; ENOENT, EISDIR.
        """
        node = parent.children.get(name)
        if node is None:
            raise SlotError(errno.ENOENT)
        raise SlotError(errno.EBUSY if isinstance(node, Slot) else errno.EISDIR)

    def set_mode(self, node: Node, mode: int, now: int) -> None:
        """Change the permission bits; the kernel has checked who may."""
        node.mode = mode
        node.ctime = now

    def set_owner(self, node: Node, uid: int, gid: int, now: int) -> None:
        """Change owner and group; the kernel has checked who may.

        Raises:
            SlotError: EDQUOT for the new owner of a directory at the limit of slots per user.
        """
        if uid != node.uid and self._is_charged(node):
            self._shares.charge_name(uid)
            self._shares.discharge_name(node.uid)
        node.uid, node.gid, node.ctime = uid, gid, now

    # ---- what the life of a slot does ----

    def check_new(self, parent: Directory, name: str) -> None:
        """Refuse a name that cannot be made.

        Raises:
            SlotError: ENOENT in a directory that is gone; EEXIST; what check_new_name says.
        """
        if not self.is_attached(parent):
            raise SlotError(errno.ENOENT)
        check_new_name(name, in_root=parent is self.root)
        if name in parent.children:
            raise SlotError(errno.EEXIST)

    def attach(self, node: Node, parent: Directory, now: int) -> None:
        """Enter a node under its name."""
        parent.children[node.name] = node
        parent.folded.setdefault(fold(node.name), []).append(node)
        parent.mtime = parent.ctime = now
        node.parent = parent
        node.place = parent.order.add(node)

    def detach(self, node: Node, now: int) -> None:
        """Take a node's name away."""
        parent = node.parent
        assert parent is not None
        del parent.children[node.name]
        parent.order.remove(node.place)
        alike = parent.folded[fold(node.name)]
        alike.remove(node)
        if not alike:
            del parent.folded[fold(node.name)]
        if is_too_roomy(parent.children):
            parent.children, parent.folded = dict(parent.children), dict(parent.folded)
        parent.mtime = parent.ctime = now
        node.parent = None

    @staticmethod
    def _is_charged(node: Node) -> bool:
        # The root never is; nor what is gone, which may still be chowned by a process that has
        # it open, or with O_PATH. Who owns a slot says nothing about who keeps it.
        return node.parent is not None and isinstance(node, Directory)

    @staticmethod
    def _removable(parent: Directory, name: str, caller: Caller) -> Node:
        # As in a sticky directory, which the root cannot be: see ARCHITECTURE.md.
        node = parent.children.get(name)
        if node is None:
            raise SlotError(errno.ENOENT)
        if caller.uid not in (node.uid, parent.uid, ROOT_UID):
            raise SlotError(errno.EPERM)
        return node
