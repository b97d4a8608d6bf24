r"""A write to a mailslot as an SMB transaction: [MS-MAIL] 2.2.1, [MS-CIFS] 2.2.4.33.

Offset in the SMB; numbers are little-endian:

0   ff 'SMB', command 0x25, status 4, flags 1, flags 4 … 8, reserved, tid, pid, uid, mid: 32 bytes
32  17 words: counts and offsets of parameters, of which there are none, and of data; the
    setup words are the opcode 1 (write), the priority 0 to 9 and the class 1 or 2
67  count of the bytes that follow
69  `\MAILSLOT\name` and a zero byte; to the next multiple of 4 zeros; the data

What Windows, nmbd and smbtorture send differs in flags, process id, most parameters, timeout,
priority, and padding. All else has to be as it should: [MS-MAIL] 3.2.5.1 has a receiver drop what
is not.
"""

import struct
from typing import NamedTuple

from msfs_fuse.core.names import Address, fold
from msfs_fuse.net.netbios.refusal import Reason, Refused

# The whole SMB that Windows sends at most ([MS-MAIL] product behaviour), and that nmbd takes: it
# has a buffer of 576 bytes for the datagram, 82 of which come before the SMB.
WINDOWS_SIZE = 512
SAMBA_SIZE = 494

# What nmbd itself sends at most.
MAX_RECEIVED_SIZE = 572

_PREFIX = "\\MAILSLOT\\"
_COMMAND = 0x25
_WORDS = 17
_OPCODE = 1
_CLASS = 2
_SETUP_WORDS = 3
_MAX_PRIORITY = 9
_MAX_PADDING = 3

_HEADER = struct.Struct("<4sBIBHH8xHHHHH")
# total parameters, total data, most parameters, data, setup, reserved, flags, timeout, reserved,
# parameters, offset, data, offset, setup words, reserved, opcode, priority, class, bytes
_BODY = struct.Struct("<BHHHHBBHIHHHHHBBHHHH")
_MAGIC = b"\xffSMB"
_NAME_AT = _HEADER.size + _BODY.size

# As in the example of [MS-MAIL] 4, which Windows made.
_FLAGS, _FLAGS2, _PID, _MAX_PARAMETERS = 0x18, 0x04, 0xFEFF, 2


class Write(NamedTuple):
    """One message to a mailslot.

    Attributes:
        path: the components of the slot's name, at least one.
        data: at least one byte.
    """

    path: tuple[str, ...]
    data: bytes


def encode_name(path: tuple[str, ...]) -> bytes:
    r"""A slot's name on the wire, without the zero byte.

    Its prefix is in upper case, as tshark knows no other.

    Raises:
        ValueError: no mailslot is called so, or not in ASCII: nobody knows the other's code page.
    """
    name = _PREFIX + "\\".join(Address(None, path).path)
    try:
        return name.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError(f"not in ASCII: {name!r}") from None


def _data_offset(name: bytes) -> int:
    return (_NAME_AT + len(name) + 1 + _MAX_PADDING) & ~_MAX_PADDING


def capacity(path: tuple[str, ...], size: int) -> int:
    """How many bytes of data fit into an SMB of `size` bytes; less than 1 if none does.

    Raises:
        ValueError: as encode_name().
    """
    return size - _data_offset(encode_name(path))


def encode(write: Write) -> bytes:
    """The SMB.

    Raises:
        ValueError: as encode_name().
    """
    name = encode_name(write.path)
    offset = _data_offset(name)
    count = len(write.data)
    content = name.ljust(offset - _NAME_AT, b"\0") + write.data
    header = _HEADER.pack(_MAGIC, _COMMAND, 0, _FLAGS, _FLAGS2, 0, 0, 0, _PID, 0, 0)
    parameters = (0, count, _MAX_PARAMETERS, 0, 0, 0, 2, 0, 0, 0, offset, count, offset)
    setup = (_SETUP_WORDS, 0, _OPCODE, 0, _CLASS)
    return header + _BODY.pack(_WORDS, *parameters, *setup, len(content)) + content


def decode(smb: bytes) -> Write:
    """What somebody has written, the name of the slot in lower case.

    Raises:
        Refused: TOO_SHORT, TOO_LONG, NOT_A_MAILSLOT, SLOT_NAME, DATA, EMPTY.
    """
    if len(smb) <= _NAME_AT:
        raise Refused(Reason.TOO_SHORT)
    if len(smb) > MAX_RECEIVED_SIZE:
        raise Refused(Reason.TOO_LONG)
    magic, command, *_ = _HEADER.unpack_from(smb)
    words, *fields = _BODY.unpack_from(smb, _HEADER.size)
    total_parameters, total_data, _, _, _, _, _, _, _, parameters, _, *fields = fields
    count, offset, setup_words, _, opcode, priority, message_class, size = fields
    if (magic, command, words) != (_MAGIC, _COMMAND, _WORDS) or (setup_words, opcode) != (
        _SETUP_WORDS,
        _OPCODE,
    ):
        raise Refused(Reason.NOT_A_MAILSLOT)
    if priority > _MAX_PRIORITY or message_class not in (1, 2) or total_parameters or parameters:
        raise Refused(Reason.NOT_A_MAILSLOT)
    if size != len(smb) - _NAME_AT or total_data != count:
        raise Refused(Reason.DATA)
    end = smb.find(0, _NAME_AT)
    if end < 0:
        raise Refused(Reason.SLOT_NAME)
    path = _decode_name(smb[_NAME_AT:end])
    if not 0 <= offset - (end + 1) <= _MAX_PADDING or offset + count != len(smb):
        raise Refused(Reason.DATA)
    if not count:
        raise Refused(Reason.EMPTY)
    return Write(path, smb[offset:])


def _decode_name(raw: bytes) -> tuple[str, ...]:
    try:
        name = fold(raw.decode("ascii"))
        if not name.startswith(fold(_PREFIX)) or not name.isprintable():
            raise ValueError
        return Address(None, tuple(name[len(_PREFIX) :].split("\\"))).path
    except ValueError:
        raise Refused(Reason.SLOT_NAME) from None
