"""What is sealed in datagrams. Numbers are big-endian, names have their length in one byte.

    card    length 2 and certificate, boot 16, n 4, X25519 key 32, signature 64
    GROUP   type 1, content, signature 64      content: a hello's card; a bye's nothing; a message
    PROBE   to-mount 8, to-host, nonce 16, age 4, hears 1, card
    PROOF   nonce 16, to-mount 8, new nonce 16, floor 6, age 4, seen 18, hears 1, card, code 16
    PAIR    0, nonce 16, floor 6, seen 18, hears 1; or 1, message
    message sent at 8 (milliseconds since 1970), uid 4, pid 4, slot, data

`hears` is 1 if the sender has heard a datagram of the other one by multicast of late.
A message does not name its sender or its destination: the key that opened it does.
"""

import hashlib
import os
import struct
from enum import IntEnum
from typing import NamedTuple

from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE, Address
from msfs_fuse.net.trust.wire import ID_SIZE, Reason, Refused

NONCE_SIZE = 16
BOOT_SIZE = 16
SEEN_SIZE = 18
CODE_SIZE = 16
SIGNATURE_SIZE = 64
PUBLIC_KEY_SIZE = 32
MAX_CERTIFICATE_SIZE = 768

# What the floor of a PROOF or DONE can ask for at most, in milliseconds.
MAX_AGE = 5000

# A slot's whole name: what a length of one byte can tell.
MAX_SLOT_SIZE = 255

ANY_MOUNT = bytes(ID_SIZE)
NOT_SEEN = bytes(SEEN_SIZE)

_LENGTH = struct.Struct(">H")
_NUMBER = struct.Struct(">I")
_MESSAGE = struct.Struct(">QII")


class GroupType(IntEnum):
    """What a GROUP datagram says."""

    HELLO = 0
    BYE = 1
    MESSAGE = 2


class PairType(IntEnum):
    """What a PAIR datagram says."""

    DONE = 0
    MESSAGE = 1


class Reader:
    """Takes a body apart. Every method raises ValueError for a body that ends too early."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._body):
            raise ValueError
        data = self._body[self._at : end]
        self._at = end
        return data

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def flag(self) -> bool:
        value = self.number(1)
        if value > 1:
            raise ValueError
        return value == 1

    def prefixed(self) -> bytes:
        return self.take(self.number(1))

    def rest(self) -> bytes:
        data = self._body[self._at :]
        self._at = len(self._body)
        return data


def _prefixed(data: bytes) -> bytes:
    return bytes([len(data)]) + data


class Card(NamedTuple):
    """How a mount presents itself.

    Attributes:
        certificate: DER.
        boot: random for each start of a mount.
        n: counts the X25519 keys of one start.
        public: the X25519 key.
        signature: by the certificate's key.
        raw: all of it as it travels.
    """

    certificate: bytes
    boot: bytes
    n: int
    public: bytes
    signature: bytes
    raw: bytes

    @property
    def hash(self) -> bytes:
        """What names this card."""
        return hashlib.sha256(self.raw).digest()

    def signed(self, context: bytes) -> bytes:
        """What the signature is over."""
        return card_to_sign(context, self.certificate, self.boot, self.n, self.public)

    def mount(self, context: bytes) -> bytes:
        """The id of the mount that it presents."""
        return mount_id(context, self.boot, self.certificate)

    @classmethod
    def pack(
        cls, certificate: bytes, boot: bytes, n: int, public: bytes, signature: bytes
    ) -> "Card":
        """A card of these parts."""
        length = _LENGTH.pack(len(certificate))
        raw = b"".join((length, certificate, boot, _NUMBER.pack(n), public, signature))
        return cls(certificate, boot, n, public, signature, raw)

    @classmethod
    def read(cls, reader: Reader) -> "Card":
        """Take a card out of a body.

        Raises:
            ValueError: it is none; Refused: CARD_SIZE.
        """
        size = reader.number(2)
        if size > MAX_CERTIFICATE_SIZE:
            raise Refused(Reason.CARD_SIZE)
        certificate = reader.take(size)
        boot, n = reader.take(BOOT_SIZE), reader.number(4)
        return cls.pack(
            certificate, boot, n, reader.take(PUBLIC_KEY_SIZE), reader.take(SIGNATURE_SIZE)
        )


def mount_id(context: bytes, boot: bytes, certificate: bytes) -> bytes:
    """Names one start of one host. Nobody else's certificate makes the same."""
    digest = hashlib.sha256(certificate).digest()
    return hashlib.sha256(b"msfs2 mount" + context + boot + digest).digest()[:ID_SIZE]


def card_to_sign(context: bytes, certificate: bytes, boot: bytes, n: int, public: bytes) -> bytes:
    """What a card's signature is over."""
    digest = hashlib.sha256(certificate).digest()
    return b"msfs2 card" + context + digest + boot + _NUMBER.pack(n) + public


def group_to_sign(context: bytes, header: bytes, body: bytes) -> bytes:
    """What the signature of a GROUP datagram is over."""
    return b"msfs2 group" + context + header + body


