"""What an adversary does to break one rule, step by step. Where the rule holds, nothing breaks.

Each scene is on a network that does what it is told. The promises are those of hostile.World.
"""

import os
from collections.abc import Callable
from dataclasses import replace

from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import ANY_MOUNT, Card, GroupType, Probe, Proof, proof_to_code
from msfs_fuse.net.trust.mounts import Mount, Pair, exchange
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.wire import Kind, open_body, unmask
from tests.support.hostile import BAD, CONTEXT, IDENTITIES, MASK, RELAY, Broken, World, corp
from tests.support.trust import KEY, Corp, Node, Packet, way_of

Filter = Callable[[Packet], bool]

ANN, BOB = 1, 2

STRANGERS = Corp("strangers")


class Stage(World):
    """Ann and bob, both settled for a while, and eve who has a member file and hears all.

    Attributes:
        stop: which packets are not to arrive. They are kept in `stopped`.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self.stop: Filter = lambda packet: False
        self.stopped: list[Packet] = []
        self._given: Packet | None = None
        del self.wire.nodes[self.nodes.pop("cid").address]
        self.wire.run(8)
        self.recorded.clear()

    def _weather(self, packet: Packet) -> list[float]:
        assert self.insider is not None
        self.insider.hear(packet.datagram)
        self.recorded.append(packet)
        if packet is not self._given and self.stop(packet):
            self.stopped.append(packet)
            return []
        return [0.001]

    @property
    def ann(self) -> Node:
        return self.nodes["ann"]

    @property
    def bob(self) -> Node:
        return self.nodes["bob"]

    def start(self, host: str) -> None:
        """Start a host again; it says nothing when it ends."""
        self._start(host, self.nodes[host].address)

    def forget(self, node: Node, host: str) -> None:
        """Have a host forget another one, and its window."""
        for mount in node.domain.here.table.mounts_of(host):
            node.domain.here.part(mount, "is lost")
        node.domain.here.table.sweep(self.wire.now, 0.0)

    def give(self, node: Node, datagram: bytes, source: int) -> None:
        """Have a datagram arrive there now, whatever else is stopped."""
        packet = Packet(source, node.address, datagram)
        self._given = packet
        self.wire.post(packet)
        self.wire.run(0.005)

    def eve(self) -> Own:
        """A start of eve's host."""
        return Own(IDENTITIES["eve"], CONTEXT, self.wire.now, os.urandom)

    def card_of_eve(self) -> Card:
        return self.eve().card

    def ask(self, host: str, other: str) -> None:
        """Have a host ask another one where it is."""
        node, there = self.nodes[host], way_of(self.nodes[other].address)
        (mount,) = node.domain.here.table.mounts_of(other)
        node.domain._handshake.ask(there, self.wire.now, to_mount=mount.id)

    def card_of(self, node: Node) -> Card:
        return node.domain.here.own.card

    def say(self, host: str, other: str) -> None:
        """Write to another host; or, without one, to all."""
        if other:
            self.write(host, other)
        else:
            self.broadcast(host)

    def forge(self, kind: Kind, card: Card, body: bytes) -> bytes:
        """A datagram in the name of the mount of that card, as any member can make it."""
        assert self.insider is not None
        return self.insider.forge(kind, card.mount(CONTEXT), 1 << 40, body)

    def expect_contact(self) -> None:
        """Each gets what the other one writes."""
        for host, other in (("ann", "bob"), ("bob", "ann")):
            data = self.write(host, other)
            self.wire.run(0.01)
            if not self.delivered[other, data]:
                raise Broken(f"{other} does not get what {host} writes")
            data = self.broadcast(host)
            self.wire.run(0.01)
            if not self.delivered[other, data]:
                raise Broken(f"{other} does not get what {host} writes to all")


def opened(datagram: bytes) -> tuple[Kind, bytes]:
    """What a member reads in a datagram; nothing in what is for one mount alone."""
    header = unmask(MASK, datagram)
    assert header is not None
    if header.kind is Kind.PAIR:
        return header.kind, b""
    return header.kind, open_body(KEY.group_cipher(CONTEXT, header.id), header, datagram)


def is_kind(kind: Kind, source: int, destination: int | None) -> Filter:
    def fits(packet: Packet) -> bool:
        where = (packet.source, packet.destination)
        return where == (source, destination) and opened(packet.datagram)[0] is kind

    return fits


# ---- freshness ----


def an_old_message_after_a_start() -> None:
    """What was sealed before a host began is repeated once it has proven the sender."""
    stage = Stage()
    stage.broadcast("bob")
    stage.wire.run(0.01)
    old = stage.recorded[-1].datagram
    stage.wire.run(2)
    stage.start("ann")
    stage.wire.run(0.5)
    stage.give(stage.ann, old, BOB)
    stage.expect_contact()


