"""The mailslots of one mount: handles, messages, and the one place where reads meet messages.

The theory of the whole, in the words of the code:

A *slot* is a name with two queues, of messages and of reads that wait. Whoever opens it holds a
*handle*. One handle at most may read: the *server*. All others are *clients*, and write.

                     enqueue (a client writes)
                        |  _match: if a read waits
                        v
       add_reader --> _take  --> answers        (the same for whichever comes second)
       (the server reads)

- **Nothing waits here.** A read that finds no message is a token in `slot.waiting`. What is asked
  of this class returns at once, with the `Answer`s that it made possible: for this read, or for
  others. Whoever calls sends them, and tells those who poll: see `fuse/replies`.
- **`_take` alone gives messages to reads**, first come, first served: to those that wait when a
  message comes (`_match`), or to one that finds a message, and then never waits. So between two
  calls at most one of a slot's queues holds anything, and a message goes to one read.
- **A read that has left gets nothing.** `cancel_reader` (a signal came), `expire` (its time is
  over) and `close_handle` take it out of the queue, and out of `_reads` with it.
- **A slot lives as long as it has a handle.** `create` makes both in one step, `close_handle` of
  the last one ends the slot, its messages and its name. The server may close and come back as
  long as a client stays: of what the slot holds it has lost nothing, and a message that it had
  read in part starts again.
- **Whoever keeps a slot alive pays for it**: `slot.payer` is always a user who has a handle of it,
  the server's where there is one. When his last handle closes, the next user takes his place, even
  beyond his quota: nobody can be made to keep a handle. Messages count for who sent them, for as
  long as they are queued: else a client would pay for what others put into a slot it has open.
- **Refusals leave no trace.** Each method checks first and then changes, so a `SlotError` means
  that nothing happened but a count.
- **Time is an argument**: `now` in nanoseconds since the epoch for what people see, `monotonic`
  for deadlines. So a test can say when things happen.
- **Sums are kept, not made**: `slots`, `messages` and `bytes` are what a walk over all slots would
  find, and no limit is exceeded. Lowering a limit evicts nothing.

Names are in `tree`, what each user has in `shares`.

It is long because these rules hold only together: whoever changes one reads the others.
"""

import errno
from collections.abc import Callable, Hashable, Iterator

from msfs_fuse.core.counts import Counts
from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.limits import Limits
from msfs_fuse.core.metrics import Metric, metrics_of
from msfs_fuse.core.shares import OTHER_HOSTS, ROOT_UID, Held, Shares
from msfs_fuse.core.slot import (
    Access,
    Answer,
    Caller,
    Closed,
    Delivery,
    Directory,
    Handle,
    Proof,
    Sender,
    Slot,
)
from msfs_fuse.core.tree import Tree
from msfs_fuse.core.waiting import WaitingReads

# Until a slot has a server, whoever comes first to read may become it.
UNCLAIMED_MODE = 0o666

_NANOSECONDS_PER_MILLISECOND = 1_000_000

# The kernel looks a name up and then opens what it found. A slot that died in between comes back
# for a client: its open counts as having come before the last close. In nanoseconds.
REVIVAL = 300_000_000


def _payer(sender: Sender) -> int:
    """The user whose share a sender's messages and reads count in."""
    uid = sender.uid
    return uid if uid is not None and sender.proof is Proof.LOCAL else OTHER_HOSTS


