"""Routing to a NetBIOS network, and what arrives from there.

A little long, because sending and receiving share the names, the ports and the counts.
"""

import errno
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

import trio

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.metrics import Metric, metrics_of
from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE, fold, is_host_name
from msfs_fuse.core.network import (
    CONNECTED,
    Deliver,
    HasSlot,
    HeardHost,
    Link,
    Nursery,
    Route,
    Router,
)
from msfs_fuse.core.shares import ROOT_UID
from msfs_fuse.core.slot import Proof, Sender
from msfs_fuse.net.complaints import Complaints
from msfs_fuse.net.netbios import datagram, mailslot, names
from msfs_fuse.net.netbios.claims import Claims, State
from msfs_fuse.net.netbios.counts import Counts
from msfs_fuse.net.netbios.datagram import Datagram, Kind
from msfs_fuse.net.netbios.interfaces import Interface, interfaces
from msfs_fuse.net.netbios.lookups import Found
from msfs_fuse.net.netbios.nameport import NameService
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.nmbd import NmbdClient
from msfs_fuse.net.netbios.port import Place, Port
from msfs_fuse.net.netbios.recent import Recent
from msfs_fuse.net.netbios.refusal import Reason, Refused
from msfs_fuse.net.netbios.routes import GroupRoute, HostRoute, OwnRoute, ReplyRoute
from msfs_fuse.net.netbios.settings import DOMAIN, NetbiosSettings, Way
from msfs_fuse.net.transport import METRICS_PREFIX, QueueFull
from msfs_fuse.net.udp.links import LinkChanges
from msfs_fuse.net.udp.resolver import StaticPeers

log = logging.getLogger(__name__)

_DOMAIN = f".{DOMAIN}"
_PRIMARY = "*"

# Names of that kind have many holders, or one in each network: what is for them is broadcast.
_GROUPS = (names.DOMAIN_CONTROLLERS, names.LOCAL_MASTER, names.BROWSERS)

# Whom we have a message from, with the port that an answer goes to.
_HEARD = 256

# Copies and what is for others come all the time.
_EVERYDAY = (Reason.OWN, Reason.DUPLICATE, Reason.OTHER_NAME, Reason.CLOSED_SLOT)


