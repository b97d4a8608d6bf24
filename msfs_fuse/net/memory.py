"""A network in memory: the same promises as the real transports, for tests and for trying out."""

from collections.abc import Collection, Iterable

import trio

from msfs_fuse.core.metrics import Metric, metrics_of
from msfs_fuse.net.transport import METRICS_PREFIX, QueueFull, Receiver, SendCounts, Transport
from msfs_fuse.net.trust.bodies import SEEN_SIZE
from msfs_fuse.net.trust.mounts import Way


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


def _seen(address: str) -> bytes:
    return address.encode()[:SEEN_SIZE].rjust(SEEN_SIZE, b"\0")


class MemoryTransport(Transport):
    """One end of a wire. Datagrams that nobody has taken yet fill its queue, up to its size."""

    def __init__(self, wire: Wire, address: str, queue_size: int) -> None:
        self._wire = wire
        self._address = address
        self._counts = SendCounts()
        self._in: trio.MemorySendChannel[tuple[bytes, str, bool]]
        self._in, self._out = trio.open_memory_channel(queue_size)

    def send(self, way: Way, datagram: bytes) -> None:
        if not self._send(str(way.address), datagram, False):
            raise QueueFull

    def send_to_domain(self, datagram: bytes, beyond: Collection[Way] = ()) -> None:
        sent = [self._send(address, datagram, True) for address in self._wire.transports]
        if not any(sent):
            raise QueueFull

    def _send(self, address: str, datagram: bytes, by_group: bool) -> bool:
        other = self._wire.transports.get(address)
        if other is None or not self._wire.is_up:
            return True  # lost
        try:
            other._in.send_nowait((datagram, self._address, by_group))
        except trio.WouldBlock:
            self._counts.send_queue_full += 1
            return False
        self._counts.sent += 1
        return True

    def is_ours(self, seen: bytes) -> bool:
        return seen == _seen(self._address)

    def metrics(self) -> Iterable[Metric]:
        return metrics_of(self._counts, METRICS_PREFIX)

    async def run(
        self, receiver: Receiver, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()
        try:
            async for datagram, source, by_group in self._out:
                way = Way(self, source, _seen(source))
                receiver.received(datagram, way, by_group=by_group)
        finally:
            del self._wire.transports[self._address]
