"""What one user may have of what all share."""

import errno

import pytest

from msfs_fuse.core.limits import Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Caller, Handle, Proof, Sender
from tests.support.core import ALICE, BOB, ROOT, WRITES, ask, create, read, refused, reopen, write

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
