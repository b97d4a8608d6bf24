"""FUSE requests: each handler translates one to a call into the core, and its result to a reply.

No handler waits. They are plain functions, so that none can: `handler` makes of each the
coroutine function that pyfuse3 wants. Reads, writes and closings come from the C extension, to
`on_read`, `on_write` and `on_release`. What has no handler here is ENOSYS; fsync(2) then succeeds
without asking, and without holding the lock of a slot meanwhile.
The module is long because pyfuse3 wants all handlers in one class; each is short.
"""

import errno
import itertools
import logging
import os
import time
from collections.abc import Sequence

import pyfuse3

from msfs_fuse.core import attributes as slot_attributes
from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.limits import NAME_MAX, Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.names import REMOTE_MARK, Address, check_length
from msfs_fuse.core.network import Router
from msfs_fuse.core.slot import Access, Caller, Directory, Handle, Node, Slot
from msfs_fuse.fuse import procfs
from msfs_fuse.fuse.control import Numbers, control_directory
from msfs_fuse.fuse.exchange import Exchange
from msfs_fuse.fuse.files import ControlFile, OpenFile, RemoteFile, SlotFile
from msfs_fuse.fuse.graves import Graves, LateOpens
from msfs_fuse.fuse.handler import handler
from msfs_fuse.fuse.invalidations import Invalidations
from msfs_fuse.fuse.listings import Listings
from msfs_fuse.fuse.nodes import ControlText, Inodes, RemoteDirectory, RemoteSlot, attributes
from msfs_fuse.fuse.permissions import Credentials
from msfs_fuse.fuse.pieces import Pieces
from msfs_fuse.fuse.remote import RemoteNames
from msfs_fuse.fuse.replies import Replies, Request
from msfs_fuse.fuse.thrift import Thrift

log = logging.getLogger(__name__)

_PERMISSIONS = 0o7777
# Of a slot, which nobody executes: no bit for that has to be cleared by writes.
_SLOT_PERMISSIONS = 0o777
_NEW_SLOT_MODE = 0o666

# No attribute has a longer value. The rest, up to 64 KiB, would take milliseconds to decode.
_LONGEST_VALUE = 100


def _access(flags: int) -> Access:
    mode = flags & os.O_ACCMODE
    return Access(reads=mode != os.O_WRONLY, writes=mode != os.O_RDONLY)


def _caller(ctx: pyfuse3.RequestContext) -> Caller:
    return Caller(ctx.uid, ctx.gid, procfs.process_of(ctx.pid))


