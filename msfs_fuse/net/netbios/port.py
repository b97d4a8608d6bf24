"""A UDP port that knows by which interface a datagram comes and goes. Nothing waits to send."""

import errno
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

import trio

from msfs_fuse.core.metrics import counter
from msfs_fuse.net.transport import QueueFull, SendCounts

log = logging.getLogger(__name__)

# Datagrams that wait for room in the socket's buffer.
QUEUE_SIZE = 512

# How many datagrams to take before others have their turn, and how many of them may be of no use:
# while somebody floods us with such, the files of this host come first.
_BATCH = 32
_USELESS_BATCH = 4

_RECEIVE_BUFFER = 1024 * 1024

# <linux/in.h>; Python 3.11 does not name it.
_IP_PKTINFO = 8
_IN_PKTINFO = struct.Struct("@i4s4s")
_CONTROL_SIZE = socket.CMSG_SPACE(_IN_PKTINFO.size)
_ANY = bytes(4)


@dataclass
class _Counts(SendCounts):
    send_failed: int = counter("Datagrams that the kernel refused: no route, no link.")


class Place(NamedTuple):
    """Where a datagram comes from or goes to.

    Attributes:
        interface: its index; 0 for the one that the kernel chooses.
    """

    address: IPv4Address
    port: int
    interface: int = 0

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Port:
    """One socket on all addresses.

    Args:
        number: 0 for any; it is known once it is open.
        size: of the buffer for a datagram, more than any that is taken.
    """

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self._size = size
        self._socket: socket.socket | None = None
        self._queue: deque[tuple[bytes, Place]] = deque()
        self._queued = trio.Event()
        self.count = _Counts()

    def open(self) -> None:
        """Bind.

        Raises:
            OSError: it cannot; the text says what to do.
        """
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            # Not shared: who else has it would take what is for us, or we what is for them.
            sock.bind(("0.0.0.0", self.number))
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"UDP port {self.number}: {_explain(error)}") from None
        self._socket, self.number = sock, sock.getsockname()[1]

    def close(self) -> None:
        """Close; what is sent later is lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, packet: bytes, place: Place) -> None:
        """Send now or soon; what the kernel refuses is lost and counted.

        Raises:
            QueueFull: too much waits.
        """
        if not self._queue and self._send(packet, place):
            return
        if len(self._queue) >= QUEUE_SIZE:
            self.count.send_queue_full += 1
            raise QueueFull
        self._queue.append((packet, place))
        self._queued.set()

    def _send(self, packet: bytes, place: Place) -> bool:
        """Whether the kernel has decided about it."""
        if self._socket is None:
            self.count.send_failed += 1
            return True
        control = []
        if place.interface:
            info = _IN_PKTINFO.pack(place.interface, _ANY, _ANY)
            control.append((socket.IPPROTO_IP, _IP_PKTINFO, info))
        try:
            self._socket.sendmsg([packet], control, 0, (str(place.address), place.port))
        except BlockingIOError:
            return False
        except OSError as error:
            self.count.send_failed += 1
            log.debug("not sent to %s: %s", place, error.strerror)
            return True
        self.count.sent += 1
        return True

    async def run(self, take: Callable[[bytes, Place], bool]) -> None:
        """Send and receive until cancelled.

        Args:
            take: gets what comes; whether it was of use.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drain)
            nursery.start_soon(self._receive, take)

    async def _drain(self) -> None:
        while self._socket is not None:
            if not self._queue:
                self._queued = trio.Event()
                await self._queued.wait()
            packet, place = self._queue[0]
            if self._send(packet, place):
                self._queue.popleft()
            else:
                await trio.lowlevel.wait_writable(self._socket)

    async def _receive(self, take: Callable[[bytes, Place], bool]) -> None:
        while self._socket is not None:
            await trio.lowlevel.wait_readable(self._socket)
            useless = 0
            for _ in range(_BATCH):
                try:
                    packet, control, _, name = self._socket.recvmsg(self._size, _CONTROL_SIZE)
                except BlockingIOError:
                    break
                except OSError as error:  # of something sent before, or the link is down
                    log.debug("receive: %s", error.strerror)
                    break
                place = Place(IPv4Address(name[0]), name[1], _index_of(control))
                if not take(packet, place):
                    useless += 1
                    if useless == _USELESS_BATCH:
                        break


def _index_of(control: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return int(_IN_PKTINFO.unpack(data[: _IN_PKTINFO.size])[0])
    return 0


def _explain(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return 'somebody has it; beside nmbd take way = "nmbd"'
    if error.errno == errno.EACCES:
        return "not permitted; it takes root, or CAP_NET_BIND_SERVICE"
    return os.strerror(error.errno or 0)
