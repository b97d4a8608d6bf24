"""Routing by name, and what arrives: one task group for all domains of a mount."""

import errno
import logging
import random
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.metrics import Metric, counter, metrics_of
from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE, fold
from msfs_fuse.core.network import Deliver, HeardHost, Link, Nursery, Route, Router
from msfs_fuse.core.slot import Proof, Sender
from msfs_fuse.net.complaints import Complaints
from msfs_fuse.net.datagram import Kind, Message, Reason, Refused, Scope, slot_name
from msfs_fuse.net.domain import Domain, Opened
from msfs_fuse.net.keyring import KeyringError, load_keyring
from msfs_fuse.net.presence import HELLO_INTERVAL, JITTER, Peer, Peers
from msfs_fuse.net.settings import NetworkSettings
from msfs_fuse.net.transport import (
    METRICS_PREFIX,
    QueueFull,
    Receiver,
    Transport,
    Unreachable,
)

log = logging.getLogger(__name__)

PRIMARY = "*"

_NANOSECONDS_PER_MILLISECOND = 1_000_000

# Our own datagrams and second copies come with multicast, at all times.
_EVERYDAY = (Reason.OWN, Reason.REPLAYED)


@dataclass
class _ArrivalCounts:
    received: int = counter("Datagrams of other members, each counted once.")
    delivered: int = counter("Messages from other hosts put in a slot.")
    no_slot: int = counter("Messages from other hosts for a slot that this one has not.")
    slot_refused: int = counter("Messages from other hosts that a slot did not take.")


@dataclass(eq=False)
class Member:
    """This host as a member of a domain, and the others it hears there."""

    domain: Domain
    transports: Sequence[Transport]
    peers: Peers = field(default_factory=Peers)


@dataclass(frozen=True)
class _DomainRoute(Route):
    router: "DomainRouter"
    member: Member

    @property
    def includes_this_host(self) -> bool:
        return True

    def capacity(self, path: tuple[str, ...]) -> int:
        return _capacity(path)

    def send(self, path: tuple[str, ...], data: bytes, sender: Sender, now: int) -> None:
        domain = self.member.domain
        datagram = domain.seal_message(
            Scope.DOMAIN, domain.name, path, data, sender, now // _NANOSECONDS_PER_MILLISECOND
        )
        self.router.send(self.member.transports, lambda each: each.send_to_domain(datagram))


@dataclass(frozen=True)
class _HostRoute(Route):
    router: "DomainRouter"
    member: Member
    host: str

    @property
    def includes_this_host(self) -> bool:
        return False

    def capacity(self, path: tuple[str, ...]) -> int:
        return _capacity(path)

    def send(self, path: tuple[str, ...], data: bytes, sender: Sender, now: int) -> None:
        ways = [each for each in self.member.transports if each.reaches(self.host)]
        if not ways:
            raise SlotError(errno.EHOSTUNREACH)
        datagram = self.member.domain.seal_message(
            Scope.HOST, self.host, path, data, sender, now // _NANOSECONDS_PER_MILLISECOND
        )
        self.router.send(ways, lambda each: each.send_to_host(self.host, datagram))


def _capacity(path: tuple[str, ...]) -> int:
    try:
        slot_name(path)
    except ValueError:
        raise SlotError(errno.ENAMETOOLONG) from None
    return REMOTE_MESSAGE_SIZE


