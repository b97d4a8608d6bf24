"""What every transport promises: the one in memory, UDP over loopback, MQTT by a broker."""

import errno
import socket
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from msfs_fuse.net.domain import Domain
from msfs_fuse.net.keyring import Key, Keyring

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.slot import Sender
from msfs_fuse.net.memory import Wire
from msfs_fuse.net.mqtt import connection as mqtt_client
from msfs_fuse.net.mqtt.dial import Login
from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.mqtt.transport import MqttTransport
from msfs_fuse.net.router import DomainRouter, Member
from msfs_fuse.net.transport import QueueFull, Transport, Unreachable
from msfs_fuse.net.udp import transport as udp
from msfs_fuse.net.udp.settings import UdpSettings
from msfs_fuse.net.udp.transport import UdpTransport
from tests.support.broker import mosquitto
from tests.support.counters import total

NOBODY = Login(None, None, None)
KEYS = Keyring((Key(b"k" * 32),))
SENDER = Sender("ignored", 1000, 42)
START = 1_700_000_000 * 10**9

# Long enough for loopback, in seconds; what is to come comes much sooner.
PATIENCE = 5


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def in_memory(count: int) -> list[Transport]:
    wire = Wire()
    return [wire.attach(str(number), queue_size=8) for number in range(count)]


def by_udp(count: int) -> list[Transport]:
    ports = free_ports(count)
    peers = tuple(f"127.0.0.1:{port}" for port in ports)
    return [
        UdpTransport("corp", UdpSettings(port=port, peers=peers, multicast=False)) for port in ports
    ]


Make = Callable[[int], list[Transport]]


def by_mqtt(url: str, count: int) -> list[Transport]:
    broker = BrokerSettings(url=url)
    return [MqttTransport("corp", name, broker, NOBODY) for name in "abc"[:count]]


