"""This host as a member of one domain: drives the state machine with time and transports."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from msfs_fuse.core.metrics import Metric, counter, metrics_of
from msfs_fuse.core.names import fold
from msfs_fuse.net.complaints import Complaints
from msfs_fuse.net.transport import METRICS_PREFIX, QueueFull, Receiver, Transport, Unreachable
from msfs_fuse.net.trust.domain import Domain
from msfs_fuse.net.trust.here import Heard, Outlet
from msfs_fuse.net.trust.identity import Identity
from msfs_fuse.net.trust.mounts import Way

log = logging.getLogger(__name__)

# Hosts that come and go are logged so often a minute, and then only counted.
_LOG_HOSTS = 120

# A machine that was suspended, or set back to a snapshot, is noticed by its clocks: by how many
# seconds they may part between two looks.
_SUSPENDED = 1.0
_CLOCK_JUMP = 10.0

# HELLOs for a change of the network, at most one in so many seconds.
_CHANGES = 2.0

Take = Callable[["Member", Heard], None]


@dataclass
class MemberCounts:
    """What a member counts beside what the state machine does."""

    restarts: int = counter("Times that this mount became another one: suspend, snapshot, clone.")


class _Clocks:
    """Tells when this machine has slept, or when its time was set."""

    def __init__(self) -> None:
        self._last = self._offsets()

    @staticmethod
    def _offsets() -> tuple[float, float]:
        monotonic = time.clock_gettime(time.CLOCK_MONOTONIC)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - monotonic, time.time() - monotonic

    def have_parted(self) -> bool:
        """Whether something has happened since the last look."""
        slept, wall = self._offsets()
        before, self._last = self._last, (slept, wall)
        return slept - before[0] > _SUSPENDED or abs(wall - before[1]) > _CLOCK_JUMP


class Member(Outlet, Receiver):
    """One domain of this mount.

    Args:
        identity: of this host in the domain.
        says_hello: whether it presents itself to all.
    """

    def __init__(
        self, identity: Identity, transports: Sequence[Transport], *, says_hello: bool = True
    ) -> None:
        self.transports = transports
        self._identity = identity
        self.says_hello = says_hello
        self._domain: Domain | None = None
        self._take: Take = lambda member, heard: None
        self._has_slot: Callable[[tuple[str, ...]], bool] = lambda path: True
        self._complaints = Complaints()
        self._logged: Counter[int] = Counter()
        self._counts = MemberCounts()
        self._wake = trio.Event()
        self._changed_at = float("-inf")
        self._clocks = _Clocks()

    @property
    def domain(self) -> Domain:
        """The state machine; it begins with run()."""
        assert self._domain is not None
        return self._domain

    @property
    def name(self) -> str:
        """Of the domain."""
        return self._identity.domain

    @property
    def host(self) -> str:
        """This host, as the others of the domain know it."""
        return self._identity.host

    # ---- what the state machine says ----

    def send(self, way: Way, datagram: bytes) -> None:
        self.send_by((way,), datagram)

    def send_to_group(self, datagram: bytes) -> None:
        self.send_to_domain(datagram)

    def send_to_domain(self, datagram: bytes) -> bool:
        """Send to all members, by all transports; whether it was sent to any."""
        beyond = self.domain.beyond_group()
        sent = False
        for transport in self.transports:
            ways = [way for way in beyond if way.carrier == transport]
            sent |= self._try(partial(transport.send_to_domain, datagram, ways))
        return sent

    def send_by(self, ways: Sequence[Way], datagram: bytes) -> bool:
        """Send by the first of these ways that can be taken.

        Returns:
            False if there was no room for it. What no link or route takes is lost, as if it were
            lost on the way.
        """
        full = False
        for way in ways:
            for transport in self.transports:
                if way.carrier == transport:
                    try:
                        transport.send(way, datagram)
                    except QueueFull:
                        full = True
                    except Unreachable:
                        pass
                    else:
                        return True
        return not full

    def ask_host(self, host: str, datagram: bytes) -> None:
        for transport in self.transports:
            self._try(partial(transport.ask, host, datagram))

    def announce(self, seal: Callable[[], bytes]) -> None:
        for transport in self.transports:
            self._try(partial(transport.announce, seal()))

    @staticmethod
    def _try(send: Callable[[], None]) -> bool:
        try:
            send()
        except QueueFull as error:
            log.debug("not sent: %r", error)
            return False
        return True

    def deliver(self, heard: Heard) -> None:
        self._take(self, heard)

    def has_slot(self, path: tuple[str, ...]) -> bool:
        return self._has_slot(path)

    def is_ours(self, seen: bytes) -> bool:
        return any(transport.is_ours(seen) for transport in self.transports)

    def is_up(self, way: Way) -> bool:
        return any(each.is_up() for each in self.transports if way.carrier == each)

    def appeared(self, host: str) -> None:
        self._tell("host %s of domain %s is there", host, self.name)

    def left(self, host: str, how: str) -> None:
        self._tell("host %s of domain %s %s", host, self.name, how)

    def _tell(self, *words: str) -> None:
        minute = int(trio.current_time() // 60)
        if minute not in self._logged:
            self._logged.clear()
        self._logged[minute] += 1
        if self._logged[minute] <= _LOG_HOSTS:
            log.info(*words)

    def wake(self) -> None:
        self._wake.set()

    # ---- what the transports bring ----

    def received(self, datagram: bytes, way: Way, *, by_group: bool = False) -> bool:
        try:
            useful = self.domain.receive(datagram, way, trio.current_time(), by_group=by_group)
        except Exception:  # whatever it is, it must not end the mount
            log.exception("a datagram from %s", way.address)
            return False
        if not useful and self._complaints.is_due(way.address, trio.current_time()):
            log.info("dropped a datagram from %s: %s", way.address, self.domain.last_refusal)
        return useful

    def changed(self) -> None:
        now = trio.current_time()
        pause = self._changed_at + _CHANGES - now
        if pause <= 0:
            self._changed_at = now
            self.domain.hello(now)
        elif pause <= _CHANGES:
            self._changed_at = now + pause
            self.domain.at(now + pause, self.domain.hello)

    def lost(self, way: Way) -> None:
        self.domain.lost(way, trio.current_time())

    def keys(self) -> str:
        """The domain's keys by their names, and how many certificates are revoked, in words."""
        first, *others = (key.fingerprint for key in self._identity.keys)
        words = [f"{first} sends", *(f"{each} receives" for each in others)]
        return ", ".join([*words, f"revoked certificates: {len(self._identity.revoked)}"])

    # ---- what it counts ----

    def metrics(self) -> Iterable[Metric]:
        """All that this domain has counted."""
        yield from metrics_of(self._counts, METRICS_PREFIX)
        if self._domain is None:
            return
        for name, number in self.domain.counts.items():
            yield Metric(f"{METRICS_PREFIX}{name}", _HELP[name], "counter", number)
        for reason, number in self.domain.drops.items():
            label = {"reason": str(reason)}
            yield Metric(f"{METRICS_PREFIX}dropped", _DROPPED, "counter", number, label)

    # ---- running ----

    async def run(
        self,
        take: Take,
        has_slot: Callable[[tuple[str, ...]], bool],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Be a member until cancelled. Ready when all transports listen.

        Args:
            take: gets what other hosts have sent.
            has_slot: whether a message to all, to that slot, reaches anything here.

        Raises:
            OSError: a transport cannot listen; in an ExceptionGroup.
        """
        self._take, self._has_slot = take, has_slot
        self._domain = Domain(
            self._identity,
            self,
            trio.current_time(),
            wall=time.time,
            says_hello=self.says_hello,
        )
        async with trio.open_nursery() as nursery:
            for transport in self.transports:
                await nursery.start(transport.run, self)
            task_status.started()
            await self._drive()

    async def _drive(self) -> None:
        """Give the state machine its time: timers, and one piece of costly work a turn."""
        domain = self.domain
        while True:
            now = trio.current_time()
            if self._clocks.have_parted():
                self._counts.restarts += 1
                log.info("domain %s: this machine has slept, or its time was set", self.name)
                domain.restart(now)
            self._attempt(domain.run_timers, now)
            if domain.has_work:
                self._attempt(domain.work, now)
                await trio.lowlevel.checkpoint()
                continue
            self._wake = trio.Event()
            due = domain.next_timer
            with trio.move_on_at(due if due is not None else float("inf")):
                await self._wake.wait()

    def _attempt(self, step: Callable[[float], object], now: float) -> None:
        try:
            step(now)
        except Exception:  # whatever it is, it must not end the mount
            log.exception("domain %s", self.name)

    def use(self, identity: Identity) -> None:
        """Take other keys, and another list of revoked certificates.

        Raises:
            ValueError: it is another certificate.
        """
        self.domain.use(identity, trio.current_time())
        self._identity = identity
        for transport in self.transports:
            transport.use(identity.keys)

    def close(self) -> None:
        """Say BYE. The transports close when run() is cancelled."""
        if self._domain is None:
            return
        bye = self.domain.seal_bye(trio.current_time())
        self.send_to_group(bye)

    def ways_of_peer(self, name: str) -> set[Way]:
        """Ways to a static peer of that name or address."""
        folded = fold(name)
        return {way for each in self.transports for way in each.ways_of_peer(folded)}


_DROPPED = "Datagrams dropped."

_HELP = {
    "received": "Messages of other members, each counted once.",
    "no_slot": "Messages from other hosts for a slot that this one has not.",
    "queued_lost": "Messages for a host that did not answer in time.",
    "probe_unanswered": "Questions to a host that it did not answer in time.",
    "way_lost": "Ways to a host that are not used any more, for it does not answer there.",
    "clone": "Times that a copy of this very mount was heard.",
}