class Probe(NamedTuple):
    """A question: are you there, and since when may I believe you?

    Attributes:
        to_mount: ANY_MOUNT, or the only one that is meant.
        to_host: the only host that is meant, folded; or empty.
        age: since this mount began or last forgot anything, in milliseconds.
    """

    to_mount: bytes
    to_host: str
    nonce: bytes
    age: int
    hears: bool
    card: Card

    def pack(self) -> bytes:
        return b"".join(
            (
                self.to_mount,
                _prefixed(self.to_host.encode()),
                self.nonce,
                _NUMBER.pack(self.age),
                bytes([self.hears]),
                self.card.raw,
            )
        )

    @classmethod
    def parse(cls, body: bytes) -> "Probe":
        """Raises Refused: MALFORMED, CARD_SIZE."""
        reader = Reader(body)
        try:
            return cls(
                reader.take(ID_SIZE),
                reader.prefixed().decode("ascii"),
                reader.take(NONCE_SIZE),
                min(reader.number(4), MAX_AGE),
                reader.flag(),
                _only(reader, Card.read(reader)),
            )
        except ValueError:
            raise Refused(Reason.MALFORMED) from None


def _only(reader: Reader, card: Card) -> Card:
    if reader.rest():
        raise ValueError
    return card


class Proof(NamedTuple):
    """An answer to a PROBE, and a question back.

    Attributes:
        nonce: of the PROBE.
        new_nonce: to be returned in DONE.
        floor: the asker takes nothing of ours with a counter below it.
        seen: the source of the PROBE.
        code: proves that we have the key of our card, and have read the PROBE.
    """

    nonce: bytes
    to_mount: bytes
    new_nonce: bytes
    floor: int
    age: int
    seen: bytes
    hears: bool
    card: Card
    code: bytes = b""

    def pack(self) -> bytes:
        """All but the code."""
        return b"".join(
            (
                self.nonce,
                self.to_mount,
                self.new_nonce,
                self.floor.to_bytes(6),
                _NUMBER.pack(self.age),
                self.seen,
                bytes([self.hears]),
                self.card.raw,
            )
        )

    @classmethod
    def parse(cls, body: bytes) -> "Proof":
        """Raises Refused: MALFORMED, CARD_SIZE."""
        reader = Reader(body)
        try:
            proof = cls(
                reader.take(NONCE_SIZE),
                reader.take(ID_SIZE),
                reader.take(NONCE_SIZE),
                reader.number(6),
                min(reader.number(4), MAX_AGE),
                reader.take(SEEN_SIZE),
                reader.flag(),
                Card.read(reader),
                reader.take(CODE_SIZE),
            )
            if reader.rest():
                raise ValueError
        except ValueError:
            raise Refused(Reason.MALFORMED) from None
        return proof


def proof_to_code(probe: bytes, rest: bytes) -> bytes:
    """What the code of a PROOF is over: the PROBE's body, and its own without the code."""
    return b"msfs2 proof" + hashlib.sha256(probe).digest() + rest


class Done(NamedTuple):
    """The last word of a handshake."""

    nonce: bytes
    floor: int
    seen: bytes
    hears: bool

    def pack(self) -> bytes:
        flags = bytes([self.hears])
        return bytes([PairType.DONE]) + self.nonce + self.floor.to_bytes(6) + self.seen + flags

    @classmethod
    def parse(cls, body: bytes) -> "Done":
        """Raises Refused: MALFORMED."""
        reader = Reader(body[1:])
        try:
            done = cls(
                reader.take(NONCE_SIZE), reader.number(6), reader.take(SEEN_SIZE), reader.flag()
            )
            if reader.rest():
                raise ValueError
        except ValueError:
            raise Refused(Reason.MALFORMED) from None
        return done


class Message(NamedTuple):
    """What a process of another host has written. `sent_at` in milliseconds, by its clock."""

    sent_at: int
    uid: int
    pid: int
    path: tuple[str, ...]
    data: bytes

    def pack(self) -> bytes:
        """Raises ValueError: names, or data, that a datagram cannot carry."""
        if not 0 < len(self.data) <= REMOTE_MESSAGE_SIZE:
            raise ValueError(f"not 1 to {REMOTE_MESSAGE_SIZE} bytes: {len(self.data)}")
        fixed = _MESSAGE.pack(self.sent_at, self.uid, self.pid)
        return fixed + _prefixed(slot_name(self.path)) + self.data

    @classmethod
    def parse(cls, body: bytes) -> "Message":
        """Raises Refused: MALFORMED, for what no pack() makes; EMPTY for a message of no bytes."""
        try:
            sent_at, uid, pid = _MESSAGE.unpack_from(body)
            reader = Reader(body[_MESSAGE.size :])
            name = os.fsdecode(reader.prefixed())
            data = reader.rest()
            path = Address(None, tuple(name.split("\\"))).path
            if len(data) > REMOTE_MESSAGE_SIZE:
                raise ValueError
        except (ValueError, struct.error):
            raise Refused(Reason.MALFORMED) from None
        if not data:
            raise Refused(Reason.EMPTY)
        return cls(sent_at, uid, pid, path, data)


def slot_name(path: tuple[str, ...]) -> bytes:
    r"""A slot's name as it travels, `dir\name`, in the bytes of the file system.

    Raises:
        ValueError: it is too long, or no mailslot can be called so.
    """
    name = os.fsencode("\\".join(Address(None, path).path))
    if len(name) > MAX_SLOT_SIZE:
        raise ValueError(f"longer than {MAX_SLOT_SIZE} bytes: {name!r}")
    return name
