"""What there is: directories, slots, handles, messages, waiting reads."""

import stat
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from msfs_fuse.core.names import fold
from msfs_fuse.core.order import Order
from msfs_fuse.core.shares import Held


class Caller(NamedTuple):
    """Who asks, as the kernel tells it."""

    uid: int
    gid: int
    pid: int


class Access(NamedTuple):
    """What a handle is opened for."""

    reads: bool
    writes: bool


class Proof(StrEnum):
    """What stands behind the name of a sender."""

    LOCAL = "local"  # this host's kernel
    PROVEN = "proven"  # cryptography: the host holds a key of the domain
    CLAIMED = "claimed"  # nothing: the message said so


class Sender(NamedTuple):
    """Who wrote: the process that opened the handle, as with SO_PEERCRED.

    Attributes:
        uid, pid: None where the network does not tell.
    """

    host: str
    uid: int | None
    pid: int | None
    proof: Proof = Proof.LOCAL


# The bytes, who sent them, when, in nanoseconds since the epoch, and whose share they count in. A
# plain tuple, because every write makes one.
Message = tuple[bytes, Sender, int, Held]


class Answer(NamedTuple):
    """What a waiting read gets: `data`, or the error code `errno` where data is None."""

    token: Hashable
    data: bytes | None
    errno: int = 0


@dataclass(slots=True, eq=False)
class Node:
    """What slots and directories have in common. Times are nanoseconds since the epoch.

    `parent` is None for the root, and for what is gone; `place` is that in its listing.
    """

    id: int
    name: str
    parent: "Directory | None"
    uid: int
    gid: int
    mode: int
    atime: int
    mtime: int
    ctime: int
    place: int = field(default=0, kw_only=True)


@dataclass(slots=True, eq=False)
class Directory(Node):
    """Lives until rmdir.

    Attributes:
        children: by name.
        folded: the same by their names without regard to ASCII case, for messages from the network.
        order: the same in the order in which they came, for listings.
    """

    children: dict[str, Node] = field(default_factory=dict)
    folded: dict[str, list[Node]] = field(default_factory=dict)
    order: Order[Node] = field(default_factory=Order)

    def group_for(self, caller: "Caller") -> int:
        """The group of what a caller makes in here: the directory's own, if that is setgid."""
        return self.gid if self.mode & stat.S_ISGID else caller.gid

    def alike(self, name: str) -> Iterator[Node]:
        """What has that name without regard to ASCII case; first what has exactly that."""
        exact = self.children.get(name)
        if exact is not None:
            yield exact
        for node in self.folded.get(fold(name), ()):
            if node is not exact:
                yield node


@dataclass(slots=True, eq=False)
class Slot(Node):
    """A mailslot: a queue of messages, and of the reads that wait for one.

    At most one of the two queues holds anything between two calls into the core.

    Attributes:
        max_message_size: bytes; what the owner asked for.
        read_timeout: milliseconds that a read waits, None for ever.
        short_read_fails: a read with too small a buffer gets EMSGSIZE and leaves the message.
        network: whether other hosts may write here.
        server: the handle that may read, while there is one.
        claimed: has had a server. Until then the first process to read becomes it.
        handles: how many handles of any kind each user has open here.
        payer: whom the slot counts for: one of `handles`; the server's user, if there is one.
        grave: the directory that it died in.
        died_at: when, in nanoseconds.
        messages: what is queued, the oldest first.
        offset: how many bytes of the oldest message the server has read.
        size: bytes queued, in full messages.
        waiting: reads that wait, the oldest first, with the size of their buffers.
        last_sender: who sent the message that was read last, and when (`last_sent_at`).
    """

    max_message_size: int = 0
    read_timeout: int | None = None
    short_read_fails: bool = False
    network: bool = True
    server: "Handle | None" = None
    claimed: bool = False
    handles: dict[Held, int] = field(default_factory=dict)
    payer: Held | None = None
    grave: Directory | None = None
    died_at: int = 0
    messages: deque[Message] = field(default_factory=deque)
    offset: int = 0
    size: int = 0
    waiting: OrderedDict[Hashable, int] = field(default_factory=OrderedDict)
    last_sender: Sender | None = None
    last_sent_at: int = 0


@dataclass(slots=True, eq=False)
class Handle:
    """An open file description. `dup` and `fork` share it; the core sees one.

    Attributes:
        held: what its user has of what all share.
    """

    slot: Slot
    access: Access
    sender: Sender
    held: Held
    open: bool = True


class Delivery(NamedTuple):
    """What became of a message that may go to several slots.

    Attributes:
        answers: for reads that waited on them.
        slots: those that took it.
        refused: how many matched and did not: full, closed to the network, or it is too long.
    """

    answers: list[Answer]
    slots: list[Slot]
    refused: int


class Closed(NamedTuple):
    """What the closing of a handle did.

    Attributes:
        answers: for reads that waited on the handle.
        died: the slot went with it.
        unread: messages that went with the slot.
    """

    answers: list[Answer]
    died: bool
    unread: int
