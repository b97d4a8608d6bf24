"""GetMailslotInfo and SetMailslotInfo as extended attributes."""

import errno

import pytest

from msfs_fuse.core.attributes import (
    ATTRIBUTES,
    PREFIX,
    get_attribute,
    list_attributes,
    remove_attribute,
    set_attribute,
)
from msfs_fuse.core.limits import Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Caller, Handle, Proof, Sender
from tests.support.core import (
    ALICE,
    BOB,
    READS,
    ROOT,
    WRITES,
    ask,
    create,
    read,
    refused,
    reopen,
    write,
)

LIMITS = Limits(max_message_size=1000)

SETTABLE = ["max_message_size", "read_timeout", "short_read", "network"]
ALWAYS_THERE = [*SETTABLE, "next_size", "message_count"]
AFTER_A_READ = ["sender_host", "sender_proof", "sender_uid", "sender_pid", "sent_at"]


@pytest.fixture
def mail() -> Mailslots:
    return Mailslots(LIMITS, host="here")


@pytest.fixture
def server(mail: Mailslots) -> Handle:
    return create(mail, by=ALICE)


def get(handle: Handle, name: str) -> str:
    return get_attribute(handle.slot, PREFIX + name)


def put(handle: Handle, name: str, value: str, by: Caller = ALICE) -> None:
    set_attribute(handle.slot, PREFIX + name, value, by.uid, LIMITS)


# ---- values ----


def test_a_new_slot(server: Handle) -> None:
    assert {name: get(server, name) for name in ALWAYS_THERE} == {
        "max_message_size": "1000",
        "read_timeout": "forever",
        "short_read": "continue",
        "network": "on",
        "next_size": "none",
        "message_count": "0",
    }


def test_next_size_and_count(mail: Mailslots, server: Handle) -> None:
    write(mail, server, b"seven..", b"four")
    assert get(server, "message_count") == "2"
    assert get(server, "next_size") == "7"
    read(mail, server)
    assert get(server, "message_count") == "1"
    assert get(server, "next_size") == "4"


def test_next_size_is_what_is_left_of_a_message(mail: Mailslots, server: Handle) -> None:
    write(mail, server, b"seven..")
    read(mail, server, size=3)
    assert get(server, "next_size") == "4"
    assert get(server, "message_count") == "1"


def test_the_sender_of_the_message_read_last(mail: Mailslots, server: Handle) -> None:
    client = reopen(mail, server, WRITES, BOB)
    write(mail, client, b"near", now=5_000_000_006)
    far = Sender("build7", 7, 77, Proof.PROVEN)
    mail.enqueue(server.slot, b"far", far, 1_700_000_000_123_456_789)
    read(mail, server)
    assert [get(server, name) for name in AFTER_A_READ] == [
        "here",
        "local",
        "1001",
        "30",
        "5.000000006",
    ]
    read(mail, server)
    assert [get(server, name) for name in AFTER_A_READ] == [
        "build7",
        "proven",
        "7",
        "77",
        "1700000000.123456789",
    ]


def test_a_sender_of_whom_little_is_known(mail: Mailslots, server: Handle) -> None:
    claimed = Sender("NAS@10.0.0.9", None, None, Proof.CLAIMED)
    mail.enqueue(server.slot, b"x", claimed, 0)
    read(mail, server)
    assert get(server, "sender_proof") == "claimed"
    for name in ("sender_uid", "sender_pid"):
        assert PREFIX + name not in list_attributes(server.slot)
        with refused(errno.ENODATA):
            get(server, name)


def test_root_as_a_sender(mail: Mailslots, server: Handle) -> None:
    """A uid of 0 is a value, not the lack of one."""
    write(mail, reopen(mail, server, WRITES, ROOT), b"x", now=0)
    read(mail, server)
    assert get(server, "sender_uid") == "0"
    assert get(server, "sent_at") == "0.000000000"


@pytest.mark.parametrize("name", AFTER_A_READ)
def test_no_sender_before_the_first_read(mail: Mailslots, server: Handle, name: str) -> None:
    write(mail, server, b"still queued")
    with refused(errno.ENODATA):
        get(server, name)


def test_the_list_is_what_has_a_value(mail: Mailslots, server: Handle) -> None:
    assert sorted(list_attributes(server.slot)) == sorted(PREFIX + n for n in ALWAYS_THERE)
    write(mail, server, b"x")
    read(mail, server)
    everything = sorted(PREFIX + name for name in ALWAYS_THERE + AFTER_A_READ)
    assert sorted(list_attributes(server.slot)) == sorted(ATTRIBUTES) == everything


# ---- setting ----


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_message_size", ["1", "1000", "999"]),
        ("read_timeout", ["0", "1500", "4294967294", "forever"]),
        ("short_read", ["error", "continue"]),
        ("network", ["off", "on"]),
    ],
)
def test_what_is_set_is_shown(server: Handle, name: str, values: list[str]) -> None:
    for value in values:
        put(server, name, value)
        assert get(server, name) == value


