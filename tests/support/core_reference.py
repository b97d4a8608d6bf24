"""What the core has to do, written for clarity alone: plain lists, every sum made anew.

Methods and fields are called as in the core, so that test_core_model can compare the two.
"""

import errno
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from msfs_fuse.core.limits import Limits
from msfs_fuse.core.slot import Access, Caller, Sender

Path = tuple[str, ...]
Answer = tuple[int, bytes | None, int]  # token, data, error code

ROOT = 0
REVIVAL = 300_000_000  # nanoseconds


class Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(errno.errorcode[code])
        self.errno = code


def refuse(code: int, *, when: bool) -> None:
    if when:
        raise Refused(code)


@dataclass(eq=False)
class Node:
    """`PLAIN` names what is the same field in the core."""

    PLAIN: ClassVar[tuple[str, ...]] = ("uid", "gid", "mode", "atime", "mtime", "ctime")

    path: Path | None  # None once the name is gone
    uid: int
    gid: int
    mode: int
    atime: int
    mtime: int
    ctime: int


@dataclass(eq=False)
class Directory(Node):
    pass


@dataclass(eq=False)
class Message:
    data: bytes
    sender: Sender
    sent_at: int
    rest: bytes


class Read(NamedTuple):
    token: int
    size: int
    deadline: int | None


@dataclass(eq=False)
class Slot(Node):
    PLAIN: ClassVar[tuple[str, ...]] = (
        *Node.PLAIN,
        "max_message_size",
        "read_timeout",
        "short_read_fails",
        "claimed",
        "last_sender",
        "last_sent_at",
    )

    max_message_size: int
    read_timeout: int | None = None
    short_read_fails: bool = False
    claimed: bool = False
    server: "Handle | None" = None
    grave: Path | None = None
    buried_in: Node | None = None
    died_at: int = 0
    handles: list["Handle"] = field(default_factory=list)
    users: list[int] = field(default_factory=list)  # who has handles, the longest here first
    payer: int | None = None
    messages: list[Message] = field(default_factory=list)
    waiting: list[Read] = field(default_factory=list)
    last_sender: Sender | None = None
    last_sent_at: int = 0


@dataclass(eq=False)
class Handle:
    slot: Slot
    uid: int


def size_of(messages: list[Message]) -> int:
    return sum(len(message.data) for message in messages)