class DomainRouter(Router, Receiver):
    """The domains of this host. The first one is the primary one.

    Args:
        host: this host's name.
        clock: the time, in nanoseconds since the epoch.
    """

    def __init__(
        self,
        host: str,
        members: Sequence[Member],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._host = host
        self._members = members
        self._by_name = {fold(each.domain.name): each for each in members}
        self._by_transport = {each: member for member in members for each in member.transports}
        self._deliver: Deliver = lambda path, data, sender, sent_at: (0, 0)
        self._clock = clock
        self._counts = _ArrivalCounts()
        self._drops = dict.fromkeys(Reason, 0)
        self._complaints = Complaints()
        self._hello = trio.Event()

    # ---- what the file side asks ----

    def route(self, name: str) -> Route | None:
        if name == PRIMARY:
            return _DomainRoute(self, self._members[0])
        member = self._by_name.get(fold(name))
        if member is not None:
            return _DomainRoute(self, member)
        if fold(name) == fold(self._host):
            return None
        for member in self._members:
            if any(each.reaches(name) for each in member.transports):
                return _HostRoute(self, member, name)
        return None

    def names(self) -> Sequence[str]:
        domains = [member.domain.name for member in self._members]
        hosts = {fold(host): host for member in self._members for host in member.peers.hosts()}
        hidden = {fold(self._host), *map(fold, domains)}
        return [*domains, *(host for name, host in hosts.items() if name not in hidden)]

    def heard(self) -> Iterable[HeardHost]:
        now = trio.current_time()
        for member in self._members:
            for peer in sorted(member.peers, key=lambda each: fold(each.host)):
                age = now - peer.heard_at
                yield HeardHost(member.domain.name, peer.host, str(peer.source), age)

    def links(self) -> Sequence[Link]:
        links = (transport.link() for transport in self._by_transport)
        return [link for link in links if link is not None]

    def metrics(self) -> Iterable[Metric]:
        yield from metrics_of(self._counts, METRICS_PREFIX)
        for transport in self._by_transport:
            yield from transport.metrics()
        for link in self.links():
            labels = {"domain": link.domain, "url": link.url}
            name = f"{METRICS_PREFIX}link_up"
            yield Metric(name, "Whether the broker is there.", "gauge", link.is_up, labels)
        for reason, number in self._drops.items():
            name = f"{METRICS_PREFIX}dropped"
            yield Metric(name, "Datagrams dropped.", "counter", number, {"reason": reason.value})

    def send(self, transports: Sequence[Transport], send: Callable[[Transport], None]) -> None:
        """Send by every transport; one that can is enough.

        Raises:
            SlotError: EHOSTUNREACH, ENOBUFS.
        """
        refusals = []
        for transport in transports:
            try:
                send(transport)
            except Unreachable:
                refusals.append(errno.EHOSTUNREACH)
            except QueueFull:
                refusals.append(errno.ENOBUFS)
        if len(refusals) == len(transports):
            raise SlotError(max(refusals, key=lambda code: code == errno.ENOBUFS))

    # ---- what arrives ----

    def received(
        self,
        transport: Transport,
        datagram: bytes,
        source: Hashable,
        *,
        sender: str | None = None,
        stored: bool = False,
    ) -> bool:
        try:
            return self._receive(transport, datagram, source, sender, stored)
        except Exception:  # whatever it is, it must not end the mount
            log.exception("a datagram from %s", source)
            return False

    def _receive(
        self,
        transport: Transport,
        datagram: bytes,
        source: Hashable,
        sender: str | None,
        stored: bool,
    ) -> bool:
        member = self._by_transport[transport]
        try:
            opened = member.domain.open(datagram, self._now(), sender=sender, stored=stored)
        except Refused as refused:
            self._drops[refused.reason] += 1
            # A broker keeps the HELLO of a host that died with it until that host is back.
            if refused.reason in _EVERYDAY or (stored and refused.reason is Reason.STALE):
                return True
            if self._complaints.is_due(source, trio.current_time()):
                log.info("dropped a datagram from %s: %s", source, refused.reason)
            return False
        self._counts.received += 1
        if opened.kind is Kind.BYE:
            self._gone(member, opened.epoch, "has left")
            return True
        self._note_alive(member, transport, opened, source)
        if isinstance(opened.body, Message):
            self._take(opened.body)
        return True

    def _take(self, message: Message) -> None:
        slots, refused = self._deliver(
            message.path,
            message.data,
            message.sender._replace(proof=Proof.PROVEN),
            message.sent_at * _NANOSECONDS_PER_MILLISECOND,
        )
        self._counts.delivered += slots
        self._counts.slot_refused += refused
        self._counts.no_slot += not slots and not refused

    def _note_alive(
        self, member: Member, transport: Transport, opened: Opened, source: Hashable
    ) -> None:
        host = opened.host
        was_there = opened.epoch in member.peers
        if not member.peers.heard(opened.epoch, Peer(host, source, trio.current_time())):
            return
        if not was_there:
            log.info("host %s of domain %s is there", host, member.domain.name)
        if transport.heard(host, opened.epoch, source):  # so it may not know us
            hello = member.domain.seal_presence(Kind.HELLO, self._now())
            self._try(partial(transport.send_to_host, host, hello))

    def _gone(self, member: Member, epoch: bytes, how: str) -> None:
        peer = member.peers.gone(epoch)
        for transport in member.transports:
            transport.forget(epoch)
        if peer is not None:
            log.info("host %s of domain %s %s", peer.host, member.domain.name, how)

    def lost(self, transport: Transport, epoch: bytes) -> None:
        member = self._by_transport[transport]
        transport.forget(epoch)
        if not any(each.knows(epoch) for each in member.transports):
            self._gone(member, epoch, "is lost")

    def changed(self) -> None:
        self._hello.set()

    # ---- presence ----

    def say(self, kind: Kind) -> None:
        """Send a HELLO or BYE to all domains."""
        for member in self._members:
            for transport in member.transports:
                # One for each: a second copy would be dropped, and its way never be known.
                datagram = member.domain.seal_presence(kind, self._now())
                send = transport.announce if kind is Kind.HELLO else transport.send_to_domain
                self._try(partial(send, datagram))

    @staticmethod
    def _try(send: Callable[[], None]) -> None:
        try:
            send()
        except (Unreachable, QueueFull) as error:
            log.debug("presence not sent: %r", error)

    def reload(self, settings: NetworkSettings | None) -> None:
        for each in settings.domains if settings is not None else ():
            member = self._by_name.get(fold(each.name))
            if member is None:
                continue
            try:
                member.domain.use_keys(load_keyring(each.keyring))
            except KeyringError as error:
                log.error("domain %s keeps its keys: %s", each.name, error)
            else:
                log.info("domain %s has read its keys", each.name)
            for transport in member.transports:
                transport.reload()

    async def start(self, nursery: Nursery, deliver: Deliver) -> None:
        await nursery.start(self.run, deliver)

    async def run(
        self, deliver: Deliver, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the transports, and say HELLO. Ready when all of them listen.

        Args:
            deliver: takes what arrives for this host's slots.

        Raises:
            OSError: a transport cannot listen; in an ExceptionGroup.
        """
        self._deliver = deliver
        async with trio.open_nursery() as nursery:
            for transport in self._by_transport:
                await nursery.start(transport.run, self)
            self.say(Kind.HELLO)
            task_status.started()
            while True:
                self._hello = trio.Event()
                pause = HELLO_INTERVAL * random.uniform(1 - JITTER, 1 + JITTER)
                with trio.move_on_after(pause):
                    await self._hello.wait()
                for member in self._members:
                    for epoch in member.peers.expire(trio.current_time()):
                        for transport in member.transports:
                            transport.forget(epoch)
                self.say(Kind.HELLO)

    def close(self) -> None:
        """Say BYE. The transports close when run() is cancelled."""
        self.say(Kind.BYE)

    def _now(self) -> int:
        return self._clock() // _NANOSECONDS_PER_MILLISECOND
