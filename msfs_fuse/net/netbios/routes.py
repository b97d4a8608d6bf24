"""The ways to names on a NetBIOS network, held by open handles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from msfs_fuse.core.network import Route
from msfs_fuse.core.slot import Sender
from msfs_fuse.net.netbios import mailslot
from msfs_fuse.net.netbios.datagram import Kind
from msfs_fuse.net.netbios.mailslot import Write
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.port import Place


class Sending(Protocol):
    """What routes need of the router. Each method raises SlotError where nothing can be sent."""

    def is_ours(self, name: Name) -> bool:
        """Whether what is for this name is for this host."""

    def capacity(self, path: tuple[str, ...]) -> int:
        """How long a message to a slot of this name may be."""

    def broadcast(self, name: Name, smb: bytes) -> None:
        """Send to all hosts on our interfaces."""

    def send_to(self, name: Name, smb: bytes, uid: int) -> None:
        """Send to whoever has that name, now or when it is found."""

    def send(self, kind: Kind, name: Name, smb: bytes, places: Sequence[Place]) -> None:
        """Send one datagram to some places."""


@dataclass(frozen=True)
class _Smb(Route):
    router: "Sending"
    name: Name

    @property
    def includes_this_host(self) -> bool:
        return self.router.is_ours(self.name)

    def capacity(self, path: tuple[str, ...]) -> int:
        return self.router.capacity(path)

    def send(self, path: tuple[str, ...], data: bytes, sender: Sender, now: int) -> None:
        self.send_smb(mailslot.encode(Write(path, data)), sender)

    def send_smb(self, smb: bytes, sender: Sender) -> None:
        raise NotImplementedError


class OwnRoute(_Smb):
    """To this host by a name of its own; the file side does that."""

    def send_smb(self, smb: bytes, sender: Sender) -> None:
        return


class GroupRoute(_Smb):
    """To all who have a name."""

    def send_smb(self, smb: bytes, sender: Sender) -> None:
        self.router.broadcast(self.name, smb)


class HostRoute(_Smb):
    """To the one who has a name."""

    def send_smb(self, smb: bytes, sender: Sender) -> None:
        assert sender.uid is not None  # it is a process of this host
        self.router.send_to(self.name, smb, sender.uid)


@dataclass(frozen=True)
class ReplyRoute(_Smb):
    """To whom we have had a message from. An nmbd on this host may be called as we are."""

    place: Place

    @property
    def includes_this_host(self) -> bool:
        return False

    def send_smb(self, smb: bytes, sender: Sender) -> None:
        self.router.send(Kind.UNIQUE, self.name, smb, [self.place])
