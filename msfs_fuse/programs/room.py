"""A room of a chat: its slots, who is there, and what there is to show.

Who chats serves two slots. One is the room's: all in the room are reached at once by one message,
as a message of a domain reaches each slot whose name is the same without regard to ASCII case. So
those of one host serve `chat.ROOM.everybodyinthisroom` in as many spellings of capital letters:

    chat.lobby.eveRYbODyiNthISroOm

The other slot is for private lines, with a name that only the room is told.
"""

import re
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import NamedTuple

from msfs_fuse.core.names import fold
from msfs_fuse.programs.chat import Line

_ROOM = re.compile(r"[a-z0-9_-]{1,32}")
_EVERYBODY = "everybodyinthisroom"
_PRIVATE = re.compile(r"ask\.[0-9a-f.]{1,40}/[0-9a-f]{32}")

# What is kept of others, of all and of one user of one host.
MAX_MEMBERS = 2000
MAX_MEMBERS_OF_ONE = 50
MAX_HISTORY = 500
MAX_USERS = 2000

# How often one says that one is here, and how long it is believed, in seconds.
HERE_SECONDS = 30.0
GONE_SECONDS = 100.0
# A member that joins again so soon is not answered again.
ANSWER_SECONDS = 5.0

# What one user may have shown: so many lines at once, and so many a second.
BURST = 40.0
RATE = 4.0


def is_room(name: str) -> bool:
    """Whether a room may be called so: up to 32 of a-z, 0-9, `_` and `-`."""
    return _ROOM.fullmatch(name) is not None


def room_slot(room: str) -> str:
    """The name that a message to the room is sent to."""
    return f"chat.{room}.{_EVERYBODY}"


def room_of(slot: str) -> str | None:
    """The room that a slot is one of, in whatever spelling; None if it is none."""
    chat, _, rest = fold(slot).partition(".")
    room, _, everybody = rest.partition(".")
    return room if (chat, everybody) == ("chat", _EVERYBODY) and is_room(room) else None


def spelling(room: str) -> str:
    """The same name in one of its half a million spellings, at random."""
    word = "".join(secrets.choice((each, each.upper())) for each in _EVERYBODY)
    return f"chat.{room}.{word}"


class Source(NamedTuple):
    """Who sent a message, as the mount or the domain has proven it; None for what is unknown."""

    host: str | None
    uid: str | None
    pid: str | None


@dataclass
class Member:
    """One who is there.

    Attributes:
        source: his process.
        nick: his nickname.
        label: `NICK@HOST`, with `#2` behind it if an earlier one is called so.
        private: the slot for private lines to him, below the mount of his host; None if unknown.
        seen: when he sent something last.
        answered: when his last join was answered.
    """

    source: Source
    nick: str
    label: str
    private: str | None
    seen: float
    answered: float = float("-inf")


class Taken(NamedTuple):
    """What a line leads to: texts to show, and who is to be told that we are here."""

    shown: list[str]
    answer: Member | None = None


class Room:
    """Who is there, and what was shown. Everything in it is bounded.

    Attributes:
        own: `NICK@HOST` of who looks; anybody else of that name gets a number.
        history: the texts that were shown last.
    """

    def __init__(self, own: str = "") -> None:
        self.own = own
        self.history: deque[str] = deque(maxlen=MAX_HISTORY)
        self._members: OrderedDict[Source, Member] = OrderedDict()
        self._allowances: OrderedDict[tuple[str | None, str | None], tuple[float, float]] = (
            OrderedDict()
        )

    @property
    def members(self) -> list[Member]:
        """Those who are there, by label."""
        return sorted(self._members.values(), key=lambda member: member.label)

    def named(self, name: str) -> list[Member]:
        """The members of that label or nickname; a label names one alone."""
        exact = [member for member in self.members if fold(member.label) == fold(name)]
        return exact or [member for member in self.members if fold(member.nick) == fold(name)]

    def take(self, source: Source, line: Line, now: float, *, is_private: bool) -> Taken:
        """Take a whole line.

        Args:
            now: the time in seconds, by any clock.
            is_private: it came to the slot for private lines, where only `tell` and `here` belong.
        """
        if (line.kind == "tell") != is_private and line.kind != "here":
            return Taken([])
        events = []
        member = self._members.get(source)
        if line.kind == "leave":
            if member is not None:
                del self._members[source]
                events.append(f"{member.label} has left")
            return Taken(self._allowed(source, events, now))
        if member is None:
            member = self._add(source, line.nick, now)
            events.append(f"{member.label} {'has joined' if line.kind == 'join' else 'is here'}")
        elif member.nick != line.nick:
            before = member.label
            del self._members[source]
            member.nick, member.label = line.nick, self._label(line.nick, source)
            events.append(f"{before} is now {member.label}")
        self._members[source] = member
        self._members.move_to_end(source)
        member.seen = now
        if line.kind in ("join", "here") and _PRIVATE.fullmatch(line.text):
            member.private = line.text
        if line.kind == "say":
            events.append(f"{member.label}: {line.text}")
        elif line.kind == "tell":
            events.append(f"{member.label} to you: {line.text}")
        answer = None
        if line.kind == "join" and now - member.answered >= ANSWER_SECONDS:
            member.answered = now
            answer = member
        return Taken(self._allowed(source, events, now), answer)

    def expire(self, now: float) -> list[str]:
        """Forget those who have not been heard of; texts to show."""
        gone = []
        for source, member in list(self._members.items()):
            if member.seen > now - GONE_SECONDS:
                break
            del self._members[source]
            gone.append(f"{member.label} is not heard of any more")
        return gone

    def _add(self, source: Source, nick: str, now: float) -> Member:
        own = [each for each in self._members if each[:2] == source[:2]]
        if len(own) >= MAX_MEMBERS_OF_ONE:
            del self._members[own[0]]
        if len(self._members) >= MAX_MEMBERS:
            self._members.popitem(last=False)
        return Member(source, nick, self._label(nick, source), None, now)

    def _label(self, nick: str, source: Source) -> str:
        label = first = f"{nick}@{source.host or '?'}"
        taken = {fold(member.label) for member in self._members.values()}
        taken.add(fold(self.own))
        number = 1
        while fold(label) in taken:
            number += 1
            label = f"{first}#{number}"
        return label

    def _allowed(self, source: Source, events: list[str], now: float) -> list[str]:
        """The texts, as long as their user does not flood us; once he does, a word about that."""
        user = source[:2]
        tokens, since = self._allowances.get(user, (BURST, now))
        tokens = min(BURST, tokens + (now - since) * RATE)
        shown = []
        for event in events:
            if tokens >= 2:
                shown.append(event)
            elif tokens >= 1:
                host = source.host or "?"
                shown.append(f"user {source.uid or '?'} of {host} writes too much to show it all")
            tokens = max(0.0, tokens - 1)
        self._allowances[user] = tokens, now
        self._allowances.move_to_end(user)
        if len(self._allowances) > MAX_USERS:
            self._allowances.popitem(last=False)
        return shown
