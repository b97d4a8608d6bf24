"""Lines of a chat: who is there, what he says, long texts in parts that fit into a message.

A message is text in UTF-8, so that `msfs listen` can be watched:

    say 3f2a91c0 1/2 anna
    the first part of what Anna says …

Its first line has the kind, an id that the parts of one line have in common, part and parts, and
the nickname; the rest is the text. Kinds are `join`, `here` (an answer to it, and the sign of life)
and `leave`, whose text is the slot for private lines; `nick`, whose text is the nickname before;
`say`, to all, and `tell`, to one.
"""

import re
from collections import OrderedDict
from typing import NamedTuple

from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE
from msfs_fuse.programs import FormatError

KINDS = frozenset({"join", "here", "leave", "nick", "say", "tell"})

# Of a line, so that nobody fills the screen or the memory of others.
MAX_PARTS = 16
MAX_TEXT = 4000  # bytes

# Lines of which not all parts are there, of all senders and of one, and how long one waits for a
# part.
MAX_PENDING = 64
MAX_PENDING_OF_ONE = 8
PENDING_SECONDS = 10.0

_NICKNAME = re.compile(r"[\w.-]{1,24}")
_HEAD = re.compile(r"([a-z]{3,5}) ([0-9a-f]{8}) ([0-9]{1,2})/([0-9]{1,2}) (\S{1,24})")


class Line(NamedTuple):
    """What one says or does.

    Attributes:
        kind: one of KINDS.
        id: eight hexadecimal digits, another for each line.
        nick: the nickname.
        text: what is said, or what belongs to the kind.
    """

    kind: str
    id: str
    nick: str
    text: str = ""


class Part(NamedTuple):
    """One message: a line, or a part of it; `number` counts from 1 to `parts`."""

    line: Line
    number: int
    parts: int


def is_nickname(text: str) -> bool:
    """Whether one may be called so: up to 24 letters, digits and `_.-`."""
    return _NICKNAME.fullmatch(text) is not None


def split(line: Line, limit: int = REMOTE_MESSAGE_SIZE) -> list[bytes]:
    """The messages of a line, each of up to `limit` bytes; no character is cut in two.

    Raises:
        FormatError: the text is too long or the nickname none.
    """
    if not is_nickname(line.nick) or line.kind not in KINDS:
        raise FormatError(f"not a nickname: {line.nick!r}")
    data = line.text.encode(errors="replace")
    room = limit - len(_head(line, MAX_PARTS, MAX_PARTS))
    pieces = _pieces(data, room)
    if len(data) > MAX_TEXT or len(pieces) > MAX_PARTS:
        raise FormatError(f"a line has up to {MAX_TEXT} bytes")
    return [
        _head(line, number, len(pieces)) + piece for number, piece in enumerate(pieces, start=1)
    ]


def parse(data: bytes) -> Part:
    """A part from a message.

    Raises:
        FormatError: it is none.
    """
    try:
        head, newline, text = data.decode().partition("\n")
    except UnicodeDecodeError:
        raise FormatError("not text") from None
    match = _HEAD.fullmatch(head)
    if not newline or match is None:
        raise FormatError("not a line of a chat")
    kind, ident, number, parts, nick = match.groups()
    part = Part(Line(kind, ident, nick, text), int(number), int(parts))
    if (
        kind not in KINDS
        or not is_nickname(nick)
        or not 1 <= part.number <= part.parts <= MAX_PARTS
        or len(data) > MAX_TEXT
    ):
        raise FormatError("not a line of a chat")
    return part


class Joiner:
    """Puts the parts of long lines together, whatever their order.

    What is kept is bounded: the oldest line in the making goes first, of the sender who has too
    many of them.
    """

    def __init__(self) -> None:
        self._pending: OrderedDict[tuple[object, ...], tuple[float, dict[int, str]]] = OrderedDict()

    def add(self, source: object, part: Part, now: float) -> Line | None:
        """Take a part.

        Args:
            source: who sent it, as far as it is proven; parts of two sources are never joined.
            now: the time in seconds, by any clock.

        Returns:
            The line, once its last part is there.
        """
        line, number, parts = part
        if parts == 1:
            return line
        for key, (since, _) in list(self._pending.items()):
            if since > now - PENDING_SECONDS:
                break
            del self._pending[key]
        key = (source, line.kind, line.id, line.nick, parts)
        _, texts = self._pending.setdefault(key, (now, {}))
        texts[number] = line.text
        if len(texts) < parts:
            own = [each for each in self._pending if each[0] == source]
            if len(own) > MAX_PENDING_OF_ONE:
                del self._pending[own[0]]
            if len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
            return None
        del self._pending[key]
        return line._replace(text="".join(text for _, text in sorted(texts.items())))


def _head(line: Line, number: int, parts: int) -> bytes:
    return f"{line.kind} {line.id} {number}/{parts} {line.nick}\n".encode()


def _pieces(data: bytes, room: int) -> list[bytes]:
    pieces = []
    while len(data) > room:
        cut = room
        while data[cut] & 0xC0 == 0x80:  # in the middle of a character
            cut -= 1
        pieces.append(data[:cut])
        data = data[cut:]
    return [*pieces, data]
