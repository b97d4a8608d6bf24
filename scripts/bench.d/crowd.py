"""What the section `scale` measures with: hosts without mounts, and a broker between them.

crowd.py host FIRST COUNT URL DOMAIN PRESENCE   hosts in one process; talks in lines of JSON

URL is of a broker, or `udp`: then they meet in the network namespace where this runs; or
`udp:HOST:PORT`, which is then a static peer of all, without multicast.

At a line `join COUNT TOTAL` as many more of its hosts join, one after the other. For each it says
`{"joined": seconds, "met": seconds}`: until it was subscribed, and until it knew all who were
there, TOTAL with the first of these itself. With presence `asked` nobody gets to know anybody.
At `start TOTAL` all of its hosts join at once, and it says the same for each; a host that does
not know all after LONG says "met": null.
At `all-reach HOST` all of its hosts look for that one at once, and it says when each has found it.
After `asymmetric` it says what the public keys of a handshake cost one side, in seconds.
After the line `count` it prints what it has used since it was told `reset`. The writer, FIRST 0,
sends at the line `send N`; each process says when its last host has a message, by the clock that
all processes of a machine share.
"""

import json
import resource
import statistics
import sys
import time
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from msfs_fuse.core.slot import Sender
from msfs_fuse.net.member import Member
from msfs_fuse.net.mqtt.dial import Login
from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.mqtt.transport import MqttTransport
from msfs_fuse.net.router import DomainRouter
from msfs_fuse.net.transport import Transport
from msfs_fuse.net.trust.identity import Identity, load_identity
from msfs_fuse.net.udp.settings import UdpSettings
from msfs_fuse.net.udp.transport import UdpTransport