class Operations(pyfuse3.Operations):
    """The file system.

    Args:
        mail: the slots.
        mountpoint: shown in `.msfs/status`.
        router: knows the way to other hosts.
        numbers: those of the process that serves the mount, for `.msfs/metrics`.
    """

    supports_dot_lookup = False

    def __init__(
        self, mail: Mailslots, mountpoint: str, router: Router, numbers: Numbers = tuple
    ) -> None:
        super().__init__()
        self._mail = mail
        self.replies = Replies(mail)
        self.exchange = Exchange(mail, self.replies, router)
        self._invalidations = Invalidations()
        self._inodes = Inodes(mail.tree.root, self._invalidations)
        self._graves = Graves(self._inodes, self._invalidations)
        self._remote = RemoteNames(mail, time.time_ns)
        self._control = control_directory(mail, mountpoint, router, numbers, time.time_ns())
        self._files: dict[int, OpenFile] = {}
        self._hosts = Thrift(router.names)
        self._listings = Listings(self._inodes, mail.shares, self._extra_names, self._find)
        self._late = LateOpens()
        self._handle_numbers = itertools.count(1)
        self.pieces = Pieces()

    def use_limits(self, limits: Limits, *, strict: bool) -> None:
        """Take what can change while mounted.

        Args:
            limits: upper bounds for what comes; nothing is evicted.
            strict: as for Mailslots.
        """
        self._mail.strict = strict
        self.replies.use_limits(limits)

    def close(self, code: int) -> None:
        """The session ends: reads that wait, and those that come, get this error code."""
        self.replies.close(code)
        self._invalidations.close()

    # ---- names ----

    def _find(self, parent: Node, name: str) -> Node:
        check_length(name)
        if isinstance(parent, RemoteDirectory):
            return self._remote.find(parent, name)
        if parent is self._mail.tree.root:
            if name == self._control.name:
                return self._control
            if name.startswith(REMOTE_MARK):
                return self._remote.host(name)
        node = parent.children.get(name) if isinstance(parent, Directory) else None
        if node is None:
            raise SlotError(errno.ENOENT)
        return node

    @handler
    def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        node = self._find(self._inodes[parent_inode], os.fsdecode(name))
        if isinstance(node, RemoteSlot) and procfs.is_making_directory(ctx.pid):
            raise SlotError(errno.ENOENT)  # every name is there, but may become a directory
        if isinstance(node, Slot) and self._late.is_to_create(ctx.pid):
            raise SlotError(errno.ENOENT)
        return self._inodes.remember(node, ctx.uid)

    @handler
    def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for inode, count in inode_list:
            self._inodes.forget(inode, count)

    @handler
    def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return attributes(self._inodes[inode])

    @handler
    def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        node = self._inodes[inode]
        if type(node) in (Slot, Directory):
            # Sizes and times are accepted and change nothing: shells and touch(1) send them.
            if fields.update_uid or fields.update_gid:
                uid = attr.st_uid if fields.update_uid else node.uid
                gid = attr.st_gid if fields.update_gid else node.gid
                self._mail.tree.set_owner(node, uid, gid, time.time_ns())
            if fields.update_mode:
                bits = _SLOT_PERMISSIONS if isinstance(node, Slot) else _PERMISSIONS
                self._mail.tree.set_mode(node, attr.st_mode & bits, time.time_ns())
        elif fields.update_uid or fields.update_gid or fields.update_mode:
            raise SlotError(errno.EPERM)
        return attributes(node)

    @handler
    def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self._inodes[parent_inode]
        caller = _caller(ctx)
        if isinstance(parent, RemoteDirectory):
            made = self._remote.mkdir(parent, os.fsdecode(name), caller)
            return self._inodes.remember(made, ctx.uid)
        directory = self._mail.tree.mkdir(
            self._inodes.directory(parent_inode),
            os.fsdecode(name),
            mode & _PERMISSIONS,
            caller,
            time.time_ns(),
        )
        return self._inodes.remember(directory, ctx.uid)

    @handler
    def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        parent = self._inodes[parent_inode]
        text, caller = os.fsdecode(name), _caller(ctx)
        if isinstance(parent, RemoteDirectory):
            removed: Directory = self._remote.rmdir(parent, text, caller)
        else:
            directory, text = self._removal(parent_inode, name)
            removed = self._mail.tree.rmdir(directory, text, caller, time.time_ns())
        self._inodes.cut_off(removed.id)

    @handler
    def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._mail.tree.unlink(*self._removal(parent_inode, name))

    def _removal(self, parent_inode: int, name: bytes) -> tuple[Directory, str]:
        directory = self._inodes.directory(parent_inode)
        text = os.fsdecode(name)
        if not isinstance(self._find(directory, text), Slot) and text not in directory.children:
            raise SlotError(errno.EPERM)  # `.msfs`, `@HOST`
        return directory, text

    @handler
    def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        raise SlotError(errno.EPERM)

    @handler
    def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        raise SlotError(errno.EPERM)

    @handler
    def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        raise SlotError(errno.EPERM)

    @handler
    def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        raise SlotError(errno.EPERM)

    # ---- directories ----

    @handler
    def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        directory = self._inodes[inode]
        if not isinstance(directory, Directory):
            raise SlotError(errno.ENOTDIR)
        number = next(self._handle_numbers)
        self._listings.open(number, directory, ctx.uid)
        return number

    def _extra_names(self, directory: Directory, is_new: bool) -> list[str]:
        if directory is not self._mail.tree.root:
            return []
        hosts = self._hosts() if is_new or self._hosts.last is None else self._hosts.last
        return [self._control.name, *(REMOTE_MARK + host for host in hosts)]

    @handler
    def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        self._listings.read(fh, start_id, token)

    @handler
    def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        stats = pyfuse3.StatvfsData()
        stats.f_bsize = stats.f_frsize = 1  # so that df is exact
        stats.f_blocks = self._mail.limits.max_bytes
        stats.f_bfree = stats.f_bavail = self._mail.limits.max_bytes - self._mail.bytes
        stats.f_namemax = NAME_MAX
        return stats

    # ---- files ----

    @handler
    def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        self._late.discard(ctx.pid)
        directory = self._inodes.directory(parent_inode)
        text = os.fsdecode(name)
        existing = directory.children.get(text)
        access = _access(flags)
        if existing is None:
            if flags & os.O_EXCL and not access.reads and not self._mail.strict:
                # Not a shell or a logger that writes a line: cp, mv or install, which would trust
                # a slot that nobody reads with the only copy of a file.
                raise SlotError(errno.EPERM)
            handle = self._mail.create(
                directory,
                text,
                mode & _SLOT_PERMISSIONS,
                access,
                _caller(ctx),
                time.time_ns(),
            )
        elif flags & os.O_EXCL:
            raise SlotError(errno.EEXIST)
        elif isinstance(existing, Slot):
            # Made by another process since the kernel looked the name up. The kernel does not
            # check the permissions of what it believes to be new.
            if not Credentials.of(ctx).may_open(existing, access):
                raise SlotError(errno.EACCES)
            handle = self._open_slot(existing, flags, ctx)
        else:
            raise SlotError(errno.EISDIR)
        return self._stream(self._slot_file(handle)), self._inodes.remember(handle.slot, ctx.uid)

    @handler
    def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        try:
            node = self._inodes[inode]
            if isinstance(node, Slot):
                return self._stream(self._slot_file(self._open_slot(node, flags, ctx)))
        except SlotError as error:
            if error.errno == errno.ESTALE:
                self._late.add(ctx.pid)
            raise
        access = _access(flags)
        if isinstance(node, RemoteSlot):
            if access.reads:
                raise SlotError(errno.EACCES)
            return self._stream(self._open_remote(node.address, flags, ctx))
        if not isinstance(node, ControlText):
            raise SlotError(errno.EISDIR)
        if access.writes:
            raise SlotError(errno.EACCES)
        number = self._opened(ControlFile(node.content(), self._mail.shares, ctx.uid))
        return pyfuse3.FileInfo(fh=number, direct_io=True, keep_cache=False)

    def _open_slot(self, slot: Slot, flags: int, ctx: pyfuse3.RequestContext) -> Handle:
        return self._mail.open(
            slot,
            _access(flags),
            _caller(ctx),
            time.time_ns(),
            adopted_mode=lambda: _NEW_SLOT_MODE & ~procfs.umask_of(ctx.pid),
        )

    def _open_remote(self, address: Address, flags: int, ctx: pyfuse3.RequestContext) -> OpenFile:
        handle = self.exchange.open(address, ctx)
        if handle is not None:
            return RemoteFile(handle, self.exchange, self._mail.shares, ctx.uid)
        slot = self._mail.tree.find(address.path)
        if not isinstance(slot, Slot):
            raise SlotError(errno.ENOENT)
        # Past the kernel, which has not walked the directories.
        if not Credentials.of(ctx).may_reach_and_write(slot):
            raise SlotError(errno.EACCES)
        return self._slot_file(self._open_slot(slot, flags, ctx))

    def _slot_file(self, handle: Handle) -> SlotFile:
        return SlotFile(handle, self._mail, self.replies, self.pieces)

    def _opened(self, file: OpenFile) -> int:
        number = next(self._handle_numbers)
        self._files[number] = file
        return number

    def _stream(self, file: OpenFile) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(
            fh=self._opened(file), direct_io=True, keep_cache=False, nonseekable=True
        )

    def on_read(
        self,
        request: Request,
        fh: int,
        offset: int,
        size: int,
        flags: int,
        cached: bool,
        tid: int,
    ) -> bytes | None:
        """Answer FUSE_READ: the bytes, or None where `request` is or will be answered itself.

        Args:
            flags: of the handle, as they are now.
            cached: the kernel reads to fill its page cache, with pages locked.
            tid: the thread that reads.
        """
        try:
            return self._files[fh].read(request, offset, size, flags, cached, tid)
        except SlotError as error:
            request.error(error.errno)
        except Exception:
            log.exception("read failed")
            request.error(errno.EIO)
        return None

    def on_write(self, fh: int, data: bytes, tid: int | None) -> int:
        """Answer FUSE_WRITE: 0 when all of it is taken, or an error code.

        Args:
            tid: the thread that writes; None if what it writes is known to be whole.
        """
        try:
            if tid is not None and not self.pieces.is_whole_write(tid, len(data)):
                raise SlotError(errno.EMSGSIZE)
            self._files[fh].write(data)
        except SlotError as error:
            return error.errno
        except Exception:
            log.exception("write failed")
            return errno.EIO
        return 0

    def on_uring_poll(self, fh: int, tid: int, arms: bool) -> bool:
        """Whether FUSE_POLL of io_uring is answered with POLLIN. If not, `poll` gets it too."""
        file = self._files.get(fh)
        return isinstance(file, SlotFile) and file.poll_by_uring(tid, arms)

    def on_release(self, fh: int) -> None:
        """The last descriptor of a file or a directory is closed."""
        try:
            file = self._files.pop(fh, None)
            if file is None:
                self._listings.close(fh)
            elif (dead := file.release()) is not None:
                self._graves.bury(dead, time.time_ns())
        except Exception:
            log.exception("release failed")

    @handler
    def poll(
        self,
        inode: int,
        fh: int,
        poll_handle: pyfuse3.PollHandle | None,
        ctx: pyfuse3.RequestContext,
    ) -> int:
        return self._files[fh].poll(poll_handle)

    @handler
    def flush(self, fh: int) -> None:
        return None  # of control files; slots are opened with FOPEN_NOFLUSH

    # ---- extended attributes ----

    def _attribute_slot(self, inode: int, missing: int) -> Slot:
        node = self._inodes[inode]
        if not isinstance(node, Slot):
            raise SlotError(missing)
        return node

    @handler
    def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        node = self._inodes[inode]
        if isinstance(node, RemoteSlot) and name == slot_attributes.MAX_MESSAGE_SIZE.encode():
            capacity = self.exchange.capacity(node.address, ctx.uid)
            if capacity is not None:
                return b"%d" % capacity
        slot = self._attribute_slot(inode, errno.ENODATA)
        return os.fsencode(slot_attributes.get_attribute(slot, os.fsdecode(name)))

    @handler
    def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> list[bytes]:
        node = self._inodes[inode]
        names = slot_attributes.list_attributes(node) if isinstance(node, Slot) else []
        return [os.fsencode(name) for name in names]

    @handler
    def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        slot = self._attribute_slot(inode, errno.ENOTSUP)
        slot_attributes.set_attribute(
            slot,
            os.fsdecode(name),
            os.fsdecode(value[:_LONGEST_VALUE]),
            ctx.uid,
            self._mail.limits,
        )
        self.replies.settle((), (slot,))

    @handler
    def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._attribute_slot(inode, errno.ENODATA)
        slot_attributes.remove_attribute(os.fsdecode(name))
