"""UDP: unicast to hosts that have been heard, multicast to all, static peers where there is none.

There are two kinds of sockets. Unicast comes to one for each address family, at the domain's port,
or at any port if another mount on this host has that one. Everything leaves there, so that the
source of a datagram is where to answer. Multicast comes to one for each interface and family, bound
to the group itself: what it gets was sent to the group on that interface, and mounts that share a
host each get a copy.
"""

import errno
import logging
import socket
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import trio

from msfs_fuse.core.metrics import Metric, counter, metrics_of
from msfs_fuse.net.datagram import MAX_SIZE
from msfs_fuse.net.transport import (
    METRICS_PREFIX,
    QueueFull,
    Receiver,
    SendCounts,
    Transport,
    Unreachable,
)
from msfs_fuse.net.udp import multicast
from msfs_fuse.net.udp.endpoint import Endpoint
from msfs_fuse.net.udp.resolver import StaticPeers
from msfs_fuse.net.udp.settings import UdpSettings
from msfs_fuse.net.ways import Ways

log = logging.getLogger(__name__)

# Datagrams that wait for room in the socket's buffer.
QUEUE_SIZE = 512

# How many datagrams to take before others have their turn, and how many of them may be of no use:
# while somebody floods us with such, the files of this host come first.
_BATCH = 32
_USELESS_BATCH = 4

# The kernel's buffer for what we have not taken yet, in bytes; it gives less if rmem_max is less.
_RECEIVE_BUFFER = 4 * 1024 * 1024

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


class UdpSource(NamedTuple):
    """Where a datagram came from, and whether by multicast."""

    endpoint: Endpoint
    by_group: bool

    def __str__(self) -> str:
        return str(self.endpoint)


@dataclass
class _UdpCounts(SendCounts):
    send_failed: int = counter("Datagrams that the kernel refused: no route, no link.")


