"""What carries sealed datagrams. It neither opens them nor knows what is in them."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol

import trio

from msfs_fuse.core.metrics import Metric, counter
from msfs_fuse.core.network import Link

METRICS_PREFIX = "network_"


@dataclass
class SendCounts:
    """What every transport counts of the datagrams that it is given."""

    sent: int = counter("Datagrams handed to the kernel.")
    send_queue_full: int = counter("Datagrams refused for a full send queue.")


class Unreachable(Exception):
    """The transport knows no way to that host."""


class QueueFull(Exception):
    """The transport has not got rid of what it was given before."""


class Receiver(Protocol):
    """Who gets what a transport brings. Every method returns at once."""

    def received(
        self,
        transport: "Transport",
        datagram: bytes,
        source: Hashable,
        *,
        sender: str | None = None,
        stored: bool = False,
    ) -> bool:
        """A datagram has come from `source`, which str() shows to people.

        Args:
            sender: the only host that it can be from, where the transport can tell.
            stored: it was kept for those who come later; see Replays.accept().

        Returns:
            Whether a member sent it, as far as is known. Where there are many that none did, a
            transport should leave more of its time to others.
        """

    def changed(self) -> None:
        """The transport may reach others than before: say HELLO again."""

    def lost(self, transport: "Transport", epoch: bytes) -> None:
        """That member is not there any more, by this transport at least."""


class Transport(Protocol):
    """Moves datagrams to hosts and to all of a domain, at most once each, as far as it can.

    One transport serves one domain. All but run() return at once.
    """

    def reaches(self, host: str) -> bool:
        """Whether send_to_host() has a way to it. ASCII case does not matter."""

    def send_to_host(self, host: str, datagram: bytes) -> None:
        """Send to every mount of that host.

        Raises:
            Unreachable: there is no such host, as far as is known.
            QueueFull: nothing was sent.
        """

    def send_to_domain(self, datagram: bytes) -> None:
        """Send to every other member. Some transports bring it back to its sender as well.

        Raises:
            QueueFull: it was not sent to all.
        """

    def announce(self, datagram: bytes) -> None:
        """Send a HELLO to every other member, and to those who come later if that can be done.

        Raises:
            QueueFull: it was not sent to all.
        """
        self.send_to_domain(datagram)

    def heard(self, host: str, epoch: bytes, source: Hashable) -> bool:
        """An authentic datagram of that member came from there: this is the way to it.

        Returns:
            Whether the member may not know us yet, so that a HELLO to it is due.
        """

    def knows(self, epoch: bytes) -> bool:
        """Whether there is a way to that member."""

    def forget(self, epoch: bytes) -> None:
        """That member is gone."""

    def reload(self) -> None:
        """Read the files with its secrets again; log what cannot be used, and do without it."""
        return

    def link(self) -> Link | None:
        """The state of its connection; None for a transport that has none."""
        return None

    def metrics(self) -> Iterable[Metric]:
        """What it has counted since the start. Transports may count under the same name."""

    async def run(
        self, receiver: Receiver, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Carry until cancelled, and close then. Ready when it listens.

        Raises:
            OSError: it cannot listen.
        """
