"""Read, write, wait, rule by rule."""

import dataclasses
import errno
from dataclasses import fields

import pytest

from msfs_fuse.core.attributes import PREFIX, set_attribute
from msfs_fuse.core.limits import MESSAGE_SIZE_CEILING, Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Handle, Proof, Sender
from tests.support.core import (
    MILLISECOND,
    ROOT,
    WRITES,
    ask,
    create,
    read,
    refused,
    reopen,
    write,
)

LIMITS = Limits(
    max_message_size=10,
    max_messages=4,
    max_slot_bytes=20,
    max_total_messages=6,
    max_bytes=30,
    max_waiting=3,
)


@pytest.fixture
def mail() -> Mailslots:
    return Mailslots(LIMITS)


@pytest.fixture
def server(mail: Mailslots) -> Handle:
    return create(mail)


def put(handle: Handle, name: str, value: str) -> None:
    set_attribute(handle.slot, PREFIX + name, value, ROOT.uid, LIMITS)


# ---- read ----


def test_a_read_is_one_message(mail: Mailslots, server: Handle) -> None:
    write(mail, server, b"one", b"two")
    assert read(mail, server) == b"one"
    assert read(mail, server) == b"two"
    with refused(errno.EAGAIN):
        read(mail, server)


def test_a_buffer_of_just_the_size(mail: Mailslots, server: Handle) -> None:
    write(mail, server, b"one", b"two")
    assert read(mail, server, size=3) == b"one"
    assert read(mail, server, size=3) == b"two"


def test_a_small_buffer_gets_the_message_in_parts(mail: Mailslots, server: Handle) -> None:
    """As shells read it: byte by byte, for they cannot seek."""
    write(mail, server, b"abcde", b"next")
    assert read(mail, server, size=2) == b"ab"
    assert read(mail, server, size=1) == b"c"
    assert mail.counts.messages_read == 0
    assert read(mail, server, size=100) == b"de"  # never past its end
    assert mail.counts.messages_read == 1
    assert read(mail, server) == b"next"


def test_a_message_counts_in_full_until_it_is_read_to_its_end(
    mail: Mailslots, server: Handle
) -> None:
    write(mail, server, b"abcde")
    read(mail, server, size=4)
    assert (mail.messages, mail.bytes) == (1, 5)
    read(mail, server, size=4)
    assert (mail.messages, mail.bytes) == (0, 0)


def test_short_read_error_leaves_the_message(mail: Mailslots, server: Handle) -> None:
    put(server, "short_read", "error")
    write(mail, server, b"abcde")
    with refused(errno.EMSGSIZE):
        read(mail, server, size=4)
    assert server.slot.last_sender is None
    assert read(mail, server, size=5) == b"abcde"


def test_short_read_error_for_reads_that_wait(mail: Mailslots, server: Handle) -> None:
    """The message stays for the first whose buffer is large enough."""
    put(server, "short_read", "error")
    ask(mail, server, "small", size=2)
    ask(mail, server, "large", size=5)
    ask(mail, server, "later", size=2)
    assert write(mail, server, b"abcde") == [
        ("small", None, errno.EMSGSIZE),
        ("large", b"abcde", 0),
    ]
    assert mail.waiting == 1


def test_a_read_of_an_empty_slot_waits(mail: Mailslots, server: Handle) -> None:
    assert ask(mail, server, "read") == []
    assert mail.waiting == 1
    assert write(mail, server, b"hello") == [("read", b"hello", 0)]
    assert (mail.waiting, mail.messages, mail.bytes) == (0, 0, 0)


def test_a_read_of_what_is_there_does_not_wait(mail: Mailslots, server: Handle) -> None:
    write(mail, server, b"hello")
    assert ask(mail, server, "read") == [("read", b"hello", 0)]
    assert mail.waiting == 0


def test_first_come_first_served(mail: Mailslots, server: Handle) -> None:
    for token in ("first", "second", "third"):
        ask(mail, server, token)
    assert write(mail, server, b"1") == [("first", b"1", 0)]
    assert write(mail, server, b"2", b"3") == [("second", b"2", 0), ("third", b"3", 0)]


def test_small_buffers_that_wait_share_a_message(mail: Mailslots, server: Handle) -> None:
    ask(mail, server, "first", size=2)
    ask(mail, server, "second", size=4)
    ask(mail, server, "third", size=4)
    assert write(mail, server, b"abcde") == [("first", b"ab", 0), ("second", b"cde", 0)]
    assert write(mail, server, b"f") == [("third", b"f", 0)]


