"""UDP: unicast to hosts that have answered, multicast to all, static peers where there is none.

There are two kinds of sockets. Unicast comes to one for each address family, at the domain's port,
or at any port if another mount on this host has that one. Everything leaves there, so that the
source of a datagram is where to answer. Nobody else can bind that port. Multicast comes to one for
each interface, family and domain key, bound to the group itself at the port after it: what it gets
was sent to the group on that interface, and mounts that share a host each get a copy.
"""

import errno
import ipaddress
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import trio

from msfs_fuse.core.metrics import Metric, counter, metrics_of
from msfs_fuse.net.transport import (
    METRICS_PREFIX,
    QueueFull,
    Receiver,
    SendCounts,
    Transport,
    Unreachable,
)
from msfs_fuse.net.trust.identity import Identity
from msfs_fuse.net.trust.keys import Keys, domain_context
from msfs_fuse.net.trust.mounts import Way
from msfs_fuse.net.trust.wire import MAX_SIZE
from msfs_fuse.net.udp import multicast
from msfs_fuse.net.udp.endpoint import Endpoint
from msfs_fuse.net.udp.links import LinkChanges, usable
from msfs_fuse.net.udp.resolver import StaticPeers
from msfs_fuse.net.udp.settings import UdpSettings

log = logging.getLogger(__name__)

# Datagrams that wait for room in the socket's buffer.
QUEUE_SIZE = 512

# How many datagrams to take before others have their turn. What is of no use costs little to drop,
# but what is left of a flood fills the kernel's buffer, and then good datagrams are lost as well.
_BATCH = 32

# The kernel's buffer for what we have not taken yet, in bytes.
_RECEIVE_BUFFER = 4 * 1024 * 1024

# When to try again, in seconds, to listen where somebody else has the port.
_RETRY = 30.0

# Sources whose way is kept ready.
_MAX_WAYS = 4096

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


@dataclass
class _UdpCounts(SendCounts):
    send_failed: int = counter("Datagrams that the kernel refused: no route, no link.")
    receive_overflow: int = counter(
        "Datagrams that the kernel dropped: its buffer was full, or they were broadcast."
    )