def an_old_message_after_forgetting() -> None:
    """A host that has forgotten a window is shown what it had delivered before."""
    stage = Stage()
    stage.broadcast("bob")
    stage.wire.run(0.01)
    old = stage.recorded[-1].datagram
    stage.forget(stage.ann, "bob")
    for _ in range(3):
        stage.give(stage.ann, old, BOB)
        stage.wire.run(1)
    stage.wire.run(30)
    stage.expect_contact()


def an_answer_from_before_forgetting() -> None:
    """An answer to a question of before comes after it, and allows what was delivered by then."""
    stage = Stage()
    stage.stop = is_kind(Kind.PROOF, BOB, ANN)
    stage.ask("ann", "bob")
    stage.wire.run(0.01)
    (late,) = stage.stopped
    stage.broadcast("bob")
    stage.wire.run(0.01)
    old = stage.recorded[-1].datagram
    stage.forget(stage.ann, "bob")
    stage.stop = lambda packet: False
    stage.give(stage.ann, late.datagram, BOB)
    stage.give(stage.ann, old, BOB)
    stage.wire.run(30)
    stage.expect_contact()


def a_message_that_waits_for_its_receiver() -> None:
    """It is written before the receiver began, and sealed after that: it may be delivered."""
    stage = Stage()
    stage.forget(stage.bob, "ann")
    stage.stop = lambda packet: ANN in (packet.source, packet.destination)
    stage.bob.domain.seek("ann", stage.wire.now, 1000)
    data = stage.write("bob", "ann")
    stage.wire.run(0.1)
    stage.start("ann")
    stage.stop = lambda packet: False
    stage.wire.run(1)
    if not stage.delivered["ann", data]:
        raise Broken("what was written while a host was looked for is lost")


def an_answer_in_anothers_name() -> None:
    """Eve answers ann's question to bob before he does, and has her take whatever is old."""
    stage = Stage()
    stage.broadcast("bob")
    stage.wire.run(0.01)
    old = stage.recorded[-1].datagram
    stage.bob.domain.hello(stage.wire.now)
    stage.wire.run(0.01)
    hello = stage.recorded[-1].datagram
    stage.wire.run(6)
    stage.stop = lambda packet: BOB in (packet.source, packet.destination)
    stage.start("ann")
    stage.give(stage.ann, hello, BOB)
    last = [packet for packet in stage.stopped if packet.source == ANN][-1]
    asked = Probe.parse(opened(last.datagram)[1])
    ann, bob = stage.card_of(stage.ann), stage.card_of(stage.bob)
    proof = Proof(asked.nonce, ann.mount(CONTEXT), bytes(16), 0, 0, bytes(18), True, bob)
    stage.give(stage.ann, stage.forge(Kind.PROOF, bob, proof.pack() + bytes(16)), BOB)
    stage.give(stage.ann, old, BOB)
    stage.stop = lambda packet: False
    stage.wire.run(5)
    stage.expect_contact()


def a_question_that_is_changed_on_its_way() -> None:
    """Eve has ann seem to remember more than she does, so that bob allows what is old."""
    stage = Stage()
    stage.broadcast("bob")
    stage.wire.run(0.01)
    old = stage.recorded[-1].datagram
    stage.wire.run(2)
    stage.stop = lambda packet: (
        packet.destination is not None and opened(packet.datagram)[0] is Kind.PROBE
    )
    stage.start("ann")
    stage.bob.domain.hello(stage.wire.now)
    stage.wire.run(0.01)
    last = [packet for packet in stage.stopped if packet.source == ANN][-1]
    asked = Probe.parse(opened(last.datagram)[1])
    changed = asked._replace(age=5000).pack()
    stage.give(stage.bob, stage.forge(Kind.PROBE, asked.card, changed), ANN)
    stage.wire.run(0.01)
    stage.give(stage.ann, old, BOB)
    stage.stop = lambda packet: False
    stage.wire.run(5)
    stage.expect_contact()


# ---- nothing twice ----


def a_message_that_is_repeated() -> None:
    stage = Stage()
    for other in ("ann", ""):
        stage.say("bob", other)
        stage.wire.run(0.01)
        stage.give(stage.ann, stage.recorded[-1].datagram, BOB)
    stage.expect_contact()


def a_message_that_is_repeated_after_an_answer() -> None:
    """The answer tells of a counter below which nothing is taken; what is above may be old."""
    stage = Stage()
    for other in ("ann", ""):
        stage.say("bob", other)
        stage.wire.run(0.01)
        old = stage.recorded[-1].datagram
        stage.ask("ann", "bob")
        stage.wire.run(0.01)
        stage.give(stage.ann, old, BOB)
    stage.expect_contact()


