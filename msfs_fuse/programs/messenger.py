r"""The message of NET SEND, as the Messenger service takes it from the slot `MESSNGR`.

The body is `From\0To\0Text\0` ([MS-MSRP] and captures of Windows 98 agree), without a type byte, in
the OEM code page of whoever sends. There is no acknowledgement, and nothing proves `From`.
"""

from typing import NamedTuple

from msfs_fuse.programs import FormatError

SLOT = "MESSNGR"

# What the OEM code page of western Windows and DOS is; Samba's `dos charset` is the same.
OEM_CODE_PAGE = "cp850"

_LINE_END = "\r\n"
_PARAGRAPH = "\x14"  # how the Messenger wrote a line end in its log and in some bodies


class Notice(NamedTuple):
    """A message for people.

    Attributes:
        sender: who says to have sent it.
        recipient: a host, a user or a domain.
        text: lines, each ended by `\n` but for the last.
    """

    sender: str
    recipient: str
    text: str


def encode(notice: Notice, code_page: str = "utf-8") -> bytes:
    """A notice as the body of a mailslot message.

    Args:
        code_page: of the receiver; what it has no character for becomes `?`.

    Raises:
        FormatError: a name or the text holds a NUL.
    """
    if any("\0" in part for part in notice):
        raise FormatError("a message to people cannot hold a NUL")
    sender, recipient, text = notice
    parts = (sender, recipient, encode_lines(text))
    return b"".join(part.encode(code_page, "replace") + b"\0" for part in parts)


def decode(data: bytes, code_page: str = OEM_CODE_PAGE) -> Notice:
    """A notice from the body of a mailslot message.

    Args:
        code_page: of the sender, unless the body is UTF-8. Text in a code page that has other
            than ASCII characters is hardly ever valid UTF-8 too.

    Raises:
        FormatError: there are not three strings. The last NUL may be missing, as scripts do, and
            there may be more of it.
    """
    *names, rest = data.split(b"\0", 2)
    text = rest.rstrip(b"\0")
    if len(names) != 2 or b"\0" in text:
        raise FormatError(r"not of the form From\0To\0Text\0")
    sender, recipient = (decode_text(name, code_page) for name in names)
    return Notice(sender, recipient, decode_lines(decode_text(text, code_page)))


def decode_text(data: bytes, code_page: str) -> str:
    """Text that is UTF-8, or in a code page."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(code_page, "replace")


def encode_lines(text: str) -> str:
    """Text with line ends as Windows has them."""
    return decode_lines(text).replace("\n", _LINE_END)


def decode_lines(text: str) -> str:
    """Text with its line ends, of whatever kind, as Unix has them."""
    for end in (_LINE_END, _PARAGRAPH, "\r"):
        text = text.replace(end, "\n")
    return text
