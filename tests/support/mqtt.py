"""Hosts without mounts that meet at a broker: a router with real transports in this process."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from msfs_fuse.core.slot import Sender
from msfs_fuse.net.domain import Domain
from msfs_fuse.net.keyring import Key, Keyring
from msfs_fuse.net.mqtt.dial import load_login
from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.mqtt.transport import MqttTransport
from msfs_fuse.net.router import DomainRouter, Member
from msfs_fuse.net.transport import Transport
from tests.support.counters import total

KEYS = Keyring((Key(b"k" * 32),))
SENDER = Sender("ignored", 1000, 42)
PATIENCE = 5.0


def broker_at(url: str, **options: Any) -> BrokerSettings:
    """A broker's settings."""
    return BrokerSettings(url=url, **options)


def mqtt(host: str, url: str, **options: Any) -> MqttTransport:
    """A transport of that host by that broker."""
    broker = broker_at(url, **options)
    return MqttTransport("corp", host, broker, load_login(broker))


class Host:
    """A member of the domain `corp`, and what it gets.

    Args:
        skew: how far its clock is ahead, in seconds.
    """

    def __init__(
        self, name: str, *transports: Transport, keys: Keyring = KEYS, skew: float = 0
    ) -> None:
        self._skew = int(skew * 1e9)
        self.domain = Domain("corp", name, keys, self.now())
        self.transports = transports
        self.router = DomainRouter(
            name, [Member(self.domain, transports)], lambda: time.time_ns() + self._skew
        )
        self.delivered: list[bytes] = []
        self.arrived_at: dict[bytes, float] = {}

    def now(self) -> int:
        """Milliseconds since 1970, by this host's clock."""
        return (time.time_ns() + self._skew) // 10**6

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
        self.arrived_at[data] = time.monotonic()
        return 1, 0

    def send(self, to: str, data: bytes) -> None:
        route = self.router.route(to)
        assert route is not None, to
        route.send(("slot",), data, SENDER, time.time_ns() + self._skew)


@asynccontextmanager
async def serving(host: Host, *, up: bool = True) -> AsyncIterator[Host]:
    """A host at work.

    Args:
        up: wait until its links are.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(host.router.run, host.deliver)
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
    names = [each.domain.host for each in (one, other)]
    await eventually(lambda: one.router.route(names[1]) and other.router.route(names[0]))