class NetbiosRouter(Router):
    """This host on a NetBIOS network.

    Args:
        host: this host's name.
        beside_domains: there are sealed domains. A name that is not said to be of this network is
            then not looked for here: what is for a member of a domain that is away would go, not
            sealed, to whoever says to have its name.

    Raises:
        ValueError: the host's name is none for NetBIOS, and no other is configured.
    """

    def __init__(self, host: str, settings: NetbiosSettings, *, beside_domains: bool) -> None:
        self._host = host
        self._beside_domains = beside_domains
        self._settings = settings
        label = settings.name or host.partition(".")[0][: names.MAX_LABEL]
        group = settings.workgroup.encode()
        self._name = Name.make(label.encode())
        self._workgroup = Name.make(group)
        names_of_ours = {
            self._name: False,
            self._workgroup: True,
            Name.make(group, names.BROWSERS): True,
            **{name: name.suffix in _GROUPS for name in map(Name.parse, settings.names)},
        }
        # What master browsers are called is listened to, and not claimed.
        self._names = {*names_of_ours, Name.make(group, names.LOCAL_MASTER), names.MASTERS}
        self._hosts = {Name.make(k.encode()): value for k, value in settings.hosts.items()}
        self._spelled = {Name.make(name.encode()): name for name in settings.hosts}
        self._static = StaticPeers(list(settings.hosts.values()), datagram.PORT)
        self._interfaces: list[Interface] = []
        self._recent = Recent()
        self._heard: OrderedDict[tuple[Name, IPv4Address], tuple[int, float]] = OrderedDict()
        self._number = random.randrange(0x10000)
        self.count = Counts()
        self._complaints = Complaints()
        self._deliver: Deliver = lambda path, data, sender, sent_at: (0, 0)
        owns = settings.way is Way.OWN
        self._port = Port(datagram.PORT if owns else 0, datagram.RECEIVE_SIZE)
        self._service = NameService(
            Claims(names_of_ours if owns else {}),
            owns_port=owns,
            interfaces=lambda: self._interfaces,
            counts=self.count,
            complaints=self._complaints,
            found=self._send_held,
        )
        self._nmbd = (
            NmbdClient(settings.nmbd_socket, self._take) if settings.way is Way.NMBD else None
        )

    # ---- what the file side asks ----

    def route(self, name: str, uid: int = ROOT_UID) -> Route | None:
        is_explicit = fold(name).endswith(_DOMAIN)
        text = name[: -len(_DOMAIN)] if is_explicit else name
        if fold(name) == fold(self._host):
            return None
        if text == _PRIMARY:
            return GroupRoute(self, self._workgroup)
        label, at, address = text.rpartition("@")
        try:
            wanted = Name.parse(label if at else text)
        except ValueError:
            return None
        if at:
            place = self._place_of(wanted, address)
            return ReplyRoute(self, wanted, place) if place else None
        if wanted in (self._workgroup, names.MASTERS) or wanted.suffix in _GROUPS:
            return GroupRoute(self, wanted)
        if self.is_ours(wanted):
            return OwnRoute(self, wanted)
        asks = self._settings.lookup and (is_explicit or not self._beside_domains)
        return HostRoute(self, wanted) if self._may_reach(wanted, asks, uid) else None

    def _place_of(self, name: Name, address: str) -> Place | None:
        """Where one is whom we have had a message from."""
        try:
            heard = self._heard.get((name, IPv4Address(address)))
        except ValueError:
            return None
        return Place(IPv4Address(address), heard[0]) if heard else None

    def _may_reach(self, name: Name, asks: bool, uid: int) -> bool:
        now = trio.current_time()
        lookups = self._service.lookups
        if name in self._hosts:
            return bool(self._places(name))
        if not asks or lookups.is_missing(name, now):
            return False
        return lookups.find(name, now) is not None or self._service.ask(name, uid)

    def names(self) -> Sequence[str]:
        found = {name: str(name) for name, _ in self._service.lookups.found(trio.current_time())}
        hosts = {**found, **self._spelled}
        own = (self._name, self._workgroup)
        shown = [text for name, text in hosts.items() if name not in own and not name.suffix]
        return [self._settings.workgroup, *filter(is_host_name, shown)]

    def heard(self) -> Iterable[HeardHost]:
        now = trio.current_time()
        for (name, address), (port, at) in sorted(self._heard.items()):
            yield HeardHost(DOMAIN, str(name), f"{address}:{port}", now - at)

    def links(self) -> Sequence[Link]:
        links = [
            Link(DOMAIN, str(claim.name), _STATES[claim.state].format(claim.owner))
            for claim in self._service.claims
        ]
        if self._nmbd is not None:
            links.append(Link(DOMAIN, self._nmbd.path, self._nmbd.state))
        return links

    def metrics(self) -> Iterable[Metric]:
        yield from metrics_of(self.count, METRICS_PREFIX)
        for port in (self._port, self._service.port):
            yield from metrics_of(port.count, METRICS_PREFIX)
        for link in self.links():
            name = f"{METRICS_PREFIX}netbios_up"
            told = "Whether a NetBIOS name is ours, or nmbd is there."
            yield Metric(name, told, "gauge", link.is_up, {"link": link.url})
        for reason, number in self.count.dropped.items():
            name = f"{METRICS_PREFIX}dropped"
            yield Metric(name, "Datagrams dropped.", "counter", number, {"reason": reason.value})

    def reload(self, settings: object) -> None:
        """There are no secrets, and nothing else that can change."""

    # ---- sending ----

    def is_ours(self, name: Name) -> bool:
        """Whether what is for this name is for this host."""
        return name in self._names and not self._service.claims.lost(name)

    def capacity(self, path: tuple[str, ...]) -> int:
        """How long a message to a slot of this name may be.

        Raises:
            SlotError: ENAMETOOLONG; EINVAL for a name that is not ASCII.
        """
        size = mailslot.WINDOWS_SIZE if self._settings.windows_size else mailslot.SAMBA_SIZE
        try:
            capacity = mailslot.capacity(path, size)
        except ValueError:
            raise SlotError(errno.EINVAL) from None
        if capacity < 1:
            raise SlotError(errno.ENAMETOOLONG)
        return min(capacity, REMOTE_MESSAGE_SIZE)

    def broadcast(self, name: Name, smb: bytes) -> None:
        """Send to all hosts on our interfaces."""
        places = [Place(each.broadcast, datagram.PORT, each.number) for each in self._interfaces]
        self.send(Kind.GROUP, name, smb, places)

    def send_to(self, name: Name, smb: bytes, uid: int) -> None:
        """Send to whoever has that name, now or when it is found.

        Raises:
            SlotError: as send(); EHOSTUNREACH where nobody has it; ENOBUFS.
        """
        self._check_name()
        now = trio.current_time()
        service = self._service
        found = service.lookups.find(name, now)
        if name in self._hosts:
            self.send(Kind.UNIQUE, name, smb, self._places(name)[:1])
        elif found is not None:
            self._send_found(name, found, smb)
        elif service.lookups.is_missing(name, now):
            raise SlotError(errno.EHOSTUNREACH)
        elif not service.ask(name, uid) or not service.lookups.hold(name, smb):
            raise SlotError(errno.ENOBUFS)

    def _send_found(self, name: Name, found: Found, smb: bytes) -> None:
        if found.group:
            self.broadcast(name, smb)
        else:
            self.send(Kind.UNIQUE, name, smb, [Place(found.address, datagram.PORT)])

    def _send_held(self, name: Name, found: Found, held: list[bytes]) -> None:
        for smb in held:
            try:
                self._send_found(name, found, smb)
            except SlotError as error:
                log.debug("not sent to %s: %s", name, error)

    def _places(self, name: Name) -> list[Place]:
        """Where a configured host is, as far as is known."""
        endpoints = self._static.endpoints_of(self._hosts[name])
        return [
            Place(IPv4Address(each.address), datagram.PORT)
            for each in endpoints
            if "." in each.address
        ]

    def send(self, kind: Kind, name: Name, smb: bytes, places: Sequence[Place]) -> None:
        """Send one datagram to some places.

        Raises:
            SlotError: EHOSTUNREACH for none, and while another host has our name; ENOBUFS.
        """
        self._check_name()
        if not places:
            raise SlotError(errno.EHOSTUNREACH)
        self._number = (self._number + 1) % 0x10000
        full = 0
        for place in places:
            packet = datagram.encode(
                Datagram(
                    kind,
                    self._number,
                    self._address_towards(place),
                    self._port.number,
                    self._name,
                    name,
                    smb,
                )
            )
            self._recent.add(None, datagram.fingerprint(packet), trio.current_time())
            try:
                self._port.send(packet, place)
            except QueueFull:
                full += 1
        if full:
            raise SlotError(errno.ENOBUFS)

    def _check_name(self) -> None:
        """Send nothing under a name that is another host's: it would get the answers."""
        if not self.is_ours(self._name):
            raise SlotError(errno.EHOSTUNREACH)

    def _address_towards(self, place: Place) -> IPv4Address:
        """Our address, for the header, where nobody should believe it."""
        for each in self._interfaces:
            if place.interface == each.number or place.address in each.address.network:
                return each.address.ip
        return self._interfaces[0].address.ip if self._interfaces else IPv4Address(0)

    # ---- what arrives ----

    def _take(self, packet: bytes, place: Place) -> bool:
        now = trio.current_time()
        try:
            self._receive(packet, place, now)
        except Refused as refused:
            self.count.dropped[refused.reason] += 1
            if refused.reason not in _EVERYDAY and self._complaints.is_due(place.address, now):
                log.info("dropped a NetBIOS datagram from %s: %s", place, refused)
            return False
        except Exception:  # whatever it is, it must not end the mount
            log.exception("a NetBIOS datagram from %s", place)
            return False
        return True

    def _receive(self, packet: bytes, place: Place, now: float) -> None:
        """Deliver a datagram.

        Raises:
            Refused: it is not for a slot that is open to the network, or nothing at all.
        """
        if place.interface and not self._is_let_in_by(place):
            raise Refused(Reason.OTHER_INTERFACE)
        taken = datagram.decode(packet)
        fingerprint = datagram.fingerprint(packet)
        if self._recent.knows(None, fingerprint, now):
            raise Refused(Reason.OWN)
        if not self.is_ours(taken.destination):
            raise Refused(Reason.OTHER_NAME)
        if taken.source == self._name and not self._is_here(place.address):
            raise Refused(Reason.POSES_AS_US)
        write = mailslot.decode(taken.data)
        if not self._settings.opens(write.path):
            raise Refused(Reason.CLOSED_SLOT)
        if not self._recent.add(place.address, fingerprint, now):
            raise Refused(Reason.DUPLICATE)
        self.count.received += 1
        self._note_heard(taken.source, place, now)
        # The address is where it came from, if the network lets none be forged; the name is said.
        sender = Sender(f"{taken.source}@{place.address}", None, None, Proof.CLAIMED)
        slots, refused = self._deliver(write.path, write.data, sender, time.time_ns())
        self.count.delivered += slots
        self.count.slot_refused += refused
        self.count.no_slot += not slots and not refused

    def _is_let_in_by(self, place: Place) -> bool:
        return self._is_here(place.address) or any(
            place.interface == each.number for each in self._interfaces
        )

    def _is_here(self, address: IPv4Address) -> bool:
        return address.is_loopback or any(address == each.address.ip for each in self._interfaces)

    def _note_heard(self, name: Name, place: Place, now: float) -> None:
        key = name, place.address
        self._heard.pop(key, None)
        while len(self._heard) >= _HEARD:
            self._heard.popitem(last=False)
        self._heard[key] = place.port, now

    async def start(self, nursery: Nursery, deliver: Deliver, has_slot: HasSlot) -> None:
        await nursery.start(self.run, deliver)

    async def run(
        self, deliver: Deliver, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Take part until cancelled. Ready when the ports are open.

        Args:
            deliver: takes what arrives for this host's slots.

        Raises:
            OSError: the ports are not to be had; in an ExceptionGroup.
        """
        self._deliver = deliver
        ports = (self._port, self._service.port)
        changes = LinkChanges(self._settings.interfaces)
        try:
            for port in ports:
                port.open()
            self._look_at_interfaces()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._port.run, self._take)
                nursery.start_soon(self._service.run)
                nursery.start_soon(self._static.run, lambda: None)
                if self._nmbd is not None:
                    nursery.start_soon(self._nmbd.run)
                task_status.started()
                while True:
                    await changes.wait()
                    self._look_at_interfaces()
        finally:
            changes.close()
            for port in ports:
                port.close()

    def _look_at_interfaces(self) -> None:
        present = interfaces(self._settings.interfaces)
        missing = set(self._settings.interfaces) - {each.name for each in present}
        if missing:
            log.info("without an IPv4 address: %s", ", ".join(sorted(missing)))
        if present != self._interfaces:
            self._interfaces = present
            self._service.claim()

    def close(self) -> None:
        """Give our names up. The ports close when run() is cancelled."""
        self._service.release()


_STATES = {
    State.CLAIMED: "connecting",
    State.HELD: CONNECTED,
    State.LOST: "away: {} has it",
}