DOMAIN = "bench"
PATIENCE = 600.0  # seconds for one to know all
LONG = 240.0  # the same where all join at once
SENDER = Sender("", 0, 0)


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def memory() -> int:
    """Resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def transport(url: str, identity: Identity) -> Transport:
    if url == "udp":
        return UdpTransport(identity, UdpSettings())
    if url.startswith("udp:"):
        peer = url.removeprefix("udp:")
        return UdpTransport(identity, UdpSettings(peers=(peer,), multicast=False))
    broker = BrokerSettings(url=url, keepalive=60.0, connect_timeout=30.0)
    return MqttTransport(DOMAIN, identity.host, broker, Login(None, None, None))


class Crowd:
    """Hosts of one process."""

    def __init__(self, first: int, count: int, url: str, domain: str, presence: str) -> None:
        self._empty = memory()
        self.routers: list[DomainRouter] = []
        self._meets = presence == "all"
        self._hosts = []
        self._members: dict[DomainRouter, Member] = {}
        for number in range(first, first + count):
            name = f"host{number}"
            identity = load_identity(f"{domain}/{name}.member", None, time.time())
            member = Member(identity, [transport(url, identity)], says_hello=self._meets)
            router = DomainRouter([member])
            self._hosts.append(router)
            self._members[router] = member
        self._got: dict[bytes, int] = {}
        self._receivers = count - (first == 0)  # a domain's message does not come back

    def deliver(
        self, path: tuple[str, ...], data: bytes, sender: Sender, sent_at: int
    ) -> tuple[int, int]:
        got = self._got[data] = self._got.get(data, 0) + 1
        if got == self._receivers:
            del self._got[data]
            say(message=int(data), at=time.monotonic_ns())
        return 1, 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await self.obey(nursery)
            nursery.cancel_scope.cancel()

    async def _join(self, nursery: trio.Nursery, total: int) -> None:
        """One more joins; it is then one of TOTAL."""
        router = self._hosts[len(self.routers)]
        self.routers.append(router)
        start = time.monotonic()
        await router.start(nursery, self.deliver, lambda path: True)
        while not all(link.is_up for link in router.links()):
            await trio.sleep(0.001)
        joined = time.monotonic() - start
        with trio.fail_after(PATIENCE):
            while self._meets and len(router.names()) < total:  # itself as the domain among them
                await trio.sleep(0.01)
        say(joined=joined, met=time.monotonic() - start)

    async def _start(self, nursery: trio.Nursery, total: int) -> None:
        """All join at once. One looks for all of them, so that looking costs nothing."""
        begin = time.monotonic()
        joined: dict[DomainRouter, float] = {}
        met: dict[DomainRouter, float] = {}

        async def join(router: DomainRouter) -> None:
            await router.start(nursery, self.deliver, lambda path: True)
            while not all(link.is_up for link in router.links()):
                await trio.sleep(0.01)
            joined[router] = time.monotonic() - begin

        self.routers = list(self._hosts)
        async with trio.open_nursery() as starting:
            for router in self._hosts:
                starting.start_soon(join, router)
        with trio.move_on_after(LONG):
            while self._meets and len(met) < len(self._hosts):
                for router in self._hosts:
                    if router not in met and len(self._members[router].domain.hosts()) >= total - 1:
                        met[router] = time.monotonic() - begin
                await trio.sleep(0.1)
        for router in self._hosts:
            say(joined=joined[router], met=met.get(router))

    async def obey(self, nursery: trio.Nursery) -> None:
        used = 0.0
        lines = trio.wrap_file(sys.stdin)
        async for line in lines:
            match line.split():
                case ["join", count, total]:
                    for number in range(int(count)):
                        await self._join(nursery, int(total) + number)
                case ["start", total]:
                    await self._start(nursery, int(total))
                case ["reach", host]:
                    say(reached=await self._reach(host))
                case ["all-reach", host]:
                    say(reached=await self._all_reach(host))
                case ["asymmetric"]:
                    say(seconds=self._asymmetric())
                case ["reset"]:
                    used = time.process_time()
                case ["count"]:
                    say(
                        cpu=time.process_time() - used,
                        memory=memory() - self._empty,
                        empty=self._empty,
                    )
                case ["send", number]:
                    route = self.routers[0].route(DOMAIN)
                    assert route is not None
                    say(sent=time.monotonic_ns())
                    route.send(("bench",), number.encode(), SENDER, time.time_ns())

    async def _reach(self, host: str) -> float:
        """Seconds until a host that may not have been heard of can be written to."""
        start = time.monotonic()
        router = self.routers[0]
        route = router.route(host)  # looked for, if it was not heard
        assert route is not None
        route.send(("bench",), b"0", SENDER, time.time_ns())
        with trio.fail_after(PATIENCE):
            while not any(heard.host == host for heard in router.heard()):
                await trio.sleep(0.001)
        return time.monotonic() - start

    async def _all_reach(self, host: str) -> list[float]:
        """Seconds until each knows it. Who has asked in vain asks again when it may."""
        start = time.monotonic()
        times: list[float] = []
        left = list(self.routers)
        with trio.fail_after(LONG):
            while left:
                for router in left:
                    router.route(host)
                await trio.sleep(0.05)
                left = [each for each in left if not self._members[each].domain.knows(host)]
                now = time.monotonic() - start
                times += [now] * (len(self.routers) - len(left) - len(times))
        return times

    def _asymmetric(self) -> float:
        """To check a certificate and a card, and to agree on keys."""
        identity = self._members[self._hosts[0]].domain.identity
        certificate, signed = identity.certificate, bytes(300)
        signature = identity.private.sign(signed)
        private, other = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()
        times = []
        for _ in range(200):
            start = time.process_time()
            identity.authority.certify(certificate.der)
            certificate.public.verify(signature, signed)
            private.exchange(other)
            times.append(time.process_time() - start)
        return statistics.median(times)


def main() -> None:
    match sys.argv[1:]:
        case ["host", first, count, url, domain, presence]:
            trio.run(Crowd(int(first), int(count), url, domain, presence).run)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
