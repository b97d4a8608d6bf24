"""Members of a domain in one process: identities, and a network whose weather the test makes."""

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from msfs_fuse.net.trust import authority, identity
from msfs_fuse.net.trust.bodies import Message
from msfs_fuse.net.trust.domain import Domain
from msfs_fuse.net.trust.here import Heard
from msfs_fuse.net.trust.keys import DomainKey, Keys
from msfs_fuse.net.trust.mounts import Way

# When a wire begins: seconds since 1970, and the same by the monotonic clock.
WALL = 1_700_000_000.0
START = 1000.0
KEY = DomainKey(b"k" * 32, 1)


class Corp:
    """A domain's authority, in memory."""

    def __init__(self, name: str = "corp", keys: Keys = (KEY,)) -> None:
        self.name = name
        self.keys = keys
        # The same in all processes of a test.
        private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        builder = authority._builder(private.public_key(), name, name)
        self.signer = authority.Authority("", name, private, builder.sign(private, None))
        self.anchor = identity.Authority(self.signer.certificate, name)

    def admit(self, host: str, revoked: frozenset[int] = frozenset()) -> identity.Identity:
        """The identity of a host."""
        private = Ed25519PrivateKey.generate()
        issued = (
            authority._builder(private.public_key(), host, self.name)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host)]),
                critical=False,
            )
            .sign(self.signer.private, None)
        )
        certificate = self.anchor.certify(issued.public_bytes(Encoding.DER))
        return identity.Identity(self.name, private, certificate, self.anchor, self.keys, revoked)


def message(data: bytes, path: tuple[str, ...] = ("slot",), uid: int = 1000) -> Message:
    return Message(0, uid, 42, path, data)


def endpoint(number: int) -> bytes:
    """An address as it travels."""
    return number.to_bytes(18)


@dataclass
class Packet:
    """A datagram on its way."""

    source: int
    destination: int | None
    datagram: bytes


@dataclass(eq=False)
class Node:
    """One mount on the wire.

    Attributes:
        address: where it is now.
        delivered: hosts and data, in their order.
    """

    wire: "Wire"
    address: int
    delivered: list[tuple[str, bytes]] = field(default_factory=list)
    hears_group: bool = True
    slots: bool = True
    domain: Domain = field(init=False)
    gone: list[tuple[str, str]] = field(default_factory=list)

    # ---- Outlet ----

    def send(self, way: Way, datagram: bytes) -> None:
        assert isinstance(way.address, int)
        self.wire.sent(self, datagram)
        self.wire.post(Packet(self.address, way.address, datagram))

    def send_to_group(self, datagram: bytes) -> None:
        self.wire.sent(self, datagram)
        self.wire.post(Packet(self.address, None, datagram))

    def ask_host(self, host: str, datagram: bytes) -> None:
        self.send_to_group(datagram)

    def announce(self, seal: Callable[[], bytes]) -> None:
        self.send_to_group(seal())

    def deliver(self, heard: Heard) -> None:
        self.delivered.append((heard.host, heard.message.data))

    def has_slot(self, path: tuple[str, ...]) -> bool:
        return self.slots

    def is_ours(self, seen: bytes) -> bool:
        return seen == endpoint(self.address)

    def is_up(self, way: Way) -> bool:
        return True

    def appeared(self, host: str) -> None:
        pass

    def left(self, host: str, how: str) -> None:
        self.gone.append((host, how))

    def wake(self) -> None:
        pass

    # ---- what a test does ----

    def write(self, host: str, data: bytes) -> None:
        for ways, datagram in self.domain.seal_for_host(host, message(data), self.wire.now):
            self.send(ways[0], datagram)

    def broadcast(self, data: bytes) -> None:
        datagram = self.domain.seal_for_domain(message(data), self.wire.now)
        self.send_to_group(datagram)
        for way in self.domain.beyond_group():
            self.send(way, datagram)

    @property
    def data(self) -> list[bytes]:
        return [data for _, data in self.delivered]

    def knows(self, host: str) -> bool:
        return self.domain.knows(host)


def way_of(address: int) -> Way:
    return Way("wire", address, endpoint(address))


class Wire:
    """Moves datagrams between nodes, with a delay; what happens to each is up to `weather`.

    Attributes:
        weather: what becomes of a packet: the delays of its copies; none for one that is lost.
        log: all that was posted.
    """

    def __init__(self, seed: int = 0) -> None:
        self.now = START
        self.rng = random.Random(seed)
        self.nodes: dict[int, Node] = {}
        self.weather: Callable[[Packet], list[float]] = lambda _: [0.001]
        self.sent: Callable[[Node, bytes], None] = lambda node, datagram: None
        self.taps: dict[int, Callable[[Packet], None]] = {}
        self.log: list[Packet] = []
        self._queue: list[tuple[float, int, Packet]] = []
        self._serial = itertools.count()

    def node(self, identity: identity.Identity, address: int, *, says_hello: bool = True) -> Node:
        """Start a mount at an address."""
        node = Node(self, address)
        node.domain = Domain(
            identity,
            node,
            self.now,
            wall=lambda: WALL + self.now - START,
            random=self.rng.randbytes,
            says_hello=says_hello,
        )
        self.nodes[address] = node
        return node

    def post(self, packet: Packet) -> None:
        """Send a packet, by anybody, with any source."""
        self.log.append(packet)
        for delay in self.weather(packet):
            heapq.heappush(self._queue, (self.now + delay, next(self._serial), packet))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            times = [self._queue[0][0]] if self._queue else []
            timers = (node.domain.next_timer for node in self.nodes.values())
            times += [each for each in timers if each is not None]
            at = min(times, default=end)
            if at > end:
                break
            self.now = max(self.now, at)
            while self._queue and self._queue[0][0] <= self.now:
                self._arrive(heapq.heappop(self._queue)[2])
            for node in list(self.nodes.values()):
                node.domain.run_timers(self.now)
            self.work()
        self.now = end

    def work(self) -> None:
        for node in list(self.nodes.values()):
            while node.domain.work(self.now):
                pass

    def _arrive(self, packet: Packet) -> None:
        source = way_of(packet.source)
        for address, node in list(self.nodes.items()):
            if packet.destination == address:
                node.domain.receive(packet.datagram, source, self.now)
            elif packet.destination is None and node.hears_group and address != packet.source:
                node.domain.receive(packet.datagram, source, self.now, by_group=True)
        if packet.destination in self.taps:
            self.taps[packet.destination](packet)
        self.work()
