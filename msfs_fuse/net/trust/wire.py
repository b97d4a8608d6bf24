"""The datagram: what is on the wire, and what it costs to drop what is not for us.

    wire    16 masked header, salt 4, AEAD(body, 80, 00 …) with its tag 16
    header  version 1, kind 1, id 8, counter 6        big-endian; AAD is header and salt
    nonce   salt 4, 0000, counter 6

The whole is a multiple of 64 bytes, so that lengths tell little, and at most 1216, so that it is
never fragmented where IPv6 goes (1280 bytes, 48 of them the headers of IPv6 and UDP). ChaCha20-
Poly1305 (RFC 8439) seals. Nonces never repeat: one counter serves all that a mount seals. The
salt is a hedge for a virtual machine that is set back to a snapshot.
"""

import struct
from enum import IntEnum, StrEnum
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from msfs_fuse.net.trust.keys import Mask

VERSION = 2
ID_SIZE = 8
TAG_SIZE = 16
SALT_SIZE = 4
STEP = 64
MAX_SIZE = 1216
COUNTERS = 1 << 48

_HEADER = struct.Struct(f">BB{ID_SIZE}sHI")
_HEADER_SIZE = 16
_CLEAR_SIZE = _HEADER_SIZE + SALT_SIZE
_OVERHEAD = _CLEAR_SIZE + TAG_SIZE

# The longest body: one byte marks its end.
MAX_BODY = MAX_SIZE - _OVERHEAD - 1


class Kind(IntEnum):
    """What a datagram is, and so which key seals it."""

    GROUP = 1
    PROBE = 2
    PROOF = 3
    PAIR = 4


class Reason(StrEnum):
    """Why a datagram is dropped; the label of the metric."""

    LENGTH = "length"
    VERSION = "version"
    UNMASKED = "unmasked"
    OWN = "own"
    UNKNOWN_KEY = "unknown_key"
    FORGED = "forged"
    BAD_SIGNATURE = "bad_signature"
    MALFORMED = "malformed"
    REPLAYED = "replayed"
    OVERTAKEN = "overtaken"
    BELOW_FLOOR = "below_floor"
    UNPROVEN_EXPIRED = "unproven_expired"
    OTHER_DESTINATION = "other_destination"
    OTHER_SENDER = "other_sender"
    UNASKED = "unasked"
    GONE = "gone"
    EMPTY = "empty"
    CARD_SIZE = "card_size"
    CARD_MALFORMED = "card_malformed"
    CARD_FOREIGN = "card_foreign"
    CARD_EXPIRED = "card_expired"
    CARD_REVOKED = "card_revoked"
    CARD_OLD = "card_old"
    CARD_OWN = "card_own"
    LIMITED_SOURCE = "limited_source"
    LIMITED_CARDS = "limited_cards"
    LIMITED_PROOFS = "limited_proofs"
    LIMITED_PROBES = "limited_probes"
    LIMITED_GROUP = "limited_group"
    LIMITED_HELD = "limited_held"
    LIMITED_CLAIMS = "limited_claims"
    LIMITED_PEERS = "limited_peers"
    LIMITED_MOUNTS = "limited_mounts"
    LIMITED_WORK = "limited_work"


class Refused(Exception):
    """A datagram that is dropped, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Header(NamedTuple):
    """The first bytes of a datagram, unmasked. Not to be trusted before open_body().

    Attributes:
        raw: as it was packed; the body is bound to it.
    """

    kind: Kind
    id: bytes
    counter: int
    raw: bytes


def pack_header(kind: Kind, id: bytes, counter: int) -> bytes:
    """The 16 bytes of a header, unmasked."""
    return _HEADER.pack(VERSION, kind, id, counter >> 32, counter & 0xFFFFFFFF)


def seal(
    cipher: ChaCha20Poly1305, mask: Mask, header: bytes, salt: bytes, body: bytes, size: int = 0
) -> bytes:
    """The whole datagram.

    Args:
        header: what pack_header() made. Its counter may be used once.
        salt: SALT_SIZE random bytes.
        size: the least that the datagram is to have, a multiple of STEP.

    Raises:
        ValueError: the body does not fit.
    """
    least = _OVERHEAD + len(body) + 1
    total = max(size, least + -least % STEP)
    if total > MAX_SIZE:
        raise ValueError(f"a body of {len(body)} bytes does not fit")
    plain = body + b"\x80" + bytes(total - least)
    nonce = salt + b"\0\0" + header[-6:]
    sealed = cipher.encrypt(nonce, plain, header + salt)
    return mask.apply(header, sealed[-16:]) + salt + sealed


def unmask(mask: Mask, datagram: bytes) -> Header | None:
    """The header, if it was masked by this key; anything else passes once in 16,384 times."""
    raw = mask.apply(datagram[:_HEADER_SIZE], datagram[-16:])
    version, kind, id, high, low = _HEADER.unpack(raw)
    if version != VERSION or not 1 <= kind <= 4:
        return None
    return Header(_KINDS[kind], id, high << 32 | low, raw)


_KINDS = {kind.value: kind for kind in Kind}


def check_size(datagram: bytes) -> None:
    """Refuse what no seal() makes.

    Raises:
        Refused: LENGTH; VERSION for the protocol before this one.
    """
    size = len(datagram)
    if size % STEP or not STEP <= size <= MAX_SIZE:
        is_old = 48 <= size <= 1200 and datagram[0] == 1
        raise Refused(Reason.VERSION if is_old else Reason.LENGTH)


def open_body(cipher: ChaCha20Poly1305, header: Header, datagram: bytes) -> bytes:
    """Check and decrypt the body.

    Raises:
        Refused: FORGED, for any bit that the holder of the key did not put there; MALFORMED.
    """
    salt = datagram[_HEADER_SIZE:_CLEAR_SIZE]
    nonce = salt + b"\0\0" + header.raw[-6:]
    try:
        plain = cipher.decrypt(nonce, datagram[_CLEAR_SIZE:], header.raw + salt)
    except InvalidTag:
        raise Refused(Reason.FORGED) from None
    body = plain.rstrip(b"\0")
    if body[-1:] != b"\x80":
        raise Refused(Reason.MALFORMED)
    return body[:-1]
