"""What is kept of another mount: its card, the keys for it, its window, and the ways to it."""

import hmac
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from msfs_fuse.core.names import fold
from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import CODE_SIZE, NOT_SEEN, Card
from msfs_fuse.net.trust.identity import Certificate
from msfs_fuse.net.trust.keys import DomainKey, hkdf
from msfs_fuse.net.trust.window import Window
from msfs_fuse.net.trust.wire import ID_SIZE, Reason, Refused

_BLOCK = 32 + 32 + ID_SIZE


class Way(NamedTuple):
    """Where a datagram comes from, and where an answer goes to.

    Attributes:
        carrier: what moves it, a transport.
        address: as that transport has it.
        seen: the same as it is told to the other end; zeros where there is no such thing.
        host: the only host that can have sent from there, folded, where the transport can tell.
    """

    carrier: object
    address: Hashable
    seen: bytes = NOT_SEEN
    host: str = ""


# To all at once, and to whoever may know better.
GROUP_WAY = Way(None, None)


@dataclass(slots=True)
class WayState:
    """What is known of a way.

    Attributes:
        direct: nobody stands in between: each end sees the other's own address.
        since: when it was proven first; heard: when something came by it; asked: when it was
            looked at; answered: when it had our answer. Monotonic, in seconds.
        silent: it was asked there in vain, and no other way is known.
    """

    direct: bool
    since: float
    heard: float
    asked: float
    answered: float = float("-inf")
    silent: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Keys between one X25519 key of ours and one of another mount, under one domain key."""

    mount: "Mount"
    key: DomainKey
    ours: int
    theirs: int
    out_id: bytes
    out_cipher: ChaCha20Poly1305
    out_confirm: bytes
    in_id: bytes
    in_cipher: ChaCha20Poly1305
    in_confirm: bytes

    def code(self, confirmed: bytes) -> bytes:
        """Proves to them that we have these keys."""
        return hmac.digest(self.out_confirm, confirmed, "sha256")[:CODE_SIZE]

    def check(self, confirmed: bytes, code: bytes) -> None:
        """Raises Refused: FORGED, if they do not have these keys."""
        wanted = hmac.digest(self.in_confirm, confirmed, "sha256")[:CODE_SIZE]
        if not hmac.compare_digest(wanted, code):
            raise Refused(Reason.FORGED)


def exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    """The secret of two X25519 keys.

    Raises:
        Refused: CARD_MALFORMED, for a key that makes the same secret with any other.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise Refused(Reason.CARD_MALFORMED) from None


@dataclass(slots=True, eq=False)
class Mount:
    """One start of another host.

    Attributes:
        id: names it in datagrams.
        window: for what is for us alone; None until the mount is proven.
        group_window: for what is for all. It comes by another socket, and may overtake thousands
            of the others.
        gone: it is not there any more; its window stays until it is swept.
        left: it has said so itself, and its certificate may be bad: it does not come back.
        doubted: somebody who may be wrong has said that it is gone.
        until: when a mount that is not proven is dropped.
        considered: where it may be, and was asked last.
        heard, heard_by_group: when something came from it; monotonic, in seconds.
        renewed: when it took its newest X25519 key, while the former one is still good.
        hears_us: whether our multicast reaches it, as far as it told.
        told_hears: whether the last thing that we told it was that its multicast reaches us.
        knows: the newest of our X25519 keys that it has shown to know.
    """

    id: bytes
    certificate: Certificate
    card: Card
    card_hash: bytes
    until: float
    window: Window | None = None
    group_window: Window = field(default_factory=Window)
    gone: bool = False
    left: bool = False
    doubted: bool = False
    pairs: dict[tuple[DomainKey, int, int], Pair] = field(default_factory=dict)
    ways: dict[Way, WayState] = field(default_factory=dict)
    considered: Way | None = None
    heard: float = 0.0
    heard_by_group: float = float("-inf")
    renewed: float | None = None
    hears_us: bool = False
    told_hears: bool = False
    knows: int = -1
    group: dict[DomainKey, ChaCha20Poly1305] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.certificate.host

    @property
    def name(self) -> str:
        return fold(self.certificate.host)

    @property
    def proven(self) -> bool:
        return self.window is not None and not self.gone

    def best_way(self, is_up: Callable[[Way], bool] = lambda way: True) -> Way | None:
        """Direct before indirect, then the older; but none that is known to be cut.

        Args:
            is_up: whether what moves datagrams that way is connected.
        """
        if len(self.ways) < 2:
            return next(iter(self.ways), None)
        return min(self.ways, key=lambda way: self._rank(way, is_up))

    def other_ways(self, best: Way) -> list[Way]:
        """Those to try if the best one cannot be taken just now."""
        rest = [way for way in self.ways if way != best]
        return sorted(rest, key=lambda way: self._rank(way, lambda _: True))

    def _rank(self, way: Way, is_up: Callable[[Way], bool]) -> tuple[bool, bool, float]:
        state = self.ways[way]
        return not is_up(way), not state.direct, state.since

    def add_way(self, way: Way, direct: bool, now: float) -> bool:
        """It has answered from there. False if it has ways enough that are as good."""
        state = self.ways.get(way)
        if state is not None:
            state.direct = direct
            state.heard = now
            state.silent = False
            return True
        for other in [each for each, known in self.ways.items() if known.silent]:
            del self.ways[other]
        if len(self.ways) >= limits.WAYS_PER_MOUNT:
            worst = next((each for each in self.ways if not self.ways[each].direct), None)
            if worst is None or not direct:
                return False
            del self.ways[worst]
        self.ways[way] = WayState(direct, now, now, now)
        return True

    def derive(
        self, key: DomainKey, context: bytes, ours: int, our_hash: bytes, secret: bytes
    ) -> Pair:
        """The keys for it, with an X25519 key of ours and its newest one."""
        lo, hi = sorted((our_hash, self.card_hash))
        made = hkdf(secret, key.secret, b"msfs2 pair" + context + lo + hi, 2 * _BLOCK)
        out, inward = made[:_BLOCK], made[_BLOCK:]
        if our_hash != lo:
            out, inward = inward, out
        pair = Pair(
            self,
            key,
            ours,
            self.card.n,
            out[64:],
            ChaCha20Poly1305(out[:32]),
            out[32:64],
            inward[64:],
            ChaCha20Poly1305(inward[:32]),
            inward[32:64],
        )
        self.pairs[key, ours, self.card.n] = pair
        return pair
