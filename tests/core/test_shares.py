"""What one user may have of what all share."""

import errno
import itertools

import pytest

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

CYD = Caller(uid=1002, gid=100, pid=40)
DAN = Caller(uid=1003, gid=100, pid=50)


@pytest.fixture
def mail() -> Mailslots:
    return Mailslots(Limits(max_bytes=4000, max_total_messages=40, max_waiting=40))


@pytest.fixture
def server(mail: Mailslots) -> Handle:
    return create(mail, by=ALICE)


def client(mail: Mailslots, server: Handle, by: Caller) -> Handle:
    return reopen(mail, server, WRITES, by)


def test_bytes_count_for_who_sent_them(mail: Mailslots, server: Handle) -> None:
    bob, cyd = client(mail, server, BOB), client(mail, server, CYD)
    write(mail, bob, b"x" * 1000)
    with refused(errno.ENOSPC):
        write(mail, bob, b"x")
    assert not mail.is_writable(bob)
    assert mail.is_writable(cyd)
    write(mail, cyd, b"x" * 1000)
    read(mail, server)
    write(mail, bob, b"x" * 1000)


def test_one_slot_that_nobody_reads_does_not_use_up_a_share() -> None:
    """By default it takes four at least, so that a writer reaches the other servers still."""
    limits = Limits()
    assert 4 * limits.max_slot_bytes <= limits.max_bytes * limits.max_user_share // 100
    assert 4 * limits.max_messages <= limits.max_total_messages * limits.max_user_share // 100


def test_messages_count_for_who_sent_them(mail: Mailslots, server: Handle) -> None:
    bob, cyd = client(mail, server, BOB), client(mail, server, CYD)
    write(mail, bob, *[b"x"] * 10)
    with refused(errno.ENOSPC):
        write(mail, bob, b"x")
    write(mail, cyd, b"x")


def test_all_others_leave_root_its_reserve(mail: Mailslots, server: Handle) -> None:
    for user in (BOB, CYD, DAN):
        write(mail, client(mail, server, user), b"x" * 1000)
    alice = client(mail, server, ALICE)
    with refused(errno.ENOSPC):
        write(mail, alice, b"x" * 876)
    write(mail, alice, b"x" * 875)
    assert not mail.is_writable(alice)
    root = client(mail, server, ROOT)
    assert mail.is_writable(root)
    write(mail, root, b"x" * 125)
    with refused(errno.ENOSPC):
        write(mail, root, b"x")


def test_other_hosts_share_one_share(mail: Mailslots, server: Handle) -> None:
    mail.deliver(("slot",), b"x" * 1000, Sender("there", 0, 1, Proof.PROVEN), 1)
    refused_one = mail.deliver(("slot",), b"x", Sender("elsewhere", 1001, 1, Proof.PROVEN), 1)
    assert refused_one.refused == 1
    write(mail, client(mail, server, BOB), b"x")


def test_waiting_reads_count_for_who_waits(mail: Mailslots, server: Handle) -> None:
    for number in range(10):
        assert ask(mail, server, number) == []
    with refused(errno.EAGAIN):
        ask(mail, server, 10)
    bob = create(mail, "bob", by=BOB)
    assert ask(mail, bob, 11) == []
    mail.cancel_reader(3)
    assert ask(mail, server, 12) == []


def test_what_dies_unread_is_given_back(mail: Mailslots, server: Handle) -> None:
    bob = client(mail, server, BOB)
    write(mail, bob, b"x" * 1000)
    mail.close_handle(server, 2)
    mail.close_handle(bob, 2)
    assert mail.relieved
    other = create(mail, "other", by=BOB)
    write(mail, reopen(mail, other, WRITES, BOB), b"x" * 1000)


def test_users_who_have_nothing_are_forgotten(mail: Mailslots, server: Handle) -> None:
    for uid in range(5000, 15_000):
        user = client(mail, server, Caller(uid, 100, 1))
        write(mail, user, b"x")
        read(mail, server)
        mail.close_handle(user, 2)
    assert len(mail.shares._held) < 2000


def test_handles_have_shares_as_well() -> None:
    mail = Mailslots(Limits(max_handles=40))
    server = create(mail, by=ALICE)
    handles = [client(mail, server, BOB) for _ in range(10)]
    with refused(errno.ENFILE):
        client(mail, server, BOB)
    with refused(errno.ENFILE):
        create(mail, "other", by=BOB)
    client(mail, server, CYD)
    mail.close_handle(handles[0], 1)
    client(mail, server, BOB)
    assert mail.shares.handles == 12