def a_message_that_is_sealed_once_more() -> None:
    """Every member can take a message to all apart, and seal it with another counter."""
    stage = Stage()
    stage.broadcast("bob")
    stage.wire.run(0.01)
    body = opened(stage.recorded[-1].datagram)[1]
    stage.give(stage.ann, stage.forge(Kind.GROUP, stage.card_of(stage.bob), body), BOB)
    stage.expect_contact()


# ---- who it is ----


def a_card_in_anothers_name() -> None:
    """It has bob's certificate, his boot, and a key of eve's."""
    stage = Stage()
    bob, public = stage.card_of(stage.bob), stage.card_of_eve().public
    card = Card.pack(bob.certificate, bob.boot, bob.n + 1, public, bytes(64))
    probe = Probe(ANY_MOUNT, "", bytes(16), 5000, True, card).pack()
    stage.give(stage.ann, stage.forge(Kind.PROBE, card, probe), BAD)
    stage.expect_contact()


def a_stranger_with_the_domains_key() -> None:
    """Another authority says that he is bob."""
    stage = Stage()
    own = IDENTITIES["ann"]
    false = replace(STRANGERS.admit("bob"), domain="corp", authority=own.authority)
    stage.stop = lambda packet: BOB in (packet.source, packet.destination)
    stage.forget(stage.ann, "bob")
    stage.wire.node(false, 7)
    stage.wire.run(3)
    if stage.ann.knows("bob"):
        raise Broken("a stranger is bob")


def a_host_of_another_domain() -> None:
    """The same authority and keys, but another domain: it is none of this one."""
    stage = Stage()
    stage.wire.sent = lambda node, datagram: None  # the counters of corp are not looked at
    stage.wire.node(replace(corp.admit("dan"), domain="lab"), 7)
    stage.wire.run(3)
    if stage.ann.knows("dan"):
        raise Broken("a host of another domain is there")


def a_card_that_was_replaced() -> None:
    """What bob said of himself an hour ago is repeated."""
    stage = Stage()
    stage.ask("bob", "ann")
    stage.wire.run(0.01)
    (old,) = filter(is_kind(Kind.PROBE, BOB, ANN), stage.recorded)
    stage.wire.run(limits.KEY_ROLL + limits.KEY_DELETE)
    (mount,) = stage.ann.domain.here.table.mounts_of("bob")
    n = mount.card.n
    stage.give(stage.ann, old.datagram, BOB)
    if n == 0 or mount.card.n < n:
        raise Broken("a card that was replaced counts again")
    stage.expect_contact()


def a_key_that_is_replaced() -> None:
    """Bob presents another key, and goes on with the former one for a minute, as he should."""
    stage = Stage()
    stage.wire.run(limits.KEY_ROLL - 10)
    for _ in range(30):
        stage.expect_contact()
        stage.wire.run(1)


# ---- ways ----


def a_source_that_has_not_answered() -> None:
    """A relay without any key forwards what bob says to all."""
    stage = Stage()
    stage.stop = lambda packet: packet.destination is None
    stage.broadcast("bob")
    stage.wire.run(0.01)
    stage.give(stage.ann, stage.stopped[-1].datagram, RELAY)
    stage.wire.run(5)
    stage.check_bounds()
    stage.stop = lambda packet: False
    stage.expect_contact()


def a_relay_that_was_there_first() -> None:
    """Only a relay connects them, and then they reach each other without it."""
    stage = Stage()
    stage.stop = lambda packet: RELAY not in (packet.source, packet.destination)
    stage.start("ann")

    def carry(packet: Packet) -> None:
        other = BOB if packet.source == ANN else ANN
        stage.wire.post(Packet(RELAY, other, packet.datagram))

    stage.wire.taps[RELAY] = carry
    stage.bob.domain.hello(stage.wire.now)
    stage.give(stage.ann, stage.stopped[-1].datagram, RELAY)
    stage.wire.run(1)
    if not stage.ann.knows("bob"):
        raise Broken("a relay is no way, though there is none but it")
    stage.check_bounds()
    stage.stop = lambda packet: False
    for node in (stage.ann, stage.bob):
        node.domain.hello(stage.wire.now)
        stage.wire.run(1)
    stage.check_bounds()
    before = stage.through_relay
    stage.expect_contact()
    if stage.through_relay != before:
        raise Broken("what is written goes by a relay")


def an_answer_that_comes_from_elsewhere() -> None:
    """Ann's last word of a handshake is taken away, and comes from a relay."""
    stage = Stage()
    stage.stop = is_kind(Kind.PAIR, ANN, BOB)
    stage.ask("ann", "bob")
    stage.wire.run(0.01)
    (done,) = stage.stopped
    stage.give(stage.bob, done.datagram, RELAY)
    stage.check_bounds()
    stage.stop = lambda packet: False
    stage.expect_contact()


