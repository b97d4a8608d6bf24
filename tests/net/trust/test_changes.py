"""What changes while members talk: keys, certificates, and what a snapshot brings back."""

import datetime
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace

import pytest

from msfs_fuse.net.trust import authority, limits
from msfs_fuse.net.trust.bodies import (
    ANY_MOUNT,
    Card,
    GroupType,
    Probe,
    Proof,
    Reader,
    card_to_sign,
)
from msfs_fuse.net.trust.domain import Unknown
from msfs_fuse.net.trust.keys import DomainKey, Keys, domain_context
from msfs_fuse.net.trust.mounts import Mount, Way, exchange
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.wire import Kind, Reason, Refused, open_body, pack_header, seal, unmask
from tests.support.trust import KEY, WALL, Corp, Node, Packet, Wire, message

CONTEXT = domain_context("corp")
NEW = DomainKey(b"n" * 32, 2)
STEPS: tuple[Keys, ...] = ((KEY,), (KEY, NEW), (NEW, KEY), (NEW,))


def talk(wire: Wire, nodes: list[Node], word: str) -> None:
    """Everybody writes to everybody, and to all."""
    for node in nodes:
        name = node.domain.host
        for other in nodes:
            if other is not node:
                node.write(other.domain.host, f"{name} {word}".encode())
        node.broadcast(f"{name} {word} all".encode())
    wire.run(0.05)


def missing(nodes: list[Node], word: str) -> set[tuple[str, bytes]]:
    """What talk() has said and who of them has not heard."""
    return {
        (node.domain.host, data)
        for node in nodes
        for other in nodes
        if other is not node
        for data in (
            f"{other.domain.host} {word}".encode(),
            f"{other.domain.host} {word} all".encode(),
        )
        if data not in node.data
    }


# ---- the domain's key ----


def use(node: Node, keys: Keys) -> None:
    node.domain.use(replace(node.domain.identity, keys=keys), node.wire.now)


def test_another_domain_key_in_three_steps_loses_nothing(wire: Wire, nodes: list[Node]) -> None:
    for step, keys in enumerate(STEPS[1:], 1):
        for node in nodes:  # one after the other, as an admin does it
            use(node, keys)
            word = f"{step} {node.domain.host}"
            talk(wire, nodes, word)
            assert not missing(nodes, word)
        wire.run(60)
    for node in nodes:
        assert len(node.data) == len(set(node.data)) == 2 * 2 * 9
        assert not node.gone


def test_another_domain_key_on_a_bad_network(wire: Wire, nodes: list[Node]) -> None:
    def bad(packet: Packet) -> list[float]:
        chance = wire.rng.random()
        return [] if chance < 0.3 else [0.001] * (1 + (chance > 0.8)) if chance < 0.9 else [0.3]

    good = wire.weather
    for step, keys in enumerate(STEPS[1:], 1):
        wire.weather = bad
        for node in nodes:
            use(node, keys)
            talk(wire, nodes, f"{step} {node.domain.host}")
            wire.run(20)
        wire.weather = good
        wire.run(40)
        talk(wire, nodes, f"{step} good")
        assert not missing(nodes, f"{step} good")
    for node in nodes:
        assert len(node.data) == len(set(node.data))


def test_a_domain_key_that_was_removed_opens_nothing(wire: Wire, nodes: list[Node]) -> None:
    ann, bob, cid = nodes
    for keys in STEPS[1:]:
        for node in (ann, bob):
            use(node, keys)
    wire.run(5)
    talk(wire, nodes, "late")  # cid has the old key alone
    assert {host for host, _ in missing(nodes, "late")} == {"ann", "bob", "cid"}
    assert not missing([ann, bob], "late")
    heard = [data for node in (ann, bob) for data in node.data if data.startswith(b"cid late")]
    assert not heard
    assert not any(data.endswith(b"late") for data in cid.data)
    assert ann.domain.drops[Reason.UNMASKED] > 0
    kept = {pair.key for pair in ann.domain.here.table._pairs.values()}
    assert kept == {key for mount in ann.domain for key, _, _ in mount.pairs} == {NEW}


# ---- certificates ----