def test_closed_handles_leave_nothing() -> None:
    mail = Mailslots(Limits())
    for number in range(3000):
        server = create(mail, by=Caller(uid=5000 + number, gid=1, pid=1))
        write(mail, server, b"x")
        mail.close_handle(server, 1)
    assert (mail.messages, mail.bytes, mail.shares.handles) == (0, 0, 0)
    assert len(mail.shares) < 1100


# ---- a slot counts for whoever keeps it alive ----


@pytest.fixture
def tight() -> Mailslots:
    return Mailslots(Limits(max_slots_per_user=1))


def test_a_slot_that_anothers_handle_keeps_is_not_the_creators(tight: Mailslots) -> None:
    server = create(tight, by=ALICE)
    kept = client(tight, server, BOB)
    tight.close_handle(server, 1)
    create(tight, "next", by=ALICE)
    with refused(errno.EDQUOT):
        create(tight, "bobs", by=BOB)
    tight.close_handle(kept, 1)
    create(tight, "bobs", by=BOB)


def test_a_server_that_comes_back_pays_again(tight: Mailslots) -> None:
    server = create(tight, by=ALICE)
    client(tight, server, BOB)
    tight.close_handle(server, 1)
    other = create(tight, "other", by=ALICE)
    with refused(errno.EDQUOT):
        reopen(tight, server, READS, ALICE)
    tight.close_handle(other, 1)
    reopen(tight, server, READS, ALICE)
    create(tight, "bobs", by=BOB)
    with refused(errno.EDQUOT):
        create(tight, "other", by=ALICE)


def test_a_user_with_another_handle_goes_on_paying(tight: Mailslots) -> None:
    server = create(tight, by=ALICE)
    client(tight, server, BOB)
    client(tight, server, ALICE)
    tight.close_handle(server, 1)
    create(tight, "bobs", by=BOB)
    with refused(errno.EDQUOT):
        create(tight, "other", by=ALICE)


def test_who_is_at_his_quota_pays_for_what_he_keeps(tight: Mailslots) -> None:
    mine = create(tight, "bobs", by=BOB)
    server = create(tight, by=ALICE)
    client(tight, server, BOB)
    tight.close_handle(server, 1)
    create(tight, "next", by=ALICE)
    tight.close_handle(mine, 1)
    with refused(errno.EDQUOT):
        create(tight, "bobs", by=BOB)


def test_who_revives_a_slot_pays(tight: Mailslots) -> None:
    server = create(tight, by=ALICE)
    tight.close_handle(server, 1)
    client(tight, server, BOB)
    create(tight, "next", by=ALICE)
    with refused(errno.EDQUOT):
        create(tight, "bobs", by=BOB)


def test_a_new_owner_does_not_pay_for_a_slot_that_he_has_not_open(tight: Mailslots) -> None:
    create(tight, "bobs", by=BOB)
    server = create(tight, by=ALICE)
    tight.tree.set_owner(server.slot, BOB.uid, 1, 1)
    with refused(errno.EDQUOT):
        create(tight, "other", by=ALICE)


def test_root_may_keep_any_number_of_slots_of_others(tight: Mailslots) -> None:
    for number in range(5):
        server = create(tight, str(number), by=ALICE)
        client(tight, server, ROOT)
        tight.close_handle(server, 1)
    assert tight.shares.of(ROOT.uid).names == 5
    create(tight, "next", by=ALICE)


def test_looking_for_users_who_have_nothing_is_rare() -> None:
    """With many users who have something each new one would look at all of them."""
    mail = Mailslots(Limits())
    server = create(mail)
    for uid in range(5000, 7500):
        client(mail, server, Caller(uid, 1, 1))
    sizes = []
    for uid in range(10_000, 16_000):
        mail.shares.of(uid)
        sizes.append(len(mail.shares))
    assert sum(after < before for before, after in itertools.pairwise(sizes)) <= 3


def test_who_holds_most() -> None:
    mail = Mailslots(Limits())
    server = create(mail, by=ALICE)
    for uid in range(5000, 5020):
        user = client(mail, server, Caller(uid, 1, 1))
        write(mail, user, *[b"x" * 100] * (uid - 4999))
        mail.close_handle(user, 1)
    for token in range(1000):
        ask(mail, create(mail, str(token), by=CYD), token)
    most = mail.shares.largest(10)
    assert [held.uid for held in most] == [CYD.uid, ALICE.uid, *range(5019, 5011, -1)]
    assert len(mail.shares.largest(100)) == 22
