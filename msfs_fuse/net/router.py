"""Routing by name: hosts and domains to members, for all domains of a mount."""

import errno
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import trio

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.metrics import Metric, counter, metrics_of
from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE, fold
from msfs_fuse.core.network import Deliver, HasSlot, HeardHost, Link, Nursery, Route, Router
from msfs_fuse.core.shares import ROOT_UID
from msfs_fuse.core.slot import Proof, Sender
from msfs_fuse.net.member import Member
from msfs_fuse.net.private_file import SecretError
from msfs_fuse.net.settings import NetworkSettings
from msfs_fuse.net.transport import METRICS_PREFIX
from msfs_fuse.net.trust.bodies import MAX_SLOT_SIZE, Message, slot_name
from msfs_fuse.net.trust.domain import TooMany, Unknown
from msfs_fuse.net.trust.here import Heard
from msfs_fuse.net.trust.identity import load_identity
from msfs_fuse.net.trust.wire import Reason

log = logging.getLogger(__name__)

PRIMARY = "*"

_NANOSECONDS_PER_MILLISECOND = 1_000_000


@dataclass
class _ArrivalCounts:
    delivered: int = counter("Messages from other hosts put in a slot.")
    slot_refused: int = counter("Messages from other hosts that a slot did not take.")


@dataclass(frozen=True)
class _DomainRoute(Route):
    member: Member

    @property
    def includes_this_host(self) -> bool:
        return True

    def capacity(self, path: tuple[str, ...]) -> int:
        return _capacity(path)

    def send(self, path: tuple[str, ...], data: bytes, sender: Sender, now: int) -> None:
        domain = self.member.domain
        datagram = domain.seal_for_domain(_message(path, data, sender, now), trio.current_time())
        if not self.member.send_to_domain(datagram):
            raise SlotError(errno.ENOBUFS)


@dataclass(frozen=True)
class _HostRoute(Route):
    member: Member
    host: str

    @property
    def includes_this_host(self) -> bool:
        return False

    def capacity(self, path: tuple[str, ...]) -> int:
        return _capacity(path)

    def send(self, path: tuple[str, ...], data: bytes, sender: Sender, now: int) -> None:
        domain = self.member.domain
        try:
            sealed = domain.seal_for_host(
                self.host, _message(path, data, sender, now), trio.current_time()
            )
        except Unknown:
            raise SlotError(errno.EHOSTUNREACH) from None
        except TooMany:
            raise SlotError(errno.ENOBUFS) from None
        sent = [self.member.send_by(ways, datagram) for ways, datagram in sealed]
        # A host with two mounts has two receivers. Only if none of them gets it, it is said so:
        # who tries again would have it delivered twice.
        if sent and not any(sent):
            raise SlotError(errno.ENOBUFS)