def test_a_message_is_for_the_readers_of_its_slot(mail: Mailslots, server: Handle) -> None:
    other = create(mail, "other")
    ask(mail, server, "read")
    assert write(mail, other, b"x") == []


# ---- interrupts and timeouts ----


def test_an_interrupted_read_gets_nothing(mail: Mailslots, server: Handle) -> None:
    ask(mail, server, "interrupted")
    ask(mail, server, "patient")
    assert mail.cancel_reader("interrupted")
    assert write(mail, server, b"x") == [("patient", b"x", 0)]
    assert mail.counts.reads_interrupted == 1


def test_an_interrupt_that_comes_too_late(mail: Mailslots, server: Handle) -> None:
    ask(mail, server, "read")
    write(mail, server, b"x")
    assert not mail.cancel_reader("read")
    assert not mail.cancel_reader("unheard of")
    assert mail.counts.reads_interrupted == 0


def test_a_read_timeout(mail: Mailslots, server: Handle) -> None:
    put(server, "read_timeout", "5")
    ask(mail, server, "read", at=100)
    assert mail.next_deadline() == 105 * MILLISECOND
    assert mail.expire(105 * MILLISECOND - 1) == []
    assert mail.expire(105 * MILLISECOND) == [("read", None, errno.ETIMEDOUT)]
    assert (mail.waiting, mail.next_deadline()) == (0, None)
    assert write(mail, server, b"x") == []
    assert mail.counts.reads_timed_out == 1


def test_timeouts_come_by_their_time(mail: Mailslots, server: Handle) -> None:
    other = create(mail, "other")
    put(server, "read_timeout", "9")
    put(other, "read_timeout", "5")
    ask(mail, server, "first, for longer")
    ask(mail, other, "second")
    assert [answer.token for answer in mail.expire(100 * MILLISECOND)] == [
        "second",
        "first, for longer",
    ]


def test_a_read_that_was_served_does_not_time_out(mail: Mailslots, server: Handle) -> None:
    put(server, "read_timeout", "5")
    ask(mail, server, "served")
    ask(mail, server, "interrupted")
    write(mail, server, b"x")
    mail.cancel_reader("interrupted")
    assert mail.next_deadline() is None
    assert mail.expire(100 * MILLISECOND) == []


def test_a_read_timeout_of_0_does_not_wait(mail: Mailslots, server: Handle) -> None:
    put(server, "read_timeout", "0")
    with refused(errno.ETIMEDOUT):
        ask(mail, server, "read")
    assert mail.counts.reads_timed_out == 1
    write(mail, server, b"x")
    assert read(mail, server) == b"x"


def test_a_non_blocking_read_has_no_timeout(mail: Mailslots, server: Handle) -> None:
    put(server, "read_timeout", "0")
    with refused(errno.EAGAIN):
        read(mail, server)
    assert mail.counts.reads_timed_out == 0


def test_without_a_timeout_a_read_waits_for_ever(mail: Mailslots, server: Handle) -> None:
    ask(mail, server, "read")
    assert mail.next_deadline() is None
    assert mail.expire(2**63) == []


def test_too_many_reads_wait(mail: Mailslots, server: Handle) -> None:
    other = create(mail, "other")
    put(other, "read_timeout", "5")
    for token in range(3):
        ask(mail, server, token)
    with refused(errno.EAGAIN):
        ask(mail, other, 3)
    assert mail.next_deadline() is None
    assert mail.counts.reads_over_limit == 1
    write(mail, other, b"x")
    assert read(mail, other) == b"x"  # for that needs no waiting


def test_the_end_of_the_mount(mail: Mailslots, server: Handle) -> None:
    other = create(mail, "other")
    ask(mail, server, "one")
    ask(mail, other, "two")
    assert mail.cancel_all(errno.ENODEV) == [
        ("one", None, errno.ENODEV),
        ("two", None, errno.ENODEV),
    ]
    assert mail.waiting == 0


# ---- write ----


def test_messages_are_whole_and_in_order(mail: Mailslots, server: Handle) -> None:
    clients = [reopen(mail, server, WRITES) for _ in range(2)]
    for number in range(4):
        write(mail, clients[number % 2], b"%d" % number)
    assert [read(mail, server) for _ in range(4)] == [b"0", b"1", b"2", b"3"]


