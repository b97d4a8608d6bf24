"""What one with a member file may try against the others, and one user against another one."""

from contextlib import suppress
from dataclasses import replace

import pytest

from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import (
    ANY_MOUNT,
    SIGNATURE_SIZE,
    Card,
    GroupType,
    Probe,
    card_to_sign,
)
from msfs_fuse.net.trust.domain import TooMany
from msfs_fuse.net.trust.keys import domain_context
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.questions import PROBE_SIZE
from msfs_fuse.net.trust.wire import ID_SIZE, SALT_SIZE, Kind, Reason, pack_header, seal
from tests.support.trust import KEY, Corp, Node, Packet, Wire, message, way_of

CONTEXT = domain_context("corp")
ADA, BOB = 1000, 1001  # users


def test_a_host_with_many_mounts_crowds_out_nobody(
    wire: Wire, corp: Corp, nodes: list[Node]
) -> None:
    """What it sends to all is limited as that of one."""
    ann, bob, _ = nodes
    identity = corp.admit("eve")
    mounts = [wire.node(identity, 50 + number) for number in range(limits.MOUNTS_PER_HOST)]
    wire.run(5)
    said = [b"%d" % turn for turn in range(10)]
    for data in said:
        bob.broadcast(data)
        for _ in range(10):
            for mount in mounts:
                for _ in range(5):
                    mount.broadcast(b"flood")
            wire.run(0.01)
    assert [data for host, data in ann.delivered if host == "bob"] == said
    # A second's worth at once, and a second's worth in that second.
    assert ann.data.count(b"flood") <= 2.1 * limits.GROUP_OF_HOST


def test_who_is_revoked_while_it_is_away_stays_out(wire: Wire, nodes: list[Node]) -> None:
    """Its window is still there, so that it would be known again by its first HELLO."""
    ann, bob, _ = nodes
    wire.weather = lambda packet: [] if 2 in (packet.source, packet.destination) else [0.001]
    ann.domain.lost(way_of(2), wire.now)
    wire.run(2)
    assert not ann.knows("bob")
    revoked = frozenset({bob.domain.identity.certificate.serial})
    ann.domain.use(replace(ann.domain.identity, revoked=revoked), wire.now)
    wire.weather = lambda _: [0.001]
    bob.domain.hello(wire.now)
    bob.broadcast(b"still here")
    wire.run(0.1)
    assert not ann.knows("bob")
    assert ann.data == []
    assert ann.domain.drops[Reason.CARD_REVOKED] > 0


def test_a_member_that_presents_a_key_that_is_none_keeps_its_former_one(
    wire: Wire, nodes: list[Node]
) -> None:
    """It makes the same secret with any other: who writes to that host must not stumble over it."""
    ann, bob, _ = nodes
    own = bob.domain.here.own
    der, n, public = own.identity.certificate.der, own.card.n + 1, bytes(32)
    signature = own.identity.private.sign(card_to_sign(CONTEXT, der, own.boot, n, public))
    card = Card.pack(der, own.boot, n, public, signature)
    hello = own.seal_signed(bytes([GroupType.HELLO]) + card.raw, wire.now)
    wire.post(Packet(2, None, hello))
    wire.run(0.1)
    assert ann.domain.drops[Reason.CARD_MALFORMED] == 1
    ann.write("bob", b"hello")
    wire.run(0.1)
    assert bob.data == [b"hello"]


def test_hellos_of_former_starts_keep_no_host_out(
    wire: Wire, corp: Corp, nodes: list[Node]
) -> None:
    """Who repeats them from ever new sources needs no key."""
    identity = corp.admit("dan")
    recorded = []
    for _ in range(4):
        wire.log.clear()
        wire.node(identity, 4)
        wire.run(3)
        recorded += [each.datagram for each in wire.log if each.source == 4][:1]
        del wire.nodes[4]
    wire.run(150)

    def repeat(seconds: int) -> None:
        for _ in range(10 * seconds):
            for datagram in recorded:
                wire.post(Packet(wire.rng.randrange(1000, 60_000), None, datagram))
            wire.run(0.1)

    repeat(1)
    assert not any(node.knows("dan") for node in nodes)
    wire.node(identity, 4)
    repeat(3)
    assert all(node.knows("dan") for node in nodes)


