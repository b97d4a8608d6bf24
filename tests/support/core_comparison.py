"""The core and its reference side by side: each request goes to both, and both are compared."""

import contextlib
import copy
import dataclasses
import errno
from collections import Counter, deque
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from hypothesis.stateful import RuleBasedStateMachine, invariant, multiple

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.limits import Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Answer, Directory, Node, Slot
from tests.support import core_reference as reference
from tests.support.core import ALICE, BOB, ROOT, refused

# So small that every one of them is met all the time.
LIMITS = Limits(
    max_message_size=6,
    max_messages=3,
    max_slot_bytes=12,
    max_total_messages=5,
    max_bytes=18,
    max_slots_per_user=3,
    max_waiting=3,
    max_user_share=100,
)


class Pair(NamedTuple):
    """A node or handle of the core, and what it is in the reference."""

    real: Any
    model: Any

    @property
    def slot(self) -> "Pair":
        return Pair(self.real.slot, self.model.slot)


class Ledger(NamedTuple):
    """What went into a slot and what came out of it, all its life long."""

    sent: list[bytes]
    received: list[bytes]


class Comparison(RuleBasedStateMachine):
    """Everything but the rules. The ledgers and `asked` are kept without the reference's help."""

    def __init__(self) -> None:
        super().__init__()
        self.mail = Mailslots(LIMITS)
        self.model = reference.Reference(LIMITS)
        self.now = 0
        self.lost = 0  # messages that died unread
        self.root = Pair(self.mail.tree.root, self.model.root)
        self.nodes = [self.root]  # all that ever were
        self.open: list[Pair] = []  # handles
        self.asked: dict[int, Slot] = {}  # reads without an answer, the oldest first
        self.ledgers: dict[Slot, Ledger] = {}

    def both(self, method: str, *arguments: object, **options: object) -> Pair | None:
        """Ask both the same; the results, or None where they refuse."""
        core = self.mail if hasattr(self.mail, method) else self.mail.tree
        return self.compare(
            lambda: getattr(core, method)(
                *(each.real if isinstance(each, Pair) else each for each in arguments), **options
            ),
            lambda: getattr(self.model, method)(
                *(each.model if isinstance(each, Pair) else each for each in arguments), **options
            ),
        )

    def compare(self, real: Callable[[], object], model: Callable[[], object]) -> Pair | None:
        """What one refuses, the other refuses as well, and nothing has changed then."""
        before = self.snapshot()
        try:
            expected = model()
        except reference.Refused as refusal:
            with refused(refusal.errno):
                real()
            assert self.snapshot() == before
            return None
        return Pair(real(), expected)

    def tick(self) -> int:
        """The time of the next request, which no other has."""
        self.now += 1
        return self.now

    def made(self, node: Pair | None) -> Any:
        """Book a new slot or directory, if there is one."""
        if node is None:
            return multiple()
        self.nodes.append(node)
        return node

    def opened(self, handle: Pair | None) -> Any:
        """Book a new handle, if there is one."""
        if handle is None:
            return multiple()
        self.open.append(handle)
        return handle

    def settle(self, answers: list[Answer], expected: list[reference.Answer]) -> None:
        """Book the answers: each goes to a read that waited, and is its only one."""
        assert answers == expected
        for token, data, code in answers:
            assert isinstance(token, int)
            slot = self.asked[token]
            if code in (0, errno.EMSGSIZE):  # a message came: for the read that came first
                assert token == next(t for t, s in self.asked.items() if s is slot)
            del self.asked[token]
            if data is not None:
                self.ledgers[slot].received.append(data)

    def forget_pieces(self, slot: Slot) -> None:
        """What a server has read of a message in part counts as not read when it closes."""
        sent, received = self.ledgers[slot]
        ends = set(accumulate(map(len, sent), initial=0))
        while sum(map(len, received)) not in ends:
            received.pop()

    def snapshot(self) -> object:
        """Everything but the counts, some of which count refusals."""

        def frozen(value: object) -> object:
            return copy.copy(value) if isinstance(value, dict | deque) else value

        return self.totals(), [
            {each.name: frozen(getattr(node, each.name)) for each in dataclasses.fields(node)}
            for node, _ in self.nodes
        ]

    def totals(self) -> dict[str, Any]:
        mail = self.mail
        return {
            "slots": mail.slots,
            "messages": mail.messages,
            "bytes": mail.bytes,
            "waiting": mail.waiting,
            "next_deadline": mail.next_deadline(),
            "owned": [self.owned(user.uid) for user in (ALICE, BOB)],
        }

    def owned(self, uid: int) -> int:
        """How many names the core counts as the user's, told by how many more it would let in."""
        room = 0
        with contextlib.suppress(SlotError):
            while room <= LIMITS.max_slots_per_user:  # more than that is wrong enough
                self.mail.shares.charge_name(uid)
                room += 1
        for _ in range(room):
            self.mail.shares.discharge_name(uid)
        return LIMITS.max_slots_per_user - room

    # ---- invariants ----

    @invariant()
    def is_what_the_reference_says(self) -> None:
        for real, model in self.nodes:
            for name in model.PLAIN:
                assert getattr(real, name) == getattr(model, name), name
            if isinstance(real, Slot):
                expected = [(m.data, m.sender, m.sent_at) for m in model.messages]
                assert [message[:3] for message in real.messages] == expected
                assert list(real.waiting.items()) == [read[:2] for read in model.waiting]
                assert {held.uid: n for held, n in real.handles.items()} == Counter(
                    handle.uid for handle in model.handles
                )
                assert (real.payer.uid if real.payer else None) == model.payer
        for handle in self.open:
            is_server = handle.real.slot.server is handle.real
            assert is_server == (handle.model.slot.server is handle.model)
        for name, count in dataclasses.asdict(self.mail.counts).items():
            assert count == self.model.counts[name], name

    @invariant()
    def totals_are_the_sums(self) -> None:
        slots = {handle.real.slot for handle in self.open}  # these live, and no other
        messages = [message for slot in slots for message in slot.messages]
        assert self.totals() == {
            "slots": len(slots),
            "messages": len(messages),
            "bytes": sum(len(data) for data, *_ in messages),
            "waiting": len(self.asked),
            "next_deadline": self.model.next_deadline(),
            "owned": [  # who keeps what others made may have more than he might make
                min(self.model.owned(user.uid), LIMITS.max_slots_per_user) for user in (ALICE, BOB)
            ],
        }
        for user in (ALICE, BOB, ROOT):
            held = self.mail.shares.of(user.uid)
            sent = [each for each in messages if each[3] is held]
            assert held.messages == len(sent) == sum(m[1].uid == user.uid for m in messages)
            assert held.bytes == sum(len(data) for data, *_ in sent)
            assert held.names == self.model.owned(user.uid)
            handles = [handle.real for handle in self.open if handle.model.uid == user.uid]
            assert held.handles == len(handles)
            assert held.waiting == sum(
                slot.server is not None and slot.server.held is held for slot in self.asked.values()
            )
        for slot in self.ledgers:
            assert slot.size == sum(len(data) for data, *_ in slot.messages)

    @invariant()
    def names_are_a_tree(self) -> None:
        found: dict[reference.Path, Node] = {(): self.mail.tree.root}

        def walk(directory: Directory, path: reference.Path) -> None:
            for name, node in directory.children.items():
                assert node.name == name
                assert node.parent is directory
                assert self.mail.tree.find((*path, name)) is node
                found[(*path, name)] = node
                if isinstance(node, Directory):
                    walk(node, (*path, name))

        walk(self.mail.tree.root, ())
        assert found == {model.path: real for real, model in self.nodes if model.path is not None}
        assert all(real.parent is None for real, model in self.nodes if model.path is None)

    @invariant()
    def no_read_waits_for_what_is_there(self) -> None:
        for slot in self.ledgers:
            assert not (slot.waiting and slot.messages)

    @invariant()
    def every_byte_is_read_once_and_in_order(self) -> None:
        for slot, (sent, received) in self.ledgers.items():
            stream, read = b"".join(sent), b"".join(received)
            assert stream.startswith(read)
            ends = list(accumulate(map(len, sent)))
            for start, end in pairwise(accumulate(map(len, received), initial=0)):
                assert not any(start < each < end for each in ends)  # never two in one read
            if slot.handles:
                queued = b"".join(data for data, *_ in slot.messages)
                assert read + queued[slot.offset :] == stream
            else:  # should the slot come back, it starts anew
                self.lost += sum(each > len(read) for each in ends)
                sent.clear()
                received.clear()
        assert self.mail.counts.messages_unread == self.lost
