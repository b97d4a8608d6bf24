"""Who is there: the members of a domain that have been heard of late. Pure."""

from collections.abc import Hashable, Iterator
from typing import NamedTuple

from msfs_fuse.core.names import fold

# A member says HELLO this often, in seconds, give or take JITTER of it.
HELLO_INTERVAL = 30.0
JITTER = 0.2

# One that is not heard for so long, in seconds, is gone: three HELLOs were lost.
EXPIRY = 100.0


class Peer(NamedTuple):
    """A member of a domain; a host has one for each mount.

    Attributes:
        source: where its last datagram came from.
        heard_at: monotonic, in seconds.
    """

    host: str
    source: Hashable
    heard_at: float


class Peers:
    """Members by epoch, `capacity` of them at most. Times are monotonic, in seconds."""

    def __init__(self, capacity: int = 4096) -> None:
        self._peers: dict[bytes, Peer] = {}
        self._capacity = capacity

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, epoch: bytes) -> bool:
        return epoch in self._peers

    def heard(self, epoch: bytes, peer: Peer) -> bool:
        """Note a sign of life. False if there is no room for one more."""
        if epoch not in self._peers and len(self._peers) >= self._capacity:
            return False
        self._peers[epoch] = peer
        return True

    def gone(self, epoch: bytes) -> Peer | None:
        """It has said BYE. Who it was, if we knew it."""
        return self._peers.pop(epoch, None)

    def expire(self, now: float) -> list[bytes]:
        """Forget those that are not heard any more; which they were."""
        silent = [epoch for epoch, peer in self._peers.items() if now - peer.heard_at > EXPIRY]
        for epoch in silent:
            del self._peers[epoch]
        return silent

    def hosts(self) -> list[str]:
        """The names of the hosts, each once however it is spelled, in order."""
        return sorted({fold(peer.host): peer.host for peer in self}.values(), key=fold)
