"""What the file side needs to know of other hosts, so that it need not know the network."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from msfs_fuse.core.metrics import Metric, add_up
from msfs_fuse.core.names import fold
from msfs_fuse.core.shares import ROOT_UID
from msfs_fuse.core.slot import Sender

CONNECTED = "connected"

# Takes a message that has come from another host: the name of the slot as a path, the data, the
# sender, and when it was sent in nanoseconds since 1970 by the sender's clock. The result is how
# many slots took the message, and how many refused it.
Deliver = Callable[[tuple[str, ...], bytes, Sender, int], tuple[int, int]]

# Whether this host has a slot of that name, so that a message to all is worth its cost.
HasSlot = Callable[[tuple[str, ...]], bool]


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


class HeardHost(NamedTuple):
    """Another host that has been heard, as `.msfs/peers` shows it.

    Attributes:
        domain: where it was heard.
        address: where its last message came from, for people.
        age: how long ago that was, in seconds.
    """

    domain: str
    host: str
    address: str
    age: float


class Nursery(Protocol):
    """What is used of trio.Nursery: the core imports no trio."""

    async def start(self, task: Callable[..., Awaitable[object]], *args: Any) -> Any:
        """Run a task, and return when it says that it is ready."""


class Route(Protocol):
    """The way to a host or to all hosts of a domain, held by an open handle."""

    @property
    def includes_this_host(self) -> bool:
        """Whether this host is one of the receivers; the message is not sent to it."""

    def capacity(self, path: tuple[str, ...]) -> int:
        """How many bytes a message to a slot of that name may have.

        Raises:
            SlotError: ENAMETOOLONG or EINVAL for a name that no message could carry.
        """

    def send(self, path: tuple[str, ...], data: bytes, sender: Sender, now: int) -> None:
        """Hand one message to the network. Returns at once; nothing confirms receipt.

        Args:
            now: nanoseconds since 1970.

        Raises:
            SlotError: EHOSTUNREACH for a host that has gone; ENOBUFS for a full send queue.
        """


class Router(Protocol):
    """One kind of network: names of hosts and domains to routes. Nothing but start() waits."""

    def route(self, name: str, uid: int = ROOT_UID) -> Route | None:
        """The way to a domain, `*`, or another host.

        None where there is none, and for the name of this host, unless a domain has that name.

        Args:
            uid: the user who wants it. He has a share of what can be looked for at a time.

        Raises:
            SlotError: ENOBUFS for a host that would have to be looked for beyond that.
        """

    def is_this_host(self, name: str) -> bool:
        """Whether that is another name of this host, such as `HOST.DOMAIN`."""
        return False

    def domains(self) -> Sequence[str]:
        """The domains whose members are proven, the primary one first."""
        return ()

    def keys(self) -> Mapping[str, str]:
        """For each of these domains, in words, the keys that are in use; none is told itself."""
        return {}

    def names(self) -> Sequence[str]:
        """The domains of this host and the hosts that are alive in them, without this one."""

    def heard(self) -> Iterable[HeardHost]:
        """The hosts that `.msfs/peers` shows, in order."""

    def links(self) -> Sequence[Link]:
        """The connections to brokers."""

    def metrics(self) -> Iterable[Metric]:
        """What has been counted. A name may come more than once: such numbers are added up."""

    def reload(self, settings: Any) -> None:
        """Take what can change while mounted: keys, passwords and certificates.

        What cannot be used is logged, and what there was stays.

        Args:
            settings: those of all networks as the configuration has them now, or None if it has
                none any more. Only the network itself looks into them.
        """

    async def start(self, nursery: Nursery, deliver: Deliver, has_slot: HasSlot) -> None:
        """Carry messages, in tasks of that nursery, until it is cancelled. Returns when it listens.

        Args:
            deliver: takes what arrives for the slots of this host.
            has_slot: tells whether there is one.

        Raises:
            OSError: it cannot listen; perhaps in an ExceptionGroup.
        """

    def close(self) -> None:
        """Tell other hosts that this one goes. Called before the tasks are cancelled."""


class Routers(Router):
    """Several kinds of network as one, asked in this order. Without any, a host is by itself."""

    def __init__(self, *routers: Router) -> None:
        self._routers = routers

    def route(self, name: str, uid: int = ROOT_UID) -> Route | None:
        routes = (router.route(name, uid) for router in self._routers)
        return next((route for route in routes if route is not None), None)

    def is_this_host(self, name: str) -> bool:
        return any(router.is_this_host(name) for router in self._routers)

    def domains(self) -> Sequence[str]:
        return [name for router in self._routers for name in router.domains()]

    def keys(self) -> Mapping[str, str]:
        return {name: words for each in self._routers for name, words in each.keys().items()}

    def names(self) -> Sequence[str]:
        names: dict[str, str] = {}
        for router in self._routers:
            for name in router.names():
                names.setdefault(fold(name), name)
        return list(names.values())

    def heard(self) -> Iterable[HeardHost]:
        for router in self._routers:
            yield from router.heard()

    def links(self) -> Sequence[Link]:
        return [link for router in self._routers for link in router.links()]

    def metrics(self) -> Iterable[Metric]:
        return add_up(metric for router in self._routers for metric in router.metrics())

    def reload(self, settings: Any) -> None:
        for router in self._routers:
            router.reload(settings)

    async def start(self, nursery: Nursery, deliver: Deliver, has_slot: HasSlot) -> None:
        for router in self._routers:
            await router.start(nursery, deliver, has_slot)

    def close(self) -> None:
        for router in self._routers:
            router.close()
