r"""NET SEND by an SMB session on TCP port 139, as `smbclient -M` and smbd speak it.

    client                                      server
    session request: called TO<03>           →  ← positive (or negative) response
    SMBsendstrt (0xD5): from, to             →  ← the same, with a group id
    SMBsendtxt (0xD7): group id, up to 128 bytes of text, as often as it takes  →  ← the same
    SMBsendend (0xD6): group id              →  ← the same

A short message may also be one SMBsends (0xD0), with from, to and text. ([MS-MSRP] 2.1.1, 2.2.1;
RFC 1002 4.3 for the session. The reply to SMBsendstrt has the group id in [MS-MSRP], but none from
smbd.)

Bytes go in and out; sockets are for others.
"""

import struct
from collections.abc import Callable, Generator
from typing import NamedTuple

from msfs_fuse.programs import FormatError
from msfs_fuse.programs.messenger import Notice, decode_lines, decode_text, encode_lines

PORT = 139

BLOCK_SIZE = 128  # bytes of text in one SMBsendtxt

# What is taken from a stranger at most: bytes in one packet, and of text in one message.
MAX_PACKET = 4096
MAX_TEXT = 8192

_HEADER = struct.Struct(">BBH")
_MESSAGE = 0x00
_REQUEST = 0x81
_POSITIVE = 0x82
_NEGATIVE = 0x83
_NAME_NOT_PRESENT = b"\x82"

_NAME_SIZE = 34
_MESSENGER_SUFFIX = 0x03
_WORKSTATION_SUFFIX = 0x00

_SMB = struct.Struct("<4sBLBHH8sHHHHHB")  # to the count of words
_MAGIC = b"\xffSMB"
_SENDS, _START, _END, _TEXT = 0xD0, 0xD5, 0xD6, 0xD7
_REPLY_FLAG = 0x80
_ASCII, _DATA = b"\x04", b"\x01"  # type bytes in front of what follows
_GROUP = 1


class Refused(Exception):
    """The other end knows nobody of that name, or takes no messages."""


class Packet(NamedTuple):
    """One packet of a session: its type and what is in it."""

    kind: int
    payload: bytes

    def pack(self) -> bytes:
        """As it is sent."""
        return _HEADER.pack(self.kind, 0, len(self.payload)) + self.payload