def test_size_0_is_any_size(server: Handle) -> None:
    """As with CreateMailslot; here as large as the mount takes."""
    put(server, "max_message_size", "7")
    put(server, "max_message_size", "0")
    assert get(server, "max_message_size") == "1000"


def test_leading_zeros(server: Handle) -> None:
    put(server, "max_message_size", "007")
    assert get(server, "max_message_size") == "7"


_NO_NUMBERS = ["", " ", "-1", "+1", "1.5", "1e3", "0x10", "1_000", "ten", " 5", "5 ", "5\n", "5\0"]
_FOREIGN_DIGITS = ["\N{ARABIC-INDIC DIGIT THREE}", "\N{SUPERSCRIPT TWO}"]  # int() takes the first
_HUGE = ["9" * 20, "9" * 21, "9" * 10_000]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_message_size", v) for v in [*_NO_NUMBERS, *_FOREIGN_DIGITS, *_HUGE]),
        ("max_message_size", "1001"),
        ("max_message_size", "forever"),
        *(("read_timeout", v) for v in [*_NO_NUMBERS, *_FOREIGN_DIGITS, *_HUGE]),
        ("read_timeout", "4294967295"),  # what a Windows DWORD calls for ever
        ("read_timeout", "Forever"),
        ("read_timeout", "forever\n"),
        ("read_timeout", "none"),
        *(("short_read", v) for v in ["", "Error", "error\n", " error", "on", "1"]),
        *(("network", v) for v in ["", "ON", "on\n", "yes", "1", "true"]),
    ],
)
def test_nonsense(server: Handle, name: str, value: str) -> None:
    before = get(server, name)
    with refused(errno.EINVAL):
        put(server, name, value)
    assert get(server, name) == before


@pytest.mark.parametrize("name", ["next_size", "message_count", *AFTER_A_READ])
@pytest.mark.parametrize("by", [ALICE, ROOT])
def test_read_only(server: Handle, name: str, by: Caller) -> None:
    with refused(errno.EPERM):
        put(server, name, "1", by)


@pytest.mark.parametrize("name", SETTABLE)
def test_only_the_owner_and_root_set(mail: Mailslots, server: Handle, name: str) -> None:
    value = get(server, name).replace("forever", "5")
    with refused(errno.EPERM):
        put(server, name, value, BOB)
    put(server, name, value, ROOT)
    mail.tree.set_owner(server.slot, BOB.uid, BOB.gid, 1)
    put(server, name, value, BOB)
    with refused(errno.EPERM):
        put(server, name, value, ALICE)


@pytest.mark.parametrize("name", SETTABLE)
def test_none_is_set_before_there_was_a_server(mail: Mailslots, name: str) -> None:
    client = create(mail, access=WRITES, by=ALICE)
    value = get(client, name).replace("forever", "5")
    for caller in (ALICE, ROOT):
        with refused(errno.EPERM):
            put(client, name, value, caller)
    server = mail.open(client.slot, READS, BOB, now=1)
    put(server, name, value, BOB)


@pytest.mark.parametrize("name", ["user.mailslot.colour", "user.mailslot.", "user.x", "network"])
def test_unknown(server: Handle, name: str) -> None:
    with refused(errno.ENODATA):
        get_attribute(server.slot, name)
    with refused(errno.ENOTSUP):
        set_attribute(server.slot, name, "1", ROOT.uid, LIMITS)
    with refused(errno.ENODATA):
        remove_attribute(name)


@pytest.mark.parametrize("name", ALWAYS_THERE + AFTER_A_READ)
def test_none_can_be_removed(name: str) -> None:
    with refused(errno.EPERM):
        remove_attribute(PREFIX + name)


# ---- what they do ----


def test_max_message_size(mail: Mailslots, server: Handle) -> None:
    put(server, "max_message_size", "4")
    write(mail, server, b"four")
    with refused(errno.EMSGSIZE):
        write(mail, server, b"fives")
    put(server, "max_message_size", "0")
    write(mail, server, b"x" * 1000)
    with refused(errno.EMSGSIZE):
        write(mail, server, b"x" * 1001)


def test_a_lower_size_leaves_what_is_queued(mail: Mailslots, server: Handle) -> None:
    write(mail, server, b"seven..")
    put(server, "max_message_size", "4")
    assert read(mail, server) == b"seven.."


def test_read_timeout_is_for_reads_to_come(mail: Mailslots, server: Handle) -> None:
    ask(mail, server, "before")
    put(server, "read_timeout", "5")
    ask(mail, server, "after")
    assert [answer.token for answer in mail.expire(10**18)] == ["after"]
    assert mail.waiting == 1
