"""What carries sealed datagrams. It neither opens them nor knows what is in them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

import trio

from msfs_fuse.core.metrics import Metric, counter
from msfs_fuse.core.network import Link
from msfs_fuse.net.trust.keys import Keys
from msfs_fuse.net.trust.mounts import Way

METRICS_PREFIX = "network_"


@dataclass
class SendCounts:
    """What every transport counts of the datagrams that it is given."""

    sent: int = counter("Datagrams handed to the kernel.")
    send_queue_full: int = counter("Datagrams refused for a full send queue.")


class QueueFull(Exception):
    """The transport has not got rid of what it was given before: nobody gets this one."""


class Unreachable(Exception):
    """There is no link or route to that address now: nobody gets this one."""


class Receiver(Protocol):
    """Who gets what a transport brings. Every method returns at once."""

    def received(self, datagram: bytes, way: Way, *, by_group: bool = False) -> bool:
        """A datagram has come.

        Args:
            way: where it came from; its carrier is the transport.
            by_group: it was sent to all.

        Returns:
            Whether a member sent it, as far as is known. Where there are many that none did, a
            transport should leave more of its time to others.
        """

    def changed(self) -> None:
        """The transport may reach others than before: say HELLO again."""

    def lost(self, way: Way) -> None:
        """Who uses that way is gone, as the transport was told."""


class Transport(Protocol):
    """Moves datagrams to hosts and to all of a domain, at most once each, as far as it can.

    One transport serves one domain. All but run() return at once.
    """

    def send(self, way: Way, datagram: bytes) -> None:
        """Send by a way that this transport has made.

        Raises:
            QueueFull: it was not sent, for want of room.
            Unreachable: it was not sent.
        """

    def send_to_domain(self, datagram: bytes, beyond: Collection[Way] = ()) -> None:
        """Send to every other member. Some transports bring it back to its sender as well.

        Args:
            beyond: ways of this transport to members that do not hear what is sent to all.

        Raises:
            QueueFull: it was sent to nobody.
        """

    def announce(self, datagram: bytes) -> None:
        """Send a HELLO to every other member, and to those who come later if that can be done.

        Raises:
            QueueFull: it was sent to nobody.
        """
        self.send_to_domain(datagram)

    def ask(self, host: str, datagram: bytes) -> None:
        """Send a question to a host to which no way is known.

        Raises:
            QueueFull: it was sent to nobody.
        """
        self.send_to_domain(datagram)

    def ways_of_peer(self, name: str) -> Collection[Way]:
        """Ways to a static peer that is listed by this name or address."""
        return ()

    def is_ours(self, seen: bytes) -> bool:
        """Whether that is an address of this transport, as `Way.seen` has it."""
        return False

    def is_up(self) -> bool:
        """Whether it has the connection that it needs, if it needs one."""
        return True

    def use(self, keys: Keys) -> None:
        """The domain has these keys from now on."""
        return

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
