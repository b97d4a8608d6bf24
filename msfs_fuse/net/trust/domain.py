"""A domain as one of its members sees it: who is there, what to answer, what to deliver.

A state machine without clock or socket. Times are monotonic, in seconds, and passed in.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from msfs_fuse.core.names import fold
from msfs_fuse.core.shares import leaves_enough
from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import GroupType, Message, PairType
from msfs_fuse.net.trust.handshake import Handshake
from msfs_fuse.net.trust.hearing import Hearing
from msfs_fuse.net.trust.here import Here, Outlet
from msfs_fuse.net.trust.holds import Holds
from msfs_fuse.net.trust.identity import Identity
from msfs_fuse.net.trust.keys import domain_context
from msfs_fuse.net.trust.mounts import GROUP_WAY, Mount, Pair, Way
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.upkeep import Upkeep
from msfs_fuse.net.trust.wire import Reason

COUNTS = ("received", "no_slot", "queued_lost", "probe_unanswered", "way_lost", "clone")


class Unknown(Exception):
    """No mount of that host is there, and none is looked for."""


class TooMany(Exception):
    """So much waits already for hosts that have not answered yet."""


class _Search(NamedTuple):
    until: float
    uid: int


class Domain:
    """This mount as a member.

    Args:
        wall: seconds since 1970, for the end dates of certificates alone.
        says_hello: whether it presents itself to all, at the start and every half minute.
    """

    def __init__(
        self,
        identity: Identity,
        outlet: Outlet,
        now: float,
        *,
        wall: Callable[[], float],
        random: Callable[[int], bytes] = os.urandom,
        says_hello: bool = True,
    ) -> None:
        self.identity = identity
        self.context = domain_context(identity.domain)
        self._outlet = outlet
        self._wall = wall
        self._random = random
        self._says_hello = says_hello
        self.drops: Counter[str] = Counter(dict.fromkeys(map(str, Reason), 0))
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self._begin(now)

    def _begin(self, now: float) -> None:
        """Start as a mount that nobody knows, and that knows nobody."""
        own = Own(self.identity, self.context, now, self._random)
        here = Here(
            own,
            self._outlet,
            self.context,
            self._wall,
            self._random,
            self.drops,
            self.counts,
            now,
        )
        self.here = here
        self._handshake = Handshake(here, self._release, now)
        keep = limits.KEEP if self._says_hello else limits.KEEP_ASKED
        self._hearing = Hearing(here, self._handshake, keep, self.restart, now)
        self._upkeep = Upkeep(here, self._handshake, self._says_hello, self._expire, now)
        self._queued = Holds[tuple[str, Message]](limits.QUEUED, limits.QUEUED_PER_HOST)
        self._sought: dict[str, _Search] = {}  # hosts that we have asked for

    def restart(self, now: float) -> None:
        """Be another mount from now on: this one may not be the only one of its kind.

        After a suspend or a snapshot nobody knows what was sealed and heard meanwhile.
        """
        self.counts["queued_lost"] += len(self._queued)
        self._hearing.close()
        self._begin(now)
        self._outlet.wake()

    # ---- what the driver does ----

    def at(self, when: float, call: Callable[[float], None]) -> None:
        """Have something done by run_timers(), at that time."""
        self.here.timers.at(when, call)
        self._outlet.wake()

    @property
    def last_refusal(self) -> str:
        """Why the last datagram was dropped that was."""
        return self.here.last_refusal

    @property
    def next_timer(self) -> float | None:
        """When run_timers() has something to do."""
        return self.here.timers.next

    def run_timers(self, now: float) -> None:
        """Do what is due."""
        self.here.timers.run(now)

    @property
    def has_work(self) -> bool:
        """Whether work() would do something."""
        return bool(self.here.jobs or self.here.steps)

    def work(self, now: float) -> bool:
        """Do one piece of costly work; whether there was one."""
        job = self.here.next_job()
        if job is None:
            return False
        self.here.attempt(job, now)
        return True

    def receive(self, datagram: bytes, way: Way, now: float, *, by_group: bool = False) -> bool:
        """A datagram has come.

        Args:
            by_group: by multicast, or where a broker has all hear it.

        Returns:
            Whether it was good for something, as far as is known yet.
        """
        return self._hearing.receive(datagram, way, now, by_group)

    def lost(self, way: Way, now: float) -> None:
        """A broker says that who uses this way is gone. It may be wrong: ask."""
        for mount in list(self.here.table):
            if way in mount.ways:
                mount.doubted = True
                self._handshake.ask(way, now, to_mount=mount.id)

    def hello(self, now: float) -> None:
        """Present this mount to all, as after a change of the network."""
        self._upkeep.hello(now)

    def use(self, identity: Identity, now: float) -> None:
        """Take other keys and another list of revoked certificates; the certificate stays.

        Raises:
            ValueError: it is another certificate, or another authority.
        """
        same = identity.certificate.der == self.identity.certificate.der
        if not same or identity.authority.certificate != self.identity.authority.certificate:
            raise ValueError("another certificate is for the next mount")
        self.identity = self.here.own.identity = self.here.table.identity = identity
        self._upkeep.check_certificates()
        self._upkeep.use_keys(identity.keys)

    # ---- who is there ----

    @property
    def name(self) -> str:
        """Of the domain."""
        return self.identity.domain

    @property
    def host(self) -> str:
        """This host, as the others know it."""
        return self.identity.host

    def __iter__(self) -> Iterator[Mount]:
        """The mounts that are proven."""
        return iter(self.here.table)

    def hosts(self) -> list[str]:
        """Their hosts, each once."""
        return self.here.table.hosts()

    def knows(self, host: str) -> bool:
        """Whether a mount of that host is proven. ASCII case does not matter."""
        return bool(self.here.table.mounts_of(host))

    def is_sought(self, host: str, now: float) -> bool:
        """Whether that host is asked for, and has time to answer."""
        search = self._sought.get(fold(host))
        return search is not None and now < search.until

    # ---- sending ----

    def seal_for_host(
        self, host: str, message: Message, now: float
    ) -> Sequence[tuple[list[Way], bytes]]:
        """A datagram for each mount of a host, and the ways to it in the order to try them.

        None yet, if the host was asked and has time to answer.

        Raises:
            Unknown: there is none, or no way to any.
            TooMany: it has been asked, and others wait already.
        """
        sealed = []
        mounts = self.here.table.mounts_of(host)
        for mount in mounts:
            way = mount.best_way(self._outlet.is_up)
            pair = self._pair_to(mount)
            if way is not None and pair is not None:
                ways = [way, *mount.other_ways(way)] if len(mount.ways) > 1 else [way]
                sealed.append((ways, self.here.own.seal_pair(pair, _pack_message(message), now)))
                self._look_after(mount, way, now)
        if not sealed:
            if not mounts and not self.is_sought(host, now):
                raise Unknown(host)
            for mount in mounts:  # all ways to it have failed
                self._handshake.look_for(mount, now)
            own = self._queued.count(lambda each: each[1].uid == message.uid)
            if not leaves_enough(own, len(self._queued), limits.QUEUED) or not self._queued.add(
                fold(host), (host, message), now + limits.KEEP
            ):
                raise TooMany(host)
        return sealed

    def seal_for_domain(self, message: Message, now: float) -> bytes:
        """A datagram for all."""
        return self.here.own.seal_signed(bytes([GroupType.MESSAGE]) + message.pack(), now)

    def seal_bye(self, now: float) -> bytes:
        """The last datagram of a mount."""
        return self.here.own.seal_signed(bytes([GroupType.BYE]), now)

    def beyond_group(self) -> list[Way]:
        """Ways to the mounts that what is sent to the group does not reach."""
        is_up = self._outlet.is_up
        ways = (mount.best_way(is_up) for mount in self.here.table if not mount.hears_us)
        return [way for way in ways if way is not None]

    def seek(self, host: str, now: float, uid: int) -> bool:
        """Ask for a host that is not known. False if it did not answer of late.

        Args:
            uid: the user who wants it.

        Raises:
            TooMany: so many are asked for already, of which he has his share.
        """
        name = fold(host)
        if name in self._sought:
            return self.is_sought(name, now)
        own = sum(each.uid == uid for each in self._sought.values())
        if not leaves_enough(own, len(self._sought), limits.SOUGHT):
            raise TooMany(host)
        search = self._sought[name] = _Search(now + limits.KEEP, uid)
        until = now + limits.KEEP + limits.NOT_FOUND
        self.here.timers.at(until, lambda _: self._give_up(name, search))
        self._handshake.ask(GROUP_WAY, now, to_host=name)
        return True

    def _give_up(self, name: str, search: _Search) -> None:
        if self._sought.get(name) is search:
            del self._sought[name]

    def _pair_to(self, mount: Mount) -> Pair | None:
        ours = max(self.here.own.sends_as, mount.knows)
        if (self.here.own.keys[0], ours, mount.card.n) not in mount.pairs:
            self.here.table.derive(mount, ours)
        return mount.pairs.get((self.here.own.keys[0], ours, mount.card.n))

    def _look_after(self, mount: Mount, way: Way, now: float) -> None:
        """Who is written to, and says nothing, is asked whether it still is where it was."""
        state = mount.ways[way]
        silent_since = now - limits.SILENCE_IN_USE
        if state.heard < silent_since and state.asked < silent_since:
            state.asked = now
            self._handshake.ask(way, now, to_mount=mount.id)

    def _release(self, mount: Mount, now: float) -> None:
        """It has answered: take what it has sent, and send what waits for it."""
        self._sought.pop(mount.name, None)
        self._hearing.release(mount, now)
        self._expire(now)
        for host, message in self._queued.take(lambda each: fold(each[0]) == mount.name):
            for ways, datagram in self.seal_for_host(host, message, now):
                self.here.send(ways[0], datagram)

    def _expire(self, now: float) -> None:
        self._hearing.expire(now)
        self.counts["queued_lost"] += len(self._queued.expire(now))


def _pack_message(message: Message) -> bytes:
    return bytes([PairType.MESSAGE]) + message.pack()
