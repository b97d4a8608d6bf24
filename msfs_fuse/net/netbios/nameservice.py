"""Packets of the NetBIOS name service, RFC 1002 4.2.

header  12 bytes  id 2, flags 2, counts of questions, answers, authorities, additional records
request           question: name, type 2, class 2; and where a name is claimed or given up, a
                  record: name, type, class, time to live 4, length 2, and that many bytes
response          one record

Numbers are big-endian. A record of type NB holds flags and an address, 6 bytes, once or more.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from ipaddress import IPv4Address
from typing import NamedTuple

from msfs_fuse.net.netbios import names
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.refusal import Reason, Refused

PORT = 137

# More than any that is taken: addresses of a group are many, but ours are few.
RECEIVE_SIZE = 1024
_MAX_ADDRESSES = 32

ANSWER_TTL = 300  # seconds

_HEADER = struct.Struct(">HHHHHH")
_QUESTION = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_ENTRY = struct.Struct(">H4s")
_STATUS_ENTRY = struct.Struct(">15sBH")
_STATISTICS_SIZE = 46

_IN = 1
_NULL_TYPE = 0x0A
_RESPONSE, _AUTHORITATIVE, _WISHED, _BROADCAST = 0x8000, 0x0400, 0x0100, 0x0010
_OPCODE_SHIFT, _OPCODE_MASK, _RCODE_MASK = 11, 0x0F, 0x0F
_GROUP_FLAG, _ACTIVE_FLAG = 0x8000, 0x0400


class Type(IntEnum):
    """What is asked about a name."""

    NB = 0x20
    STATUS = 0x21


class Opcode(IntEnum):
    """What a packet is about. REGISTER_MULTIHOMED is Windows' (not in the RFC)."""

    QUERY = 0
    REGISTER = 5
    RELEASE = 6
    REFRESH = 8
    REFRESH_TOO = 9  # the RFC has both numbers, in its text and in its diagram
    REGISTER_MULTIHOMED = 15


CLAIMS = (Opcode.REGISTER, Opcode.REFRESH, Opcode.REFRESH_TOO, Opcode.REGISTER_MULTIHOMED)

# RFC 1002 4.2.6: the name is owned by another node.
OWNED = 6


class Holding(NamedTuple):
    """Somebody who has a name, or wants it."""

    address: IPv4Address
    group: bool


class Request(NamedTuple):
    """A question, or a claim to a name, or its end.

    Attributes:
        holding: who claims it or gives it up; None in a query.
        demands: an overwrite demand, which does not ask.
    """

    id: int
    opcode: Opcode
    name: Name
    type: Type = Type.NB
    broadcast: bool = True
    holding: Holding | None = None
    demands: bool = False


class Response(NamedTuple):
    """An answer.

    Attributes:
        code: 0 or why not.
        holdings: who has the name.
    """

    id: int
    opcode: Opcode
    name: Name
    code: int = 0
    holdings: tuple[Holding, ...] = ()


def _flags(opcode: Opcode, *flags: int) -> int:
    return opcode << _OPCODE_SHIFT | sum(flags)


def _entry(holding: Holding) -> bytes:
    # A B node, RFC 1002 4.2.1.1: bits 13 and 14 are zero.
    return _ENTRY.pack(_GROUP_FLAG if holding.group else 0, holding.address.packed)


def encode_request(request: Request) -> bytes:
    """A request as bytes."""
    flags = _flags(
        request.opcode,
        0 if request.demands else _WISHED,
        _BROADCAST if request.broadcast else 0,
    )
    records = request.holding is not None
    packet = _HEADER.pack(request.id, flags, 1, 0, 0, records)
    packet += names.encode(request.name) + _QUESTION.pack(request.type, _IN)
    if request.holding is not None:
        entry = _entry(request.holding)
        pointer = struct.pack(">H", 0xC000 | _HEADER.size)
        packet += pointer + _RECORD.pack(Type.NB, _IN, ANSWER_TTL, len(entry)) + entry
    return packet


def encode_response(response: Response) -> bytes:
    """A response as bytes."""
    wished = _WISHED if response.opcode in (Opcode.QUERY, *CLAIMS) else 0
    flags = _flags(response.opcode, _RESPONSE, _AUTHORITATIVE, wished) | response.code
    data = b"".join(map(_entry, response.holdings))
    kind, ttl = (Type.NB, ANSWER_TTL) if data else (_NULL_TYPE, 0)
    return _answer(response.id, flags, response.name, kind, ttl, data)


