"""A slot's life, rule by rule: who may open it, whose it becomes, when it goes."""

import errno

import pytest

from msfs_fuse.core.attributes import PREFIX, get_attribute
from msfs_fuse.core.limits import Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Access, Caller
from tests.support.core import (
    ALICE,
    BOB,
    READS,
    READS_AND_WRITES,
    ROOT,
    WRITES,
    ask,
    create,
    read,
    refused,
    reopen,
    write,
)

NEXT_SIZE = PREFIX + "next_size"


@pytest.fixture
def mail() -> Mailslots:
    return Mailslots(Limits(max_user_share=100, max_slots_per_user=2))


# ---- the server handle ----


def test_opening_to_read_makes_the_server(mail: Mailslots) -> None:
    server = create(mail, access=READS)
    write(mail, server, b"hello")
    assert read(mail, server) == b"hello"


def test_the_server_may_write_too(mail: Mailslots) -> None:
    server = create(mail, access=READS_AND_WRITES)
    write(mail, server, b"to myself")
    assert read(mail, server) == b"to myself"


@pytest.mark.parametrize("by", [ALICE, BOB, ROOT])
@pytest.mark.parametrize("access", [READS, READS_AND_WRITES])
def test_nobody_else_reads_while_there_is_a_server(
    mail: Mailslots, by: Caller, access: Access
) -> None:
    server = create(mail, by=ALICE)
    with refused(errno.EACCES):
        reopen(mail, server, access, by)
    assert list(server.slot.handles.values()) == [1]


def test_a_client_cannot_read(mail: Mailslots) -> None:
    server = create(mail)
    client = reopen(mail, server, WRITES)
    write(mail, client, b"for the server")
    with refused(errno.EBADF):
        read(mail, client)
    assert read(mail, server) == b"for the server"


def test_any_number_of_clients(mail: Mailslots) -> None:
    server = create(mail)
    for client in [reopen(mail, server, WRITES, by) for by in (ALICE, BOB, ROOT, BOB)]:
        write(mail, client, b"x")
    assert len(server.slot.messages) == 4


def test_a_live_name_is_taken(mail: Mailslots) -> None:
    create(mail, "a")
    with refused(errno.EEXIST):
        create(mail, "a")
    mail.tree.mkdir(mail.tree.root, "d", 0o700, ALICE, 1)
    with refused(errno.EEXIST):
        create(mail, "d", by=BOB)


# ---- the end ----


def test_a_slot_goes_with_its_last_handle_of_any_kind(mail: Mailslots) -> None:
    server = create(mail, "a")
    client = reopen(mail, server, WRITES)
    assert not mail.close_handle(server, 2).died
    assert mail.tree.find(("a",)) is server.slot
    assert mail.close_handle(client, 3).died
    assert mail.tree.find(("a",)) is None
    assert mail.slots == 0


def test_a_new_slot_of_the_same_name_starts_empty(mail: Mailslots) -> None:
    old = create(mail, "a")
    write(mail, old, b"old news")
    mail.close_handle(old, 2)
    with refused(errno.EAGAIN):
        read(mail, create(mail, "a"))


def test_what_dies_unread_is_counted(mail: Mailslots) -> None:
    server = create(mail)
    write(mail, server, b"read", b"read in part", b"not read")
    read(mail, server)
    read(mail, server, size=4)
    assert mail.close_handle(server, 2).unread == 2
    assert mail.counts.messages_unread == 2
    assert (mail.messages, mail.bytes) == (0, 0)


def test_closing_again_does_nothing(mail: Mailslots) -> None:
    server = create(mail)
    client = reopen(mail, server, WRITES)
    mail.close_handle(client, 2)
    assert mail.close_handle(client, 2) == ([], False, 0)
    assert mail.tree.find(("slot",)) is server.slot


def test_what_is_gone_cannot_be_opened(mail: Mailslots) -> None:
    """The kernel may know the inode of a dead slot for a while."""
    server = create(mail)
    mail.close_handle(server, 2)
    with refused(errno.ESTALE):
        reopen(mail, server, READS, now=3)
    with refused(errno.ESTALE):
        reopen(mail, server, WRITES, now=3 + 300_000_000)


def test_a_client_that_comes_just_after_the_last_close_came_before_it(mail: Mailslots) -> None:
    """Else `echo > slot` would fail where slots come and go between a lookup and an open."""
    server = create(mail)
    mail.close_handle(server, 2)
    client = reopen(mail, server, WRITES, now=3)
    assert mail.tree.find(("slot",)) is client.slot
    assert mail.slots == 1
    mail.close_handle(client, 4)
    assert (mail.tree.find(("slot",)), mail.slots) == (None, 0)


def test_a_name_given_away_brings_no_dead_slot_back(mail: Mailslots) -> None:
    server = create(mail)
    mail.close_handle(server, 2)
    create(mail)
    with refused(errno.ESTALE):
        reopen(mail, server, WRITES, now=3)


def test_reads_that_wait_end_with_their_handle(mail: Mailslots) -> None:
    server = create(mail)
    reopen(mail, server, WRITES)
    ask(mail, server, "first")
    ask(mail, server, "second")
    assert mail.close_handle(server, 2).answers == [
        ("first", None, errno.EBADF),
        ("second", None, errno.EBADF),
    ]
    assert mail.waiting == 0


