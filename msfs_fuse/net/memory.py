"""A network in memory: the same promises as the real transports, for tests and for trying out."""

from collections.abc import Hashable, Iterable

import trio

from msfs_fuse.core.metrics import Metric, metrics_of
from msfs_fuse.net.transport import (
    METRICS_PREFIX,
    QueueFull,
    Receiver,
    SendCounts,
    Transport,
    Unreachable,
)
from msfs_fuse.net.ways import Ways


class Wire:
    """What connects transports in memory.

    Attributes:
        is_up: what is sent while it is not is lost.
    """

    def __init__(self) -> None:
        self.is_up = True
        self.transports: dict[str, MemoryTransport] = {}

    def attach(self, address: str, queue_size: int = 512) -> "MemoryTransport":
        """A transport at an address of its own."""
        transport = MemoryTransport(self, address, queue_size)
        self.transports[address] = transport
        return transport


class MemoryTransport(Transport):
    """One end of a wire. Datagrams that nobody has taken yet fill its queue, up to its size."""

    def __init__(self, wire: Wire, address: str, queue_size: int) -> None:
        self._wire = wire
        self._address = address
        self._ways = Ways[str]()
        self._counts = SendCounts()
        self._in: trio.MemorySendChannel[tuple[bytes, str]]
        self._in, self._out = trio.open_memory_channel(queue_size)

    def reaches(self, host: str) -> bool:
        return bool(self._ways.to(host))

    def send_to_host(self, host: str, datagram: bytes) -> None:
        addresses = set(self._ways.to(host))
        if not addresses:
            raise Unreachable(host)
        for address in addresses:
            self._send(address, datagram)

    def send_to_domain(self, datagram: bytes) -> None:
        for address in self._wire.transports:
            self._send(address, datagram)

    def _send(self, address: str, datagram: bytes) -> None:
        other = self._wire.transports.get(address)
        if other is None or not self._wire.is_up:
            return  # lost
        try:
            other._in.send_nowait((datagram, self._address))
        except trio.WouldBlock:
            self._counts.send_queue_full += 1
            raise QueueFull from None
        self._counts.sent += 1

    def heard(self, host: str, epoch: bytes, source: Hashable) -> bool:
        is_new = epoch not in self._ways
        self._ways.add(host, epoch, str(source))
        return is_new

    def knows(self, epoch: bytes) -> bool:
        return epoch in self._ways

    def forget(self, epoch: bytes) -> None:
        self._ways.remove(epoch)

    def metrics(self) -> Iterable[Metric]:
        return metrics_of(self._counts, METRICS_PREFIX)

    async def run(
        self, receiver: Receiver, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()
        try:
            async for datagram, source in self._out:
                receiver.received(self, datagram, source)
        finally:
            del self._wire.transports[self._address]
