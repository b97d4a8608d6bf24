"""Open files: what read, write, poll and release do to each of the three kinds."""

import errno
import logging
import os
import select
from time import monotonic_ns, time_ns
from typing import Protocol

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.shares import Shares
from msfs_fuse.core.slot import Handle, Slot
from msfs_fuse.fuse.exchange import Exchange, RemoteHandle
from msfs_fuse.fuse.pieces import Pieces
from msfs_fuse.fuse.replies import PollHandle, Replies, Request
from msfs_fuse.fuse.uring import UringReads

log = logging.getLogger(__name__)

_CAN_READ = select.POLLIN | select.POLLRDNORM
_CAN_WRITE = select.POLLOUT | select.POLLWRNORM


class OpenFile(Protocol):
    """What a file handle of the kernel stands for."""

    def read(
        self, request: Request, offset: int, size: int, flags: int, cached: bool, tid: int
    ) -> bytes | None:
        """The bytes, or None where `request` is or will be answered itself.

        Args:
            flags: of the handle, as they are now.
            cached: the kernel reads to fill its page cache, with pages locked.
            tid: the thread that reads.

        Raises:
            SlotError: the answer is an error.
        """

    def write(self, data: bytes) -> None:
        """Take a whole message.

        Raises:
            SlotError: it is not taken.
        """

    def poll(self, poll_handle: PollHandle | None) -> int:
        """The events of poll(2) that are true now; `poll_handle` wants to hear of others."""

    def release(self) -> Slot | None:
        """The last descriptor is closed. A slot that died of it."""


class SlotFile:
    """A handle of a slot on this host."""

    __slots__ = ("_handle", "_mail", "_pieces", "_replies", "_uring")

    def __init__(self, handle: Handle, mail: Mailslots, replies: Replies, pieces: Pieces) -> None:
        self._handle = handle
        self._mail = mail
        self._pieces = pieces
        self._replies = replies
        self._uring: UringReads | None = None  # while io_uring has not come

    def read(
        self, request: Request, offset: int, size: int, flags: int, cached: bool, tid: int
    ) -> bytes | None:
        """Ask for the next message. See OpenFile.

        Raises:
            SlotError: EIO for what would wait with pages locked; EAGAIN for io_uring, which polls
                then; what the core says.
        """
        if cached:
            raise SlotError(errno.EIO)
        replies, slot = self._replies, self._handle.slot
        if replies.closing:
            raise SlotError(replies.closing)
        uring = self._uring
        is_uring = uring is not None and uring.is_read(tid)
        if uring is not None and is_uring:
            if uring.is_rest(size):
                return b""
        elif offset and not slot.offset and self._pieces.is_rest_of_read(offset):
            # A readv of very many segments, of which a first request has filled its share with
            # the last of a message. A second message is for another read. (By io_uring an offset
            # is the caller's, and says nothing.)
            return b""
        answers = self._mail.add_reader(
            self._handle,
            request,
            size,
            time_ns(),
            monotonic_ns(),
            wait=not (flags & os.O_NONBLOCK or is_uring),
        )
        if answers:
            data = answers[0].data
            if uring is not None and is_uring and data is not None and len(data) < size:
                uring.note_short(tid, size - len(data))
            replies.settle(answers, (slot,))
        elif slot.read_timeout is not None:
            replies.note_deadline()
        return None

    def write(self, data: bytes) -> None:
        """Queue a message. See OpenFile."""
        handle = self._handle
        slot = handle.slot
        answers = self._mail.enqueue(slot, data, handle.sender, time_ns(), None, handle.held)
        if answers or self._replies.polls.waiting:
            self._replies.settle(answers, (slot,))

    def poll(self, poll_handle: PollHandle | None) -> int:
        """POLLIN when a read would not wait, POLLOUT when a one-byte write would fit."""
        handle = self._handle
        if poll_handle is not None:
            self._replies.polls.add(handle.slot, self, poll_handle)
        events = 0
        if handle.access.reads and handle.slot.messages:
            events |= _CAN_READ
        if handle.access.writes and self._mail.is_writable(handle):
            events |= _CAN_WRITE
        return events

    def poll_by_uring(self, tid: int, arms: bool) -> bool:
        """Whether io_uring is to read now, whatever `poll` says, for the rest of a read.

        Args:
            arms: it wants to be told when it can; else it reads at once if it can.
        """
        if self._uring is None:
            if not self._handle.access.reads:
                return False
            self._uring = UringReads()
        if arms:
            return self._uring.wants_rest(tid)
        return self._uring.may_read(tid, bool(self._handle.slot.messages))

    def release(self) -> Slot | None:
        """Close the handle, and with the last one the slot."""
        slot = self._handle.slot
        self._replies.polls.discard(slot, self)
        closed = self._mail.close_handle(self._handle, time_ns())
        self._replies.settle(closed.answers)
        if closed.unread:
            name = slot.name if slot.name.isprintable() else ascii(slot.name)  # no forged lines
            log.info("slot %s died with %d messages unread", name, closed.unread)
        return slot if closed.died else None


class RemoteFile:
    """A name on another host, or on every host of a domain, open to write.

    Raises:
        SlotError: ENFILE.
    """

    __slots__ = ("_exchange", "_handle", "_held", "_shares")

    def __init__(self, handle: RemoteHandle, exchange: Exchange, shares: Shares, uid: int) -> None:
        self._handle = handle
        self._exchange = exchange
        self._shares = shares
        self._held = shares.open_handle(uid)

    def read(
        self, request: Request, offset: int, size: int, flags: int, cached: bool, tid: int
    ) -> bytes | None:
        """Refuse: the kernel lets nobody read what is open to write.

        Raises:
            SlotError: EBADF.
        """
        raise SlotError(errno.EBADF)

    def write(self, data: bytes) -> None:
        """Send a message. See OpenFile."""
        self._exchange.send(self._handle, data)

    def poll(self, poll_handle: PollHandle | None) -> int:
        """POLLOUT always: what a send queue has no room for is refused, not waited for."""
        return _CAN_WRITE

    def release(self) -> Slot | None:
        """Count it no more."""
        self._shares.discharge_handle(self._held)
        return None


class ControlFile:
    """A file of `.msfs`, as it was when it was opened; it counts by the length of its text.

    Raises:
        SlotError: ENFILE.
    """

    __slots__ = ("_data", "_held", "_shares")

    def __init__(self, data: bytes, shares: Shares, uid: int) -> None:
        self._data = data
        self._shares = shares
        self._held = shares.open_handle(uid, self._weight())

    def _weight(self) -> int:
        return 1 + len(self._data) // 1024

    def read(
        self, request: Request, offset: int, size: int, flags: int, cached: bool, tid: int
    ) -> bytes | None:
        """The bytes there."""
        return self._data[offset : offset + size]

    def write(self, data: bytes) -> None:
        """Refuse: such a file cannot be opened to write.

        Raises:
            SlotError: EBADF.
        """
        raise SlotError(errno.EBADF)

    def poll(self, poll_handle: PollHandle | None) -> int:
        """POLLIN always."""
        return _CAN_READ

    def release(self) -> Slot | None:
        """Count it no more."""
        self._shares.discharge_handle(self._held, self._weight())
        return None
