"""Any sequence of requests: the core does what the reference does, and keeps its invariants."""

import errno
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

from msfs_fuse.core import attributes
from msfs_fuse.core.slot import Access, Caller
from tests.support import core_reference as reference
from tests.support.core import (
    ALICE,
    BOB,
    MILLISECOND,
    READS,
    READS_AND_WRITES,
    ROOT,
    WRITES,
    refused,
)
from tests.support.core_comparison import LIMITS, Comparison, Ledger, Pair

CALLERS = st.sampled_from([ALICE, BOB, ROOT])
MODES = st.sampled_from([0o600, 0o640, 0o777, 0o2770])
ACCESS = st.sampled_from([READS, WRITES, READS_AND_WRITES])
NAMES = st.sampled_from(["a", "b", "c"] * 4 + ["@a", ".msfs", "a\\b", "é" * 127, "é" * 128])

# Attributes, and what they are in a slot. Nonsense is for test_core_attributes.
SETTINGS = {
    ("short_read", "error"): ("short_read_fails", True),
    ("short_read", "continue"): ("short_read_fails", False),
    ("read_timeout", "forever"): ("read_timeout", None),
    ("read_timeout", "0"): ("read_timeout", 0),
    ("read_timeout", "5"): ("read_timeout", 5),
    ("read_timeout", "10"): ("read_timeout", 10),
    ("max_message_size", "0"): ("max_message_size", 6),
    ("max_message_size", "3"): ("max_message_size", 3),
}


class Traffic(Comparison):
    """Slots that come and go, and what passes through them."""

    directories = Bundle("directories")
    handles = Bundle("handles")
    closed = Bundle("closed")
    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.monotonic = 0
        self.bytes_made = 0
        self.last_token = 0

    @initialize(target=directories)
    def start_with_the_root(self) -> Pair:
        return self.root

    @initialize(target=handles)
    def start_with_some_slots(self) -> Any:
        impatient = self.create("impatient", READS_AND_WRITES, ROOT)
        self.set_attribute(impatient, ("read_timeout", "5"), ROOT)
        self.set_attribute(impatient, ("short_read", "error"), ROOT)
        return multiple(
            self.create("a", READS_AND_WRITES, ALICE),
            self.create("b", READS, BOB),
            self.create("c", WRITES, BOB),
            impatient,
        )

    # ---- handles ----

    @rule(
        target=handles,
        name=NAMES,
        access=ACCESS,
        caller=CALLERS,
        mode=MODES,
        parent=directories,
    )
    def create(
        self,
        name: str,
        access: Access,
        caller: Caller,
        mode: int = 0o640,
        parent: Pair | None = None,
    ) -> Any:
        handle = self.both("create", parent or self.root, name, mode, access, caller, self.tick())
        if handle:
            self.made(handle.slot)
            self.ledgers[handle.slot.real] = Ledger([], [])
        return self.opened(handle)

    @rule(target=handles, other=handles | closed, access=ACCESS, caller=CALLERS, mode=MODES)
    def open_slot(self, other: Pair, access: Access, caller: Caller, mode: int) -> Any:
        return self.opened(self.both("open", other.slot, access, caller, self.tick(), lambda: mode))

    @rule(target=closed, handle=consumes(handles))
    def close(self, handle: Pair) -> Pair:
        self.open.remove(handle)
        if handle.real.slot.server is handle.real:
            self.forget_pieces(handle.real.slot)
        result = self.both("close_handle", handle, self.tick())
        assert result
        (answers, *real), (expected, *model) = result
        assert real == model
        self.settle(answers, expected)
        return handle

    @rule(handle=closed)
    def use_closed(self, handle: Pair) -> None:
        before = self.snapshot()
        assert self.mail.close_handle(handle.real, self.tick()) == ([], False, 0)
        with refused(errno.EBADF):
            self.mail.add_reader(handle.real, "late", 8, self.tick(), self.monotonic)
        assert self.snapshot() == before

    # ---- messages ----

    @rule(handle=handles, sizes=st.lists(st.integers(0, 8), min_size=1, max_size=3))
    def write(self, handle: Pair, sizes: list[int]) -> None:
        for size in sizes:
            data = bytes((self.bytes_made + i) % 256 for i in range(size))  # no two alike
            result = self.both("enqueue", handle.slot, data, handle.real.sender, self.tick())
            if result:
                self.bytes_made += size
                self.ledgers[handle.real.slot].sent.append(data)
                self.settle(*result)

    @rule(
        target=tokens,
        handle=handles,
        by_server=st.sampled_from([True, True, True, False]),
        sizes=st.lists(st.integers(1, 8), min_size=1, max_size=3),
        wait=st.sampled_from([True, True, False]),
    )
    def read(self, handle: Pair, by_server: bool, sizes: list[int], wait: bool) -> Any:
        if by_server:
            servers = (each for each in self.open if each.real is handle.real.slot.server)
            handle = next(servers, handle)
        return multiple(*(self.read_one(handle, size, wait) for size in sizes))

    def read_one(self, handle: Pair, size: int, wait: bool) -> int:
        self.last_token = token = self.last_token + 1
        self.asked[token] = handle.real.slot
        result = self.both(
            "add_reader", handle, token, size, self.tick(), self.monotonic, wait=wait
        )
        if result:
            self.settle(*result)
        else:
            del self.asked[token]
        return token

    @rule(target=handles, handle=consumes(handles), size=st.integers(1, 3))
    def close_in_the_middle_of_a_message(self, handle: Pair, size: int) -> Any:
        """Of all rules together it takes long to come to this one."""
        client: Any = self.open_slot(handle, WRITES, ALICE, 0o600)
        self.write(client, [size + 3])
        self.read_one(handle, size, wait=False)
        self.close(handle)
        return client

    @rule(token=tokens)
    def interrupt(self, token: int) -> None:
        waited = self.asked.pop(token, None) is not None
        assert self.both("cancel_reader", token) == (waited, waited)

    @rule(milliseconds=st.integers(0, 12), expire=st.booleans())
    def let_time_pass(self, milliseconds: int, expire: bool) -> None:
        self.monotonic += milliseconds * MILLISECOND
        if expire:
            result = self.both("expire", self.monotonic)
            assert result
            self.settle(*result)

    @rule(handle=handles, setting=st.sampled_from(list(SETTINGS)), caller=CALLERS)
    def set_attribute(self, handle: Pair, setting: tuple[str, str], caller: Caller) -> None:
        name, value = setting
        slot, model = handle.slot

        def set_in_model() -> None:
            may_set = model.claimed and caller.uid in (model.uid, ROOT.uid)
            reference.refuse(errno.EPERM, when=not may_set)
            setattr(model, *SETTINGS[setting])

        self.compare(
            lambda: attributes.set_attribute(
                slot, attributes.PREFIX + name, value, caller.uid, LIMITS
            ),
            set_in_model,
        )