class PacketBuffer:
    """Bytes as they come from a stream, to packets."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Packet]:
        """Take bytes; the packets that are whole by now.

        Raises:
            FormatError: a packet is too long to be one of a message.
        """
        self._data += data
        packets = []
        while len(self._data) >= _HEADER.size:
            kind, flags, length = _HEADER.unpack_from(self._data)
            if flags or length > MAX_PACKET:
                raise FormatError("a packet is too long")
            end = _HEADER.size + length
            if len(self._data) < end:
                break
            packets.append(Packet(kind, bytes(self._data[_HEADER.size : end])))
            del self._data[:end]
        return packets


class Receiver:
    """The server's end of one connection.

    Attributes:
        notices: what has come and nobody has taken from here yet.
        refused: whether the caller asked for a name that is not ours: then answer and hang up.
    """

    def __init__(self, is_ours: Callable[[str], bool], code_page: str) -> None:
        """Begin.

        Args:
            is_ours: tells whether messages to a name (without regard to case) are for us.
            code_page: of what comes, unless it is UTF-8.
        """
        self.notices: list[Notice] = []
        self.refused = False
        self._is_ours = is_ours
        self._code_page = code_page
        self._packets = PacketBuffer()
        self._called: str | None = None
        self._names: tuple[str, str] | None = None
        self._text = b""

    def feed(self, data: bytes) -> bytes:
        """Take bytes; what to answer.

        Raises:
            FormatError: hang up.
        """
        return b"".join(map(self._answer, self._packets.feed(data)))

    def _answer(self, packet: Packet) -> bytes:
        if self.refused:
            return b""
        if packet.kind == _REQUEST:
            return self._accept(packet.payload)
        if packet.kind != _MESSAGE or self._called is None:
            raise FormatError("no session was asked for")
        smb = _unpack_smb(packet.payload)
        words = b""
        match smb.command:
            case _ if smb.command in (_SENDS, _START):
                fields = _Fields(smb.data)
                self._names = self._decode(fields.string()), self._decode(fields.string())
                self._text = b""
                if smb.command == _SENDS:
                    self._text = fields.block()
                    self._finish()
                else:
                    words = struct.pack("<H", _GROUP)
            case _ if smb.command == _TEXT and self._names:
                self._text += _Fields(smb.data).block()
                if len(self._text) > MAX_TEXT:
                    raise FormatError("the text is too long")
            case _ if smb.command == _END and self._names:
                self._finish()
            case _:
                raise FormatError("not a command of a message to people")
        return _pack_smb(smb.command, words, b"", reply_to=smb)

    def _accept(self, payload: bytes) -> bytes:
        if len(payload) != 2 * _NAME_SIZE:
            raise FormatError("not a session request")
        name, suffix = decode_name(payload[:_NAME_SIZE])
        decode_name(payload[_NAME_SIZE:])
        called = self._decode(name)
        if suffix != _MESSENGER_SUFFIX or not self._is_ours(called):
            self.refused = True
            return Packet(_NEGATIVE, _NAME_NOT_PRESENT).pack()
        self._called = called
        return Packet(_POSITIVE, b"").pack()

    def _finish(self) -> None:
        assert self._names is not None
        self.notices.append(Notice(*self._names, decode_lines(self._decode(self._text))))
        self._names = None

    def _decode(self, data: bytes) -> str:
        return decode_text(data, self._code_page)


def converse(notice: Notice, code_page: str) -> Generator[bytes, Packet, None]:
    """The client's end: yields what to send, and is sent the packet that comes back.

    Args:
        code_page: of the receiver; what it has no character for becomes `?`.

    Raises:
        Refused: the other end takes no message for that name.
        FormatError: it answers something else; or the names or the text cannot be sent.
    """
    sender, recipient, text = (
        part.encode(code_page, "replace")
        for part in (notice.sender, notice.recipient, encode_lines(notice.text))
    )
    if b"\0" in sender + recipient + text or len(text) > MAX_TEXT:
        raise FormatError("the text is too long, or holds a NUL")
    called = encode_name(recipient, _MESSENGER_SUFFIX)
    calling = encode_name(sender, _WORKSTATION_SUFFIX)
    reply = yield Packet(_REQUEST, called + calling).pack()
    if reply.kind == _NEGATIVE:
        raise Refused(f"nobody there takes messages for {notice.recipient}")
    if reply.kind != _POSITIVE:
        raise FormatError("the answer is no session's")
    names = _ASCII + sender + b"\0" + _ASCII + recipient + b"\0"
    reply = yield _pack_smb(_START, b"", names)
    words = _expect(reply, _START).words
    group = words if len(words) == 2 else struct.pack("<H", _GROUP)
    for start in range(0, len(text), BLOCK_SIZE):
        block = text[start : start + BLOCK_SIZE]
        data = _DATA + struct.pack("<H", len(block)) + block
        _expect((yield _pack_smb(_TEXT, group, data)), _TEXT)
    _expect((yield _pack_smb(_END, group, b"")), _END)


def encode_name(label: bytes, suffix: int) -> bytes:
    """A NetBIOS name as a session request has it (RFC 1001 14.1), without a scope.

    Raises:
        FormatError: it has more than 15 bytes, or none.
    """
    if not 0 < len(label) <= 15:
        raise FormatError("a NetBIOS name has 1 to 15 bytes")
    plain = label.upper().ljust(15) + bytes([suffix])
    halves = bytes(ord("A") + half for byte in plain for half in (byte >> 4, byte & 15))
    return bytes([len(halves)]) + halves + b"\0"


def decode_name(data: bytes) -> tuple[bytes, int]:
    """The label, without padding, and the suffix of a name of 34 bytes.

    Raises:
        FormatError: it is none.
    """
    halves = [byte - ord("A") for byte in data[1:-1]]
    if len(data) != _NAME_SIZE or data[0] != 32 or data[-1] or not all(0 <= h < 16 for h in halves):
        raise FormatError("not a NetBIOS name")
    plain = bytes(16 * high + low for high, low in zip(halves[::2], halves[1::2], strict=True))
    return plain[:15].rstrip(b" "), plain[15]


class _Smb(NamedTuple):
    command: int
    status: int
    numbers: tuple[int, ...]  # tid, pid, uid, mid
    words: bytes
    data: bytes


def _unpack_smb(payload: bytes) -> _Smb:
    if len(payload) < _SMB.size:
        raise FormatError("too short for an SMB")
    magic, command, status, _, _, _, _, _, *numbers, count = _SMB.unpack_from(payload)
    data_at = _SMB.size + 2 * count + 2
    if magic != _MAGIC or len(payload) < data_at:
        raise FormatError("not an SMB")
    (length,) = struct.unpack_from("<H", payload, data_at - 2)
    if len(payload) < data_at + length:
        raise FormatError("an SMB ends early")
    words = payload[_SMB.size : data_at - 2]
    return _Smb(command, status, tuple(numbers), words, payload[data_at : data_at + length])


def _pack_smb(command: int, words: bytes, data: bytes, reply_to: _Smb | None = None) -> bytes:
    flags, numbers = (_REPLY_FLAG, reply_to.numbers) if reply_to else (0, (0, 0, 0, 0))
    header = (_MAGIC, command, 0, flags, 0, 0, bytes(8), 0, *numbers, len(words) // 2)
    smb = _SMB.pack(*header) + words + struct.pack("<H", len(data)) + data
    return Packet(_MESSAGE, smb).pack()


def _expect(packet: Packet, command: int) -> _Smb:
    if packet.kind != _MESSAGE:
        raise FormatError("the answer is no SMB")
    smb = _unpack_smb(packet.payload)
    if smb.command != command:
        raise FormatError("the answer is to something else")
    if smb.status:
        raise Refused(f"the message was refused (SMB status {smb.status:#010x})")
    return smb


class _Fields:
    """The fields of an SMB's data, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def string(self) -> bytes:
        if not self._rest.startswith(_ASCII) or b"\0" not in self._rest:
            raise FormatError("a name is missing")
        value, _, self._rest = self._rest[1:].partition(b"\0")
        return value

    def block(self) -> bytes:
        if not self._rest.startswith(_DATA) or len(self._rest) < 3:
            raise FormatError("the text is missing")
        (length,) = struct.unpack_from("<H", self._rest, 1)
        if len(self._rest) != 3 + length:
            raise FormatError("the text ends early or late")
        return self._rest[3:]
