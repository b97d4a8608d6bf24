"""What was sent and heard of late, so that nothing is heard twice. Pure."""

import hashlib
from collections import OrderedDict
from collections.abc import Hashable

# Copies come within milliseconds; nmbd reads a broadcast on two sockets. Ids of 16 bits come again
# much later.
AGE = 5.0
_CAPACITY = 4096


class Recent:
    """Fingerprints, each for AGE seconds, `capacity` of them at most: the oldest go first."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._seen: OrderedDict[Hashable, float] = OrderedDict()
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, where: Hashable, what: bytes, now: float) -> bool:
        """Note it; whether it is new.

        Args:
            now: monotonic, in seconds.
        """
        key = self._key(where, what)
        if self._is_known(key, now):
            return False
        while self._seen and (len(self._seen) >= self._capacity or self._oldest_is_over(now)):
            self._seen.popitem(last=False)
        self._seen[key] = now
        return True

    def knows(self, where: Hashable, what: bytes, now: float) -> bool:
        """Whether it was added of late."""
        return self._is_known(self._key(where, what), now)

    @staticmethod
    def _key(where: Hashable, what: bytes) -> Hashable:
        return where, hashlib.blake2b(what, digest_size=16).digest()

    def _is_known(self, key: Hashable, now: float) -> bool:
        return key in self._seen and now - self._seen[key] <= AGE

    def _oldest_is_over(self, now: float) -> bool:
        return now - next(iter(self._seen.values())) > AGE