class Requests(Traffic):
    """All that can be asked."""

    @rule(
        target=Traffic.directories,
        parent=Traffic.directories,
        name=NAMES,
        mode=MODES,
        caller=CALLERS,
    )
    def mkdir(self, parent: Pair, name: str, mode: int, caller: Caller) -> Any:
        return self.made(self.both("mkdir", parent, name, mode, caller, self.tick()))

    @rule(parent=Traffic.directories, name=NAMES)
    def unlink(self, parent: Pair, name: str) -> None:
        self.both("unlink", parent, name)

    @rule(parent=Traffic.directories, name=NAMES, caller=CALLERS)
    def rmdir(self, parent: Pair, name: str, caller: Caller) -> None:
        self.both("rmdir", parent, name, caller, self.tick())

    @rule(directory=Traffic.directories, caller=CALLERS)
    def remove_directory(self, directory: Pair, caller: Caller) -> None:
        """Guessed names are seldom those of empty directories."""
        if path := directory.model.path:
            parent = next(node for node in self.nodes if node.model.path == path[:-1])
            self.rmdir(parent, path[-1], caller)

    @rule(data=st.data(), mode=MODES)
    def chmod(self, data: st.DataObject, mode: int) -> None:
        self.both("set_mode", self.any_node(data), mode, self.tick())

    @rule(data=st.data(), owner=CALLERS)
    def chown(self, data: st.DataObject, owner: Caller) -> None:
        self.both("set_owner", self.any_node(data), owner.uid, owner.gid, self.tick())

    def any_node(self, data: st.DataObject) -> Pair:
        """Any there ever was: who has a descriptor reaches what is gone."""
        return self.nodes[data.draw(st.integers(0, len(self.nodes) - 1), label="node")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("machine", [Traffic, Requests])
def test_any_sequence(machine: type[Comparison]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=400, stateful_step_count=60, deadline=None, print_blob=True),
    )
