"""What the table `[netbios]` of a configuration says. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address
from typing import Annotated

from msgspec import Meta, Struct

from msfs_fuse.core.names import fold, is_host_name
from msfs_fuse.net.fields import FieldError
from msfs_fuse.net.netbios.names import Name

# Debian's, and that of most: `nmbd -b` or `nmbd socket dir` in smb.conf tell.
NMBD_SOCKET = "/run/samba/nmbd/unexpected"

# The domain in `@NAME.netbios`: so a name there is told from one of a sealed domain.
DOMAIN = "netbios"


class Way(StrEnum):
    """How this host takes part."""

    OWN = "own"  # it has UDP ports 137 and 138 to itself
    NMBD = "nmbd"  # an nmbd on this host has them, and hands over what it does not want
    SEND = "send"  # it only sends


class NetbiosSettings(Struct, frozen=True, kw_only=True):
    r"""One network of Windows and Samba hosts.

    Attributes:
        interfaces: names of those to use.
        way: how this host takes part.
        workgroup: the network's name.
        name: what this host is called there; None for the first 15 letters of its host name.
        slots: names of local slots that the network may write to, with `\` or `/` between their
            parts; one that ends in `*` stands for all that begin so.
        names: more names that this host goes by, such as `ALICE#03`.
        hosts: addresses of hosts by their names there.
        lookup: whether to ask the network for names that are not among these.
        windows_size: send as much as Windows takes, though Samba drops some of it unseen.
        nmbd_socket: where nmbd hands over what it does not want.
    """

    interfaces: Annotated[tuple[str, ...], Meta(description='a list such as ["eth0"]')]
    way: Annotated[Way, Meta(description='"own", "nmbd" or "send"')] = Way.SEND
    workgroup: Annotated[str, Meta(description="a name")] = "WORKGROUP"
    name: Annotated[str | None, Meta(description="a name")] = None
    slots: Annotated[tuple[str, ...], Meta(description="a list of names of slots")] = ()
    names: Annotated[tuple[str, ...], Meta(description='a list such as ["ALICE#03"]')] = ()
    hosts: Annotated[
        Mapping[str, str], Meta(description='a table such as { NAS = "10.0.0.9" }')
    ] = {}
    lookup: Annotated[bool, Meta(description="true or false")] = True
    windows_size: Annotated[bool, Meta(description="true or false")] = False
    nmbd_socket: Annotated[str, Meta(description="the path of a socket")] = NMBD_SOCKET

    def __post_init__(self) -> None:
        if not self.interfaces:
            raise FieldError("interfaces", "interfaces has to name at least one")
        for name in filter(None, (self.workgroup, self.name)):
            _check_host("workgroup" if name == self.workgroup else "name", name)
        for name in self.names:
            try:
                Name.parse(name)
            except ValueError as error:
                raise FieldError("names", str(error)) from None
        for name, address in self.hosts.items():
            _check_host("hosts", name)
            if not _is_address(address) and not is_host_name(address):
                message = f"{address!r} is neither an IPv4 address nor a name"
                raise FieldError("hosts", message)
        if self.slots and self.way is Way.SEND:
            raise FieldError("slots", 'slots are for way = "own" or "nmbd": nothing is heard else')

    def __str__(self) -> str:
        slots = ", ".join(self.slots) or "none"
        by = ", ".join(self.interfaces)
        return f"NetBIOS workgroup {self.workgroup}: {self.way} by {by}; slots open to it: {slots}"

    def opens(self, path: tuple[str, ...]) -> bool:
        """Whether the network may write to a slot of this name."""
        name = fold("/".join(path))
        for each in self.slots:
            slot = fold(each.replace("\\", "/"))
            if name.startswith(slot[:-1]) if slot.endswith("*") else name == slot:
                return True
        return False


def _check_host(field: str, name: str) -> None:
    try:
        parsed = Name.parse(name)
    except ValueError as error:
        raise FieldError(field, str(error)) from None
    if parsed.suffix or not is_host_name(name):
        raise FieldError(field, f"{name!r} is not a name of letters, digits and _.-")


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True
