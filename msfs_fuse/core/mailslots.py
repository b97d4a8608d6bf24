"""The mailslots of one mount: names, handles, and the one place where reads meet messages."""

import errno
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields
from itertools import count

from msfs_fuse.core.deadlines import Deadlines
from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.limits import Limits
from msfs_fuse.core.names import check_new_name, fold
from msfs_fuse.core.slot import (
    Access,
    Answer,
    Caller,
    Closed,
    Delivery,
    Directory,
    Handle,
    Message,
    Node,
    Sender,
    Slot,
)

ROOT_ID = 1
ROOT_UID = 0

# Until a slot has a server, whoever comes first to read may become it.
UNCLAIMED_MODE = 0o666

_NANOSECONDS_PER_MILLISECOND = 1_000_000

# The kernel looks a name up and then opens what it found. A slot that died in between comes back
# for a client: its open counts as having come before the last close. In nanoseconds.
_REVIVAL = 100_000_000


@dataclass
class Counts:
    """What has happened since the mount began. Plain numbers, read whenever somebody asks."""

    slots_created: int = 0
    messages_written: int = 0
    bytes_written: int = 0
    messages_read: int = 0
    messages_unread: int = 0  # died with their slot
    writes_too_long: int = 0
    writes_full: int = 0
    reads_interrupted: int = 0
    reads_timed_out: int = 0
    reads_over_limit: int = 0

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return ((each.name, getattr(self, each.name)) for each in fields(self))