class UdpTransport(Transport):
    """One domain by UDP.

    Args:
        identity: its domain and keys choose the multicast groups.
    """

    def __init__(self, identity: Identity, settings: UdpSettings) -> None:
        self._context = domain_context(identity.domain)
        self._port = settings.port
        self._group_port = settings.port + 1
        self._interfaces = settings.interfaces
        self._use_multicast = settings.multicast
        self._static = StaticPeers(settings.peers, settings.port)
        self._sockets: dict[int, socket.socket] = {}
        self._listening: dict[tuple[str, int], _Listener] = {}
        self._ways: dict[tuple[object, ...], Way] = {}
        self._queue: deque[tuple[Endpoint, bytes]] = deque()
        self._queued = trio.Event()
        self._counts = _UdpCounts()
        # Where we send to all but hear nothing: a program that does not share it has the port.
        self._taken: set[tuple[str, int]] = set()
        self._listen_anew: Callable[[], None] = lambda: None
        self._set_groups(identity.keys)

    def _set_groups(self, keys: Keys) -> None:
        self._groups = [multicast.groups(key.multicast_seed(self._context)) for key in keys]

    # ---- what the member asks ----

    def send(self, way: Way, datagram: bytes) -> None:
        endpoint = way.address
        assert isinstance(endpoint, Endpoint)
        if self._queue or not self._send(endpoint, datagram, strict=True):
            self._enqueue(endpoint, datagram)

    def send_to_domain(self, datagram: bytes, beyond: Collection[Way] = ()) -> None:
        # Who gets a second copy by multicast drops it.
        endpoints = set(self._static.endpoints())
        for way in beyond:
            assert isinstance(way.address, Endpoint)
            endpoints.add(way.address)
        for group, index in (*self._listening, *self._taken):
            family = socket.AF_INET6 if ":" in group else socket.AF_INET
            if group == self._groups[0][family]:
                endpoints.add(Endpoint(family, group, self._group_port, index))
        refused = 0
        for endpoint in endpoints:
            if self._queue or not self._send(endpoint, datagram):
                try:
                    self._enqueue(endpoint, datagram)
                except QueueFull:
                    refused += 1
        # Only if nobody gets it: who tries again would have it delivered twice.
        if refused and refused == len(endpoints):
            raise QueueFull

    def ways_of_peer(self, name: str) -> Collection[Way]:
        return [self._way_to(endpoint) for endpoint in self._static.endpoints_of(name)]

    def is_ours(self, seen: bytes) -> bool:
        address = ipaddress.IPv6Address(seen[:16])
        mapped = address.ipv4_mapped
        family = socket.AF_INET6 if mapped is None else socket.AF_INET
        sock = self._sockets.get(family)
        if sock is None or int.from_bytes(seen[16:]) != sock.getsockname()[1]:
            return False
        if address.is_link_local:
            return f"{address.exploded.replace(':', '')} " in _inet6_addresses()
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((str(mapped or address), 0))
            except OSError:
                return False
        return True

    def use(self, keys: Keys) -> None:
        self._set_groups(keys)
        self._listen_anew()

    def metrics(self) -> Iterable[Metric]:
        sockets = [*self._sockets.values(), *(each.sock for each in self._listening.values())]
        lost = sum(multicast.drops(sock) for sock in sockets)
        counts = _UdpCounts(
            self._counts.sent,
            self._counts.send_queue_full,
            self._counts.send_failed,
            self._counts.receive_overflow + lost,
        )
        return metrics_of(counts, METRICS_PREFIX)

    def _way_to(self, endpoint: Endpoint) -> Way:
        packed = ipaddress.ip_address(endpoint.address).packed
        if len(packed) == 4:
            packed = bytes(10) + b"\xff\xff" + packed
        return Way(self, endpoint, packed + endpoint.port.to_bytes(2))

    def _way_from(self, family: int, address: tuple[str | int, ...]) -> Way:
        way = self._ways.get(address)
        if way is None:
            way = self._way_to(Endpoint.from_socket(family, address))
            if len(self._ways) >= _MAX_WAYS:
                self._ways.clear()
            self._ways[address] = way
        return way

    # ---- sending ----

    def _enqueue(self, endpoint: Endpoint, datagram: bytes) -> None:
        if len(self._queue) >= QUEUE_SIZE:
            self._counts.send_queue_full += 1
            raise QueueFull
        self._queue.append((endpoint, datagram))
        self._queued.set()

    def _send(self, endpoint: Endpoint, datagram: bytes, *, strict: bool = False) -> bool:
        """Send, or lose and count. False if the socket has no room for it now.

        Raises:
            Unreachable: if `strict`, for what would be lost.
        """
        sock = self._sockets.get(endpoint.family)
        try:
            if sock is None:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            control = multicast.interface_control(endpoint.family, endpoint.scope)
            sock.sendmsg([datagram], control, 0, endpoint.to_socket())
        except BlockingIOError:
            return False
        except OSError as error:
            # No route, no such interface, the link is down.
            self._counts.send_failed += 1
            log.debug("not sent to %s: %s", endpoint, error.strerror)
            if strict:
                raise Unreachable from None
            return True
        self._counts.sent += 1
        return True

    async def _drain(self) -> None:
        while True:
            if not self._queue:
                self._queued = trio.Event()
                await self._queued.wait()
            endpoint, datagram = self._queue[0]
            if self._send(endpoint, datagram):
                self._queue.popleft()
            else:
                await trio.lowlevel.wait_writable(self._sockets[endpoint.family])

    # ---- receiving ----

    async def run(
        self, receiver: Receiver, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            for family in _FAMILIES:
                self._bind(family)
            if not self._sockets:
                raise OSError(errno.EAFNOSUPPORT, "neither IPv4 nor IPv6 is to be had")
            async with trio.open_nursery() as nursery:
                for sock in self._sockets.values():
                    nursery.start_soon(self._receive, sock, receiver, False)
                await nursery.start(self._follow_interfaces, receiver, nursery)
                nursery.start_soon(self._drain)
                nursery.start_soon(self._static.run, receiver.changed)
                task_status.started()
        finally:
            for sock in self._sockets.values():
                sock.close()
            self._sockets.clear()

    def _bind(self, family: socket.AddressFamily) -> None:
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            log.info("without %s: %s", family.name, error.strerror)
            return
        self._sockets[family] = sock
        sock.setblocking(False)
        multicast.make_room(sock, _RECEIVE_BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        multicast.prepare_sending(sock)
        multicast.take_no_broadcast(sock)
        try:
            sock.bind((_ANY[family], self._port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            sock.bind((_ANY[family], 0))
            log.info("UDP port %d is taken: this mount has another one", self._port)

    async def _receive(self, sock: socket.socket, receiver: Receiver, by_group: bool) -> None:
        family = sock.family
        while True:
            await trio.lowlevel.wait_readable(sock)
            for _ in range(_BATCH):
                try:
                    # One byte more than there can be, to tell what is too long.
                    datagram, address = sock.recvfrom(MAX_SIZE + 1)
                except BlockingIOError:
                    break
                except OSError as error:  # of something sent before, or the link is down
                    log.debug("receive: %s", error.strerror)
                    break
                receiver.received(datagram, self._way_from(family, address), by_group=by_group)

    async def _follow_interfaces(
        self,
        receiver: Receiver,
        nursery: trio.Nursery,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        changes = LinkChanges(self._interfaces)
        self._listen_anew = lambda: self._listen(receiver, nursery)
        try:
            self._listen(receiver, nursery)
            task_status.started()
            while True:
                with trio.move_on_after(_RETRY if self._taken else float("inf")) as pause:
                    await changes.wait()
                self._listen(receiver, nursery)
                if not pause.cancelled_caught or not self._taken:
                    receiver.changed()
        finally:
            self._listen_anew = lambda: None
            changes.close()

    def _listen(self, receiver: Receiver, nursery: trio.Nursery) -> None:
        """Listen where interfaces and keys have come, and no more where they have gone."""
        present = usable(self._interfaces) if self._use_multicast else {}
        groups = {address: family for each in self._groups for family, address in each.items()}
        was_taken, self._taken = self._taken, set()
        for key in [
            each for each in self._listening if each[0] not in groups or each[1] not in present
        ]:
            self._listening.pop(key).scope.cancel()
        for index, interface in present.items():
            for group, family in groups.items():
                if (group, index) in self._listening or family not in self._sockets:
                    continue
                try:
                    sock = multicast.listen(
                        socket.AddressFamily(family), group, self._group_port, index
                    )
                except OSError as error:  # such as IPv6 being off there
                    if error.errno == errno.EADDRINUSE:
                        self._taken.add((group, index))
                    log.debug("no multicast on %s: %s", interface.name, error.strerror)
                    continue
                listener = self._listening[group, index] = _Listener(sock, trio.CancelScope())
                nursery.start_soon(self._receive_group, listener, receiver)
        if self._taken and not was_taken:
            log.warning(
                "UDP port %d is taken by another program: nothing comes by multicast",
                self._group_port,
            )

    async def _receive_group(self, listener: "_Listener", receiver: Receiver) -> None:
        with listener.sock:
            with listener.scope:
                await self._receive(listener.sock, receiver, True)
            self._counts.receive_overflow += multicast.drops(listener.sock)


@dataclass(eq=False)
class _Listener:
    """A socket for what is sent to a group on one interface."""

    sock: socket.socket
    scope: trio.CancelScope


def _inet6_addresses() -> str:
    try:
        with open("/proc/net/if_inet6") as table:
            return table.read()
    except OSError:
        return ""
