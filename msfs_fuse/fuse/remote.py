"""Names below `@HOST`: every one of them is a file that can only be written."""

import errno
from collections.abc import Callable
from weakref import WeakValueDictionary

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.names import REMOTE_MARK, Address, check_length, fold
from msfs_fuse.core.slot import Caller, Directory
from msfs_fuse.fuse.nodes import RemoteDirectory, RemoteSlot

_SLOT_MODE = 0o222


class RemoteNames:
    """Makes the nodes below `@HOST`, the same one for the same name while anybody knows it.

    The kernel's memory (Inodes, which bounds it) and a parent directory hold nodes; this only finds
    them again. Directories made by users stay until rmdir.
    """

    def __init__(self, mail: Mailslots, now: Callable[[], int]) -> None:
        self._mail = mail
        self._now = now
        self._nodes: WeakValueDictionary[
            tuple[str, tuple[str, ...]], RemoteDirectory | RemoteSlot
        ] = WeakValueDictionary()
        self._made: set[RemoteDirectory] = set()

    def host(self, name: str) -> RemoteDirectory:
        """The directory of `@HOST` in the root.

        Args:
            name: with its `@`.

        Raises:
            SlotError: ENOENT for a bare `@`.
        """
        host = name.removeprefix(REMOTE_MARK)
        if not host or "\\" in host:
            raise SlotError(errno.ENOENT)
        return self._directory(self._mail.tree.root, name, host, ())

    def find(self, parent: RemoteDirectory, name: str) -> RemoteDirectory | RemoteSlot:
        """What `name` in `parent` is: a directory somebody made, or else a slot.

        Raises:
            SlotError: ENAMETOOLONG; EINVAL for what no mailslot can be called.
        """
        self._check_path(parent, name)
        key = (fold(parent.host), (*parent.path, name))
        node = self._nodes.get(key)
        if node is not None:
            return node
        path = (*parent.path, name)
        if self._is_own(parent.host) and isinstance(self._mail.tree.find(path), Directory):
            return self._directory(parent, name, parent.host, path)
        node = self._nodes[key] = self._slot(parent, name)
        return node

    def _is_own(self, host: str) -> bool:
        return fold(host) == fold(self._mail.host)

    def mkdir(self, parent: RemoteDirectory, name: str, caller: Caller) -> RemoteDirectory:
        """Make a directory, a prefix to the names below it.

        Raises:
            SlotError: EPERM for all but root and whoever mounted, since the directory takes
                the place of a slot for everybody (`@HOST/a\\b` needs none); EEXIST; EINVAL for
                a name with a backslash; ENAMETOOLONG.
        """
        self._check_privilege(caller)
        self._check_path(parent, name)
        if "\\" in name:
            raise SlotError(errno.EINVAL)
        if name in parent.children:
            raise SlotError(errno.EEXIST)
        path = (*parent.path, name)
        self._nodes.pop((fold(parent.host), path), None)  # it was a slot until now
        directory = self._directory(parent, name, parent.host, path)
        parent.children[name] = directory
        directory.place = parent.order.add(directory)
        self._made.add(directory)
        return directory

    def rmdir(self, parent: RemoteDirectory, name: str, caller: Caller) -> RemoteDirectory:
        """Remove a directory that somebody made; the result is what it was.

        Raises:
            SlotError: ENOENT, ENOTEMPTY; EPERM as for mkdir.
        """
        self._check_privilege(caller)
        directory = parent.children.get(name)
        if not isinstance(directory, RemoteDirectory):
            raise SlotError(errno.ENOENT)
        if directory.children:
            raise SlotError(errno.ENOTEMPTY)
        del parent.children[name]
        parent.order.remove(directory.place)
        self._nodes.pop((fold(directory.host), directory.path), None)
        self._made.discard(directory)
        return directory

    def _check_privilege(self, caller: Caller) -> None:
        if caller.uid not in (self._mail.tree.root.uid, 0):
            raise SlotError(errno.EPERM)

    def _check_path(self, parent: RemoteDirectory, name: str) -> None:
        # On the wire all of it is one name.
        check_length("\\".join((*parent.path, name)))

    def _directory(
        self, parent: Directory, name: str, host: str, path: tuple[str, ...]
    ) -> RemoteDirectory:
        key = (fold(host), path)
        node = self._nodes.get(key)
        if isinstance(node, RemoteDirectory):
            return node
        root, now = self._mail.tree.root, self._now()
        node = RemoteDirectory(
            self._mail.tree.new_id(),
            name,
            parent,
            root.uid,
            root.gid,
            root.mode,
            now,
            now,
            now,
            host=host,
            path=path,
        )
        self._nodes[key] = node
        return node

    def _slot(self, parent: RemoteDirectory, name: str) -> RemoteSlot:
        try:
            address = Address(parent.host, (*parent.path, *name.split("\\")))
        except ValueError:
            raise SlotError(errno.EINVAL) from None
        root, now = self._mail.tree.root, self._now()
        return RemoteSlot(
            self._mail.tree.new_id(),
            name,
            parent,
            root.uid,
            root.gid,
            _SLOT_MODE,
            now,
            now,
            now,
            address=address,
        )
