"""This mount as the others know it: its card and keys, and the one counter of all that it seals."""

import os
from collections import deque
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from msfs_fuse.net.trust.bodies import (
    BOOT_SIZE,
    MAX_AGE,
    PUBLIC_KEY_SIZE,
    Card,
    card_to_sign,
    group_to_sign,
    mount_id,
)
from msfs_fuse.net.trust.identity import Identity
from msfs_fuse.net.trust.keys import DomainKey, Keys, Mask
from msfs_fuse.net.trust.mounts import Pair
from msfs_fuse.net.trust.wire import COUNTERS, SALT_SIZE, Kind, pack_header, seal

# How exactly we remember when we sealed what, in seconds. It is rounded so that less is taken.
_GRAIN = 0.01


class Exhausted(Exception):
    """All counters are used: the mount needs another id."""


class Own:
    """One start of a mount. Another start, after a suspend say, is another object.

    Args:
        now: monotonic, in seconds.
        random: gives so many random bytes.
    """

    def __init__(
        self,
        identity: Identity,
        context: bytes,
        now: float,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.identity = identity
        self._context = context
        self._random = random
        self.boot = random(BOOT_SIZE)
        self.mount = mount_id(context, self.boot, identity.certificate.der)
        self.counter = 0  # the next one
        self._marks: deque[tuple[float, int]] = deque()
        self._since = now
        self.privates: dict[int, X25519PrivateKey] = {}
        self.publics: set[bytes] = set()
        self.hashes: dict[int, bytes] = {}  # of our cards
        self.card = self.make_card()
        self.sends_as = self.card.n
        self.use_keys(identity.keys)

    # ---- keys ----

    def make_card(self) -> Card:
        """A card with one more X25519 key; it is presented once it is put in `card`."""
        n = max(self.privates, default=-1) + 1
        private = X25519PrivateKey.from_private_bytes(self._random(PUBLIC_KEY_SIZE))
        public = private.public_key().public_bytes_raw()
        self.privates[n] = private
        self.publics.add(public)
        der = self.identity.certificate.der
        signed = card_to_sign(self._context, der, self.boot, n, public)
        card = Card.pack(der, self.boot, n, public, self.identity.private.sign(signed))
        self.hashes[n] = card.hash
        return card

    def drop_key(self, n: int) -> None:
        """What was sealed for this X25519 key cannot be read any more."""
        private = self.privates.pop(n, None)
        self.hashes.pop(n, None)
        if private is not None:
            self.publics.discard(private.public_key().public_bytes_raw())

    def use_keys(self, keys: Keys) -> None:
        """Send and receive with these domain keys."""
        self.keys = keys
        self.masks: dict[DomainKey, Mask] = {key: key.mask(self._context) for key in keys}
        self._group = {key: key.group_cipher(self._context, self.mount) for key in keys}

    # ---- time ----

    def forgot(self, now: float) -> None:
        """A window was forgotten: what was sealed until now may have been delivered before."""
        self._since = now

    def age(self, now: float) -> int:
        """For how long this mount remembers everything, in milliseconds, MAX_AGE at most."""
        return min(MAX_AGE, int((now - self._since) * 1000))

    def floor(self, arrival: float, age: int) -> int:
        """The least counter of what we have sealed since then: never too low, perhaps too high.

        Args:
            arrival: when the question came; it asks for what was sealed `age` before.
        """
        since = arrival - age / 1000
        for at, counter in self._marks:
            if at >= since:
                return counter
        return self.counter

    def _next(self, now: float) -> int:
        if self.counter >= COUNTERS:
            raise Exhausted
        marks = self._marks
        if not marks or now - marks[-1][0] >= _GRAIN:
            marks.append((now, self.counter))
            while marks[0][0] < now - MAX_AGE / 1000 - 1:
                marks.popleft()
        self.counter += 1
        return self.counter - 1

    # ---- sealing ----

    def seal_for_all(self, kind: Kind, body: bytes, now: float, size: int = 0) -> bytes:
        """A PROBE or PROOF, which every member can read."""
        key = self.keys[0]
        header = pack_header(kind, self.mount, self._next(now))
        salt = self._random(SALT_SIZE)
        return seal(self._group[key], self.masks[key], header, salt, body, size)

    def seal_signed(self, body: bytes, now: float) -> bytes:
        """A GROUP datagram, signed."""
        key = self.keys[0]
        header = pack_header(Kind.GROUP, self.mount, self._next(now))
        signature = self.identity.private.sign(group_to_sign(self._context, header, body))
        salt = self._random(SALT_SIZE)
        return seal(self._group[key], self.masks[key], header, salt, body + signature)

    def seal_pair(self, pair: Pair, body: bytes, now: float) -> bytes:
        """A datagram for one mount."""
        header = pack_header(Kind.PAIR, pair.out_id, self._next(now))
        return seal(pair.out_cipher, self.masks[pair.key], header, self._random(SALT_SIZE), body)