def test_reads_go_on_when_a_client_leaves(mail: Mailslots) -> None:
    server = create(mail)
    client = reopen(mail, server, WRITES)
    ask(mail, server, "read")
    assert mail.close_handle(client, 2).answers == []
    assert write(mail, server, b"x") == [("read", b"x", 0)]


# ---- made by a client ----


def test_a_client_makes_a_slot_that_anybody_may_claim(mail: Mailslots) -> None:
    client = create(mail, access=WRITES, by=ALICE, mode=0o600)
    assert client.slot.mode == 0o666
    write(mail, client, b"early")
    server = reopen(mail, client, READS, BOB, mode=0o640, now=7)
    slot = server.slot
    assert (slot.uid, slot.gid, slot.mode, slot.ctime) == (BOB.uid, BOB.gid, 0o640, 7)
    assert read(mail, server) == b"early"


def test_a_claimed_slot_is_not_claimed_again(mail: Mailslots) -> None:
    client = create(mail, access=WRITES, by=ALICE)
    mail.close_handle(reopen(mail, client, READS, BOB, mode=0o640), 2)
    with refused(errno.EACCES):
        reopen(mail, client, READS, ALICE)
    reopen(mail, client, READS, ROOT, mode=0o600)
    assert (client.slot.uid, client.slot.mode) == (BOB.uid, 0o640)


def test_the_mode_is_asked_for_only_when_a_slot_is_claimed(mail: Mailslots) -> None:
    """It takes a look at /proc."""

    def unexpected() -> int:
        raise AssertionError

    server = create(mail, by=ALICE)
    client = mail.open(server.slot, WRITES, BOB, 1, unexpected)
    mail.close_handle(server, 2)
    mail.open(client.slot, READS, ALICE, 1, unexpected)


def test_a_claim_that_fails_changes_nothing(mail: Mailslots) -> None:
    client = create(mail, access=WRITES, by=ALICE)

    def broken() -> int:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        mail.open(client.slot, READS, BOB, 1, broken)
    assert client.slot.uid == ALICE.uid
    reopen(mail, client, READS, ROOT)


def test_a_claim_is_charged(mail: Mailslots) -> None:
    client = create(mail, "a", WRITES, ALICE)
    create(mail, "b", by=ALICE)
    with refused(errno.EDQUOT):
        create(mail, "c", by=ALICE)
    reopen(mail, client, READS, BOB)
    create(mail, "c", by=ALICE)
    create(mail, "d", by=BOB)
    with refused(errno.EDQUOT):
        create(mail, "e", by=BOB)


def test_no_claim_over_quota(mail: Mailslots) -> None:
    create(mail, "a", by=BOB)
    create(mail, "b", by=BOB)
    client = create(mail, "c", WRITES, ALICE)
    with refused(errno.EDQUOT):
        reopen(mail, client, READS, BOB)
    assert (client.slot.uid, client.slot.mode, len(client.slot.handles)) == (ALICE.uid, 0o666, 1)


def test_strict_is_as_on_windows() -> None:
    mail = Mailslots(Limits(), strict=True)
    with refused(errno.ENOENT):
        create(mail, access=WRITES)
    server = create(mail, access=READS)
    reopen(mail, server, WRITES)
    with refused(errno.EEXIST):
        create(mail, access=WRITES)


# ---- a server's restart ----


@pytest.mark.parametrize("by", [ALICE, ROOT])
def test_a_restart_loses_nothing(mail: Mailslots, by: Caller) -> None:
    old = create(mail, by=ALICE, mode=0o600)
    client = reopen(mail, old, WRITES, BOB)
    write(mail, client, b"one", b"two", b"three")
    read(mail, old)
    mail.close_handle(old, 2)
    write(mail, client, b"four")
    new = reopen(mail, client, READS, by)
    assert [read(mail, new) for _ in range(3)] == [b"two", b"three", b"four"]
    assert (new.slot.uid, new.slot.mode) == (ALICE.uid, 0o600)


def test_a_message_read_in_part_starts_again_for_the_next_server(mail: Mailslots) -> None:
    old = create(mail)
    client = reopen(mail, old, WRITES)
    write(mail, client, b"half and half", b"next")
    assert read(mail, old, size=5) == b"half "
    mail.close_handle(reopen(mail, old, WRITES), 2)  # a client's end changes nothing
    assert get_attribute(client.slot, NEXT_SIZE) == "8"
    mail.close_handle(old, 2)
    assert get_attribute(client.slot, NEXT_SIZE) == "13"
    new = reopen(mail, client, READS)
    assert [read(mail, new, size) for size in (8, 100, 100)] == [b"half and", b" half", b"next"]


def test_an_orphan_is_not_for_others(mail: Mailslots) -> None:
    old = create(mail, by=ALICE)
    client = reopen(mail, old, WRITES, BOB)
    mail.close_handle(old, 2)
    with refused(errno.EACCES):
        reopen(mail, client, READS, BOB)


def test_an_orphan_goes_to_its_new_owner(mail: Mailslots) -> None:
    old = create(mail, by=ALICE)
    client = reopen(mail, old, WRITES, BOB)
    mail.close_handle(old, 2)
    mail.tree.set_owner(old.slot, BOB.uid, BOB.gid, 3)
    with refused(errno.EACCES):
        reopen(mail, client, READS, ALICE)
    reopen(mail, client, READS, BOB)
