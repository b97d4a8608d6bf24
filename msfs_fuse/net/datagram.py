"""The sealed datagram: a clear header that is authenticated, and a body that is encrypted too.

    header  28 bytes  version 1, kind 1, key id 2, epoch 16, counter 8
    body              sent at 8 (milliseconds since 1970), source host, and for a message
                      uid 4, pid 4, scope 1, destination, slot, data
    tag     16 bytes  of ChaCha20-Poly1305 (RFC 8439)

Numbers are big-endian. Source, destination and slot have their length in front, in one byte. The
slot's name is that of the mailslot, with backslashes, in the bytes of the file system.

Each sender has an epoch, 16 random bytes, for each time it starts, and seals with a key derived
from the domain's and the epoch (keyring.py). The nonce is the counter, so that no pair of key and
nonce comes twice, whatever hosts share the domain's key, and with no state kept on disk.
"""

import os
import struct
from enum import IntEnum, StrEnum
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE, Address, is_host_name
from msfs_fuse.core.slot import Sender

VERSION = 1
EPOCH_SIZE = 16
TAG_SIZE = 16

# Never fragmented: IPv6 passes 1280 bytes everywhere, 48 of them its header and that of UDP.
MAX_SIZE = 1200

# A slot's whole name: what a length of one byte can tell.
MAX_SLOT_SIZE = 255

_HEADER = struct.Struct(f">BBH{EPOCH_SIZE}sQ")
_NONCE = struct.Struct(">4xQ")
_TIME = struct.Struct(">Q")
_SENDER = struct.Struct(">IIB")

_MIN_SIZE = _HEADER.size + _TIME.size + 2 + TAG_SIZE


class Kind(IntEnum):
    """What a datagram is."""

    MESSAGE = 1
    HELLO = 2
    BYE = 3


class Scope(IntEnum):
    """What the destination of a message names."""

    HOST = 0
    DOMAIN = 1


class Reason(StrEnum):
    """Why a datagram is dropped; the label of the metric."""

    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    VERSION = "version"
    KIND = "kind"
    UNKNOWN_KEY = "unknown_key"
    OWN = "own"
    REPLAYED = "replayed"
    FORGED = "forged"
    MALFORMED = "malformed"
    STALE = "stale"
    BEFORE_START = "before_start"
    TOO_MANY_SENDERS = "too_many_senders"
    OTHER_DESTINATION = "other_destination"
    OTHER_SENDER = "other_sender"
    EMPTY = "empty"


class Refused(Exception):
    """A datagram that is dropped, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Header(NamedTuple):
    """What can be read without a key. Nothing in it is to be trusted before open_body()."""

    kind: Kind
    key_id: int
    epoch: bytes
    counter: int


class Message(NamedTuple):
    """The body of a message. `sent_at` in milliseconds since the epoch, by the sender's clock."""

    sent_at: int
    sender: Sender
    scope: Scope
    destination: str
    path: tuple[str, ...]
    data: bytes


class Presence(NamedTuple):
    """The body of HELLO and BYE."""

    sent_at: int
    host: str


