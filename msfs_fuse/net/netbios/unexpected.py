"""What nmbd does not want itself, it hands to local processes through its socket `unexpected`.

A process connects, says what kind of packets it wants, gets a byte, and then a stream of records:
a header, and the datagram as it came. The numbers are those of the machine, as C lays them out.
Samba's source3/libsmb/unexpected.c is the only description; 4.17 to 4.25 have it like this.
"""

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import NamedTuple

DATAGRAM = 1

# packet type, length of the slot's name (0: any), transaction id (-1: any)
_WISH = struct.Struct("@iNi0N")
# length, packet type, time, address, port
_RECORD = struct.Struct("@Niq4si0q")

# The buffer that nmbd builds it in.
_MAX_SIZE = 1024

GREETING = _WISH.pack(DATAGRAM, 0, -1)


class Record(NamedTuple):
    """A datagram, and where it came from."""

    address: IPv4Address
    port: int
    packet: bytes


class NotNmbd(Exception):
    """What comes is not what nmbd says."""


class Stream:
    """Takes what nmbd says apart, however it is cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._greeted = False

    def feed(self, data: bytes) -> Iterator[Record]:
        """The datagrams that are complete now.

        Raises:
            NotNmbd: it is not nmbd, or another version.
        """
        self._rest += data
        if not self._greeted:
            if self._rest[:1] not in (b"", b"\0"):
                raise NotNmbd("it does not greet")
            self._greeted, self._rest = bool(self._rest), self._rest[1:]
        while len(self._rest) >= _RECORD.size:
            size, kind, _, address, port = _RECORD.unpack_from(self._rest)
            if kind != DATAGRAM or size > _MAX_SIZE or not 0 <= port < 65536:
                raise NotNmbd("a record that makes no sense")
            end = _RECORD.size + size
            if len(self._rest) < end:
                return
            packet, self._rest = self._rest[_RECORD.size : end], self._rest[end:]
            yield Record(IPv4Address(address), port, packet)