def test_a_question_to_all_is_answered_by_whom_it_names(wire: Wire, nodes: list[Node]) -> None:
    """Else one with a false source would bring its victim an answer of every host."""
    eve = Own(nodes[1].domain.identity, CONTEXT, wire.now, wire.rng.randbytes)
    for to_host, answers in (("", 0), ("ann", 1)):
        body = Probe(ANY_MOUNT, to_host, wire.rng.randbytes(16), 0, False, eve.card).pack()
        wire.log.clear()
        wire.post(Packet(99, None, eve.seal_for_all(Kind.PROBE, body, wire.now, PROBE_SIZE)))
        wire.run(0.1)
        assert sum(packet.destination == 99 for packet in wire.log) == answers


# ---- hosts that are looked for ----


def test_many_hosts_looked_for_at_once_are_all_found(wire: Wire, corp: Corp) -> None:
    ann = wire.node(corp.admit("ann"), 1, says_hello=False)
    others = [wire.node(corp.admit(f"host{n}"), 10 + n, says_hello=False) for n in range(64)]
    for node in others:
        assert ann.domain.seek(node.domain.host, wire.now, ADA)
        ann.write(node.domain.host, b"hello")
    wire.run(2)
    assert [node.data for node in others] == [[b"hello"]] * len(others)


def test_who_looks_for_many_hosts_keeps_no_other_user_from_his(wire: Wire, corp: Corp) -> None:
    """Nor who writes to them."""
    ann = wire.node(corp.admit("ann"), 1, says_hello=False)
    bob = wire.node(corp.admit("bob"), 2, says_hello=False)

    def look(turn: int) -> None:
        for number in range(2 * limits.SOUGHT):
            ann.domain.seek(f"missing{turn}-{number}", wire.now, ADA)
            for _ in range(2 * limits.QUEUED_PER_HOST):
                with suppress(TooMany):
                    ann.domain.seal_for_host(
                        f"missing{turn}-{number}", message(b"lost", uid=ADA), wire.now
                    )

    for turn in range(20):
        with pytest.raises(TooMany):
            look(turn)
        wire.run(0.1)
    assert ann.domain.seek("bob", wire.now, BOB)
    assert not ann.domain.seal_for_host("bob", message(b"hello", uid=BOB), wire.now)
    wire.run(0.1)
    assert bob.data == [b"hello"]


def test_what_strangers_send_to_all_keeps_no_host_from_being_heard(wire: Wire, corp: Corp) -> None:
    """It waits for half a minute, and nobody ever answers for it."""
    ann = wire.node(corp.admit("ann"), 1, says_hello=False)
    bob = wire.node(corp.admit("bob"), 2, says_hello=False)
    body = bytes([GroupType.MESSAGE]) + message(b"x").pack() + bytes(SIGNATURE_SIZE)
    for number in range(2 * limits.HELD):
        id = wire.rng.randbytes(ID_SIZE)
        header, salt = pack_header(Kind.GROUP, id, 0), wire.rng.randbytes(SALT_SIZE)
        stranger = seal(KEY.group_cipher(CONTEXT, id), KEY.mask(CONTEXT), header, salt, body)
        wire.post(Packet(1000 + number, 1, stranger))
        wire.run(0.02)
    bob.broadcast(b"hello")
    wire.run(1)
    assert ann.data == [b"hello"]


def test_what_waits_when_the_mount_becomes_another_one_is_counted(wire: Wire, corp: Corp) -> None:
    ann = wire.node(corp.admit("ann"), 1, says_hello=False)
    bob = wire.node(corp.admit("bob"), 2, says_hello=False)
    wire.weather = lambda packet: [] if packet.source == 1 else [0.001]  # nobody is asked
    ann.domain.seek("cid", wire.now, ADA)
    ann.write("cid", b"waits for cid")
    bob.broadcast(b"waits for bob to be proven")
    wire.run(0.1)
    ann.domain.restart(wire.now)
    wire.run(5)
    assert ann.domain.counts["queued_lost"] == 1
    assert ann.domain.drops[Reason.UNPROVEN_EXPIRED] == 1
    assert ann.data == []