def _message(path: tuple[str, ...], data: bytes, sender: Sender, now: int) -> Message:
    assert sender.uid is not None  # it is a process of this host
    assert sender.pid is not None
    return Message(now // _NANOSECONDS_PER_MILLISECOND, sender.uid, sender.pid, path, data)


def _capacity(path: tuple[str, ...]) -> int:
    try:
        slot_name(path)
    except ValueError:
        size = len("\\".join(path).encode(errors="surrogateescape"))
        raise SlotError(errno.ENAMETOOLONG if size > MAX_SLOT_SIZE else errno.EINVAL) from None
    return REMOTE_MESSAGE_SIZE


class DomainRouter(Router):
    """The domains of this host. The first one is the primary one."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._by_name = {fold(each.name): each for each in members}
        self._deliver: Deliver = lambda path, data, sender, sent_at: (0, 0)
        self._counts = _ArrivalCounts()

    # ---- what the file side asks ----

    def route(self, name: str, uid: int = ROOT_UID) -> Route | None:
        if name == PRIMARY:
            return _DomainRoute(self._members[0])
        member = self._by_name.get(fold(name))
        if member is not None:
            return _DomainRoute(member)
        member, host = self._split(name)
        if fold(host) == fold(member.host):
            return None
        domain = member.domain
        if domain.knows(host) or domain.is_sought(host, trio.current_time()):
            return _HostRoute(member, host)
        ways = member.ways_of_peer(host)
        if ways:
            for mount in domain:
                if not ways.isdisjoint(mount.ways):
                    return _HostRoute(member, mount.host)
        if not member.says_hello and self._seek(member, host, uid):
            return _HostRoute(member, host)
        return None

    def is_this_host(self, name: str) -> bool:
        member, host = self._split(name)
        return fold(host) == fold(member.host)

    def _split(self, name: str) -> tuple[Member, str]:
        """`HOST.DOMAIN`, where the longest name of a domain counts; without one the primary's."""
        folded = fold(name)
        for domain in sorted(self._by_name, key=len, reverse=True):
            if folded.endswith("." + domain) and len(folded) > len(domain) + 1:
                return self._by_name[domain], name[: -len(domain) - 1]
        return self._members[0], name

    @staticmethod
    def _seek(member: Member, host: str, uid: int) -> bool:
        try:
            return member.domain.seek(host, trio.current_time(), uid)
        except TooMany:
            raise SlotError(errno.ENOBUFS) from None

    def _qualified(self, member: Member, host: str) -> str:
        return host if len(self._members) == 1 else f"{host}.{member.name}"

    def _may_be_named(self, member: Member, host: str) -> bool:
        """Whether a host is who is meant by the name that we show for it.

        The host `db.corp` of the domain `example` is not, where there is a domain `corp.example`:
        another host is called so.
        """
        meant, name = self._split(self._qualified(member, host))
        return meant is member and fold(name) == fold(host)

    def domains(self) -> Sequence[str]:
        return [member.name for member in self._members]

    def keys(self) -> Mapping[str, str]:
        return {member.name: member.keys() for member in self._members}

    def names(self) -> Sequence[str]:
        names = [member.name for member in self._members]
        hidden = set(self._by_name)
        for member in self._members:
            for host in sorted(member.domain.hosts(), key=fold):
                name = self._qualified(member, host)
                is_shown = fold(name) not in hidden and self._may_be_named(member, host)
                if is_shown and fold(host) != fold(member.host):
                    names.append(name)
        return names

    def heard(self) -> Iterable[HeardHost]:
        now = trio.current_time()
        for member in self._members:
            for mount in sorted(member.domain, key=lambda each: each.name):
                way = mount.best_way()
                address = str(way.address) if way is not None else "-"
                yield HeardHost(member.name, mount.host, address, now - mount.heard)

    def links(self) -> Sequence[Link]:
        links = (each.link() for member in self._members for each in member.transports)
        return [link for link in links if link is not None]

    def metrics(self) -> Iterable[Metric]:
        yield from metrics_of(self._counts, METRICS_PREFIX)
        for member in self._members:
            yield from member.metrics()
            for transport in member.transports:
                yield from transport.metrics()
        for link in self.links():
            labels = {"domain": link.domain, "url": link.url}
            name = f"{METRICS_PREFIX}link_up"
            yield Metric(name, "Whether the broker is there.", "gauge", link.is_up, labels)

    # ---- what arrives ----

    def _take(self, member: Member, heard: Heard) -> None:
        if not self._may_be_named(member, heard.host):
            member.domain.drops[Reason.OTHER_SENDER] += 1
            return
        message = heard.message
        slots, refused = self._deliver(
            message.path,
            message.data,
            Sender(self._qualified(member, heard.host), message.uid, message.pid, Proof.PROVEN),
            message.sent_at * _NANOSECONDS_PER_MILLISECOND,
        )
        self._counts.delivered += slots
        self._counts.slot_refused += refused
        if not slots and not refused:
            member.domain.counts["no_slot"] += 1

    # ---- running ----

    def reload(self, settings: NetworkSettings | None) -> None:
        for each in settings.domains if settings is not None else ():
            try:
                identity = load_identity(each.member, each.name, time.time())
                member = self._by_name.get(fold(identity.domain))
                if member is None:
                    continue
                member.use(identity)
            except (SecretError, ValueError) as error:
                log.error("domain %s keeps its keys: %s", each.name or each.member, error)
                continue
            log.info("domain %s has read its keys: %s", member.name, member.keys())
            for transport in member.transports:
                transport.reload()

    async def start(self, nursery: Nursery, deliver: Deliver, has_slot: HasSlot) -> None:
        self._deliver = deliver
        for member in self._members:
            await nursery.start(member.run, self._take, has_slot)

    def close(self) -> None:
        for member in self._members:
            member.close()
