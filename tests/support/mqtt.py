"""Hosts without mounts that meet at a broker: a router with real transports in this process."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from msfs_fuse.core.slot import Sender
from msfs_fuse.net.member import Member
from msfs_fuse.net.mqtt.dial import load_login
from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.mqtt.transport import MqttTransport
from msfs_fuse.net.router import DomainRouter
from msfs_fuse.net.transport import Transport
from tests.support.counters import total
from tests.support.trust import Corp

Carry = Callable[[trio.SocketStream, trio.SocketStream], Awaitable[None]]
"""Carries one direction of a connection from the first stream to the second, to its end."""

CORP = Corp()
SENDER = Sender("ignored", 1000, 42)
PATIENCE = 40.0


def broker_at(url: str, **options: Any) -> BrokerSettings:
    """A broker's settings."""
    return BrokerSettings(url=url, **options)


def mqtt(host: str, url: str, **options: Any) -> MqttTransport:
    """A transport of that host by that broker."""
    broker = broker_at(url, **options)
    return MqttTransport("corp", host, broker, load_login(broker))


class Host:
    """A member of the domain `corp`, and what it gets.

    Attributes:
        has_slot: whether it has any slot.
    """

    def __init__(
        self, name: str, *transports: Transport, corp: Corp = CORP, says_hello: bool = True
    ) -> None:
        self.name = name
        self.transports = transports
        self.member = Member(corp.admit(name), transports, says_hello=says_hello)
        self.router = DomainRouter([self.member])
        self.has_slot = True
        self.delivered: list[bytes] = []
        self.senders: list[str] = []
        self.arrived_at: dict[bytes, float] = {}

    @property
    def state(self) -> str:
        """Of the first link."""
        return self.router.links()[0].state

    def count(self, name: str, **labels: str) -> float:
        """The sum of what it has counted under that name."""
        return total(self.router, name, **labels)

    def deliver(
        self, path: tuple[str, ...], data: bytes, sender: Sender, sent_at: int
    ) -> tuple[int, int]:
        self.delivered.append(data)
        self.senders.append(sender.host)
        self.arrived_at[data] = time.monotonic()
        return 1, 0

    def send(self, to: str, data: bytes) -> None:
        route = self.router.route(to)
        assert route is not None, to
        route.send(("slot",), data, SENDER, time.time_ns())


@asynccontextmanager
async def serving(host: Host, *, up: bool = True) -> AsyncIterator[Host]:
    """A host at work.

    Args:
        up: wait until its links are.
    """
    async with trio.open_nursery() as nursery:
        await host.router.start(nursery, host.deliver, lambda path: host.has_slot)
        if up:
            await eventually(lambda: all(link.is_up for link in host.router.links()))
        yield host
        nursery.cancel_scope.cancel()


async def eventually(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait for something to come true."""
    with trio.fail_after(patience):
        while not condition():
            await trio.sleep(0.002)


async def in_contact(one: Host, other: Host) -> None:
    """Wait until both can write to each other."""
    await eventually(lambda: one.router.route(other.name) and other.router.route(one.name))


@asynccontextmanager
async def relay(port: int, up: Carry, down: Carry) -> AsyncIterator[int]:
    """Relay connections to a broker on loopback; the port to connect to.

    Args:
        port: the broker's.
        up: what a client sends goes through it, from client to broker.
        down: likewise, from broker to client.

    A connection ends for both sides when either of them hangs up, in whatever way.
    """

    async def serve(client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", port)
        async with client, server, trio.open_nursery() as nursery:

            async def carry(how: Carry, source: trio.SocketStream, sink: trio.SocketStream) -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    await how(source, sink)
                nursery.cancel_scope.cancel()

            nursery.start_soon(carry, up, client, server)
            nursery.start_soon(carry, down, server, client)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()
