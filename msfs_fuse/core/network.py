"""What the file side needs to know of other hosts, so that it need not know the network."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from msfs_fuse.core.metrics import Metric
from msfs_fuse.core.slot import Sender

CONNECTED = "connected"


class Link(NamedTuple):
    """A connection that a domain's messages go by.

    Attributes:
        url: of the other end, as configured.
        state: CONNECTED, `connecting`, or `away: ` and why.
    """

    domain: str
    url: str
    state: str

    @property
    def is_up(self) -> bool:
        """Whether messages can go there."""
        return self.state == CONNECTED


class Route(Protocol):
    """The way to a host or to all hosts of a domain, held by an open handle."""

    @property
    def includes_this_host(self) -> bool:
        """Whether this host is one of the receivers; the message is not sent to it."""

    def check(self, path: tuple[str, ...]) -> None:
        """Refuse the name of a slot that no message could carry.

        Raises:
            SlotError: ENAMETOOLONG.
        """

    def send(self, path: tuple[str, ...], data: bytes, sender: Sender, now: int) -> None:
        """Hand one message to the transports. Returns at once; nothing confirms receipt.

        Args:
            now: nanoseconds since the epoch.

        Raises:
            SlotError: EHOSTUNREACH for a host that has gone; ENOBUFS for a full send queue.
        """


class Router(Protocol):
    """Names of hosts and domains to routes. Nothing in it waits."""

    def route(self, name: str) -> Route | None:
        """The way to a domain, `*`, or another host; None where there is none."""

    def names(self) -> Sequence[str]:
        """The domains of this host and the hosts that are alive in them."""

    def peers(self) -> str:
        """What `.msfs/peers` shows."""

    def links(self) -> Sequence[Link]:
        """The connections to brokers."""

    def metrics(self) -> Iterable[Metric]:
        """What has been counted."""


class NoRouter:
    """A host without a domain: nothing is sent, nothing listens."""

    def route(self, name: str) -> Route | None:
        """None: there is no other host."""
        return None

    def names(self) -> Sequence[str]:
        """None at all."""
        return ()

    def peers(self) -> str:
        """Nobody."""
        return ""

    def links(self) -> Sequence[Link]:
        """None at all."""
        return ()

    def metrics(self) -> Iterable[Metric]:
        """Nothing is counted."""
        return ()