@pytest.fixture(params=["memory", "udp", "mqtt"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes transports of the hosts a, b and c."""
    if request.param == "memory":
        yield in_memory
    elif request.param == "udp":
        yield by_udp
    else:
        with mosquitto(tmp_path / "broker") as broker:
            yield partial(by_mqtt, broker.url)


class Inbox:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.received_: list[tuple[bytes, Hashable]] = []
        self._news = trio.Event()

    def received(
        self,
        transport: Transport,
        datagram: bytes,
        source: Hashable,
        *,
        sender: str | None = None,
        stored: bool = False,
    ) -> bool:
        self.received_.append((datagram, source))
        self._news.set()
        self._news = trio.Event()
        return True

    def changed(self) -> None:
        pass

    def lost(self, transport: Transport, epoch: bytes) -> None:
        pass

    async def take(self, count: int) -> list[tuple[bytes, Hashable]]:
        with trio.fail_after(PATIENCE):
            while len(self.received_) < count:
                await self._news.wait()
        return self.received_


def is_up(transport: Transport) -> bool:
    link = transport.link()
    return link is None or link.is_up


async def eventually(condition: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.001)


@asynccontextmanager
async def running(transports: list[Transport]) -> AsyncIterator[list[Inbox]]:
    inboxes = [Inbox() for _ in transports]
    async with trio.open_nursery() as nursery:
        for transport, inbox in zip(transports, inboxes, strict=True):
            await nursery.start(transport.run, inbox)
        await eventually(lambda: all(map(is_up, transports)))
        yield inboxes
        nursery.cancel_scope.cancel()


async def test_to_the_domain(make: Make) -> None:
    transports = make(3)
    async with running(transports) as inboxes:
        transports[0].send_to_domain(b"to all")
        for inbox in inboxes[1:]:
            assert [data for data, _ in await inbox.take(1)] == [b"to all"]


async def test_a_host_is_reached_once_it_is_heard(make: Make) -> None:
    a, b = make(2)
    async with running([a, b]) as (at_a, at_b):
        assert not a.reaches("b")
        with pytest.raises(Unreachable):
            a.send_to_host("b", b"x")
        b.send_to_domain(b"hello")
        source = next(s for data, s in await at_a.take(1) if data == b"hello")
        a.heard("b", b"epoch", source)
        assert a.knows(b"epoch")
        assert a.reaches("B")
        a.send_to_host("B", b"direct")
        while b"direct" not in [data for data, _ in at_b.received_]:
            await at_b.take(len(at_b.received_) + 1)
        assert str(source)
        a.forget(b"epoch")
        assert not a.reaches("b")
        assert not a.knows(b"epoch")
        a.forget(b"epoch")


async def test_a_host_that_moves_and_one_that_changes_its_name(make: Make) -> None:
    a, b, c = make(3)
    async with running([a, b, c]) as (at_a, at_b, at_c):
        sources = []
        for number, transport in enumerate((b, c), 1):
            transport.send_to_domain(b"hello %d" % number)
            with trio.fail_after(PATIENCE):
                while not (found := [s for d, s in at_a.received_ if d == b"hello %d" % number]):
                    await trio.sleep(0.001)
            sources += found
        at_b.received_.clear()
        at_c.received_.clear()
        a.heard("bob", b"epoch", sources[0])
        a.heard("bob", b"epoch", sources[1])
        if not isinstance(a, MqttTransport):  # whose broker knows where a host is
            a.send_to_host("bob", b"moved")
            await at_c.take(1)
            assert at_b.received_ == []
        a.heard("cyd", b"epoch", sources[1])
        assert a.reaches("cyd")
        assert not a.reaches("bob")


async def test_what_is_sent_in_order_comes_in_order_and_whole(make: Make) -> None:
    a, b = make(2)
    async with running([a, b]) as (_, at_b):
        for number in range(100):
            a.send_to_domain(bytes([number]) * 1200)
            if number % 4 == 3:
                await at_b.take(number + 1)
        assert [data for data, _ in await at_b.take(100)] == [
            bytes([number]) * 1200 for number in range(100)
        ]


async def test_a_full_queue_is_told(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = make(2)
    if isinstance(a, UdpTransport):  # a socket that has no room
        monkeypatch.setattr(udp.UdpTransport, "_send", lambda self, endpoint, datagram: False)
    if isinstance(a, MqttTransport):
        monkeypatch.setattr(mqtt_client, "QUEUE_SIZE", 0)
    async with running([a, b]):
        with pytest.raises(QueueFull):  # noqa: PT012
            for _ in range(10_000):
                a.send_to_domain(b"x")
        assert total(a, "send_queue_full") > 0


# ---- routers on any transport ----


class Host:
    """A router, and what it delivers."""

    def __init__(self, name: str, *transports: Transport, skew: int = 0, start: int = 0) -> None:
        self.now = START + skew
        domain = Domain("corp", name, KEYS, (self.now + start) // 10**6)
        self.router = DomainRouter(name, [Member(domain, transports)], lambda: self.now)
        self.delivered: list[tuple[tuple[str, ...], bytes, Sender, int]] = []

    def deliver(
        self, path: tuple[str, ...], data: bytes, sender: Sender, sent_at: int
    ) -> tuple[int, int]:
        self.delivered.append((path, data, sender, sent_at))
        return 1, 0

    def send(self, to: str, data: bytes) -> None:
        route = self.router.route(to)
        assert route is not None
        route.send(("slot",), data, SENDER, self.now)


@asynccontextmanager
async def running_hosts(*hosts: Host) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for host in hosts:
            await nursery.start(host.router.run, host.deliver)
        await eventually(lambda: all(link.is_up for each in hosts for link in each.router.links()))
        yield
        nursery.cancel_scope.cancel()


async def test_hosts_find_each_other_and_part(make: Make) -> None:
    a, b = (Host(name, each) for name, each in zip("ab", make(2), strict=True))
    async with running_hosts(a, b):
        await eventually(lambda: a.router.route("b") and b.router.route("A"))
        assert (list(a.router.names()), list(b.router.names())) == (["corp", "b"], ["corp", "a"])
        assert [(each.domain, each.host) for each in a.router.heard()] == [("corp", "b")]
        assert a.router.route("a") is None
        assert a.router.route("nobody") is None
        a.send("b", b"to b")
        a.send("corp", b"to all")
        a.send("*", b"to the primary domain")
        await eventually(lambda: len(b.delivered) == 3)
        assert [data for _, data, _, _ in b.delivered] == [
            b"to b",
            b"to all",
            b"to the primary domain",
        ]
        assert b.delivered[0] == (("slot",), b"to b", Sender("a", 1000, 42), START)
        route = a.router.route("b")
        assert route is not None
        b.router.close()
        await eventually(lambda: a.router.route("b") is None)
        with pytest.raises(SlotError, match="No route to host"):
            route.send(("slot",), b"late", SENDER, START)
        assert a.delivered == []


async def test_two_transports_deliver_once() -> None:
    first, second = in_memory(2), by_udp(2)
    a, b = (Host(name, *pair) for name, *pair in zip("ab", first, second, strict=True))
    async with running_hosts(a, b):
        await eventually(lambda: all(each.reaches("b") for each in (first[0], second[0])))
        a.send("b", b"one")
        a.send("corp", b"two")
        await eventually(lambda: total(b.router, "dropped", reason="replayed") >= 2)
        assert [data for _, data, _, _ in b.delivered] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("skew", "arrives"), [(0, True), (59, True), (-59, True), (61, False), (-61, False)]
)
async def test_clocks_may_differ_by_a_minute(make: Make, skew: int, arrives: bool) -> None:
    """`start`: the receiver has been there for longer than the difference."""
    transports = make(2)
    a, b = Host("a", transports[0], skew=skew * 10**9), Host("b", transports[1], start=-120 * 10**9)
    async with running_hosts(b, a):
        a.send("corp", b"x")
        if arrives:
            await eventually(lambda: b.delivered)
        else:
            await eventually(lambda: total(b.router, "dropped", reason="stale") >= 2)
            assert b.delivered == []


async def test_a_clock_behind_is_not_heard_by_one_that_has_just_started(make: Make) -> None:
    transports = make(2)
    a, b = Host("a", transports[0], skew=-5 * 10**9), Host("b", transports[1])
    async with running_hosts(b, a):
        a.send("corp", b"early")
        await eventually(lambda: total(b.router, "dropped", reason="before_start") >= 1)
        assert b.delivered == []
        a.now = b.now = START + 6 * 10**9
        a.now -= 5 * 10**9
        a.send("corp", b"later")
        await eventually(lambda: b.delivered)
        assert [data for _, data, _, _ in b.delivered] == [b"later"]


async def test_a_source_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    (transport,) = in_memory(1)
    host = Host("a", transport)
    with caplog.at_level("INFO"):
        for source in ("x", "y"):
            for size in range(100):
                host.router.received(transport, bytes(size), source)
        for number in range(1000):
            host.router.received(transport, b"", f"flood {number}")
    assert len([r for r in caplog.records if "dropped" in r.message]) == 256
    assert caplog.text.count("from x:") == 1
    assert total(host.router, "dropped", reason="too_short") > 1000


async def test_a_full_queue_is_an_error_of_the_write() -> None:
    wire = Wire()
    host = Host("a", wire.attach("a"))
    full = wire.attach("b", queue_size=1)  # which nobody empties
    full.heard("x", b"x", "a")
    route = host.router.route("corp")
    assert route is not None
    host.send("corp", b"fits")
    with pytest.raises(SlotError) as caught:
        host.send("corp", b"does not")
    assert caught.value.errno == errno.ENOBUFS
    assert total(host.router, "send_queue_full") == 1


async def test_an_error_inside_does_not_end_the_mount(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    transports = make(2)
    a, b = Host("a", transports[0]), Host("b", transports[1])

    def fail(*arguments: object) -> tuple[int, int]:
        raise RuntimeError("on purpose")

    async with trio.open_nursery() as nursery:
        await nursery.start(b.router.run, fail)
        await nursery.start(a.router.run, a.deliver)
        await eventually(lambda: all(map(is_up, transports)))
        a.send("corp", b"x")
        await eventually(lambda: "on purpose" in caplog.text)
        b.send("corp", b"alive")
        await eventually(lambda: a.delivered)
        nursery.cancel_scope.cancel()


async def test_a_host_that_falls_silent_is_missed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    transports = in_memory(2)
    a, b = (Host(name, each) for name, each in zip("ab", transports, strict=True))
    async with trio.open_nursery() as nursery:
        await nursery.start(a.router.run, a.deliver)
        with trio.CancelScope():
            async with trio.open_nursery() as other:
                await other.start(b.router.run, b.deliver)
                await trio.sleep(300)  # seconds, that nobody waits for
                assert a.router.route("b") is not None  # for it says HELLO again and again
                other.cancel_scope.cancel()  # without a BYE
        await trio.sleep(60)
        assert a.router.route("b") is not None
        await trio.sleep(90)
        assert a.router.route("b") is None
        assert list(a.router.names()) == ["corp"]
        nursery.cancel_scope.cancel()


async def test_a_host_is_found_again_after_an_outage(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wire = Wire()
    a, b = (Host(name, wire.attach(name)) for name in "ab")
    async with running_hosts(a, b):
        await trio.sleep(1)
        wire.is_up = False
        await trio.sleep(200)
        assert a.router.route("b") is None
        wire.is_up = True
        await trio.sleep(40)
        assert a.router.route("b") is not None
        assert b.router.route("a") is not None
