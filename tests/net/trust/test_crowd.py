"""Many hosts that start at once, on a machine that is slow: in a time of its own."""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from msfs_fuse.net.trust.domain import Domain
from msfs_fuse.net.trust.here import Heard
from msfs_fuse.net.trust.identity import Identity
from msfs_fuse.net.trust.mounts import Way
from tests.support.trust import START, WALL, Corp

HOSTS = 16
JOB = 0.006  # seconds of the one core that all share; a PROBE is answered in less otherwise
DATAGRAM = 0.001
DELAY = 0.001
TURN = 16  # datagrams that a host takes before others have their turn


@dataclass(eq=False)
class Host:
    """One of them, as a broker carries for it."""

    crowd: "Crowd"
    identity: Identity
    inbox: deque[tuple[bytes, Way, bool]] = field(default_factory=deque)
    domain: Domain = field(init=False)

    @property
    def way(self) -> Way:
        return Way("broker", "broker", host=self.identity.host)

    def send(self, way: Way, datagram: bytes) -> None:
        self.crowd.post(self, way.host, datagram)

    def send_to_group(self, datagram: bytes) -> None:
        for host in self.crowd.hosts:
            if host != self.identity.host:
                self.crowd.post(self, host, datagram, by_group=True)

    def ask_host(self, host: str, datagram: bytes) -> None:
        self.crowd.post(self, host, datagram)

    def announce(self, seal: Callable[[], bytes]) -> None:
        self.send_to_group(seal())

    def deliver(self, heard: Heard) -> None:
        pass

    def has_slot(self, path: tuple[str, ...]) -> bool:
        return True

    def is_ours(self, seen: bytes) -> bool:
        return False

    def is_up(self, way: Way) -> bool:
        return True

    def appeared(self, host: str) -> None:
        pass

    def left(self, host: str, how: str) -> None:
        pass

    def wake(self) -> None:
        pass


class Crowd:
    """All hosts on one core: what one does, all others wait for."""

    def __init__(self, corp: Corp) -> None:
        self.now = START
        self._serial = itertools.count()
        self._under_way: list[tuple[float, int, str, tuple[bytes, Way, bool]]] = []
        names = [f"host{number}" for number in range(HOSTS)]
        self.hosts = {name: Host(self, corp.admit(name)) for name in names}
        rng = random.Random(0)
        for host in self.hosts.values():
            host.domain = Domain(
                host.identity,
                host,
                self.now,
                wall=lambda: WALL,
                random=rng.randbytes,
            )

    def post(self, sender: Host, to: str, datagram: bytes, *, by_group: bool = False) -> None:
        item = datagram, sender.way, by_group
        heapq.heappush(self._under_way, (self.now + DELAY, next(self._serial), to, item))

    def run(self, seconds: float) -> None:
        """Until all know all, or the time is over."""
        end = self.now + seconds
        while self.now < end and self.known < HOSTS * (HOSTS - 1):
            while self._under_way and self._under_way[0][0] <= self.now:
                _, _, to, item = heapq.heappop(self._under_way)
                self.hosts[to].inbox.append(item)
            began = self.now
            for host in self.hosts.values():
                self._turn(host)
            if self.now == began:
                timers = (host.domain.next_timer for host in self.hosts.values())
                times = [each for each in timers if each is not None]
                self.now = max(self.now, min([*times, *(each[0] for each in self._under_way[:1])]))

    def _turn(self, host: Host) -> None:
        for _ in range(min(TURN, len(host.inbox))):
            datagram, way, by_group = host.inbox.popleft()
            host.domain.receive(datagram, way, self.now, by_group=by_group)
            self.now += DATAGRAM
        host.domain.run_timers(self.now)
        if host.domain.work(self.now):
            self.now += JOB

    @property
    def known(self) -> int:
        return sum(len(host.domain.hosts()) for host in self.hosts.values())


@pytest.mark.timeout(120)
def test_hosts_that_start_at_once_get_to_know_each_other() -> None:
    """Questions that are answered late must not become more and more."""
    crowd = Crowd(Corp())
    crowd.run(22.0)
    assert crowd.known == HOSTS * (HOSTS - 1)
