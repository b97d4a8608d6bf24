"""What a member may cost another one: sizes of tables, rates, and times in seconds."""

from collections import OrderedDict
from collections.abc import Hashable

PEERS = 4096
CLAIMS = 1024
MOUNTS_PER_HOST = 8
WAYS_PER_MOUNT = 4

HELD, HELD_PER_SOURCE = 256, 16
# Of what follows a user has his share (leaves_enough).
QUEUED, QUEUED_PER_HOST = 512, 16
KEEP = 2.0
# The same where nobody says HELLO, and a message to all is the first that is heard of a host.
KEEP_ASKED = 30.0

# Hosts that are asked for at a time, of which the same is true, and for how long one that did not
# answer is not asked again.
SOUGHT = 128
NOT_FOUND = 10.0

# Work that waits for its turn, and nonces that are out.
JOBS = 1024
NONCES = 2048

# Certificates and cards that were verified, kept to save the time.
CACHE = 4096

HELLO_FIRST = (0.0, 0.5, 2.0)
HELLO_INTERVAL, HELLO_JITTER = 30.0, 0.2
# A way that is no older need not be looked at for a HELLO: the first ones come meanwhile.
NEW_WAY = 3.0

PROBE_TIMES = (0.0, 0.3, 0.9)
PROBE_END = 1.3
# Who is asked again after that, or later, need not answer the first time.
PROBE_AGAIN = PROBE_TIMES[1]
# So many newcomers are asked at a time, at first, at most, and where they do not answer.
NEWCOMERS_FIRST, NEWCOMERS_MOST, NEWCOMERS_LEAST = 8, 64, 4
NEWCOMERS_PER_HOST = 2
NONCE_LIFETIME = 3.0
SPREAD_PER_PEER = 0.002

BACK_OFF, MAX_BACK_OFF = 10.0, 300.0

KEY_ROLL, KEY_USE, KEY_DELETE = 50 * 60.0, 60.0, 5 * 60.0

EXPIRY = 100.0
# A host that is not heard for so long is asked, and one that is written to and silent sooner.
SILENCE, SILENCE_IN_USE = 65.0, 5.0
# Multicast of a host that was not heard for so long does not reach us: two HELLOs were lost.
GROUP_SILENCE = 80.0

# How often what was forgotten may be forgotten: each time voids the handshakes that are under way.
SWEEP, SWEEP_IN_NEED = 30.0, 5.0

CHECK_STANDING = 60.0

# Rates, a second.
PROOFS_PER_SOURCE, PROOFS = 20, 500
CARDS_PER_SOURCE, CARDS = 50, 300
PROBES_PER_SOURCE, PROBES = 40, 500
UNKNOWN_PER_SOURCE, UNKNOWN = 20, 100
# Who joins by a broker is told of all hosts at once: so many cards may come after a pause.
CARDS_AT_ONCE = 500
GROUP_OF_HOST, GROUP_ELSEWHERE, GROUP = 500, 50, 2000

_SOURCES = 4096


class Bucket:
    """Lets `rate` a second through, and after a pause `at_once`, or else as many as a second."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, rate: float, now: float, at_once: float | None = None) -> None:
        self._rate = rate
        self._left = self._most = rate if at_once is None else at_once
        self._at = now

    def _fill(self, now: float) -> float:
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left

    def take(self, now: float, share: float = 0.0) -> bool:
        """Whether one more may pass.

        Args:
            share: from 0 to 1; a random one makes what does not pass random as well: as the
                bucket gets empty each has the chance that the rate leaves it.
        """
        left = self._fill(now)
        if left < 1 or (left < self._rate / 2 and share * self._rate / 2 > left):
            return False
        self._left -= 1
        return True


class Limiter:
    """A bucket for each source, and one for all; `at_once` is of that one."""

    def __init__(
        self, per_source: float, total: float, now: float, at_once: float | None = None
    ) -> None:
        self._per_source = per_source
        self._all = Bucket(total, now, at_once)
        self._sources: OrderedDict[Hashable, Bucket] = OrderedDict()

    def take(self, source: Hashable, now: float, share: float = 0.0) -> bool:
        """Whether one more from there may pass; `share` as for Bucket.take(), for all."""
        bucket = self._sources.get(source)
        if bucket is None:
            bucket = self._sources[source] = Bucket(self._per_source, now)
            if len(self._sources) > _SOURCES:
                self._sources.popitem(last=False)
        else:
            self._sources.move_to_end(source)
        return bucket.take(now) and self._all.take(now, share)
