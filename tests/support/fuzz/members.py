"""Datagrams for a member: from outsiders, and from a member who signs and seals what he likes."""

import random

from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import ANY_MOUNT, Card, Done, GroupType, PairType, Probe, Proof
from msfs_fuse.net.trust.bodies import card_to_sign as to_sign
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.wire import MAX_BODY, SALT_SIZE, Kind, pack_header, seal
from tests.support.fuzz.mutate import mutate
from tests.support.trust import Corp, Node, Wire, message, way_of

VICTIM, OTHER, MEMBER = 1, 2, 3
_RECORDED = 400


class Members:
    """Two honest mounts, and a member who is proven and hostile."""

    name = "datagrams"

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._wire = Wire(rng.randrange(1 << 30))
        corp = Corp()
        self._context = b"\x04corp"
        self._victim, self._other, self._member = (
            self._wire.node(corp.admit(name), address)
            for name, address in (("ann", VICTIM), ("bob", OTHER), ("eve", MEMBER))
        )
        self._wire.run(5)
        self._other.write("ann", b"hello")
        self._other.broadcast(b"all")
        self._member.write("ann", b"hello")
        self._wire.run(1)
        self._recorded = [packet.datagram for packet in self._wire.log]
        self._bodies = self._valid_bodies()
        self._contents = [content for _, content in self._bodies]
        self._count = 0

    def _valid_bodies(self) -> list[tuple[Kind, bytes]]:
        card = self._member.domain.here.own.card
        probe = Probe(ANY_MOUNT, "ann", bytes(16), 5000, True, card)
        proof = Proof(bytes(16), bytes(8), bytes(16), 7, 5000, bytes(18), True, card, bytes(16))
        text = message(b"some text", ("dir", "slot")).pack()
        return [
            (Kind.GROUP, bytes([GroupType.HELLO]) + card.raw),
            (Kind.GROUP, bytes([GroupType.BYE])),
            (Kind.GROUP, bytes([GroupType.MESSAGE]) + text),
            (Kind.PROBE, probe.pack()),
            (Kind.PROOF, proof.pack() + proof.code),
            (Kind.PAIR, Done(bytes(16), 7, bytes(18), True).pack()),
            (Kind.PAIR, bytes([PairType.MESSAGE]) + text),
        ]

    def make(self) -> bytes:
        """The next datagram."""
        self._count += 1
        if self._count % 200 == 0:
            self._let_time_pass()
        chance = self._rng.random()
        if chance < 0.2:
            return mutate(self._rng, self._rng.choice(self._recorded), self._recorded)
        if chance < 0.5:
            return self._with_card()
        return self._sealed()

    def feed(self, datagram: bytes) -> None:
        """Have it arrive at the victim, who does all that it leads to."""
        way = way_of(self._rng.choice((MEMBER, OTHER, 4 + self._rng.randrange(100_000))))
        by_group = self._rng.random() < 0.5
        self._victim.domain.receive(datagram, way, self._wire.now, by_group=by_group)
        while self._victim.domain.work(self._wire.now):
            pass

    def _sealed(self) -> bytes:
        """Any content, sealed and signed as it has to be, by the member himself."""
        kind, valid = self._rng.choice(self._bodies)
        body = mutate(self._rng, valid, self._contents)[: MAX_BODY - 64]
        own, now = self._member.domain.here.own, self._wire.now
        if kind is Kind.GROUP:
            return own.seal_signed(body, now)
        if kind is not Kind.PAIR:
            return own.seal_for_all(kind, body, now)
        pairs = [
            pair
            for mount in self._member.domain.here.table.mounts_of("ann")
            for pair in mount.pairs.values()
        ]
        if not pairs:
            return self._rng.choice(self._recorded)
        return own.seal_pair(self._rng.choice(pairs), body, now)

    def _with_card(self) -> bytes:
        """A card of the member's with anything as certificate or key, signed as it has to be."""
        rng, identity, now = self._rng, self._member.domain.identity, self._wire.now
        valid = identity.certificate.der
        der = mutate(rng, valid, [valid])[:768] if rng.random() < 0.7 else valid
        own = Own(identity, self._context, now, rng.randbytes)
        public = rng.choice((own.card.public, bytes(32), rng.randbytes(32)))
        signature = identity.private.sign(to_sign(self._context, der, own.boot, 0, public))
        card = Card.pack(der, own.boot, 0, public, signature)
        id, key = card.mount(self._context), identity.keys[0]
        kind = rng.choice((Kind.GROUP, Kind.PROBE))
        header = pack_header(kind, id, rng.randrange(1 << 48))
        if kind is Kind.GROUP:
            content = bytes([GroupType.HELLO]) + card.raw
            signed = b"msfs2 group" + self._context + header + content
            body = content + identity.private.sign(signed)
        else:
            body = Probe(ANY_MOUNT, "", rng.randbytes(16), 5000, False, card).pack()
        cipher = key.group_cipher(self._context, id)
        mask = own.masks[key]
        return seal(cipher, mask, header, rng.randbytes(SALT_SIZE), body)

    def _let_time_pass(self) -> None:
        self._wire.run(self._rng.choice((0.1, 1.0, 1.0, 3.0, 40.0)))
        if not self._victim.knows("eve"):  # it has said that it leaves, among all that it says
            self._member.domain.restart(self._wire.now)
            self._wire.run(3)
        self._recorded += [packet.datagram for packet in self._wire.log[-20:]]
        del self._recorded[:-_RECORDED]
        self._wire.log.clear()
        for node in (self._victim, self._other, self._member):
            node.delivered.clear()
            node.gone.clear()
        if self._count % 20_000 == 0:
            self._check_honest()

    def _check_honest(self) -> None:
        """After all that, the two still talk."""
        self._wire.run(200)
        self._victim.delivered.clear()
        self._other.write("ann", b"still here")
        self._wire.run(3)
        assert ("bob", b"still here") in self._victim.delivered, "bob was silenced"

    def refused(self) -> dict[str, int]:
        """Why the victim dropped datagrams, and how many."""
        return dict(self._victim.domain.drops)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """How full each table of the victim is, and how full it may be."""
        node: Node = self._victim
        here, handshake = node.domain.here, node.domain._handshake
        hearing, table, questions = node.domain._hearing, here.table, handshake.questions
        return {
            "peers": (len(table) + len(table._gone), limits.PEERS),
            "claims": (table.claims, limits.CLAIMS),
            "certificates": (len(table._certificates), limits.CACHE),
            "pairs": (len(table._pairs), 16 * (limits.PEERS + limits.CLAIMS)),
            "jobs": (len(here.jobs) + len(here.steps), limits.JOBS),
            "held": (len(hearing._held), limits.HELD),
            "sources": (len(hearing._unknown_limit._sources), limits._SOURCES),
            "pending": (len(handshake._pending), limits.NONCES),
            "answers": (len(handshake._answers), limits.NONCES),
            "asked_by": (len(handshake._asked_by), limits.NONCES),
            "nonces": (len(questions._nonces), limits.NONCES),
            "pauses": (len(questions._pauses), limits.CLAIMS),
            "questions": (len(questions), limits.CLAIMS + limits.PEERS * limits.WAYS_PER_MOUNT),
            "timers": (len(here.timers._heap), 8 * (limits.CLAIMS + limits.PEERS)),
            "ways": (
                max((len(each.ways) for each in table), default=0),
                limits.WAYS_PER_MOUNT,
            ),
        }