class Mailslots:
    """Every method is atomic, none waits, and whatever it refuses leaves no trace.

    Args:
        limits: upper bounds.
        host: this host's name, as the sender of what is written here.
        owner: uid and gid of the root directory.
        root_mode: permission bits of the root directory.
        strict: opening a missing slot to write does not create it, as on Windows.
        now: the time, in nanoseconds since the epoch.

    Attributes:
        tree: the names.
        shares: what each user has.
        slots: how many there are.
        messages: how many are queued in all of them.
        bytes: of these messages.
        relieved: nothing fitted into the mount, and now something would. Whoever has told those
            who wait for that sets it back.
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
        self._limits = limits
        self.shares = Shares(limits)
        self.tree = Tree(self.shares, owner=owner, root_mode=root_mode, now=now)
        self.host = host
        self.strict = strict
        self.counts = Counts()
        self.slots = 0
        self.messages = 0
        self.bytes = 0
        self.relieved = False
        self._reads = WaitingReads()

    @property
    def limits(self) -> Limits:
        """The upper bounds. New ones are for what comes: nothing is evicted."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self.shares.use(limits)
        self.relieved = True  # perhaps

    @property
    def waiting(self) -> int:
        """How many reads wait."""
        return len(self._reads)

    def metrics(self) -> Iterator[Metric]:
        """All that is counted here."""
        yield Metric("slots", "Live slots.", "gauge", self.slots)
        yield Metric("messages", "Messages queued.", "gauge", self.messages)
        yield Metric("bytes", "Bytes queued.", "gauge", self.bytes)
        yield Metric("waiting", "Reads that wait for a message.", "gauge", self.waiting)
        yield Metric(
            "handles", "What is open, as max_handles counts.", "gauge", self.shares.handles
        )
        yield from metrics_of(self.counts)

    # ---- handles ----

    def create(
        self, parent: Directory, name: str, mode: int, access: Access, caller: Caller, now: int
    ) -> Handle:
        """Make a slot and open it, in one step. Opening for reading makes the caller its server.

        Raises:
            SlotError: EEXIST; EDQUOT at the limit of slots per user; ENOENT for a client where
                the mount is strict, and in a directory that is gone; what check_new_name says.
        """
        self.tree.check_new(parent, name)
        if self.strict and not access.reads:
            raise SlotError(errno.ENOENT)
        self.shares.check_handle(caller.uid)
        payer = self.shares.charge_name(caller.uid)
        slot = Slot(
            self.tree.new_id(),
            name,
            parent,
            caller.uid,
            parent.group_for(caller),
            mode if access.reads else UNCLAIMED_MODE,
            now,
            now,
            now,
            max_message_size=self._limits.max_message_size,
            payer=payer,
        )
        self.tree.attach(slot, parent, now)
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
                the slot is another user's; EDQUOT for a server at its limit of slots, unless it
                pays for this one already; ESTALE for a slot that is gone, unless a client comes
                just after its end.
        """
        self.shares.check_handle(caller.uid)
        if not slot.handles:
            self._revive(slot, access, caller, now)
        elif access.reads:
            if slot.server is not None:
                raise SlotError(errno.EACCES)
            if slot.claimed and caller.uid not in (slot.uid, ROOT_UID):
                raise SlotError(errno.EACCES)
            self._charge(slot, caller)
            if not slot.claimed:
                mode = adopted_mode()
                assert slot.parent is not None
                self.tree.set_owner(slot, caller.uid, slot.parent.group_for(caller), now)
                self.tree.set_mode(slot, mode, now)
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
            slot.offset = 0  # the next server gets the message from its beginning
            for token in list(slot.waiting):
                self._reads.remove(token)
                answers.append(Answer(token, None, errno.EBADF))
        held = handle.held
        self.shares.discharge_handle(held)
        left = slot.handles[held] - 1
        if left:
            slot.handles[held] = left
        else:
            del slot.handles[held]
        if slot.handles:
            if not left and slot.payer is held:
                self._pass_on(slot, held)
            return Closed(answers, died=False, unread=0)
        unread = len(slot.messages)
        self.counts.messages_unread += unread
        for message, _, _, sent_by in slot.messages:
            self._release(sent_by, len(message))
        slot.messages.clear()
        slot.size = 0
        slot.grave, slot.died_at = slot.parent, now
        self.tree.detach(slot, now)
        held.names -= 1
        slot.payer = None
        self.slots -= 1
        return Closed(answers, died=True, unread=unread)

    # ---- messages ----

    def enqueue(
        self,
        slot: Slot,
        data: bytes,
        sender: Sender,
        now: int,
        sent_at: int | None = None,
        held: Held | None = None,
    ) -> list[Answer]:
        """Append one message, and answer the reads that waited for it.

        Args:
            sent_at: when it was sent by the sender's clock, in nanoseconds; None for now.
            held: the share it counts in, where the caller has it at hand; else the sender's.

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
        if held is None:
            held = self.shares.of(_payer(sender))
        limits, bounds = self._limits, held.bounds
        if (  # not _fits(slot, held, size), which would be a call more for each message
            len(slot.messages) >= limits.max_messages
            or slot.size + size > limits.max_slot_bytes
            or held.messages >= bounds.messages
            or held.bytes + size > bounds.bytes
            or self.messages >= bounds.all_messages
            or self.bytes + size > bounds.all_bytes
        ):
            self.counts.writes_full += 1
            raise SlotError(errno.ENOSPC)
        slot.messages.append((data, sender, now if sent_at is None else sent_at, held))
        slot.size += size
        slot.mtime = now
        self.messages += 1
        self.bytes += size
        held.messages += 1
        held.bytes += size
        counts = self.counts
        counts.messages_written += 1
        counts.bytes_written += size
        return self._match(slot, now) if slot.waiting else []

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
        for slot in self.tree.matching(path):
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
        if slot.messages:  # so no other read waits
            return [self._take(slot, token, size, now)]
        self._check_waiting(handle, wait)
        deadline = None
        if slot.read_timeout is not None:
            deadline = monotonic + slot.read_timeout * _NANOSECONDS_PER_MILLISECOND
        self._reads.add(token, slot, size, deadline, handle.held)
        return []

    def cancel_reader(self, token: Hashable) -> bool:
        """Take an interrupted read out of the queue. False if it does not wait any more."""
        if not self._reads.remove(token):
            return False
        self.counts.reads_interrupted += 1
        return True

    def next_deadline(self) -> int | None:
        """When expire() has something to do, in monotonic nanoseconds, or None."""
        return self._reads.next_deadline()

    def expire(self, monotonic: int, most: int | None = None) -> list[Answer]:
        """Give up the reads whose time is over, or `most` of them, the earliest first."""
        due = self._reads.pop_due(monotonic, most)
        self.counts.reads_timed_out += len(due)
        return [Answer(token, None, errno.ETIMEDOUT) for token in due]

    def cancel_all(self, code: int) -> list[Answer]:
        """Answer every read that waits with the error `code`."""
        tokens = list(self._reads)
        for token in tokens:
            self._reads.remove(token)
        return [Answer(token, None, code) for token in tokens]

    def is_writable(self, handle: Handle) -> bool:
        """Whether a one-byte write would fit."""
        return self._fits(handle.slot, handle.held, 1)

    # ---- inside ----

    def _match(self, slot: Slot, now: int) -> list[Answer]:
        """Bring waiting reads and messages together, first come, first served."""
        answers = []
        while slot.waiting and slot.messages:
            token, size = next(iter(slot.waiting.items()))
            self._reads.remove(token)
            answers.append(self._take(slot, token, size, now))
        return answers

    def _take(self, slot: Slot, token: Hashable, size: int, now: int) -> Answer:
        """Answer a read with the oldest message, or with what fits of it. There is one."""
        data, sender, sent_at, held = slot.messages[0]
        offset = slot.offset
        end = offset + size
        rest = len(data) - end
        if rest > 0 and slot.short_read_fails:
            return Answer(token, None, errno.EMSGSIZE)
        slot.atime = now
        slot.last_sender, slot.last_sent_at = sender, sent_at
        if rest > 0:
            slot.offset = end
            return Answer(token, data[offset:end])
        del slot.messages[0]
        slot.offset = 0
        slot.size -= len(data)
        self._release(held, len(data))
        self.counts.messages_read += 1
        return Answer(token, data[offset:] if offset else data)

    def _check_waiting(self, handle: Handle, wait: bool) -> None:
        slot, held = handle.slot, handle.held
        if not wait:
            raise SlotError(errno.EAGAIN)
        if slot.read_timeout == 0:
            self.counts.reads_timed_out += 1
            raise SlotError(errno.ETIMEDOUT)
        if held.waiting >= held.bounds.waiting or len(self._reads) >= held.bounds.all_waiting:
            self.counts.reads_over_limit += 1
            raise SlotError(errno.EAGAIN)

    def _fits(self, slot: Slot, held: Held, size: int) -> bool:
        limits, bounds = self._limits, held.bounds
        return (
            len(slot.messages) < limits.max_messages
            and slot.size + size <= limits.max_slot_bytes
            and held.messages < bounds.messages
            and held.bytes + size <= bounds.bytes
            and self.messages < bounds.all_messages
            and self.bytes + size <= bounds.all_bytes
        )

    def _release(self, held: Held, size: int) -> None:
        bounds = self.shares.bounds
        if (
            held.messages >= bounds.messages
            or held.bytes >= bounds.bytes
            or self.messages >= bounds.all_messages
            or self.bytes >= bounds.all_bytes
        ):
            self.relieved = True  # whoever polls looks again, and once too often does no harm
        held.messages -= 1
        held.bytes -= size
        self.messages -= 1
        self.bytes -= size

    def _open(self, slot: Slot, access: Access, caller: Caller) -> Handle:
        held = self.shares.charge_handle(caller.uid)
        handle = Handle(slot, access, Sender(self.host, caller.uid, caller.pid), held)
        slot.handles[held] = slot.handles.get(held, 0) + 1
        if access.reads:
            slot.server = handle
            slot.claimed = True
        return handle

    def _charge(self, slot: Slot, caller: Caller) -> None:
        before = slot.payer
        assert before is not None
        if before.uid != caller.uid:
            slot.payer = self.shares.charge_name(caller.uid)
            before.names -= 1

    @staticmethod
    def _pass_on(slot: Slot, before: Held) -> None:
        slot.payer = next(iter(slot.handles))
        slot.payer.names += 1
        before.names -= 1

    def _revive(self, slot: Slot, access: Access, caller: Caller, now: int) -> None:
        grave = slot.grave
        if (
            access.reads
            or grave is None
            or slot.name in grave.children
            or not self.tree.is_attached(grave)
            or not 0 <= now - slot.died_at <= REVIVAL  # clocks may step back
        ):
            raise SlotError(errno.ESTALE)
        slot.payer = self.shares.charge_name(caller.uid)
        self.tree.attach(slot, grave, now)
        self.slots += 1
