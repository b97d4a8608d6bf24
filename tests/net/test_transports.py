"""What every transport promises: the one in memory, UDP over loopback, MQTT by a broker."""

import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from msfs_fuse.core.errors import SlotError
from msfs_fuse.net.memory import Wire
from msfs_fuse.net.mqtt import connection as mqtt_client
from msfs_fuse.net.mqtt.dial import Login
from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.mqtt.transport import MqttTransport
from msfs_fuse.net.transport import QueueFull, Transport
from msfs_fuse.net.trust.mounts import Way
from msfs_fuse.net.udp import transport as udp
from msfs_fuse.net.udp.settings import UdpSettings
from msfs_fuse.net.udp.transport import UdpTransport
from tests.support.broker import free_port, mosquitto
from tests.support.counters import total
from tests.support.mqtt import CORP, SENDER, Host, in_contact, serving

NOBODY = Login(None, None, None)

# Long enough for loopback, in seconds; what is to come comes much sooner.
PATIENCE = 20


def free_ports(count: int) -> list[int]:
    return [free_port(socket.SOCK_DGRAM) for _ in range(count)]


def in_memory(count: int) -> list[Transport]:
    wire = Wire()
    return [wire.attach(str(number), queue_size=8) for number in range(count)]


def by_udp(count: int) -> list[Transport]:
    ports = free_ports(count)
    peers = tuple(f"127.0.0.1:{port}" for port in ports)
    return [
        UdpTransport(CORP.admit("a"), UdpSettings(port=port, peers=peers, multicast=False))
        for port in ports
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
        self.received_: list[tuple[bytes, Way]] = []
        self._news = trio.Event()

    def received(
        self,
        datagram: bytes,
        way: Way,
        *,
        by_group: bool = False,
    ) -> bool:
        self.received_.append((datagram, way))
        self._news.set()
        self._news = trio.Event()
        return True

    def changed(self) -> None:
        pass

    def lost(self, way: Way) -> None:
        pass

    async def take(self, count: int) -> list[tuple[bytes, Way]]:
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


async def test_an_answer_goes_where_a_datagram_came_from(make: Make) -> None:
    a, b = make(2)
    async with running([a, b]) as (at_a, at_b):
        b.send_to_domain(b"hello")
        way = next(w for data, w in await at_a.take(1) if data == b"hello")
        assert way.carrier is a
        assert str(way.address)
        a.send(way, b"direct")
        while b"direct" not in [data for data, _ in at_b.received_]:
            await at_b.take(len(at_b.received_) + 1)
        (back,) = {w for data, w in at_b.received_ if data == b"direct"}
        assert not isinstance(a, UdpTransport) or a.is_ours(back.seen) != b.is_ours(back.seen)


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
        monkeypatch.setattr(udp.UdpTransport, "_send", lambda *unused, **named: False)
    if isinstance(a, MqttTransport):
        monkeypatch.setattr(mqtt_client, "QUEUE_SIZE", 0)
    async with running([a, b]):
        with pytest.raises(QueueFull):  # noqa: PT012
            for _ in range(10_000):
                a.send_to_domain(b"x")
        assert total(a, "send_queue_full") > 0


# ---- routers on any transport ----


@asynccontextmanager
async def running_hosts(*hosts: Host) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for host in hosts:
            await stack.enter_async_context(serving(host))
        yield


async def test_hosts_find_each_other_and_part(make: Make) -> None:
    a, b = (Host(name, each) for name, each in zip("ab", make(2), strict=True))
    async with running_hosts(a, b):
        await eventually(lambda: a.router.route("b") and b.router.route("A"))
        assert (list(a.router.names()), list(b.router.names())) == (["corp", "b"], ["corp", "a"])
        assert [(each.domain, each.host) for each in a.router.heard()] == [("corp", "b")]
        assert a.router.route("a") is None
        assert a.router.is_this_host("A.corp")
        assert a.router.route("nobody") is None
        assert a.router.route("b.corp") is not None
        a.send("b", b"to b")
        await eventually(lambda: b.delivered)  # and what is sent to all has no order to that
        a.send("corp", b"to all")
        a.send("*", b"to the primary domain")
        await eventually(lambda: len(b.delivered) == 3)
        assert b.delivered == [b"to b", b"to all", b"to the primary domain"]
        assert b.senders == ["a"] * 3
        route = a.router.route("b")
        assert route is not None
        b.router.close()
        await eventually(lambda: a.router.route("b") is None)
        with pytest.raises(SlotError, match="No route to host"):
            route.send(("slot",), b"late", SENDER, 0)
        assert a.delivered == []


async def test_two_transports_deliver_once() -> None:
    first, second = in_memory(2), by_udp(2)
    a, b = (Host(name, *pair) for name, *pair in zip("ab", first, second, strict=True))
    async with running_hosts(a, b):
        await in_contact(a, b)
        a.send("b", b"one")
        await eventually(lambda: b.delivered)  # between the two there is no order
        a.send("corp", b"two")
        await eventually(lambda: b.count("dropped", reason="replayed") >= 1)
        assert b.delivered == [b"one", b"two"]


async def test_a_message_for_which_there_is_no_slot_costs_no_check(make: Make) -> None:
    a, b = (Host(name, each) for name, each in zip("ab", make(2), strict=True))
    b.has_slot = False
    async with running_hosts(a, b):
        await in_contact(a, b)
        a.send("corp", b"x")
        await eventually(lambda: b.count("no_slot"))
        assert b.delivered == []


async def test_a_source_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    (transport,) = in_memory(1)
    host = Host("a", transport)
    with caplog.at_level("INFO"):
        async with running_hosts(host):
            for source in ("x", "y"):
                for size in range(100):
                    host.member.received(bytes(size), Way(transport, source))
            for number in range(1000):
                host.member.received(b"", Way(transport, f"flood {number}"))
            assert host.count("dropped", reason="length") > 1000
    assert len([r for r in caplog.records if "dropped" in r.message]) == 256
    assert caplog.text.count("from x:") == 1


async def test_a_full_queue_is_an_error_of_the_write_only_if_nobody_gets_it() -> None:
    wire = Wire()
    host = Host("a", wire.attach("a", queue_size=100))
    wire.attach("b", queue_size=0)  # which nobody empties
    async with running_hosts(host):
        host.send("corp", b"comes back to ourselves at least")
        del wire.transports["a"]
        with pytest.raises(SlotError) as caught:
            host.send("corp", b"comes nowhere")
        wire.transports["a"] = host.transports[0]  # type: ignore[assignment]
    assert caught.value.errno == errno.ENOBUFS


async def test_what_some_interfaces_have_no_room_for_is_no_error_of_a_datagram_to_all() -> None:
    """Who tried again would have it delivered twice where there was room."""
    transport = UdpTransport(
        CORP.admit("a"),
        UdpSettings(
            port=free_ports(1)[0],
            peers=tuple(f"127.0.0.1:{port}" for port in free_ports(3)),
            multicast=False,
        ),
    )
    async with running([transport]):
        endpoint = next(iter(transport._static.endpoints()))
        for _ in range(udp.QUEUE_SIZE - 1):
            transport._enqueue(endpoint, bytes(64))
        transport.send_to_domain(bytes(64))  # room for one of three
        assert total(transport, "send_queue_full") == 2
        with pytest.raises(QueueFull):
            transport.send_to_domain(bytes(64))


async def test_what_one_of_two_mounts_has_no_room_for_is_no_error_of_the_write() -> None:
    wire = Wire()
    host = Host("a", wire.attach("a"))
    first, second = (Host("b", wire.attach(each, queue_size=8)) for each in ("b1", "b2"))
    async with running_hosts(host, first, second):
        domain = host.member.domain
        await eventually(lambda: len(domain.here.table.mounts_of("b")) == 2)
        for mount in domain:
            await eventually(mount.best_way)
        full = Way(host.transports[0], "b2")
        with suppress(QueueFull):
            while True:
                host.transports[0].send(full, bytes(64))
        host.send("b", b"to both")
        await eventually(lambda: first.delivered)
        await trio.testing.wait_all_tasks_blocked()
        assert (first.delivered, second.delivered) == ([b"to both"], [])


async def test_an_error_inside_does_not_end_the_mount(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (Host(name, each) for name, each in zip("ab", make(2), strict=True))

    def fail(*arguments: object) -> tuple[int, int]:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(b, "deliver", fail)
    async with running_hosts(a, b):
        await in_contact(a, b)
        a.send("corp", b"x")
        await eventually(lambda: "on purpose" in caplog.text)
        b.send("corp", b"alive")
        await eventually(lambda: a.delivered)


async def test_a_host_that_falls_silent_is_missed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    a, b = (Host(name, each) for name, each in zip("ab", in_memory(2), strict=True))
    async with running_hosts(a):
        async with running_hosts(b):
            await trio.sleep(300)  # seconds, that nobody waits for
            assert a.router.route("b") is not None  # for it says HELLO again and again
        await trio.sleep(60)  # it went without a BYE
        assert a.router.route("b") is not None
        await trio.sleep(45)
        assert a.router.route("b") is None
        assert list(a.router.names()) == ["corp"]


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


async def test_a_host_is_looked_for_when_it_is_asked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wire = Wire()
    a, b, c = (Host(name, wire.attach(name), says_hello=False) for name in "abc")
    async with running_hosts(a, b, c):
        await trio.sleep(60)
        assert [list(each.router.names()) for each in (a, b, c)] == [["corp"]] * 3
        a.send("b", b"at once")
        await trio.sleep(1)
        assert b.delivered == [b"at once"]
        assert list(a.router.names()) == ["corp", "b"]
        assert list(c.router.names()) == ["corp"]
        a.send("nobody", b"lost")
        await trio.sleep(5)
        assert a.router.route("nobody") is None
        assert a.count("queued_lost") == 1
        c.send("corp", b"to all")
        await trio.sleep(31)
        assert b.delivered[1:] == a.delivered == [b"to all"]
