"""What the table `[netbios]` of the configuration says, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from msfs_fuse.core.names import fold

# Debian's, and that of most: `smbd -b | grep NMBDSOCKETDIR` or nmbd's `nmbd:socket dir` tells.
NMBD_SOCKET = "/run/samba/nmbd/unexpected"


class Way(StrEnum):
    """How this host takes part."""

    OWN = "own"  # it has UDP ports 137 and 138 to itself
    NMBD = "nmbd"  # an nmbd on this host has them, and hands over what it does not want
    SEND = "send"  # it only sends


@dataclass(frozen=True)
class NetbiosSettings:
    r"""One network.

    Attributes:
        interfaces: names of those to use.
        workgroup: its name.
        name: what this host is called there; None for the first 15 letters of its host name.
        way: how it takes part.
        slots: names of local slots that the network may write to, with `\` between their parts;
            one that ends in `*` stands for all that begin so.
        names: more names that this host goes by, such as `ALICE#03`.
        hosts: addresses of hosts by their names there.
        lookup: whether to ask the network for other names.
        windows_size: send as much as Windows takes, though Samba drops it unseen.
        nmbd_socket: where nmbd hands over what it does not want.
    """

    interfaces: tuple[str, ...]
    workgroup: str = "WORKGROUP"
    name: str | None = None
    way: Way = Way.SEND
    slots: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    hosts: Mapping[str, str] = field(default_factory=dict)
    lookup: bool = True
    windows_size: bool = False
    nmbd_socket: str = NMBD_SOCKET

    def opens(self, path: tuple[str, ...]) -> bool:
        """Whether the network may write to a slot of this name."""
        name = fold("\\".join(path))
        return any(
            name.startswith(fold(each[:-1])) if each.endswith("*") else name == fold(each)
            for each in self.slots
        )
