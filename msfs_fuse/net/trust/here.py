"""One start of a mount: what all that it does has in common."""

import itertools
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import SIGNATURE_SIZE, Message, group_to_sign
from msfs_fuse.net.trust.identity import Identity
from msfs_fuse.net.trust.mounts import GROUP_WAY, Mount, Way
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.table import Table
from msfs_fuse.net.trust.timers import Timers
from msfs_fuse.net.trust.wire import Header, Reason, Refused

Job = Callable[[float], None]


class Heard(NamedTuple):
    """A message of a proven host.

    Attributes:
        host: as its certificate has it.
        by_group: it was sent to the whole domain.
    """

    host: str
    message: Message
    by_group: bool


class Outlet(Protocol):
    """Who moves what the domain says, and takes what it has heard. Every method returns at once."""

    def send(self, way: Way, datagram: bytes) -> None:
        """Send there, or lose it."""

    def send_to_group(self, datagram: bytes) -> None:
        """Send to whoever can be reached, or lose it."""

    def ask_host(self, host: str, datagram: bytes) -> None:
        """Send a question to a host that nobody knows yet, or lose it."""

    def announce(self, seal: Callable[[], bytes]) -> None:
        """Send a HELLO to all, and to those who come later if that can be done.

        Args:
            seal: makes one; each transport needs its own, for a second copy would be dropped.
        """

    def deliver(self, heard: Heard) -> None:
        """A message is new, and of that host."""

    def has_slot(self, path: tuple[str, ...]) -> bool:
        """Whether a message to the domain, to that slot, would reach anything here."""

    def is_ours(self, seen: bytes) -> bool:
        """Whether that is an address of this very mount, in the form that is sent in `seen`."""

    def is_up(self, way: Way) -> bool:
        """Whether what moves datagrams that way is connected."""
        return True

    def appeared(self, host: str) -> None:
        """A mount of that host is proven."""

    def left(self, host: str, how: str) -> None:
        """One is not there any more."""

    def wake(self) -> None:
        """There is work, or a timer before the next one."""


class Here:
    """What the parts of a domain share. Another start of the mount is another one.

    Attributes:
        own: this mount, and `table` the others.
        jobs: costly work, one piece a turn of the loop; `steps` is that of handshakes.
        drops: datagrams that were dropped, by reason.
        wall: seconds since 1970, for the end dates of certificates alone.
    """

    def __init__(
        self,
        own: Own,
        outlet: Outlet,
        context: bytes,
        wall: Callable[[], float],
        random: Callable[[int], bytes],
        drops: Counter[str],
        counts: Counter[str],
        now: float,
    ) -> None:
        self.own = own
        self.outlet = outlet
        self.context = context
        self.wall = wall
        self.random = random
        self.drops = drops
        self.last_refusal = ""
        self.counts = counts
        self.timers = Timers()
        self.jobs: deque[Job] = deque()
        self.steps: deque[Job] = deque()
        self._turns = itertools.cycle((self.steps, self.steps, self.steps, self.jobs))
        self.table = Table(own, context, now, self._forgot)
        self.on_forgot: Callable[[], None] = lambda: None

    @property
    def identity(self) -> Identity:
        return self.own.identity

    def _forgot(self, now: float) -> None:
        """Windows are forgotten: what is asked from now on is younger."""
        self.own.forgot(now)
        self.on_forgot()

    def fraction(self) -> float:
        """A random number from 0 to 1."""
        return int.from_bytes(self.random(4)) / (1 << 32)

    def later(self, job: Job, *, is_step: bool = False) -> None:
        """Have it done when the loop has time.

        Args:
            is_step: of a handshake. Of four turns such jobs have three: where many hosts come at
                once, those that were asked are proven before others are asked.

        Raises:
            Refused: LIMITED_WORK.
        """
        if len(self.jobs) + len(self.steps) >= limits.JOBS:
            raise Refused(Reason.LIMITED_WORK)
        (self.steps if is_step else self.jobs).append(job)
        self.outlet.wake()

    def next_job(self) -> Job | None:
        """Take the job whose turn it is."""
        queue = next(self._turns) or self.steps or self.jobs
        return queue.popleft() if queue else None

    def attempt(self, job: Job, now: float) -> None:
        """Do something that may be refused; then it is counted."""
        try:
            job(now)
        except Refused as refused:
            self.drops[refused.reason] += 1

    def send(self, way: Way, datagram: bytes, host: str = "") -> None:
        """Send there, or lose it.

        Args:
            host: the only one that is meant, if the way is to all.
        """
        if way == GROUP_WAY and host:
            self.outlet.ask_host(host, datagram)
        elif way == GROUP_WAY:
            self.outlet.send_to_group(datagram)
        else:
            self.outlet.send(way, datagram)

    def verify(self, public: Ed25519PublicKey, header: Header, body: bytes) -> None:
        """Check the signature of a GROUP datagram.

        Raises:
            Refused: BAD_SIGNATURE.
        """
        content, signature = body[:-SIGNATURE_SIZE], body[-SIGNATURE_SIZE:]
        try:
            public.verify(signature, group_to_sign(self.context, header.raw, content))
        except InvalidSignature:
            raise Refused(Reason.BAD_SIGNATURE) from None

    def part(self, mount: Mount, how: str, *, for_good: bool = False) -> None:
        """A mount is not there any more; unless for good, it may be heard again."""
        self.table.part(mount)
        mount.left = for_good
        self.outlet.left(mount.host, how)


def check_host(mount: Mount, way: Way) -> None:
    """Refuse what comes from where only another host can send, as a broker sees to.

    Raises:
        Refused: OTHER_SENDER.
    """
    if way.host and way.host != mount.name:
        raise Refused(Reason.OTHER_SENDER)
