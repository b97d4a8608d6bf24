"""The NetBIOS datagram, RFC 1002 4.4: who sends what to which name.

header  14 bytes  type 1, flags 1, id 2, source address 4, source port 2, length 2, offset 2
        34 bytes  source name, and as many for the destination, or 2 that point to the source
        the rest  an SMB, in our case (mailslot.py)

Numbers are big-endian; the length is that of all behind the header.
"""

import struct
from enum import IntEnum
from ipaddress import IPv4Address
from typing import NamedTuple

from msfs_fuse.net.netbios import names
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.refusal import Reason, Refused

PORT = 138

# More than any that is taken, so that one which is too long is told from one that is not.
RECEIVE_SIZE = 2048

_HEADER = struct.Struct(">BBH4sHHH")

# The first and only fragment, from an M node: what nmbd says. Windows says another node type.
_FLAGS = 0x0A
_MORE, _FIRST, _NODE_TYPE = 0x01, 0x02, 0x0C


class Kind(IntEnum):
    """What kind of name the destination is. Others are errors and queries, which nobody sends."""

    UNIQUE = 0x10
    GROUP = 0x11
    BROADCAST = 0x12


class Datagram(NamedTuple):
    """One datagram.

    Attributes:
        id: of 16 bits; another one for each datagram of a host.
        address, port: where the sender believes to be: behind NAT that is not where it is.
        data: the SMB.
    """

    kind: Kind
    id: int
    address: IPv4Address
    port: int
    source: Name
    destination: Name
    data: bytes


def encode(datagram: Datagram) -> bytes:
    """The payload of the UDP datagram."""
    body = names.encode(datagram.source) + names.encode(datagram.destination) + datagram.data
    header = _HEADER.pack(
        datagram.kind,
        _FLAGS,
        datagram.id,
        datagram.address.packed,
        datagram.port,
        len(body),
        0,
    )
    return header + body


def decode(packet: bytes) -> Datagram:
    """What a UDP datagram holds.

    Raises:
        Refused: TOO_SHORT, KIND, LENGTH, NAME, SCOPE; FRAGMENT for a part of a datagram, which
            [MS-MAIL] never has.
    """
    if len(packet) < _HEADER.size:
        raise Refused(Reason.TOO_SHORT)
    kind, flags, number, address, port, length, offset = _HEADER.unpack_from(packet)
    if kind not in Kind.__members__.values():
        raise Refused(Reason.KIND)
    if flags & ~_NODE_TYPE != _FIRST or offset:
        raise Refused(Reason.FRAGMENT)
    if length != len(packet) - _HEADER.size:
        raise Refused(Reason.LENGTH)
    source, at = names.decode(packet, _HEADER.size, _HEADER.size)
    destination, at = names.decode(packet, at, _HEADER.size)
    return Datagram(
        Kind(kind), number, IPv4Address(address), port, source, destination, packet[at:]
    )


def fingerprint(packet: bytes) -> bytes:
    """What is the same in all copies of a datagram: its id, names and data."""
    return packet[2:4] + packet[_HEADER.size :]