class Reference:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.root = Directory((), ROOT, 0, 0o777, 0, 0, 0)
        self.nodes: list[Node] = [self.root]  # all that ever were, oldest first
        self.counts: Counter[str] = Counter()

    # ---- what there is ----

    def slots(self) -> list[Slot]:
        return [node for node in self.nodes if isinstance(node, Slot) and node.handles]

    def messages(self) -> list[Message]:
        return [message for slot in self.slots() for message in slot.messages]

    def waiting(self) -> list[tuple[Slot, Read]]:
        return [(slot, read) for slot in self.slots() for read in slot.waiting]

    def owned(self, uid: int) -> int:
        directories = [n for n in self.nodes[1:] if isinstance(n, Directory) and n.path]
        return sum(node.uid == uid for node in directories) + sum(
            slot.payer == uid for slot in self.slots()
        )

    def named(self, path: Path) -> Node | None:
        return next((node for node in self.nodes if node.path == path), None)

    def below(self, path: Path) -> Iterator[Node]:
        return (node for node in self.nodes if node.path and node.path[:-1] == path)

    # ---- names ----

    def mkdir(self, parent: Directory, name: str, mode: int, caller: Caller, now: int) -> Directory:
        path = self._new_path(parent, name)
        self._check_quota(caller.uid)
        setgid = parent.mode & 0o2000
        gid = parent.gid if setgid else caller.gid
        directory = Directory(path, caller.uid, gid, mode | setgid, now, now, now)
        self.nodes.append(directory)
        self._touch(parent, now)
        return directory

    def rmdir(self, parent: Directory, name: str, caller: Caller, now: int) -> None:
        directory = self._removable(parent, name, caller)
        refuse(errno.ENOTDIR, when=isinstance(directory, Slot))
        assert directory.path
        refuse(errno.ENOTEMPTY, when=any(self.below(directory.path)))
        self._take_name(directory, now)

    def unlink(self, parent: Directory, name: str) -> None:
        node = None if parent.path is None else self.named((*parent.path, name))
        refuse(errno.ENOENT, when=node is None)
        raise Refused(errno.EISDIR if isinstance(node, Directory) else errno.EBUSY)

    def set_mode(self, node: Node, mode: int, now: int) -> None:
        node.mode, node.ctime = mode, now

    def set_owner(self, node: Node, uid: int, gid: int, now: int) -> None:
        if uid != node.uid and isinstance(node, Directory) and node.path:
            self._check_quota(uid)
        node.uid, node.gid, node.ctime = uid, gid, now

    # ---- handles ----

    def create(
        self, parent: Directory, name: str, mode: int, access: Access, caller: Caller, now: int
    ) -> Handle:
        path = self._new_path(parent, name)
        self._check_quota(caller.uid)
        slot = Slot(
            path,
            caller.uid,
            parent.gid if parent.mode & 0o2000 else caller.gid,
            mode if access.reads else 0o666,
            now,
            now,
            now,
            self.limits.max_message_size,
        )
        self.nodes.append(slot)
        self._touch(parent, now)
        self.counts["slots_created"] += 1
        return self._opened(slot, access, caller)

    def open(
        self,
        slot: Slot,
        access: Access,
        caller: Caller,
        now: int,
        adopted_mode: Callable[[], int],
    ) -> Handle:
        if not slot.handles:
            refuse(errno.ESTALE, when=access.reads or now - slot.died_at > REVIVAL)
            self._revive(slot, caller, now)
        elif access.reads:
            refuse(errno.EACCES, when=slot.server is not None)
            refuse(errno.EACCES, when=slot.claimed and caller.uid not in (slot.uid, ROOT))
            if slot.payer != caller.uid:
                self._check_quota(caller.uid)
            if not slot.claimed:
                assert slot.path is not None
                parent = self.named(slot.path[:-1])
                assert parent is not None
                gid = parent.gid if parent.mode & 0o2000 else caller.gid
                self.set_owner(slot, caller.uid, gid, now)
                self.set_mode(slot, adopted_mode(), now)
        return self._opened(slot, access, caller)

    def close_handle(self, handle: Handle, now: int) -> tuple[list[Answer], bool, int]:
        slot = handle.slot
        if handle not in slot.handles:
            return [], False, 0
        answers: list[Answer] = []
        if slot.server is handle:
            answers = [(read.token, None, errno.EBADF) for read in slot.waiting]
            slot.server, slot.waiting = None, []
            for message in slot.messages:
                message.rest = message.data
        slot.handles.remove(handle)
        here = {each.uid for each in slot.handles}
        slot.users = [uid for uid in slot.users if uid in here]
        if slot.payer not in here:
            slot.payer = next(iter(slot.users), None)
        if slot.handles:
            return answers, False, 0
        unread = len(slot.messages)
        slot.messages = []
        slot.grave, slot.died_at = slot.path, now
        slot.buried_in = self.named(slot.path[:-1]) if slot.path is not None else None
        self._take_name(slot, now)
        self.counts["messages_unread"] += unread
        return answers, True, unread

    # ---- messages ----

    def enqueue(self, slot: Slot, data: bytes, sender: Sender, now: int) -> list[Answer]:
        size, limits = len(data), self.limits
        refuse(errno.EINVAL, when=not data)
        if size > slot.max_message_size:
            self.counts["writes_too_long"] += 1
            raise Refused(errno.EMSGSIZE)
        if (
            len(slot.messages) + 1 > limits.max_messages
            or size_of(slot.messages) + size > limits.max_slot_bytes
            or len(self.messages()) + 1 > limits.max_total_messages
            or size_of(self.messages()) + size > limits.max_bytes
        ):
            self.counts["writes_full"] += 1
            raise Refused(errno.ENOSPC)
        slot.messages.append(Message(data, sender, now, data))
        slot.mtime = now
        self.counts["messages_written"] += 1
        self.counts["bytes_written"] += size
        return self._serve(slot, now)

    def add_reader(
        self, handle: Handle, token: int, size: int, now: int, monotonic: int, *, wait: bool
    ) -> list[Answer]:
        slot = handle.slot
        refuse(errno.EBADF, when=slot.server is not handle)
        deadline = None
        if not slot.messages:
            refuse(errno.EAGAIN, when=not wait)
            if slot.read_timeout == 0:
                self.counts["reads_timed_out"] += 1
                raise Refused(errno.ETIMEDOUT)
            if len(self.waiting()) >= self.limits.max_waiting:
                self.counts["reads_over_limit"] += 1
                raise Refused(errno.EAGAIN)
            if slot.read_timeout is not None:
                deadline = monotonic + slot.read_timeout * 1_000_000
        slot.waiting.append(Read(token, size, deadline))
        return self._serve(slot, now)

    def cancel_reader(self, token: int) -> bool:
        for slot, read in self.waiting():
            if read.token == token:
                slot.waiting.remove(read)
                self.counts["reads_interrupted"] += 1
                return True
        return False

    def next_deadline(self) -> int | None:
        return min((r.deadline for _, r in self.waiting() if r.deadline is not None), default=None)

    def expire(self, monotonic: int) -> list[Answer]:
        due = sorted(
            (read.deadline, read.token, slot, read)
            for slot, read in self.waiting()
            if read.deadline is not None and read.deadline <= monotonic
        )
        for _, _, slot, read in due:
            slot.waiting.remove(read)
        self.counts["reads_timed_out"] += len(due)
        return [(token, None, errno.ETIMEDOUT) for _, token, _, _ in due]

    # ---- inside ----

    def _serve(self, slot: Slot, now: int) -> list[Answer]:
        answers: list[Answer] = []
        while slot.waiting and slot.messages:
            read = slot.waiting.pop(0)
            message = slot.messages[0]
            if len(message.rest) > read.size and slot.short_read_fails:
                answers.append((read.token, None, errno.EMSGSIZE))
                continue
            answers.append((read.token, message.rest[: read.size], 0))
            message.rest = message.rest[read.size :]
            slot.atime = now
            slot.last_sender, slot.last_sent_at = message.sender, message.sent_at
            if not message.rest:
                slot.messages.pop(0)
                self.counts["messages_read"] += 1
        return answers

    def _opened(self, slot: Slot, access: Access, caller: Caller) -> Handle:
        handle = Handle(slot, caller.uid)
        slot.handles.append(handle)
        if caller.uid not in slot.users:
            slot.users.append(caller.uid)
        if access.reads:
            slot.server, slot.claimed = handle, True
        if access.reads or len(slot.handles) == 1:
            slot.payer = caller.uid
        return handle

    def _revive(self, slot: Slot, caller: Caller, now: int) -> None:
        if slot.grave is None:
            raise Refused(errno.ESTALE)
        parent = self.named(slot.grave[:-1])
        # A directory made anew under the name of the grave's is another one.
        refuse(errno.ESTALE, when=parent is None or parent is not slot.buried_in)
        refuse(errno.ESTALE, when=self.named(slot.grave) is not None)
        self._check_quota(caller.uid)
        slot.path = slot.grave
        assert parent
        self._touch(parent, now)

    def _new_path(self, parent: Directory, name: str) -> Path:
        refuse(errno.ENOENT, when=parent.path is None)
        refuse(errno.ENAMETOOLONG, when=len(name.encode()) > 255)
        refuse(errno.EINVAL, when="\\" in name)
        refuse(errno.EPERM, when=parent is self.root and name.startswith(("@", ".msfs")))
        assert parent.path is not None
        path = (*parent.path, name)
        refuse(errno.EEXIST, when=self.named(path) is not None)
        return path

    def _check_quota(self, uid: int) -> None:
        refuse(errno.EDQUOT, when=uid != ROOT and self.owned(uid) >= self.limits.max_slots_per_user)

    def _removable(self, parent: Directory, name: str, caller: Caller) -> Node:
        node = None if parent.path is None else self.named((*parent.path, name))
        if node is None:
            raise Refused(errno.ENOENT)
        refuse(errno.EPERM, when=caller.uid not in (node.uid, parent.uid, ROOT))
        return node

    def _take_name(self, node: Node, now: int) -> None:
        if node.path is not None:
            parent = self.named(node.path[:-1])
            assert parent
            self._touch(parent, now)
            node.path = None

    def _touch(self, parent: Node, now: int) -> None:
        parent.mtime = parent.ctime = now