def test_a_message_knows_its_sender(mail: Mailslots, server: Handle) -> None:
    write(mail, reopen(mail, server, WRITES, ROOT), b"x", now=77)
    read(mail, server)
    assert server.slot.last_sender == Sender("localhost", ROOT.uid, ROOT.pid, Proof.LOCAL)
    assert server.slot.last_sent_at == 77


def test_too_long(mail: Mailslots, server: Handle) -> None:
    write(mail, server, b"x" * 10)
    with refused(errno.EMSGSIZE):
        write(mail, server, b"x" * 11)
    assert (mail.messages, mail.counts.writes_too_long) == (1, 1)


def test_too_long_is_too_long_in_a_full_slot_as_well(mail: Mailslots, server: Handle) -> None:
    """ENOSPC would say that it is worth trying again."""
    write(mail, server, b"x" * 10, b"x" * 10)
    with refused(errno.EMSGSIZE):
        write(mail, server, b"x" * 11)


def test_nothing_is_no_message(mail: Mailslots, server: Handle) -> None:
    """A read of 0 bytes would tell cat(1) that all is over."""
    ask(mail, server, "read")
    with refused(errno.EINVAL):
        write(mail, server, b"")
    assert mail.waiting == 1


def test_a_slot_is_full_of_messages(mail: Mailslots, server: Handle) -> None:
    write(mail, server, *[b"x"] * 4)
    assert not mail.is_writable(server.slot)
    with refused(errno.ENOSPC):
        write(mail, server, b"x")
    assert mail.counts.writes_full == 1
    read(mail, server)
    assert mail.is_writable(server.slot)
    write(mail, server, b"x")


def test_a_slot_is_full_of_bytes(mail: Mailslots, server: Handle) -> None:
    write(mail, server, b"x" * 10, b"x" * 9)
    assert mail.is_writable(server.slot)
    with refused(errno.ENOSPC):
        write(mail, server, b"xx")
    write(mail, server, b"x")
    assert not mail.is_writable(server.slot)


def test_a_mount_is_full_of_messages(mail: Mailslots, server: Handle) -> None:
    other = create(mail, "other")
    write(mail, server, *[b"x"] * 3)
    write(mail, other, *[b"x"] * 3)
    for full in (server, other):
        assert not mail.is_writable(full.slot)
        with refused(errno.ENOSPC):
            write(mail, full, b"x")


def test_a_mount_is_full_of_bytes(mail: Mailslots, server: Handle) -> None:
    other = create(mail, "other")
    write(mail, server, b"x" * 10, b"x" * 10)
    write(mail, other, b"x" * 9)
    assert mail.is_writable(other.slot)
    with refused(errno.ENOSPC):
        write(mail, other, b"xx")
    write(mail, other, b"x")
    assert not mail.is_writable(other.slot)


def test_a_slot_that_dies_makes_room(mail: Mailslots, server: Handle) -> None:
    other = create(mail, "other")
    write(mail, server, b"x" * 10, b"x" * 10)
    write(mail, other, b"x" * 10)
    assert not mail.is_writable(other.slot)
    mail.close_handle(server, 2)
    assert mail.is_writable(other.slot)


# ---- times and limits ----


def test_times(mail: Mailslots, server: Handle) -> None:
    """mtime is the last write, atime the last read."""
    slot = server.slot
    write(mail, server, b"abc", now=5)
    assert (slot.mtime, slot.atime) == (5, 1)
    read(mail, server, size=2, now=6)
    assert (slot.mtime, slot.atime) == (5, 6)


def test_counts(mail: Mailslots, server: Handle) -> None:
    write(mail, server, b"abc", b"de")
    read(mail, server)
    counts = {name: count for name, count in dataclasses.asdict(mail.counts).items() if count}
    assert counts == {
        "slots_created": 1,
        "messages_written": 2,
        "bytes_written": 5,
        "messages_read": 1,
    }


@pytest.mark.parametrize("name", [each.name for each in fields(Limits)])
def test_limits_are_at_least_1(name: str) -> None:
    assert getattr(Limits(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})


def test_messages_fit_into_one_request() -> None:
    """The kernel splits a write above 1 MiB; a piece must not be taken for a message."""
    assert MESSAGE_SIZE_CEILING < 1024 * 1024
    Limits(max_message_size=MESSAGE_SIZE_CEILING)
    with pytest.raises(ValueError, match="max_message_size"):
        Limits(max_message_size=MESSAGE_SIZE_CEILING + 1)
