r"""Discovery by broadcast: a query that says where answers go, and [MS-RPCL]'s published pair.

The pattern of licence and backup servers (HydraLsServer, CheyenneDS): a client makes a slot for the
answers and writes a query to a slot of all hosts of a domain; servers write an answer to the
client's slot. In a query of ours the first line is the name of the reply slot as Windows writes
it, and the rest is the user's:

    \\build7\mailslot\ask.1000\b5x3…
    who has a licence for X?

Reply slots lie in a directory `ask.UID`, which nobody but its owner may list: only who has got the
query knows their names.
"""

import re
import struct
from typing import NamedTuple

from msfs_fuse.core.names import Address
from msfs_fuse.programs import FormatError

REPLY_DIRECTORY = "ask."

_REPLY_DIRECTORY = re.compile(r"ask\.[A-Za-z0-9.]+")
_LONGEST_REPLY_NAME = 300

# The master locator's pair: the slots, and what is in them.
LOCATOR_QUERIES = "Resp_s"
LOCATOR_ANSWERS = "Resp_c"

_LOCATOR_NAME = 18  # WCHARs, a NUL included
_QUERY_LOCATOR = struct.Struct(f"<LL{2 * _LOCATOR_NAME}s")
_QUERY_LOCATOR_REPLY = struct.Struct(f"<LLL{2 * _LOCATOR_NAME}s")
_QUERY_MASTER_LOCATOR = 1
_OS_NTWKGRP = 4
_REPLY_MASTER_LOCATOR = 1


class Query(NamedTuple):
    """A question.

    Attributes:
        reply: the slot for answers; its host is None for a question to this host alone.
        body: what is asked, in whatever form the two programs agree on.
    """

    reply: Address
    body: bytes


def encode(query: Query) -> bytes:
    """A message from a query."""
    return query.reply.to_unc().encode() + b"\n" + query.body


def decode(data: bytes) -> Query:
    """A query from a message.

    Raises:
        FormatError: the first line names no reply slot. Other slots are refused, so that nobody
            can have an answer written where he may not write himself.
    """
    line, newline, body = data.partition(b"\n")
    try:
        if not newline or len(line) > _LONGEST_REPLY_NAME:
            raise ValueError
        reply = Address.from_unc(line.rstrip(b"\r").decode("ascii"))
    except ValueError:
        raise FormatError("no question: its first line names no slot for answers") from None
    if len(reply.path) != 2 or not _REPLY_DIRECTORY.fullmatch(reply.path[0]):
        raise FormatError(f"answers go to slots in {REPLY_DIRECTORY}*, not to {reply.to_unc()}")
    return Query(reply, body)


class LocatorQuery(NamedTuple):
    """QUERYLOCATOR ([MS-RPCL] 2.2.4.3.1): which host is master locator? Asked by `requester`."""

    requester: str


class LocatorReply(NamedTuple):
    """QUERYLOCATORREPLY ([MS-RPCL] 2.2.4.3.2): `sender` is, and is up for `uptime` seconds."""

    sender: str
    uptime: int


def encode_locator(message: LocatorQuery | LocatorReply) -> bytes:
    """A message from a locator's query or reply.

    Raises:
        FormatError: the name is longer than 17 characters, or holds a NUL.
    """
    if isinstance(message, LocatorQuery):
        name = _pack_name(message.requester)
        return _QUERY_LOCATOR.pack(_QUERY_MASTER_LOCATOR, _OS_NTWKGRP, name)
    name = _pack_name(message.sender)
    return _QUERY_LOCATOR_REPLY.pack(0, _REPLY_MASTER_LOCATOR, message.uptime, name)


def decode_locator_query(data: bytes) -> LocatorQuery:
    """A locator's query from a message.

    Raises:
        FormatError: it is none.
    """
    if len(data) != _QUERY_LOCATOR.size:
        raise FormatError("not a QUERYLOCATOR")
    kind, system, name = _QUERY_LOCATOR.unpack(data)
    if (kind, system) != (_QUERY_MASTER_LOCATOR, _OS_NTWKGRP):
        raise FormatError("not a QUERYLOCATOR")
    return LocatorQuery(_name(name))


def decode_locator_reply(data: bytes) -> LocatorReply:
    """A locator's reply from a message.

    Raises:
        FormatError: it is none.
    """
    if len(data) != _QUERY_LOCATOR_REPLY.size:
        raise FormatError("not a QUERYLOCATORREPLY")
    _, hint, uptime, name = _QUERY_LOCATOR_REPLY.unpack(data)
    if hint != _REPLY_MASTER_LOCATOR:
        raise FormatError("not a QUERYLOCATORREPLY")
    return LocatorReply(_name(name), uptime)


def _pack_name(text: str) -> bytes:
    data = text.encode("utf-16-le")
    if len(data) > 2 * (_LOCATOR_NAME - 1) or "\0" in text:
        raise FormatError(f"longer than {_LOCATOR_NAME - 1} characters, or holds a NUL: {text!r}")
    return data.ljust(2 * _LOCATOR_NAME, b"\0")


def _name(field: bytes) -> str:
    name, end, _ = field.decode("utf-16-le", "replace").partition("\0")
    if not end or not name:
        raise FormatError("a locator's name is missing or does not end")
    return name
