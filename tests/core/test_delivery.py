"""Messages from the network: which slots they reach, and which take them."""

import errno
from itertools import product

import pytest

from msfs_fuse.core.attributes import PREFIX, get_attribute, set_attribute
from msfs_fuse.core.limits import Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Directory, Handle, Sender
from tests.support.core import ALICE, ROOT, ask, create, read, refused

LIMITS = Limits(max_user_share=100, max_message_size=10, max_messages=2)
FAR = Sender("build7", 1000, 42)
SENT, NOW = 5_000_000_000, 7_000_000_000


@pytest.fixture
def mail() -> Mailslots:
    return Mailslots(LIMITS)


def test_every_slot_of_the_name_gets_it_whatever_its_case(mail: Mailslots) -> None:
    handles = [create(mail, name) for name in ("alerts", "ALERTS", "Alerts", "alert")]
    delivery = mail.deliver(("aLeRtS",), b"hi", FAR, NOW)
    assert delivery.slots == [each.slot for each in handles[:3]]
    assert delivery.refused == 0
    assert [len(each.slot.messages) for each in handles] == [1, 1, 1, 0]


def test_directories_match_without_case_as_well(mail: Mailslots) -> None:
    slots = []
    for name in ("Dir", "DIR"):
        directory = mail.tree.mkdir(mail.tree.root, name, 0o755, ALICE, 1)
        slots.append(create(mail, "Slot", parent=directory).slot)
    assert mail.deliver(("dir", "slot"), b"hi", FAR, NOW).slots == slots
    assert mail.deliver(("dir",), b"hi", FAR, NOW).slots == []
    assert mail.deliver(("dir", "slot", "x"), b"hi", FAR, NOW).slots == []


def test_very_many_names_that_differ_by_case(mail: Mailslots) -> None:
    """Each message to one of them would else be thousands. Who has that very name gets it."""
    names = [
        "".join(letters) for letters in product("aA", "bB", "cC", "dD", "eE", "fF", "gG", "hH")
    ]
    for name in names:
        create(mail, name, mode=0o666)
    slots = mail.deliver((names[-1],), b"hi", FAR, NOW).slots
    assert slots[0].name == names[-1]
    assert len(slots) == len(set(slots)) == 64


def test_only_ascii_has_case(mail: Mailslots) -> None:
    handle = create(mail, "Äß")
    assert mail.tree.matching(("äß",)) == mail.tree.matching(("Äss",)) == []
    assert mail.tree.matching(("Äß",)) == [handle.slot]


def test_names_that_are_gone_match_no_more(mail: Mailslots) -> None:
    handle, other = create(mail, "slot"), create(mail, "SLOT")
    mail.close_handle(handle, 2)
    assert mail.tree.matching(("slot",)) == [other.slot]
    mail.close_handle(other, 3)
    assert mail.tree.matching(("slot",)) == []
    assert mail.tree.root.folded == {}


def test_a_waiting_read_gets_it_with_its_sender(mail: Mailslots) -> None:
    handle = create(mail)
    assert ask(mail, handle, "read") == []
    delivery = mail.deliver(("slot",), b"hi", FAR, NOW, sent_at=SENT)
    assert [(each.token, each.data) for each in delivery.answers] == [("read", b"hi")]
    assert handle.slot.mtime == NOW
    assert get_attribute(handle.slot, PREFIX + "sender_host") == "build7"
    assert get_attribute(handle.slot, PREFIX + "sender_uid") == "1000"
    assert get_attribute(handle.slot, PREFIX + "sent_at") == "5.000000000"


def test_a_slot_may_keep_other_hosts_out(mail: Mailslots) -> None:
    handle = create(mail)
    set_attribute(handle.slot, PREFIX + "network", "off", ALICE.uid, LIMITS)
    assert mail.deliver(("slot",), b"hi", FAR, NOW) == ([], [], 1)
    assert mail.deliver(("slot",), b"hi", FAR, NOW, accepts=lambda slot: True).refused == 0


@pytest.mark.parametrize("data", [b"", b"x" * 11])
def test_what_the_slot_cannot_take_is_refused_and_leaves_no_trace(
    mail: Mailslots, data: bytes
) -> None:
    handle = create(mail)
    assert mail.deliver(("slot",), data, FAR, NOW) == ([], [], 1)
    with refused(errno.EAGAIN):
        read(mail, handle)


def test_one_full_slot_does_not_keep_it_from_another(mail: Mailslots) -> None:
    full, other = create(mail, "slot"), create(mail, "SLOT")
    for _ in range(2):
        mail.enqueue(full.slot, b"x", FAR, 1)
    delivery = mail.deliver(("slot",), b"hi", FAR, NOW)
    assert (delivery.slots, delivery.refused) == ([other.slot], 1)


def test_the_index_follows_every_change(mail: Mailslots) -> None:
    handles: list[Handle] = [create(mail, name) for name in ("a", "A", "b")]
    mail.tree.mkdir(mail.tree.root, "B", 0o755, ROOT, 1)
    for handle in handles:
        mail.close_handle(handle, 2)
    mail.tree.rmdir(mail.tree.root, "B", ROOT, 3)
    assert isinstance(mail.tree.root, Directory)
    assert mail.tree.root.folded == {}
    assert mail.tree.root.children == {}