def test_who_is_revoked_is_out_at_once_and_for_good(wire: Wire, nodes: list[Node]) -> None:
    ann, bob, cid = nodes
    stolen = bob.domain.identity
    ann.domain.use(
        replace(ann.domain.identity, revoked=frozenset([stolen.certificate.serial])), wire.now
    )
    assert not ann.knows("bob")
    assert ann.gone == [("bob", "is revoked")]
    again = wire.node(stolen, 9)  # another mount, with the same certificate
    wire.run(100)
    for node in (bob, again):
        node.broadcast(b"bob is here")
        try:
            node.write("ann", b"bob is here")
        except Unknown:
            continue
    cid.write("ann", b"cid is here")
    wire.run(5)
    assert ann.data == [b"cid is here"]
    assert not ann.knows("bob")
    assert ann.domain.drops[Reason.CARD_REVOKED] > 0
    assert b"bob is here" in cid.data  # who has not the list


def test_who_expires_is_out_within_a_minute(
    wire: Wire, corp: Corp, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = wire.node(corp.admit("ann"), 1)
    end = datetime.datetime.fromtimestamp(WALL + 100, datetime.UTC)
    monkeypatch.setattr(authority, "_END", end)
    bob = wire.node(corp.admit("bob"), 2)
    wire.run(95)
    bob.write("ann", b"in time")
    wire.run(1)
    assert ann.data == [b"in time"]
    wire.run(4 + limits.CHECK_STANDING)
    assert ann.gone == [("bob", "is expired")]
    bob.broadcast(b"late")
    wire.run(100)
    assert ann.data == [b"in time"]
    assert not ann.knows("bob")


# ---- rates ----


def member(wire: Wire, corp: Corp) -> Own:
    """The keys of a mount that no node serves."""
    return Own(corp.admit("eve"), CONTEXT, wire.now, wire.rng.randbytes)


def probe(wire: Wire, own: Own) -> bytes:
    body = Probe(ANY_MOUNT, "", wire.rng.randbytes(16), 5000, False, own.card).pack()
    return own.seal_for_all(Kind.PROBE, body, wire.now, 1024)


def hello(wire: Wire, own: Own) -> bytes:
    return own.seal_signed(bytes([GroupType.HELLO]) + own.card.raw, wire.now)


def sent_to(wire: Wire, sources: Iterable[int]) -> int:
    return sum(packet.destination in set(sources) for packet in wire.log)


@pytest.mark.parametrize(
    ("sources", "most"),
    [([50], limits.PROOFS_PER_SOURCE), (range(50, 1050), limits.PROOFS)],
)
def test_answers_are_limited(
    wire: Wire, corp: Corp, nodes: list[Node], sources: Iterable[int], most: int
) -> None:
    eve = member(wire, corp)
    for source in sources:
        for _ in range(1000 // len(list(sources))):
            wire.post(Packet(source, 1, probe(wire, eve)))
    wire.run(0.002)
    assert 0 < sent_to(wire, sources) <= most
    assert nodes[0].domain.drops[Reason.LIMITED_PROOFS] > 0
    dan = wire.node(corp.admit("dan"), 4)
    wire.run(5)
    assert nodes[0].knows("dan")
    assert dan.knows("ann")


def test_cards_that_have_to_be_verified_are_limited(
    wire: Wire, corp: Corp, nodes: list[Node]
) -> None:
    for source in range(50, 150):
        for _ in range(10):
            wire.post(Packet(source, 1, hello(wire, member(wire, corp))))
    wire.run(0.002)
    ann = nodes[0].domain
    assert ann.drops[Reason.LIMITED_CARDS] >= 1000 - limits.CARDS_AT_ONCE
    assert 0 < ann.here.table.claims <= limits.CARDS_AT_ONCE
    talk(wire, nodes, "still")
    assert not missing(nodes, "still")
    wire.run(400)
    assert ann.here.table.claims == 0


def test_who_joins_hears_of_three_hundred_at_once(wire: Wire, corp: Corp) -> None:
    """As where a broker has kept their HELLOs. None has to be said again."""
    ann = wire.node(corp.admit("ann"), 1)
    for number in range(300):
        own = Own(corp.admit(f"host{number}"), CONTEXT, wire.now, wire.rng.randbytes)
        wire.post(Packet(100 + number, 1, hello(wire, own)))
    wire.run(0.002)
    assert ann.domain.here.table.claims == 300


def test_a_member_that_changes_its_key_all_the_time_takes_no_memory(wire: Wire, corp: Corp) -> None:
    """Signed, new, and from ever another source, for five minutes."""
    ann, eve = (wire.node(corp.admit(name), n) for n, name in enumerate(("ann", "eve"), 1))
    wire.run(10)
    own = eve.domain.here.own
    for number in range(3000):
        own.card = own.make_card()
        for n in list(own.privates)[:-2]:
            own.drop_key(n)
        wire.post(Packet(1000 + number, 1, hello(wire, own)))
        wire.run(0.1)
        wire.log.clear()
    (mount,) = ann.domain
    assert mount.card.n > 2900
    assert len(mount.pairs) <= 2
    assert len(ann.domain.here.timers._heap) < 100


@pytest.mark.parametrize("what", ["boot", "key", "no key"])
def test_a_card_that_holds_something_of_ours_is_refused(
    wire: Wire, corp: Corp, nodes: list[Node], what: str
) -> None:
    """Eve signs what is ann's; and a key that makes the same secret with any other."""
    ann, eve = nodes[0].domain, member(wire, corp)
    own = ann.here.own
    boot = own.boot if what == "boot" else eve.boot
    public = {"boot": eve.card.public, "key": own.card.public, "no key": bytes(32)}[what]
    der = eve.identity.certificate.der
    signature = eve.identity.private.sign(card_to_sign(CONTEXT, der, boot, 0, public))
    card = Card.pack(der, boot, 0, public, signature)
    body = Probe(ANY_MOUNT, "", bytes(16), 5000, False, card).pack()
    id = card.mount(CONTEXT)
    header = pack_header(Kind.PROBE, id, 1)
    wire.post(
        Packet(50, 1, seal(KEY.group_cipher(CONTEXT, id), KEY.mask(CONTEXT), header, b"salt", body))
    )
    wire.run(0.1)
    reason = Reason.CARD_MALFORMED if what == "no key" else Reason.CARD_OWN
    assert ann.drops[reason] == 1
    assert not ann.here.table.claims
    assert not sent_to(wire, [50])


def test_one_host_heard_from_a_thousand_places_is_written_to_once(
    wire: Wire, corp: Corp, nodes: list[Node]
) -> None:
    """Somebody without a key has each place say what eve says to all, all new."""
    ann = nodes[0]
    eve = wire.node(corp.admit("eve"), 4)
    wire.run(5)
    wire.log.clear()
    sources = range(100, 1100)
    for source in sources:
        wire.post(Packet(source, 1, hello(wire, eve.domain.here.own)))
    wire.run(3)
    # Each could be asked three times.
    assert 0 < sent_to(wire, sources) < 2 * limits.PROBES
    wire.log.clear()
    ann.write("eve", b"once")
    assert len(wire.log) == 1
    wire.run(0.1)
    assert eve.data == [b"once"]


def test_a_member_that_presents_ever_new_mounts_keeps_no_newcomer_out(
    wire: Wire, corp: Corp, nodes: list[Node]
) -> None:
    """Signed by its own certificate, and none of them ever answers."""
    identity = corp.admit("eve")

    def present(seconds: int) -> None:
        for _ in range(20 * seconds):
            own = Own(identity, CONTEXT, wire.now, wire.rng.randbytes)
            wire.post(Packet(wire.rng.randrange(1000, 60_000), None, hello(wire, own)))
            wire.run(0.05)

    present(20)
    dan = wire.node(corp.admit("dan"), 4)
    present(3)
    for node in nodes:
        assert node.knows("dan")
        assert dan.knows(node.domain.host)
    talk(wire, [*nodes, dan], "still")
    assert not missing([*nodes, dan], "still")


def test_the_mounts_of_one_host_are_limited(wire: Wire, corp: Corp, nodes: list[Node]) -> None:
    """One with a member file starts again and again, and never says BYE."""
    eve = corp.admit("eve")
    for number in range(2 * limits.MOUNTS_PER_HOST):
        wire.node(eve, 50 + number)
        wire.run(1)
        assert len(nodes[0].domain.here.table.mounts_of("eve")) <= limits.MOUNTS_PER_HOST
    assert len(nodes[0].domain.here.table.mounts_of("eve")) == limits.MOUNTS_PER_HOST
    assert nodes[0].domain.drops[Reason.LIMITED_MOUNTS] > 0
    dan = wire.node(corp.admit("dan"), 4)
    wire.run(5)
    assert nodes[0].knows("dan")
    assert dan.knows("ann")
    talk(wire, nodes, "still")
    assert not missing(nodes, "still")


def test_a_host_that_dies_and_starts_again_and_again_is_heard_each_time(
    wire: Wire, corp: Corp, nodes: list[Node]
) -> None:
    """It never says BYE. What has its address now is all that there can be of it."""
    ann, bob = nodes[:2]
    identity = bob.domain.identity
    for number in range(2 * limits.MOUNTS_PER_HOST):
        del wire.nodes[2]
        bob = wire.node(identity, 2)
        wire.run(2)
        bob.write("ann", b"%d" % number)
        wire.run(0.1)
        assert ann.data[-1:] == [b"%d" % number]
        assert len(ann.domain.here.table.mounts_of("bob")) == 1
        ann.write("bob", b"back")
        wire.run(0.1)
        assert bob.data == [b"back"]
        assert ann.gone[-1] == ("bob", "is lost")


def test_a_full_table_refuses_and_forgets_nobody(
    wire: Wire, corp: Corp, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PEERS", 10)
    for number in range(20):
        wire.node(corp.admit(f"host{number}"), 50 + number)
    wire.run(5)
    assert len(nodes[0].domain.here.table) == 10
    assert nodes[0].domain.drops[Reason.LIMITED_PEERS] > 0
    assert nodes[0].knows("bob")
    talk(wire, nodes, "still")
    assert not missing(nodes, "still")


def test_one_hello_under_many_names_takes_no_memory(
    wire: Wire, corp: Corp, nodes: list[Node]
) -> None:
    """A broker without any key repeats what it has heard, under senders that it invents."""
    datagram = hello(wire, Own(corp.admit("eve"), CONTEXT, wire.now, wire.rng.randbytes))
    ann = nodes[0].domain

    def repeat(first: int) -> None:
        for number in range(first, first + 5000):
            ann.receive(datagram, Way("broker", "url", host=f"host{number}"), wire.now)
            while ann.has_work:
                ann.work(wire.now)

    tracemalloc.start()
    try:
        repeat(0)
        before = tracemalloc.get_traced_memory()[0]
        repeat(5000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 1_000_000
    assert ann.here.table.claims <= 1
    assert ann.hosts() == ["bob", "cid"]
    talk(wire, nodes, "still")
    assert not missing(nodes, "still")


def test_what_is_held_is_limited_by_source_and_in_all(wire: Wire, nodes: list[Node]) -> None:
    cipher, mask = KEY.group_cipher(CONTEXT, b"somebody"), KEY.mask(CONTEXT)
    body = bytes([GroupType.MESSAGE]) + message(b"x").pack() + bytes(64)
    held = nodes[0].domain._hearing._held
    for source in (50, *range(51, 400)):
        for counter in range(100 if source == 50 else 1):
            header = pack_header(Kind.GROUP, b"somebody", counter)
            datagram = seal(cipher, mask, header, wire.rng.randbytes(4), body)
            wire.post(Packet(source, 1, datagram))
        wire.run(0.0011)
        assert len(held) <= (limits.HELD_PER_SOURCE if source == 50 else limits.HELD)
    assert len(held) > limits.HELD_PER_SOURCE
    talk(wire, nodes, "still")
    assert not missing(nodes, "still")
    wire.run(10)
    assert len(held) == 0


def test_a_member_who_floods_all_from_elsewhere_silences_nobody(
    wire: Wire, nodes: list[Node]
) -> None:
    ann, bob, cid = nodes
    for number in range(300):
        datagram = cid.domain.seal_for_domain(message(b"%d" % number), wire.now)
        wire.post(Packet(77, 1, datagram))
    bob.broadcast(b"bob is here")
    wire.run(0.002)
    flood = [data for host, data in ann.delivered if host == "cid"]
    assert 0 < len(flood) <= limits.GROUP_ELSEWHERE
    assert ann.domain.drops[Reason.LIMITED_GROUP] >= 300 - limits.GROUP_ELSEWHERE
    assert ("bob", b"bob is here") in ann.delivered


def test_a_flood_of_questions_cuts_nobody_off(
    wire: Wire, corp: Corp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with a member file has bob answer so many that he has none left for ann's."""
    monkeypatch.setattr(limits, "PROOFS", 10)
    ann, bob = (wire.node(corp.admit(name), n) for n, name in enumerate(("ann", "bob"), 1))
    wire.run(10)
    eve = member(wire, corp)
    for number in range(60):
        ann.write("bob", b"%d" % number)
        for _ in range(50):
            wire.post(Packet(wire.rng.randrange(1000, 60_000), 2, probe(wire, eve)))
            wire.run(0.01)
    assert ann.domain.counts["probe_unanswered"] > 0
    assert bob.data == [b"%d" % number for number in range(60)]


# ---- a group that goes one way, after a while ----


def test_multicast_that_ends_on_one_side_is_gone_round(wire: Wire, nodes: list[Node]) -> None:
    """Nobody is told so. A host that hears no HELLO any more says it to the other end."""
    ann, bob, cid = nodes
    talk(wire, nodes, "before")
    assert not missing(nodes, "before")
    assert ann.domain.beyond_group() == []
    bob.hears_group = False
    wire.run(limits.GROUP_SILENCE + 40)
    assert bob.gone == []
    assert ann.gone == []
    ann.broadcast(b"to all")
    wire.run(0.1)
    assert bob.data[-1] == b"to all"
    assert cid.data.count(b"to all") == 1
    # Once it comes again the copy is left out.
    bob.hears_group = True
    wire.run(limits.GROUP_SILENCE + 80)
    ann.broadcast(b"again")
    wire.run(0.1)
    assert bob.data.count(b"again") == 1


# ---- a way that is dead ----


def test_who_is_written_to_in_vain_is_looked_for_within_seconds(
    wire: Wire, nodes: list[Node]
) -> None:
    """It has another address, and its next HELLO is twenty seconds away."""
    ann, bob = nodes[:2]
    wire.nodes[9] = wire.nodes.pop(bob.address)
    bob.address = 9
    began = wire.now
    while wire.now - began < 10:
        ann.write("bob", b"at %d" % (wire.now - began))
        wire.run(0.5)
    assert bob.data[-1] == b"at 9"


def test_a_way_that_was_shut_for_long_is_used_as_soon_as_it_is_open(
    wire: Wire, nodes: list[Node]
) -> None:
    """Nothing of ann's reaches bob but by multicast, so she asks in vain, and ever less often."""
    ann, bob = nodes[:2]
    wire.weather = lambda packet: [0.001] if (packet.source, packet.destination) != (1, 2) else []
    began = wire.now
    while wire.now - began < 900:
        ann.write("bob", b"in vain")
        wire.run(7)
    assert b"in vain" not in bob.data
    wire.weather = lambda _: [0.001]
    for number in range(6):
        ann.write("bob", b"%d" % number)
        wire.run(0.5)
    assert bob.data[-1] == b"5"


def test_what_is_overtaken_by_another_way_is_not_lost(wire: Wire, nodes: list[Node]) -> None:
    """Thousands wait in the socket of the way before; what comes by the new one is read first."""
    ann, bob = nodes[:2]
    for delay in (1.0, 0.001):
        wire.weather = lambda _, delay=delay: [delay]  # type: ignore[misc]
        for number in range(5000):
            ann.write("bob", b"%d by %f" % (number, delay))
    wire.run(2)
    assert len(bob.data) == len(set(bob.data)) == 10_000
    assert bob.data[0] == b"0 by 0.001000"


# ---- snapshots ----


def test_two_copies_of_a_mount_become_two_mounts(wire: Wire, corp: Corp) -> None:
    ann = wire.node(corp.admit("ann"), 1)
    identity = corp.admit("bob")
    copies = []
    for address in (2, 3):  # the second as from a snapshot: the same boot and keys, early counters
        wire.rng.seed(7)
        copies.append(wire.node(identity, address))
        if address == 2:
            wire.run(10)
    first, second = copies
    assert first.domain.here.own.mount == second.domain.here.own.mount
    assert first.domain.here.own.card.raw == second.domain.here.own.card.raw
    assert second.domain.here.own.counter < first.domain.here.own.counter
    wire.run(100)
    assert first.domain.here.own.mount != second.domain.here.own.mount
    assert first.domain.here.own.boot != second.domain.here.own.boot
    assert second.domain.counts["clone"] == 1
    for number, copy in enumerate(copies):
        copy.write("ann", b"%d" % number)
    wire.run(1)
    ann.write("bob", b"both")
    wire.run(1)
    assert ann.delivered == [("bob", b"0"), ("bob", b"1")]
    assert first.data == second.data == [b"both"]


# ---- the X25519 key ----


def cards_in(log: list[Packet]) -> set[Card]:
    """All cards that every member could read."""
    mask, cards = KEY.mask(CONTEXT), set()
    for packet in log:
        header = unmask(mask, packet.datagram)
        if header is None or header.kind is Kind.PAIR:
            continue
        try:
            body = open_body(KEY.group_cipher(CONTEXT, header.id), header, packet.datagram)
            if header.kind is Kind.PROBE:
                cards.add(Probe.parse(body).card)
            elif header.kind is Kind.PROOF:
                cards.add(Proof.parse(body).card)
            elif body[0] == GroupType.HELLO:
                cards.add(Card.read(Reader(body[1:])))
        except Refused:
            continue
    return cards


def opens(own: Own, cards: set[Card], recorded: bytes) -> bool:
    """Whether who has the domain's key, all cards, and all that a mount keeps, can read it."""
    header = unmask(KEY.mask(CONTEXT), recorded)
    assert header is not None
    assert header.kind is Kind.PAIR
    certificate = own.identity.certificate
    mine = [card for card in cards if card.mount(CONTEXT) == own.mount]
    for n, private in own.privates.items():
        for card in cards - set(mine):
            other = Mount(b"", certificate, card, card.hash, 0)
            secret = exchange(private, card.public)
            for ours in mine:
                pair = other.derive(KEY, CONTEXT, n, ours.hash, secret)
                for cipher in (pair.in_cipher, pair.out_cipher):
                    try:
                        open_body(cipher, header, recorded)
                    except Refused:
                        continue
                    return True
    return False


def test_many_hosts_are_found_one_after_the_other(wire: Wire, corp: Corp) -> None:
    """A search is one question to the group, and one to the way that it was answered from."""
    ann = wire.node(corp.admit("ann"), 0, says_hello=False)
    names = [f"host{number}" for number in range(1, 40)]
    for number, name in enumerate(names, start=1):
        wire.node(corp.admit(name), number, says_hello=False)
    for name in names:
        ann.domain.seek(name, wire.now, 0)
        ann.write(name, b"hello")
        wire.run(0.01)
        assert ann.knows(name)
    wire.run(0.1)
    assert sum(packet.source == 0 and packet.destination is None for packet in wire.log) == 39
    assert [len(node.delivered) for node in wire.nodes.values()] == [0] + [1] * 39


@pytest.mark.parametrize("says_hello", [True, False])
def test_what_was_recorded_cannot_be_read_after_55_minutes(
    wire: Wire, corp: Corp, says_hello: bool
) -> None:
    ann = wire.node(corp.admit("ann"), 1, says_hello=says_hello)
    bob = wire.node(corp.admit("bob"), 2, says_hello=says_hello)
    if not says_hello:
        ann.domain.seek("bob", wire.now, 1000)
    wire.run(5)
    wire.log.clear()
    ann.write("bob", b"secret")
    (recorded,) = [packet.datagram for packet in wire.log]
    wire.run(1)
    wire.log.clear()
    said, cards = 1, set[Card]()
    for node in (ann, bob):  # so that all cards are on the wire, whether they say HELLO or not
        wire.post(Packet(node.address, 99, hello(wire, node.domain.here.own)))
    cards |= cards_in(wire.log)
    assert opens(ann.domain.here.own, cards, recorded)
    assert opens(bob.domain.here.own, cards, recorded)
    while wire.now < 1000 + 57 * 60:
        ann.write("bob", b"%d" % said)
        said += 1
        wire.run(20)
        cards |= cards_in(wire.log)
        wire.log.clear()
    assert {card.n for card in cards} == {0, 1}
    for node in (ann, bob):
        assert list(node.domain.here.own.privates) == [1]
        assert not opens(node.domain.here.own, cards, recorded)
    assert len(bob.data) == len(set(bob.data)) == said  # and nothing was lost meanwhile
    assert not ann.gone
    assert not bob.gone
