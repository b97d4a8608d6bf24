"""What a mount does by itself: it presents itself, looks after the others, and changes its keys."""

from collections.abc import Callable
from functools import partial

from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import GroupType
from msfs_fuse.net.trust.handshake import Handshake
from msfs_fuse.net.trust.here import Here
from msfs_fuse.net.trust.keys import Keys
from msfs_fuse.net.trust.mounts import Mount, Way
from msfs_fuse.net.trust.wire import Refused

# How often the tables are looked through, in seconds.
_ROUND = 2.0


class Upkeep:
    """The timers of one start of a mount.

    Args:
        says_hello: whether it presents itself to all.
        expire: called now and then, to forget what has waited for too long.
    """

    def __init__(
        self,
        here: Here,
        handshake: Handshake,
        says_hello: bool,
        expire: Callable[[float], None],
        now: float,
    ) -> None:
        self._here = here
        self._handshake = handshake
        self._says_hello = says_hello
        self._expire = expire
        here.timers.at(now + _ROUND, self._round)
        here.timers.at(now + limits.KEY_ROLL, self._roll)
        here.timers.at(now + limits.CHECK_STANDING, self._check_standing)
        if says_hello:
            for after in limits.HELLO_FIRST:
                here.timers.at(now + after, self._hello)
            here.timers.at(now + limits.HELLO_FIRST[-1] + self._interval(), self._hello_again)

    def _interval(self) -> float:
        jitter = self._here.fraction() * 2 - 1
        return limits.HELLO_INTERVAL * (1 + limits.HELLO_JITTER * jitter)

    def _hello_again(self, now: float) -> None:
        self._hello(now)
        self._here.timers.at(now + self._interval(), self._hello_again)

    def hello(self, now: float) -> None:
        """Present this mount to all, as after a change of the network."""
        if self._says_hello:
            self._hello(now)

    def _hello(self, now: float) -> None:
        body = bytes([GroupType.HELLO]) + self._here.own.card.raw
        self._here.outlet.announce(lambda: self._here.own.seal_signed(body, now))
        # Who has not heard us by the group may do so now: ask what it says.
        deaf = [mount for mount in self._here.table if not mount.hears_us]
        for mount in deaf:
            way = mount.best_way()
            if way is not None:
                delay = 1.0 + self._here.fraction() * len(deaf) * limits.SPREAD_PER_PEER
                self._handshake.ask(way, now, to_mount=mount.id, delay=delay)

    def _roll(self, now: float) -> None:
        """Take another X25519 key: what was recorded is out of reach once the last one is gone."""
        self._here.timers.at(now + limits.KEY_ROLL, self._roll)
        old, card = self._here.own.card.n, self._here.own.make_card()

        def present(at: float) -> None:
            self._here.own.card = card
            self._here.timers.at(at + limits.KEY_USE, use)
            self._here.timers.at(at + limits.KEY_DELETE, delete)
            if self._says_hello:
                self._hello(at)
                return
            hello = self._here.own.seal_signed(bytes([GroupType.HELLO]) + card.raw, at)
            for mount in self._here.table:
                way = mount.best_way()
                if way is not None:
                    self._here.outlet.send(way, hello)

        def use(_: float) -> None:
            self._here.own.sends_as = card.n

        def delete(_: float) -> None:
            self._here.own.drop_key(old)
            self._here.table.drop_pairs_where(lambda pair: pair.ours == old)

        # All keys for it are there before anybody can use them. This is not refused: it is ours.
        self._here.jobs.extend(
            partial(self._derive, mount, card.n) for mount in list(self._here.table)
        )
        self._here.jobs.append(present)
        self._here.outlet.wake()

    def _round(self, now: float) -> None:
        self._here.timers.at(now + _ROUND, self._round)
        self._here.table.expire_claims(now)
        self._handshake.expire(now)
        self._expire(now)
        for mount in list(self._here.table):
            if mount.renewed is not None and now - mount.renewed >= limits.KEY_DELETE:
                mount.renewed = None
                self._here.table.drop_pairs_before(mount, mount.card.n)
            silence = now - mount.heard
            ways: list[Way | None] = []
            if silence > limits.EXPIRY:
                self._here.part(mount, "is lost")
            elif silence > limits.SILENCE and not mount.ways:
                self._handshake.look_for(mount, now)
            elif silence > limits.SILENCE:
                ways = list(mount.ways)
            elif mount.told_hears and now - mount.heard_by_group >= limits.GROUP_SILENCE:
                ways = [mount.best_way()]  # tell it
            for way in ways:
                if way is not None:
                    self._handshake.ask(way, now, to_mount=mount.id)
        self._here.table.sweep(now)

    def _check_standing(self, now: float) -> None:
        self._here.timers.at(now + limits.CHECK_STANDING, self._check_standing)
        self.check_certificates()

    def check_certificates(self) -> None:
        """Part from those whose certificate is revoked or has expired."""
        wall = self._here.wall()
        for mount in list(self._here.table):
            try:
                self._here.identity.check_standing(mount.certificate, wall)
            except Refused as refused:
                self._here.part(mount, f"is {refused.reason.removeprefix('card_')}", for_good=True)

    def use_keys(self, keys: Keys) -> None:
        """Send and receive with these domain keys; what only others had is dropped."""
        if keys == self._here.own.keys:
            return
        self._here.own.use_keys(keys)
        self._here.table.drop_pairs_where(lambda pair: pair.key not in keys)
        for mount in self._here.table:
            mount.group.clear()
            for ours in self._here.own.privates:
                self._here.jobs.append(partial(self._derive, mount, ours))
        self._here.outlet.wake()

    def _derive(self, mount: Mount, ours: int, _: float) -> None:
        if mount.proven and ours in self._here.own.privates:
            self._here.table.derive(mount, ours)
