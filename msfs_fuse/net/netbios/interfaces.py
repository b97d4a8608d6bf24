"""The IPv4 addresses of the interfaces that are to be used: NetBIOS knows no others."""

import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface
from typing import NamedTuple

# <linux/sockios.h>, <linux/if.h>
_SIOCGIFFLAGS = 0x8913
_SIOCGIFADDR = 0x8915
_SIOCGIFNETMASK = 0x891B
_IFF_UP = 0x1
_IFREQ = struct.Struct("16s24x")
_FLAGS = struct.Struct("16xH22x")
_ADDRESS = struct.Struct("16xHH4s16x")


class Interface(NamedTuple):
    """An interface with its first IPv4 address.

    Attributes:
        number: the kernel's index of it.
        address: with the length of the prefix.
    """

    number: int
    name: str
    address: IPv4Interface

    @property
    def broadcast(self) -> IPv4Address:
        """Where all hosts of its network hear."""
        return self.address.network.broadcast_address


def interfaces(names: Sequence[str]) -> list[Interface]:
    """Those of these names that are up and have an IPv4 address."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for index, name in socket.if_nameindex():
            if name not in names:
                continue
            request = _IFREQ.pack(os.fsencode(name))
            try:
                (flags,) = _FLAGS.unpack(fcntl.ioctl(probe, _SIOCGIFFLAGS, request))
                address = _ADDRESS.unpack(fcntl.ioctl(probe, _SIOCGIFADDR, request))[2]
                mask = _ADDRESS.unpack(fcntl.ioctl(probe, _SIOCGIFNETMASK, request))[2]
            except OSError:
                continue  # it has no address, or has gone since
            if flags & _IFF_UP:
                both = f"{IPv4Address(address)}/{IPv4Address(mask)}"
                found.append(Interface(index, name, IPv4Interface(both)))
    return found
