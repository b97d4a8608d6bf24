"""A domain on a hostile network, step by step from a seed, and what must hold whatever happens.

Three honest hosts write to each other, restart, move and forget each other. Between them is
somebody who loses, doubles, delays, replays and relays datagrams, with any source, and who has the
member file of a fourth host.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Callable

from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import ANY_MOUNT, Card, GroupType, Message, Probe, Proof
from msfs_fuse.net.trust.domain import TooMany, Unknown
from msfs_fuse.net.trust.identity import Identity
from msfs_fuse.net.trust.keys import domain_context
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.wire import Header, Kind, Refused, open_body, pack_header, seal, unmask
from tests.support.trust import KEY, Corp, Node, Packet, Wire, message

HOSTS = ("ann", "bob", "cid")
RELAY, BAD = 900, 901

corp = Corp()
IDENTITIES = {host: corp.admit(host) for host in (*HOSTS, "eve")}
CONTEXT = domain_context("corp")
MASK = KEY.mask(CONTEXT)


class Broken(AssertionError):
    """A promise that was not kept."""


class Insider:
    """Who has the member file of `eve`, hears everything and may send anything."""

    def __init__(self, wire: Wire, rng: random.Random) -> None:
        self._wire = wire
        self._rng = rng
        self._identity: Identity = IDENTITIES["eve"]
        self.cards: list[Card] = []
        self.bodies: list[tuple[Header, bytes]] = []

    def hear(self, datagram: bytes) -> None:
        """Read what a member can read."""
        header = unmask(MASK, datagram)
        if header is None or header.kind is Kind.PAIR:
            return
        try:
            body = open_body(KEY.group_cipher(CONTEXT, header.id), header, datagram)
            if header.kind is Kind.PROBE:
                card = Probe.parse(body).card
            elif header.kind is Kind.PROOF:
                card = Proof.parse(body).card
            else:
                return
        except Refused:
            return
        if len(self.cards) < 200 and card not in self.cards:
            self.cards.append(card)
        if len(self.bodies) < 200:
            self.bodies.append((header, body))

    def forge(self, kind: Kind, id: bytes, counter: int, body: bytes) -> bytes:
        header = pack_header(kind, id, counter)
        cipher = KEY.group_cipher(CONTEXT, id)
        return seal(cipher, MASK, header, self._rng.randbytes(4), body)

    def attack(self) -> bytes | None:
        """Something that a member can make, and nobody should fall for."""
        rng = self._rng
        if not self.cards:
            return None
        card = rng.choice(self.cards)
        id = card.mount(CONTEXT)
        counter = rng.choice([0, 1, 5, 1000, (1 << 48) - 1])
        choice = rng.randrange(6)
        own = Own(self._identity, CONTEXT, self._wire.now, rng.randbytes)
        if choice == 0:  # in another's name, signed by nobody or by eve
            text = bytes([GroupType.MESSAGE]) + message(b"forged").pack()
            signature = self._identity.private.sign(text)
            return self.forge(Kind.GROUP, id, counter, text + signature)
        if choice == 1:
            return self.forge(Kind.GROUP, id, counter, bytes([GroupType.BYE]) + rng.randbytes(64))
        if choice == 2:  # another's card, a nonce of ours
            probe = Probe(ANY_MOUNT, "", rng.randbytes(16), 5000, True, card)
            return self.forge(Kind.PROBE, id, counter, probe.pack())
        if choice == 3 and self.bodies:  # an answer in another's name
            header, body = rng.choice(self.bodies)
            if header.kind is Kind.PROBE:
                asked = Probe.parse(body)
                proof = Proof(
                    asked.nonce,
                    header.id,
                    rng.randbytes(16),
                    0,
                    5000,
                    bytes(18),
                    True,
                    card,
                )
                return self.forge(Kind.PROOF, id, counter, proof.pack() + rng.randbytes(16))
            return None
        if choice == 4:  # one more mount of eve's, that leaves at once
            return own.seal_signed(bytes([GroupType.HELLO]) + own.card.raw, self._wire.now)
        return own.seal_for_all(
            Kind.PROBE,
            Probe(ANY_MOUNT, "", rng.randbytes(16), 5000, False, own.card).pack(),
            self._wire.now,
            1024,
        )


class World:
    """One run.

    Args:
        insider: whether there is one.
    """

    def __init__(self, seed: int, *, insider: bool = True) -> None:
        self.rng = random.Random(~seed)  # another one than the members have
        self.wire = Wire(seed)
        self.wire.weather = self._weather
        self.wire.sent = self._check_counter
        self.wire.taps[RELAY] = self._relay
        self.insider = Insider(self.wire, self.rng) if insider else None
        self.nodes: dict[str, Node] = {}
        self.started: dict[int, float] = {}
        self.sealed: dict[bytes, tuple[str, float]] = {}
        self.delivered: Counter[tuple[str, bytes]] = Counter()
        self.counters: dict[tuple[bytes, int], bytes] = {}
        self.calm = False
        self.blocked: set[tuple[int, int | None]] = set()
        self.recorded: list[Packet] = []
        self.through_relay = 0
        self._serial = 0
        for number, host in enumerate(HOSTS, 1):
            self._start(host, number)

    # ---- what happens ----

    def _start(self, host: str, address: int) -> None:
        old = self.nodes.get(host)
        if old is not None:
            del self.wire.nodes[old.address]
        node = self.wire.node(IDENTITIES[host], address)
        self.nodes[host] = node
        self._watch(host, node)

    def _watch(self, host: str, node: Node) -> None:
        start = self.wire.now
        begun = node.domain.restart

        def deliver(heard: "object") -> None:
            self._check_delivery(host, start_of(), heard)

        state = {"start": start}

        def start_of() -> float:
            return state["start"]

        def restart(now: float) -> None:
            state["start"] = now
            begun(now)

        node.deliver = deliver  # type: ignore[method-assign]
        node.domain.restart = restart  # type: ignore[method-assign]

    def _weather(self, packet: Packet) -> list[float]:
        if self.insider is not None:
            self.insider.hear(packet.datagram)
        if len(self.recorded) < 3000:
            self.recorded.append(packet)
        else:
            self.recorded[self.rng.randrange(3000)] = packet
        if (packet.source, packet.destination) in self.blocked:
            return []
        if self.calm:
            return [0.001]
        chance = self.rng.random()
        if chance < 0.1:
            return []
        if chance < 0.2:
            return [0.001, self.rng.uniform(0, 1)]
        if chance < 0.35:
            return [self.rng.choice([0.01, 0.2, 1.0, 4.0]) * self.rng.random()]
        return [0.001]

    def _relay(self, packet: Packet) -> None:
        """Between two hosts, for each in the other's place."""
        self.through_relay += 1
        if self.rng.random() < 0.5:
            return
        others = [node.address for node in self.nodes.values() if node.address != packet.source]
        source = RELAY if self.rng.random() < 0.7 else packet.source
        for other in others:
            self.wire.post(Packet(source, other, packet.datagram))

    def step(self) -> None:
        """Let something happen, and then some time pass."""
        rng = self.rng
        host = rng.choice(HOSTS)
        node = self.nodes[host]
        chance = rng.random()
        if chance < 0.35:
            self.write(host, rng.choice(HOSTS))
        elif chance < 0.5:
            self.broadcast(host)
        elif chance < 0.7:
            self.replay()
        elif chance < 0.82 and self.insider is not None:
            datagram = self.insider.attack()
            if datagram is not None:
                source = rng.choice([BAD, RELAY, *(each.address for each in self.nodes.values())])
                other = rng.choice([None, *(each.address for each in self.nodes.values())])
                self.wire.post(Packet(source, other, datagram))
        elif chance < 0.86:
            self._start(host, node.address)
        elif chance < 0.88:
            self._move(node)
        elif chance < 0.9:
            node.domain.restart(self.wire.now)
        elif chance < 0.92:
            node.send_to_group(node.domain.seal_bye(self.wire.now))
            self._start(host, node.address)
        elif chance < 0.94:
            self._forget(node)
        elif chance < 0.96:
            a, b = rng.sample([each.address for each in self.nodes.values()], 2)
            self.blocked ^= {(a, b)}
        self.wire.run(rng.choice([0.0, 0.002, 0.05, 0.5, 3.0]) * rng.random())
        if rng.random() < 0.01:
            self.wire.run(rng.uniform(20, 140))

    def _move(self, node: Node) -> None:
        del self.wire.nodes[node.address]
        node.address = self.rng.choice([n for n in range(1, 20) if n not in self.wire.nodes])
        self.wire.nodes[node.address] = node

    def _forget(self, node: Node) -> None:
        """As if it had not heard another one for long, and the sweep were due."""
        mounts = list(node.domain)
        if mounts:
            node.domain.here.part(self.rng.choice(mounts), "is lost")
            node.domain.here.table.sweep(self.wire.now, 0.0)

    def replay(self) -> None:
        """Send something old once more: from where it was, from us, or from another one."""
        rng = self.rng
        if not self.recorded:
            return
        recent = rng.random() < 0.5
        packet = rng.choice(self.recorded[-30:] if recent else self.recorded)
        addresses = [each.address for each in self.nodes.values()]
        source = rng.choice([packet.source, packet.source, RELAY, *addresses])
        self.wire.post(Packet(source, rng.choice(addresses), packet.datagram))

    def write(self, host: str, other: str) -> bytes:
        node = self.nodes[host]
        self._serial += 1
        data = b"%d" % self._serial
        with contextlib.suppress(Unknown, TooMany):
            for ways, datagram in node.domain.seal_for_host(
                other, self._message(host, data), self.wire.now
            ):
                node.send(ways[0], datagram)
        return data

    def _message(self, host: str, data: bytes) -> Message:
        """A message that notes when it is sealed, which may be later than it was written."""
        world = self

        class Noted(Message):
            def pack(self) -> bytes:
                world.sealed[data] = (host, world.wire.now)
                return super().pack()

        return Noted(*message(data))

    def broadcast(self, host: str) -> bytes:
        self._serial += 1
        data = b"%d" % self._serial
        self.sealed[data] = (host, self.wire.now)
        self.nodes[host].broadcast(data)
        return data

    # ---- what must hold ----

    def _check_counter(self, node: Node, datagram: bytes) -> None:
        """No counter of a mount comes twice, but in copies."""
        header = unmask(MASK, datagram)
        assert header is not None
        key = node.domain.here.own.mount, header.counter
        if self.counters.setdefault(key, datagram) != datagram:
            raise Broken(f"counter {header.counter} twice")

    def _check_delivery(self, host: str, start: float, heard: object) -> None:
        data = heard.message.data  # type: ignore[attr-defined]
        sender, sealed = self.sealed.get(data, ("nobody", 0.0))
        if heard.host != sender:  # type: ignore[attr-defined]
            raise Broken(f"{data!r} of {sender} is said to be of {heard.host}")  # type: ignore[attr-defined]
        self.delivered[host, data] += 1
        if self.delivered[host, data] > 1:
            raise Broken(f"{data!r} twice at {host}")
        if sealed < start:
            raise Broken(f"{data!r} is from before the start of {host}")

    def check_bounds(self) -> None:
        for node in self.nodes.values():
            table = node.domain.here.table
            eve = table.mounts_of("eve")
            if eve:
                raise Broken("eve was proven though she never answers")
            here = node.domain.here
            if table.claims > limits.CLAIMS or len(here.jobs) + len(here.steps) > limits.JOBS:
                raise Broken("a table over its bound")
            for mount in table:
                best = mount.best_way()
                is_direct = [state.direct for state in mount.ways.values()]
                if best is not None and any(is_direct) and not mount.ways[best].direct:
                    raise Broken("an indirect way though there is a direct one")
                for way, state in mount.ways.items():
                    if way.address in (RELAY, BAD) and state.direct:
                        raise Broken("a relay passes for a direct way")

    def check_recovery(self) -> None:
        """In good weather everybody hears everybody, directly, whatever went on before."""
        self.calm = True
        self.blocked.clear()
        self.wire.run(80)
        for _ in range(3):
            for _ in range(10):
                self.replay()
                if self.insider is not None and (datagram := self.insider.attack()):
                    self.wire.post(Packet(BAD, None, datagram))
                self.wire.run(0.1)
            self.wire.run(12)
        self.wire.taps[RELAY] = lambda packet: None
        before = self.through_relay
        for host in HOSTS:
            for other in HOSTS:
                if host != other:
                    data = self.write(host, other)
                    self.wire.run(1)
                    if not self.delivered[other, data]:
                        raise Broken(f"{other} does not get what {host} writes")
            data = self.broadcast(host)
            self.wire.run(1)
            for other in HOSTS:
                if other != host and not self.delivered[other, data]:
                    raise Broken(f"{other} does not get what {host} writes to all")
        if self.through_relay != before:
            raise Broken("what is written goes by a relay")


def run(seed: int, steps: int, *, recover: bool = True) -> World:
    """One run of so many steps.

    Raises:
        Broken: a promise was not kept.
    """
    world = World(seed)
    for number in range(steps):
        world.step()
        if number % 10 == 0:
            world.check_bounds()
    if recover:
        world.check_recovery()
    return world


def breaks(seeds: range, steps: int, trial: Callable[[int, int], World] = run) -> str:
    """What the first of these runs that breaks a promise says; empty if none does."""
    for seed in seeds:
        try:
            trial(seed, steps)
        except Broken as broken:
            return str(broken)
    return ""