class Mailslots:
    """Every method is atomic, none waits, and whatever it refuses leaves no trace.

    Args:
        limits: upper bounds.
        host: this host's name, as the sender of what is written here.
        owner: uid and gid of the root directory.
        root_mode: permission bits of the root directory.
        strict: opening a missing slot to write does not create it, as on Windows.
        now: the time, in nanoseconds since the epoch.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        host: str = "localhost",
        owner: tuple[int, int] = (ROOT_UID, 0),
        root_mode: int = 0o777,
        strict: bool = False,
        now: int = 0,
    ) -> None:
        self.limits = limits
        self.host = host
        self.strict = strict
        self.counts = Counts()
        self.slots = 0
        self.messages = 0
        self.bytes = 0
        self.root = Directory(ROOT_ID, "", None, *owner, root_mode, now, now, now)
        self._ids = count(ROOT_ID + 1)
        self._owned: Counter[int] = Counter()
        self._readers: dict[Hashable, Slot] = {}
        self._deadlines = Deadlines()

    # ---- names ----

    @property
    def waiting(self) -> int:
        """How many reads wait."""
        return len(self._readers)

    def new_id(self) -> int:
        """A number that no node of this mount has had."""
        return next(self._ids)

    def find(self, path: tuple[str, ...]) -> Node | None:
        """The node at `path` below the root."""
        node: Node | None = self.root
        for name in path:
            node = node.children.get(name) if isinstance(node, Directory) else None
        return node

    def mkdir(self, parent: Directory, name: str, mode: int, caller: Caller, now: int) -> Directory:
        """Make a directory.

        Raises:
            SlotError: EEXIST, EDQUOT, ENOENT in a directory that is gone, or what
                check_new_name says.
        """
        self._check_new(parent, name)
        self.charge(caller.uid)
        directory = Directory(
            self.new_id(), name, parent, caller.uid, caller.gid, mode, now, now, now
        )
        self._link(directory, parent, now)
        return directory

    def rmdir(self, parent: Directory, name: str, caller: Caller, now: int) -> None:
        """Remove an empty directory.

        Raises:
            SlotError: ENOENT, ENOTDIR, ENOTEMPTY; EPERM for another user's directory.
        """
        directory = self._removable(parent, name, caller)
        if not isinstance(directory, Directory):
            raise SlotError(errno.ENOTDIR)
        if directory.children:
            raise SlotError(errno.ENOTEMPTY)
        self._unlink(directory, now)
        self.discharge(directory.uid)

    def unlink(self, parent: Directory, name: str, caller: Caller, now: int) -> None:
        """Take a slot's name away. The slot goes on for those who have it open.

        Raises:
            SlotError: ENOENT, EISDIR; EPERM for another user's slot.
        """
        slot = self._removable(parent, name, caller)
        if not isinstance(slot, Slot):
            raise SlotError(errno.EISDIR)
        self._unlink(slot, now)
        slot.ctime = now

    def set_mode(self, node: Node, mode: int, now: int) -> None:
        """Change the permission bits; the kernel has checked who may."""
        node.mode = mode
        node.ctime = now

    def set_owner(self, node: Node, uid: int, gid: int, now: int) -> None:
        """Change owner and group; the kernel has checked who may."""
        if uid != node.uid and self._is_charged(node):
            self.charge(uid)
            self.discharge(node.uid)
        node.uid, node.gid, node.ctime = uid, gid, now

    def charge(self, uid: int) -> None:
        """Count one more name as this user's.

        Raises:
            SlotError: EDQUOT at the limit.
        """
        if uid != ROOT_UID and self._owned[uid] >= self.limits.max_slots_per_user:
            raise SlotError(errno.EDQUOT)
        self._owned[uid] += 1

    def discharge(self, uid: int) -> None:
        """Count one name less as this user's."""
        self._owned[uid] -= 1
        if not self._owned[uid]:
            del self._owned[uid]

    # ---- handles ----

    def create(
        self, parent: Directory, name: str, mode: int, access: Access, caller: Caller, now: int
    ) -> Handle:
        """Make a slot and open it, in one step. Opening for reading makes the caller its server.

        Raises:
            SlotError: EEXIST; EDQUOT at the limit of slots per user; ENOENT for a client where
                the mount is strict, and in a directory that is gone; what check_new_name says.
        """
        self._check_new(parent, name)
        if self.strict and not access.reads:
            raise SlotError(errno.ENOENT)
        self.charge(caller.uid)
        slot = Slot(
            self.new_id(),
            name,
            parent,
            caller.uid,
            caller.gid,
            mode if access.reads else UNCLAIMED_MODE,
            now,
            now,
            now,
            max_message_size=self.limits.max_message_size,
        )
        self._link(slot, parent, now)
        self.slots += 1
        self.counts.slots_created += 1
        return self._open(slot, access, caller)

    def open(
        self,
        slot: Slot,
        access: Access,
        caller: Caller,
        now: int,
        adopted_mode: Callable[[], int] = lambda: UNCLAIMED_MODE,
    ) -> Handle:
        """Open a slot. The kernel has checked the permission bits.

        Args:
            adopted_mode: gives the permission bits that a slot without a server takes from the
                process that becomes its first one; asked only then.

        Raises:
            SlotError: EACCES for reading where there is a server, or where there was one and
                the slot is another user's; EDQUOT for a first server at its limit of slots;
                ESTALE for a slot that is gone, unless a client comes just after its end.
        """
        if not slot.handles:
            self._revive(slot, access, now)
        elif access.reads:
            if slot.server is not None:
                raise SlotError(errno.EACCES)
            if not slot.claimed:
                mode = adopted_mode()
                self.set_owner(slot, caller.uid, caller.gid, now)
                self.set_mode(slot, mode, now)
            elif caller.uid not in (slot.uid, ROOT_UID):
                raise SlotError(errno.EACCES)
        return self._open(slot, access, caller)

    def close_handle(self, handle: Handle, now: int) -> Closed:
        """Close a handle; with the last one the slot dies, and what it holds."""
        if not handle.open:
            return Closed([], died=False, unread=0)
        handle.open = False
        slot = handle.slot
        answers = []
        if slot.server is handle:
            slot.server = None
            for token in list(slot.waiting):
                self._forget(slot, token)
                answers.append(Answer(token, None, errno.EBADF))
        slot.handles -= 1
        if slot.handles:
            return Closed(answers, died=False, unread=0)
        unread = len(slot.messages)
        self.counts.messages_unread += unread
        self.messages -= unread
        self.bytes -= slot.size
        slot.messages.clear()
        slot.size = slot.offset = 0
        slot.grave, slot.died_at = slot.parent, now
        self._unlink(slot, now)
        self.discharge(slot.uid)
        self.slots -= 1
        return Closed(answers, died=True, unread=unread)

    # ---- messages ----

    def enqueue(
        self, slot: Slot, data: bytes, sender: Sender, now: int, sent_at: int | None = None
    ) -> list[Answer]:
        """Append one message, and answer the reads that waited for it.

        Args:
            sent_at: when it was sent by the sender's clock, in nanoseconds; None for now.

        Raises:
            SlotError: EMSGSIZE; ENOSPC at a limit; EINVAL for an empty message. Nothing is
                queued then.
        """
        size = len(data)
        if not size:
            raise SlotError(errno.EINVAL)
        if size > slot.max_message_size:
            self.counts.writes_too_long += 1
            raise SlotError(errno.EMSGSIZE)
        if not self._fits(slot, size):
            self.counts.writes_full += 1
            raise SlotError(errno.ENOSPC)
        slot.messages.append(Message(data, sender, now if sent_at is None else sent_at))
        slot.size += size
        slot.mtime = now
        self.messages += 1
        self.bytes += size
        self.counts.messages_written += 1
        self.counts.bytes_written += size
        return self._match(slot, now) if slot.waiting else []

    def matching(self, path: tuple[str, ...]) -> list[Slot]:
        """The slots of that name without regard to ASCII case, as other hosts name them."""
        nodes: list[Node] = [self.root]
        for name in map(fold, path):
            nodes = [
                child
                for node in nodes
                if isinstance(node, Directory)
                for child in node.folded.get(name, ())
            ]
        return [node for node in nodes if isinstance(node, Slot)]

    def deliver(
        self,
        path: tuple[str, ...],
        data: bytes,
        sender: Sender,
        now: int,
        *,
        sent_at: int | None = None,
        accepts: Callable[[Slot], bool] = lambda slot: slot.network,
    ) -> Delivery:
        """Append a message from the network to every slot that it names.

        Refuses nothing by exception: nobody is there to hear of it.

        Args:
            sent_at: as for enqueue.
            accepts: whether the sender may write to a slot; by default the slot's `network`.
        """
        delivery = Delivery([], [], 0)
        for slot in self.matching(path):
            try:
                if not accepts(slot):
                    raise SlotError(errno.EACCES)
                delivery.answers.extend(self.enqueue(slot, data, sender, now, sent_at))
            except SlotError:
                delivery = delivery._replace(refused=delivery.refused + 1)
            else:
                delivery.slots.append(slot)
        return delivery

    def add_reader(
        self,
        handle: Handle,
        token: Hashable,
        size: int,
        now: int,
        monotonic: int,
        *,
        wait: bool = True,
    ) -> list[Answer]:
        """Ask for the next message, or the rest of one, in a buffer of `size` bytes.

        Args:
            token: names the read, in answers and to cancel_reader.
            monotonic: nanoseconds of a clock that never steps, for the read timeout.
            wait: False for a handle that is O_NONBLOCK.

        Returns:
            The read's answer, or nothing: then it waits, and its answer comes from a later
            enqueue, expire or close_handle, unless it is cancelled first.

        Raises:
            SlotError: EAGAIN, with nothing to read and no wish to wait or too many that do;
                ETIMEDOUT with a read timeout of 0; EBADF for a handle that does not read.
        """
        slot = handle.slot
        if slot.server is not handle:
            raise SlotError(errno.EBADF)
        if not slot.messages:
            self._check_waiting(slot, wait)
            if slot.read_timeout is not None:
                delay = slot.read_timeout * _NANOSECONDS_PER_MILLISECOND
                self._deadlines.add(token, monotonic + delay)
        slot.waiting[token] = size
        self._readers[token] = slot
        return self._match(slot, now) if slot.messages else []

    def cancel_reader(self, token: Hashable) -> bool:
        """Take an interrupted read out of the queue. False if it does not wait any more."""
        slot = self._readers.get(token)
        if slot is None:
            return False
        self._forget(slot, token)
        self.counts.reads_interrupted += 1
        return True

    def next_deadline(self) -> int | None:
        """When expire() has something to do, in monotonic nanoseconds, or None."""
        return self._deadlines.next()

    def expire(self, monotonic: int) -> list[Answer]:
        """Give up the reads whose time is over."""
        answers = []
        for token in self._deadlines.pop_due(monotonic):
            self._forget(self._readers[token], token)
            self.counts.reads_timed_out += 1
            answers.append(Answer(token, None, errno.ETIMEDOUT))
        return answers

    def cancel_all(self, code: int) -> list[Answer]:
        """Answer every read that waits with the error `code`."""
        answers = []
        for token, slot in list(self._readers.items()):
            self._forget(slot, token)
            answers.append(Answer(token, None, code))
        return answers

    @property
    def is_full(self) -> bool:
        """Whether no slot takes anything, because of what others hold."""
        limits = self.limits
        return self.messages >= limits.max_total_messages or self.bytes >= limits.max_bytes

    def is_writable(self, slot: Slot) -> bool:
        """Whether a one-byte write would fit."""
        return self._fits(slot, 1)

    # ---- inside ----

    def _match(self, slot: Slot, now: int) -> list[Answer]:
        """Bring waiting reads and messages together, first come, first served."""
        answers = []
        while slot.waiting and slot.messages:
            token, size = next(iter(slot.waiting.items()))
            self._forget(slot, token)
            message = slot.messages[0]
            end = slot.offset + size
            rest = len(message.data) - end
            if rest > 0 and slot.short_read_fails:
                answers.append(Answer(token, None, errno.EMSGSIZE))
                continue
            whole = rest <= 0 and not slot.offset
            answers.append(
                Answer(token, message.data if whole else message.data[slot.offset : end])
            )
            slot.atime = now
            slot.last_sender, slot.last_sent_at = message.sender, message.sent_at
            if rest > 0:
                slot.offset = end
                continue
            del slot.messages[0]
            slot.offset = 0
            slot.size -= len(message.data)
            self.messages -= 1
            self.bytes -= len(message.data)
            self.counts.messages_read += 1
        return answers

    def _forget(self, slot: Slot, token: Hashable) -> None:
        del slot.waiting[token]
        del self._readers[token]
        self._deadlines.discard(token)

    def _check_waiting(self, slot: Slot, wait: bool) -> None:
        if not wait:
            raise SlotError(errno.EAGAIN)
        if slot.read_timeout == 0:
            self.counts.reads_timed_out += 1
            raise SlotError(errno.ETIMEDOUT)
        if len(self._readers) >= self.limits.max_waiting:
            self.counts.reads_over_limit += 1
            raise SlotError(errno.EAGAIN)

    def _fits(self, slot: Slot, size: int) -> bool:
        limits = self.limits
        return (
            len(slot.messages) < limits.max_messages
            and slot.size + size <= limits.max_slot_bytes
            and self.messages < limits.max_total_messages
            and self.bytes + size <= limits.max_bytes
        )

    def _open(self, slot: Slot, access: Access, caller: Caller) -> Handle:
        handle = Handle(slot, access, Sender(self.host, caller.uid, caller.pid))
        slot.handles += 1
        if access.reads:
            slot.server = handle
            slot.claimed = True
        return handle

    def _revive(self, slot: Slot, access: Access, now: int) -> None:
        grave = slot.grave
        if (
            access.reads
            or grave is None
            or slot.name in grave.children
            or not self._is_attached(grave)
            or not 0 <= now - slot.died_at <= _REVIVAL  # clocks may step back
        ):
            raise SlotError(errno.ESTALE)
        self.charge(slot.uid)
        slot.parent = grave
        self._link(slot, grave, now)
        self.slots += 1

    def _is_attached(self, directory: Directory) -> bool:
        return directory.parent is not None or directory is self.root

    def _check_new(self, parent: Directory, name: str) -> None:
        if not self._is_attached(parent):
            raise SlotError(errno.ENOENT)
        check_new_name(name, in_root=parent is self.root)
        if name in parent.children:
            raise SlotError(errno.EEXIST)

    @staticmethod
    def _is_charged(node: Node) -> bool:
        # The root never is. A slot is until its last handle closes, with or without a name; what
        # is gone may still be chowned, by a process that has it open or with O_PATH.
        return node.handles > 0 if isinstance(node, Slot) else node.parent is not None

    def _removable(self, parent: Directory, name: str, caller: Caller) -> Node:
        # As in a sticky directory, which the root cannot be: see ARCHITECTURE.md.
        node = parent.children.get(name)
        if node is None:
            raise SlotError(errno.ENOENT)
        if caller.uid not in (node.uid, parent.uid, ROOT_UID):
            raise SlotError(errno.EPERM)
        return node

    def _link(self, node: Node, parent: Directory, now: int) -> None:
        parent.children[node.name] = node
        parent.folded.setdefault(fold(node.name), []).append(node)
        parent.mtime = parent.ctime = now

    def _unlink(self, node: Node, now: int) -> None:
        parent = node.parent
        if parent is None:  # its name was taken away before
            return
        del parent.children[node.name]
        alike = parent.folded[fold(node.name)]
        alike.remove(node)
        if not alike:
            del parent.folded[fold(node.name)]
        parent.mtime = parent.ctime = now
        node.parent = None
