"""The mounts of a domain that we know: claimed, proven, and gone but not forgotten. All bounded.

A mount that has gone keeps its window until a sweep: forgetting one voids the handshakes that are
under way, and nobody who comes and goes all the time must be able to do that to the others.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from cryptography.exceptions import InvalidSignature

from msfs_fuse.core.names import fold
from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import Card
from msfs_fuse.net.trust.identity import Certificate, Identity
from msfs_fuse.net.trust.mounts import Mount, Pair, exchange
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.window import Window
from msfs_fuse.net.trust.wire import Reason, Refused


class Table:
    """Mounts by id, pairs by id, hosts by name.

    Args:
        forgot: called when windows have been forgotten.
    """

    def __init__(
        self, own: Own, context: bytes, now: float, forgot: Callable[[float], None]
    ) -> None:
        self.own = own
        self.identity: Identity = own.identity
        self._context = context
        self._forgot = forgot
        self._claims: OrderedDict[bytes, Mount] = OrderedDict()
        self._proven: dict[bytes, Mount] = {}
        self._gone: dict[bytes, Mount] = {}
        self._hosts: dict[str, dict[bytes, Mount]] = {}
        self._pairs: dict[bytes, Pair] = {}
        self._certificates: OrderedDict[bytes, Certificate] = OrderedDict()
        self._swept = now

    def __len__(self) -> int:
        return len(self._proven)

    def __iter__(self) -> Iterator[Mount]:
        """Those that are proven."""
        return iter(self._proven.values())

    @property
    def claims(self) -> int:
        """How many are not proven yet."""
        return len(self._claims)

    def get(self, id: bytes) -> Mount | None:
        """A mount in any state."""
        return self._proven.get(id) or self._claims.get(id) or self._gone.get(id)

    def pair(self, id: bytes) -> Pair | None:
        """The pair whose datagrams to us have this id."""
        return self._pairs.get(id)

    def mounts_of(self, host: str) -> list[Mount]:
        """Those of a host that are proven. ASCII case does not matter."""
        return list(self._hosts.get(fold(host), {}).values())

    def hosts(self) -> list[str]:
        """The names of hosts with a proven mount."""
        return [next(iter(each.values())).host for each in self._hosts.values()]

    # ---- cards ----

    def is_known(self, card: Card) -> bool:
        """Whether taking this card costs no verification."""
        mount = self.get(card.mount(self._context))
        return mount is not None and mount.card.raw == card.raw

    def admit(self, card: Card, until: float, wall: float, *, signed: bool = False) -> Mount:
        """The mount that a card presents, checked; with pairs for it.

        Args:
            until: when a mount that is new here goes, if it is not proven.
            wall: seconds since 1970.
            signed: the datagram that holds the card was checked with the card's own certificate.

        Raises:
            Refused: CARD_…, BAD_SIGNATURE, GONE, LIMITED_CLAIMS.
        """
        id = card.mount(self._context)
        if card.boot == self.own.boot or id == self.own.mount or card.public in self.own.publics:
            raise Refused(Reason.CARD_OWN)
        mount = self.get(id)
        if mount is not None:
            if mount.left:
                raise Refused(Reason.GONE)
            self.identity.check_standing(mount.certificate, wall)
            if mount.card.raw == card.raw:
                if not mount.proven:
                    self._derive_all(mount)
                if id in self._claims:
                    mount.until = max(mount.until, until)
                    self._claims.move_to_end(id)
                return mount
            if card.n <= mount.card.n:
                raise Refused(Reason.CARD_OLD)
            self._check_signature(mount.certificate, card, signed)
            self._renew(mount, card)
            return mount
        certificate = self.certify(card.certificate, wall)
        self._check_signature(certificate, card, signed)
        if len(self._claims) >= limits.CLAIMS:
            raise Refused(Reason.LIMITED_CLAIMS)
        mount = Mount(id, certificate, card, card.hash, until)
        self._derive_all(mount)
        self._claims[id] = mount
        return mount

    def certify(self, der: bytes, wall: float) -> Certificate:
        """A host's certificate, checked; the costly part once.

        Raises:
            Refused: CARD_….
        """
        certificate = self._certificates.get(der)
        if certificate is None:
            certificate = self.identity.authority.certify(der)
            self._certificates[der] = certificate
            if len(self._certificates) > limits.CACHE:
                self._certificates.popitem(last=False)
        else:
            self._certificates.move_to_end(der)
        self.identity.check_standing(certificate, wall)
        return certificate

    def _check_signature(self, certificate: Certificate, card: Card, signed: bool) -> None:
        if signed:
            return
        try:
            certificate.public.verify(card.signature, card.signed(self._context))
        except InvalidSignature:
            raise Refused(Reason.BAD_SIGNATURE) from None

    def _renew(self, mount: Mount, card: Card) -> None:
        """It has another X25519 key. The one before stays: it uses it for a while."""
        former = mount.card, mount.card_hash
        mount.card, mount.card_hash = card, card.hash
        try:
            self._derive_all(mount)
        except Refused:  # it is no key: the former one stays good
            mount.card, mount.card_hash = former
            raise
        self.drop_pairs_before(mount, former[0].n)

    def drop_pairs_before(self, mount: Mount, n: int) -> None:
        """The time of its X25519 keys before that one is over."""
        self._drop_pairs(mount, lambda pair: pair.theirs < n)

    def _derive_all(self, mount: Mount) -> None:
        for ours in self.own.privates:
            self.derive(mount, ours)

    def derive(self, mount: Mount, ours: int) -> None:
        """Make what pairs are missing of a mount's newest card and one X25519 key of ours.

        Raises:
            Refused: CARD_MALFORMED.
        """
        missing = [key for key in self.own.keys if (key, ours, mount.card.n) not in mount.pairs]
        if missing:
            secret = exchange(self.own.privates[ours], mount.card.public)
            for key in missing:
                pair = mount.derive(key, self._context, ours, self.own.hashes[ours], secret)
                self._pairs[pair.in_id] = pair

    def drop_pairs_where(self, unwanted: Callable[[Pair], bool]) -> None:
        """Drop pairs of all mounts."""
        for mounts in (self._claims, self._proven, self._gone):
            for mount in mounts.values():
                self._drop_pairs(mount, unwanted)

    def _drop_pairs(self, mount: Mount, unwanted: Callable[[Pair], bool]) -> None:
        for name, pair in list(mount.pairs.items()):
            if unwanted(pair):
                del mount.pairs[name]
                self._pairs.pop(pair.in_id, None)

    # ---- states ----

    def prove(self, mount: Mount, floor: int, now: float) -> bool:
        """It has shown to be there. False if it was proven already.

        Raises:
            Refused: LIMITED_PEERS, LIMITED_MOUNTS, GONE.
        """
        if mount.left or self.get(mount.id) is not mount:
            raise Refused(Reason.GONE)
        if mount.proven:
            return False
        if mount.gone:  # its window is still here, and counts more than any floor
            self.restore(mount, now)
            return True
        if len(self._proven) + len(self._gone) >= limits.PEERS:
            self.sweep(now, limits.SWEEP_IN_NEED)
            if len(self._proven) + len(self._gone) >= limits.PEERS:
                raise Refused(Reason.LIMITED_PEERS)
        if self._count(mount.name) >= limits.MOUNTS_PER_HOST:
            self.sweep(now, limits.SWEEP_IN_NEED)
            if self._count(mount.name) >= limits.MOUNTS_PER_HOST:
                raise Refused(Reason.LIMITED_MOUNTS)
        self._claims.pop(mount.id, None)
        mount.window, mount.group_window = Window(floor), Window(floor)
        mount.heard = now
        self._proven[mount.id] = mount
        self._hosts.setdefault(mount.name, {})[mount.id] = mount
        return True

    def _count(self, name: str) -> int:
        gone = sum(each.name == name for each in self._gone.values())
        return len(self._hosts.get(name, {})) + gone

    def part(self, mount: Mount) -> None:
        """It is not there any more. Its window stays until the next sweep."""
        if self._proven.pop(mount.id, None) is None:
            return
        mounts = self._hosts[mount.name]
        del mounts[mount.id]
        if not mounts:
            del self._hosts[mount.name]
        self._drop_pairs(mount, lambda _: True)
        mount.ways.clear()
        mount.gone = True
        self._gone[mount.id] = mount

    def restore(self, mount: Mount, now: float) -> None:
        """One that was not heard for long is there again, before its window was swept."""
        del self._gone[mount.id]
        mount.gone = False
        mount.heard = now
        self._derive_all(mount)
        self._proven[mount.id] = mount
        self._hosts.setdefault(mount.name, {})[mount.id] = mount

    def drop_claim(self, mount: Mount) -> None:
        """It was not proven in time."""
        if self._claims.pop(mount.id, None) is not None:
            self._drop_pairs(mount, lambda _: True)

    def expire_claims(self, now: float) -> None:
        for mount in [each for each in self._claims.values() if each.until <= now]:
            self.drop_claim(mount)

    def sweep(self, now: float, interval: float = limits.SWEEP) -> None:
        """Forget the windows of those that have gone, if the last time was so long ago."""
        if self._gone and now - self._swept >= interval:
            self._swept = now
            for mount in self._gone.values():
                self._drop_pairs(mount, lambda _: True)
            self._gone.clear()
            self._forgot(now)