class UdpTransport(Transport):
    """One domain by UDP.

    Args:
        domain: its name gives the multicast groups.
    """

    def __init__(self, domain: str, settings: UdpSettings) -> None:
        self._port = settings.port
        self._groups = multicast.groups(domain)
        self._interfaces = settings.interfaces
        self._use_multicast = settings.multicast
        self._static = StaticPeers(settings.peers, settings.port)
        self._ways = Ways[Endpoint]()
        self._out_of_reach: dict[bytes, Endpoint] = {}  # of multicast, as far as we know
        self._sockets: dict[int, socket.socket] = {}
        self._listening: dict[tuple[int, int], trio.CancelScope] = {}
        self._queue: deque[tuple[Endpoint, bytes]] = deque()
        self._queued = trio.Event()
        self._counts = _UdpCounts()

    # ---- what the router asks ----

    def reaches(self, host: str) -> bool:
        return bool(self._endpoints(host))

    def send_to_host(self, host: str, datagram: bytes) -> None:
        endpoints = self._endpoints(host)
        if not endpoints:
            raise Unreachable(host)
        self._send_all(endpoints, datagram)

    def send_to_domain(self, datagram: bytes) -> None:
        # Who gets a second copy by multicast drops it.
        endpoints = {*self._static.endpoints(), *self._out_of_reach.values()}
        for family, index in self._listening:
            endpoints.add(Endpoint(family, self._groups[family], self._port, index))
        self._send_all(endpoints, datagram)

    def heard(self, host: str, epoch: bytes, source: Hashable) -> bool:
        assert isinstance(source, UdpSource)
        is_new = not self._ways.is_of(epoch, host)
        self._ways.add(host, epoch, source.endpoint)
        if source.by_group:
            self._out_of_reach.pop(epoch, None)
        elif is_new or epoch in self._out_of_reach:
            self._out_of_reach[epoch] = source.endpoint
        return is_new

    def knows(self, epoch: bytes) -> bool:
        return epoch in self._ways

    def forget(self, epoch: bytes) -> None:
        self._ways.remove(epoch)
        self._out_of_reach.pop(epoch, None)

    def metrics(self) -> Iterable[Metric]:
        return metrics_of(self._counts, METRICS_PREFIX)

    def _endpoints(self, host: str) -> set[Endpoint]:
        return set(self._ways.to(host) or self._static.endpoints_of(host))

    # ---- sending ----

    def _send_all(self, endpoints: set[Endpoint], datagram: bytes) -> None:
        full = False
        for endpoint in endpoints:
            if self._queue or not self._send(endpoint, datagram):
                full |= not self._enqueue(endpoint, datagram)
        if full:
            raise QueueFull

    def _enqueue(self, endpoint: Endpoint, datagram: bytes) -> bool:
        if len(self._queue) >= QUEUE_SIZE:
            self._counts.send_queue_full += 1
            return False
        self._queue.append((endpoint, datagram))
        self._queued.set()
        return True

    def _send(self, endpoint: Endpoint, datagram: bytes) -> bool:
        """Send, or lose and count. False if the socket has no room for it now."""
        sock = self._sockets.get(endpoint.family)
        if sock is None:
            self._counts.send_failed += 1
            return True
        control = multicast.interface_control(endpoint.family, endpoint.scope)
        try:
            sock.sendmsg([datagram], control, 0, endpoint.to_socket())
        except BlockingIOError:
            return False
        except OSError as error:
            # No route, no such interface, the link is down: as if it were lost on the way.
            self._counts.send_failed += 1
            log.debug("not sent to %s: %s", endpoint, error.strerror)
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
                if self._use_multicast:
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
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        multicast.prepare_sending(sock)
        try:
            sock.bind((_ANY[family], self._port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            sock.bind((_ANY[family], 0))
            log.info("UDP port %d is taken: this mount has another one", self._port)
        # Only now, so that it is not shared with another mount, which would take what is for us:
        # the sockets of the groups need it, ours and those of other mounts.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    async def _receive(self, sock: socket.socket, receiver: Receiver, by_group: bool) -> None:
        family = sock.family
        while True:
            await trio.lowlevel.wait_readable(sock)
            useless = 0
            for _ in range(_BATCH):
                try:
                    # One byte more than there can be, to tell what is too long.
                    datagram, address = sock.recvfrom(MAX_SIZE + 1)
                except BlockingIOError:
                    break
                except OSError as error:  # of something sent before, or the link is down
                    log.debug("receive: %s", error.strerror)
                    break
                source = UdpSource(Endpoint.from_socket(family, address), by_group)
                if not receiver.received(self, datagram, source):
                    useless += 1
                    if useless == _USELESS_BATCH:
                        break

    async def _follow_interfaces(
        self,
        receiver: Receiver,
        nursery: trio.Nursery,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        changes = multicast.LinkChanges()
        try:
            self._listen(receiver, nursery)
            task_status.started()
            while True:
                await changes.wait()
                self._listen(receiver, nursery)
                receiver.changed()
        finally:
            changes.close()

    def _listen(self, receiver: Receiver, nursery: trio.Nursery) -> None:
        """Listen on the interfaces that have come, and no more on those that have gone."""
        present = multicast.interfaces(self._interfaces)
        for key in [each for each in self._listening if each[1] not in present]:
            self._listening.pop(key).cancel()
        for index, name in present.items():
            for family, group in self._groups.items():
                if (family, index) in self._listening or family not in self._sockets:
                    continue
                try:
                    sock = multicast.listen(family, group, self._port, index)
                except OSError as error:  # such as IPv6 being off there
                    log.debug("no multicast on %s: %s", name, error.strerror)
                    continue
                scope = self._listening[family, index] = trio.CancelScope()
                nursery.start_soon(self._receive_group, sock, receiver, scope)

    async def _receive_group(
        self, sock: socket.socket, receiver: Receiver, scope: trio.CancelScope
    ) -> None:
        with sock, scope:
            await self._receive(sock, receiver, True)