def another_one_at_the_address() -> None:
    """Bob has moved, and eve, who has his address now, answers what is asked there."""
    stage = Stage()
    bob, eve = stage.bob, stage.eve()
    stage.stop = lambda packet: packet.source == 9 and packet.destination is None
    del stage.wire.nodes[BOB]
    bob.address, stage.wire.nodes[9] = 9, bob

    def answer(packet: Packet) -> None:
        kind, body = opened(packet.datagram)
        if kind is Kind.PROBE:
            asked = Probe.parse(body)
            to = asked.card.mount(CONTEXT)
            proof = Proof(asked.nonce, to, bytes(16), 0, 0, bytes(18), True, eve.card).pack()
            code = pair_of(eve, asked.card).code(proof_to_code(body, proof))
            sealed = eve.seal_for_all(Kind.PROOF, proof + code, stage.wire.now)
            stage.wire.post(Packet(BOB, packet.source, sealed))

    stage.wire.taps[BOB] = answer
    data = b""
    for _ in range(20):
        data = stage.write("ann", "bob")
        stage.wire.run(0.5)
    if not stage.delivered["bob", data]:
        raise Broken("bob is not looked for")


def pair_of(own: Own, card: Card) -> Pair:
    """The keys that a mount shares with that of a card."""
    certificate = own.identity.authority.certify(card.certificate)
    other = Mount(b"", certificate, card, card.hash, 0)
    secret = exchange(own.privates[0], card.public)
    return other.derive(KEY, CONTEXT, 0, own.hashes[0], secret)


def who_has_left() -> None:
    """A HELLO that was kept back arrives after the BYE."""
    stage = Stage()
    stage.stop = lambda packet: True
    stage.bob.domain.hello(stage.wire.now)
    hello = stage.stopped[-1].datagram
    stage.stop = lambda packet: False
    stage.bob.send_to_group(stage.bob.domain.seal_bye(stage.wire.now))
    stage.wire.run(0.01)
    stage.stop = lambda packet: packet.source == BOB
    stage.give(stage.ann, hello, BOB)
    if stage.ann.knows("bob"):
        raise Broken("who has left is there again")


# ---- what it costs ----


def a_question_with_a_false_source() -> None:
    """What comes back to a place that nobody has answered from is no more than what was asked."""
    stage = Stage()
    stage.ask("ann", "bob")
    stage.wire.run(0.01)
    (asked,) = filter(is_kind(Kind.PROBE, ANN, BOB), stage.recorded)
    (answer,) = filter(is_kind(Kind.PROOF, BOB, ANN), stage.recorded)
    if len(answer.datagram) > len(asked.datagram):
        raise Broken("an answer is longer than its question")


def a_source_that_never_answers() -> None:
    """Eve presents a mount again and again, from where nobody is."""
    stage = Stage()
    eve = stage.eve()
    for _ in range(600):
        hello = eve.seal_signed(bytes([GroupType.HELLO]) + eve.card.raw, stage.wire.now)
        stage.give(stage.ann, hello, BAD)
        stage.wire.run(0.1)
    asked = sum(map(is_kind(Kind.PROBE, ANN, BAD), stage.recorded))
    if asked > 20:
        raise Broken(f"{asked} questions in a minute to who never answers")


def a_message_before_any_hello() -> None:
    """It is the first that a host hears of another one."""
    stage = Stage()
    stage.stop = lambda packet: True
    stage.start("ann")
    stage.wire.run(3)
    stage.stop = lambda packet: False
    data = stage.broadcast("bob")
    stage.wire.run(0.05)
    if not stage.delivered["ann", data]:
        raise Broken("what comes before the first HELLO is lost")


SCENES: tuple[Callable[[], None], ...] = (
    an_old_message_after_a_start,
    an_old_message_after_forgetting,
    an_answer_from_before_forgetting,
    a_message_that_waits_for_its_receiver,
    an_answer_in_anothers_name,
    a_question_that_is_changed_on_its_way,
    a_message_that_is_repeated,
    a_message_that_is_repeated_after_an_answer,
    a_message_that_is_sealed_once_more,
    a_card_in_anothers_name,
    a_stranger_with_the_domains_key,
    a_host_of_another_domain,
    a_card_that_was_replaced,
    a_key_that_is_replaced,
    a_source_that_has_not_answered,
    a_relay_that_was_there_first,
    an_answer_that_comes_from_elsewhere,
    another_one_at_the_address,
    who_has_left,
    a_question_with_a_false_source,
    a_source_that_never_answers,
    a_message_before_any_hello,
)