def encode_status(number: int, asked: Name, held: Sequence[tuple[Name, bool]]) -> bytes:
    """The answer to a node status request.

    Args:
        number: the id of the request.
        asked: the name in it.
        held: the names of this host, and whether each is a group's.
    """
    entries = b"".join(
        _STATUS_ENTRY.pack(
            name.label.ljust(names.MAX_LABEL), name.suffix, _ACTIVE_FLAG | (_GROUP_FLAG * group)
        )
        for name, group in held
    )
    # The statistics begin with the unit's id, a MAC address, which is nobody's business.
    data = bytes([len(held)]) + entries + bytes(_STATISTICS_SIZE)
    flags = _flags(Opcode.QUERY, _RESPONSE, _AUTHORITATIVE)
    return _answer(number, flags, asked, Type.STATUS, 0, data)


def _answer(number: int, flags: int, name: Name, kind: int, ttl: int, data: bytes) -> bytes:
    return (
        _HEADER.pack(number, flags, 0, 1, 0, 0)
        + names.encode(name)
        + _RECORD.pack(kind, _IN, ttl, len(data))
        + data
    )


def decode(packet: bytes) -> Request | Response:
    """What a UDP datagram says.

    Raises:
        Refused: TOO_SHORT, TOO_LONG, OPCODE, NAME, SCOPE; RECORD for what is not as it should be.
    """
    if len(packet) < _HEADER.size:
        raise Refused(Reason.TOO_SHORT)
    if len(packet) >= RECEIVE_SIZE:
        raise Refused(Reason.TOO_LONG)
    number, flags, *counts = _HEADER.unpack_from(packet)
    try:
        opcode = Opcode(flags >> _OPCODE_SHIFT & _OPCODE_MASK)
    except ValueError:
        raise Refused(Reason.OPCODE) from None
    try:
        if flags & _RESPONSE:
            return _decode_response(packet, number, opcode, flags & _RCODE_MASK, counts)
        return _decode_request(packet, number, opcode, flags, counts)
    except (struct.error, ValueError):
        raise Refused(Reason.RECORD) from None


def _decode_request(
    packet: bytes, number: int, opcode: Opcode, flags: int, counts: list[int]
) -> Request:
    claims = opcode is not Opcode.QUERY
    if counts != [1, 0, 0, int(claims)] or flags & _RCODE_MASK:
        raise ValueError
    name, at = names.decode(packet, _HEADER.size, _HEADER.size)
    kind, internet = _QUESTION.unpack_from(packet, at)
    at += _QUESTION.size
    holding = None
    if claims:
        about, at = names.decode(packet, at, _HEADER.size)
        if about != name:
            raise ValueError
        (holding,), at = _decode_holdings(packet, at)
    if internet != _IN or at != len(packet):
        raise ValueError
    broadcast = bool(flags & _BROADCAST)
    demands = claims and not flags & _WISHED
    return Request(number, opcode, name, Type(kind), broadcast, holding, demands)


def _decode_response(
    packet: bytes, number: int, opcode: Opcode, code: int, counts: list[int]
) -> Response:
    if counts != [0, 1, 0, 0]:
        raise ValueError
    name, at = names.decode(packet, _HEADER.size, _HEADER.size)
    holdings, at = _decode_holdings(packet, at)
    if at != len(packet) or not (holdings or code):
        raise ValueError
    return Response(number, opcode, name, code, holdings)


def _decode_holdings(packet: bytes, at: int) -> tuple[tuple[Holding, ...], int]:
    kind, internet, _, length = _RECORD.unpack_from(packet, at)
    at += _RECORD.size
    count, rest = divmod(length, _ENTRY.size)
    end = at + length
    if internet != _IN or rest or count > _MAX_ADDRESSES or end > len(packet):
        raise ValueError
    if kind != Type.NB and not (kind == _NULL_TYPE and not count):
        raise ValueError
    entries = _ENTRY.iter_unpack(packet[at:end])
    return tuple(Holding(IPv4Address(a), bool(f & _GROUP_FLAG)) for f, a in entries), end
