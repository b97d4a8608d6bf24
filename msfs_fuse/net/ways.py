"""Which mounts each host has, and the way to each: what every transport keeps of who was heard."""

from collections.abc import Collection
from typing import Generic, TypeVar

from msfs_fuse.core.names import fold

Way = TypeVar("Way")


class Ways(Generic[Way]):
    """Mounts by epoch and by host. ASCII case in the names of hosts does not matter."""

    def __init__(self) -> None:
        self._hosts: dict[bytes, str] = {}
        self._ways: dict[str, dict[bytes, Way]] = {}

    def __contains__(self, epoch: bytes) -> bool:
        return epoch in self._hosts

    def is_of(self, epoch: bytes, host: str) -> bool:
        """Whether that mount was heard as one of this host."""
        return self._hosts.get(epoch) == fold(host)

    def to(self, host: str) -> Collection[Way]:
        """The ways to all mounts of that host."""
        return self._ways.get(fold(host), {}).values()

    def add(self, host: str, epoch: bytes, way: Way) -> None:
        """Take this way to the mount from now on. It is in one place only."""
        if not self.is_of(epoch, host):
            self.remove(epoch)
        self._hosts[epoch] = fold(host)
        self._ways.setdefault(fold(host), {})[epoch] = way

    def remove(self, epoch: bytes) -> None:
        """Forget the mount, if it is there."""
        name = self._hosts.pop(epoch, None)
        if name is None:
            return
        del self._ways[name][epoch]
        if not self._ways[name]:
            del self._ways[name]
