r"""NetBIOS names: 15 bytes and a suffix that tells what it is the name of.

On the wire (RFC 1001 14, RFC 1002 4.1) a name is upper case, padded with spaces to 15 bytes, the
suffix is the 16th, and each half of a byte is a letter from `A` to `P`. In front stands the length
of that, 32, and behind it the scope, which for us is empty: a zero byte. Elsewhere in a packet two
bytes may point back to it.

As text a name is `NAME#1E`, as for nmblookup(1), where the suffix is not 00, and bytes that are no
letter, digit or one of `_-.!$` are `%E4`: so the text is safe in a path and on a terminal.
"""

import re
import struct
from typing import NamedTuple

from msfs_fuse.net.netbios.refusal import Reason, Refused

MAX_LABEL = 15

WORKSTATION = 0x00
MESSENGER = 0x03
SERVER = 0x20
DOMAIN_MASTER = 0x1B
DOMAIN_CONTROLLERS = 0x1C
LOCAL_MASTER = 0x1D
BROWSERS = 0x1E

_ENCODED_SIZE = 32
_SIZE = 1 + _ENCODED_SIZE + 1
_POINTER = 0xC0

_PLAIN = re.compile(rb"[A-Za-z0-9_.!$-]")
_TEXT = re.compile(r"((?:[A-Za-z0-9_.!$*-]|%[0-9A-Fa-f]{2})+?)(?:#([0-9A-Fa-f]{2}))?")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


class Name(NamedTuple):
    """A NetBIOS name; made by `make`, so that names that are one to the network are equal.

    Attributes:
        label: 1 to 15 bytes, upper case, without the padding.
        suffix: 0 to 255.
    """

    label: bytes
    suffix: int = WORKSTATION

    @classmethod
    def make(cls, label: bytes, suffix: int = WORKSTATION) -> "Name":
        """Any case, any padding.

        Raises:
            ValueError: nothing is left, or it is too long.
        """
        plain = label.rstrip(b" ").upper()
        if not 0 < len(plain) <= MAX_LABEL or not 0 <= suffix <= 255:
            raise ValueError(f"not a NetBIOS name: {label!r}")
        return cls(plain, suffix)

    @classmethod
    def parse(cls, text: str) -> "Name":
        """A name as text.

        Raises:
            ValueError: it is none.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"not a NetBIOS name: {text!r}")
        label = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), match[1]).encode("latin-1")
        return cls.make(label, int(match[2] or "0", 16))

    def __str__(self) -> str:
        suffix = f"#{self.suffix:02X}" if self.suffix else ""
        return escape(self.label) + suffix

    def __repr__(self) -> str:
        return f"{escape(self.label)}<{self.suffix:02x}>"


ANY = Name(b"*")

# Where master browsers announce themselves to each other; [MS-BRWS] 2.1.1.
MASTERS = Name(b"\x01\x02__MSBROWSE__\x02", 0x01)


def escape(label: bytes) -> str:
    """Bytes of a name as text that needs no quoting."""
    return "".join(chr(byte) if _PLAIN.match(bytes([byte])) else f"%{byte:02X}" for byte in label)


def encode(name: Name) -> bytes:
    """A name as it stands in a packet, 34 bytes."""
    # `*` alone is padded with zeros, RFC 1002 4.2.1.2 and what Windows and Samba do.
    padding = b"\0" if name.label == ANY.label else b" "
    raw = name.label.ljust(MAX_LABEL, padding) + bytes([name.suffix])
    halves = bytes(half for byte in raw for half in (0x41 + (byte >> 4), 0x41 + (byte & 15)))
    return bytes([_ENCODED_SIZE]) + halves + b"\0"


def decode(packet: bytes, at: int, first: int) -> tuple[Name, int]:
    """The name at an offset, and where it ends.

    Args:
        first: where the first name of such a packet stands: pointers lead there or beyond, and
            only back, to a name that is written out. So they make no loops.

    Raises:
        Refused: NAME; SCOPE, for one that is not empty.
    """
    if at < len(packet) and packet[at] & _POINTER == _POINTER:
        if at + 2 > len(packet):
            raise Refused(Reason.NAME)
        target = struct.unpack_from(">H", packet, at)[0] & 0x3FFF
        if not first <= target < at:
            raise Refused(Reason.NAME)
        return _decode_whole(packet, target)[0], at + 2
    return _decode_whole(packet, at)


def _decode_whole(packet: bytes, at: int) -> tuple[Name, int]:
    end = at + _SIZE
    if end > len(packet) or packet[at] != _ENCODED_SIZE:
        raise Refused(Reason.NAME)
    halves = [byte - 0x41 for byte in packet[at + 1 : end - 1]]
    if not all(0 <= half < 16 for half in halves):
        raise Refused(Reason.NAME)
    if packet[end - 1]:
        raise Refused(Reason.SCOPE)
    raw = bytes(high << 4 | low for high, low in zip(halves[::2], halves[1::2], strict=True))
    label = raw[:MAX_LABEL]
    if label == ANY.label.ljust(MAX_LABEL, b"\0"):
        label = ANY.label
    try:
        return Name.make(label, raw[MAX_LABEL]), end
    except ValueError:
        raise Refused(Reason.NAME) from None