def _prefixed(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def slot_name(path: tuple[str, ...]) -> bytes:
    r"""A slot's name as it travels, `dir\name`.

    Raises:
        ValueError: it is too long, or no mailslot can be called so.
    """
    name = os.fsencode("\\".join(Address(None, path).path))
    if len(name) > MAX_SLOT_SIZE:
        raise ValueError(f"longer than {MAX_SLOT_SIZE} bytes: {name!r}")
    return name


def encode_message(message: Message) -> bytes:
    """The body of a message.

    Raises:
        ValueError: names, or the data, that a datagram cannot carry.
    """
    host, uid, pid, _ = message.sender
    for name in (host, message.destination):
        if not is_host_name(name):
            raise ValueError(f"not a host or domain: {name!r}")
    if not 0 < len(message.data) <= REMOTE_MESSAGE_SIZE:
        raise ValueError(f"not 1 to {REMOTE_MESSAGE_SIZE} bytes: {len(message.data)}")
    return b"".join(
        (
            _TIME.pack(message.sent_at),
            _prefixed(host.encode()),
            _SENDER.pack(uid, pid, message.scope),
            _prefixed(message.destination.encode()),
            _prefixed(slot_name(message.path)),
            message.data,
        )
    )


def encode_presence(presence: Presence) -> bytes:
    """The body of HELLO and BYE.

    Raises:
        ValueError: a host name that a datagram cannot carry.
    """
    if not is_host_name(presence.host):
        raise ValueError(f"not a host: {presence.host!r}")
    return _TIME.pack(presence.sent_at) + _prefixed(presence.host.encode())


def seal(cipher: ChaCha20Poly1305, header: Header, body: bytes) -> bytes:
    """The whole datagram. A header may be used once with a cipher."""
    clear = _HEADER.pack(VERSION, header.kind, header.key_id, header.epoch, header.counter)
    return clear + cipher.encrypt(_NONCE.pack(header.counter), body, clear)


def parse_header(datagram: bytes) -> Header:
    """The clear part, which anybody may have made.

    Raises:
        Refused: TOO_SHORT, TOO_LONG, VERSION, KIND.
    """
    if len(datagram) > MAX_SIZE:
        raise Refused(Reason.TOO_LONG)
    if len(datagram) < _MIN_SIZE:
        raise Refused(Reason.TOO_SHORT)
    version, kind, key_id, epoch, counter = _HEADER.unpack_from(datagram)
    if version != VERSION:
        raise Refused(Reason.VERSION)
    try:
        return Header(Kind(kind), key_id, epoch, counter)
    except ValueError:
        raise Refused(Reason.KIND) from None


def open_body(cipher: ChaCha20Poly1305, counter: int, datagram: bytes) -> bytes:
    """Check and decrypt the body.

    Raises:
        Refused: FORGED, for any bit that the holder of the key did not put there.
    """
    try:
        return cipher.decrypt(
            _NONCE.pack(counter), datagram[_HEADER.size :], datagram[: _HEADER.size]
        )
    except InvalidTag:
        raise Refused(Reason.FORGED) from None


class _Reader:
    """Takes a body apart.

    Every method raises ValueError for a body that ends too early.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        data = self.take(form.size)
        return form.unpack(data)

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._body):
            raise ValueError
        data = self._body[self._at : end]
        self._at = end
        return data

    def prefixed(self) -> bytes:
        return self.take(self.take(1)[0])

    def host(self) -> str:
        name = self.prefixed().decode("ascii")
        if not is_host_name(name):
            raise ValueError
        return name

    def rest(self) -> bytes:
        return self._body[self._at :]


def decode_message(body: bytes) -> Message:
    """What a member of the domain has sent.

    Raises:
        Refused: MALFORMED, for what no encode_message() makes; EMPTY for a message of no bytes.
    """
    reader = _Reader(body)
    try:
        (sent_at,) = reader.unpack(_TIME)
        host = reader.host()
        uid, pid, scope = reader.unpack(_SENDER)
        destination = reader.host()
        name = os.fsdecode(reader.prefixed())
        data = reader.rest()
        if len(data) > REMOTE_MESSAGE_SIZE:
            raise ValueError
        path = Address(None, tuple(name.split("\\"))).path
        message = Message(sent_at, Sender(host, uid, pid), Scope(scope), destination, path, data)
    except ValueError:
        raise Refused(Reason.MALFORMED) from None
    if not data:
        raise Refused(Reason.EMPTY)
    return message


def decode_presence(body: bytes) -> Presence:
    """What a HELLO or BYE says.

    Raises:
        Refused: MALFORMED.
    """
    reader = _Reader(body)
    try:
        (sent_at,) = reader.unpack(_TIME)
        host = reader.host()
        if reader.rest():
            raise ValueError
    except ValueError:
        raise Refused(Reason.MALFORMED) from None
    return Presence(sent_at, host)
