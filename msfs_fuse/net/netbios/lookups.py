"""Names of others: asked for by broadcast, remembered for a while, with what waits for them. Pure.

Nobody waits for an answer: what is written meanwhile is held, and goes when the answer comes or is
lost when none does. For a while then the name is known to be missing.
"""

import random
from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Generic, NamedTuple, TypeVar

from msfs_fuse.core.shares import leaves_enough
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.nameservice import Opcode, Request, Response

TRIES = 3
INTERVAL = 0.25

# How long an answer is good, and the lack of one, in seconds.
FOUND_AGE = 60.0
MISSING_AGE = 10.0

KNOWN = 256
# Of these two a user has his share (leaves_enough).
ASKED = 64
HELD = 512
HELD_EACH = 16

Item = TypeVar("Item")


class Found(NamedTuple):
    """Who has a name.

    Attributes:
        group: many may have it: what is for it is broadcast.
    """

    address: IPv4Address
    group: bool


@dataclass
class _Question(Generic[Item]):
    id: int
    due: float
    uid: int
    tries: int = 0
    held: list[Item] = field(default_factory=list)


class Lookups(Generic[Item]):
    """Times are monotonic, in seconds. All tables are bounded; the oldest answers go first."""

    def __init__(self) -> None:
        self._known: OrderedDict[Name, tuple[Found | None, float]] = OrderedDict()
        self._asked: dict[Name, _Question[Item]] = {}
        self._held = 0

    def find(self, name: Name, now: float) -> Found | None:
        """Who has that name, if that is known."""
        found, until = self._known.get(name, (None, 0.0))
        return found if until > now else None

    def is_missing(self, name: Name, now: float) -> bool:
        """Whether nobody said a moment ago to have it."""
        found, until = self._known.get(name, (None, 0.0))
        return found is None and until > now

    def found(self, now: float) -> list[tuple[Name, Found]]:
        """All names whose holders are known."""
        return [
            (name, found) for name, (found, until) in self._known.items() if found and until > now
        ]

    def ask(self, name: Name, now: float, uid: int) -> bool:
        """Look for a name. False if too many are looked for.

        Args:
            uid: the user who wants it; what is held for the name counts for him, too.
        """
        if name not in self._asked:
            if not leaves_enough(len(self._of(uid)), len(self._asked), ASKED):
                return False
            self._asked[name] = _Question(random.randrange(0x10000), now, uid)
        return True

    def hold(self, name: Name, item: Item) -> bool:
        """Keep what is for a name that is looked for. False if too much is kept."""
        question = self._asked.get(name)
        if question is None or len(question.held) >= HELD_EACH:
            return False
        own = sum(len(each.held) for each in self._of(question.uid))
        if not leaves_enough(own, self._held, HELD):
            return False
        question.held.append(item)
        self._held += 1
        return True

    def _of(self, uid: int) -> list[_Question[Item]]:
        return [each for each in self._asked.values() if each.uid == uid]

    def next(self) -> float | None:
        """When due() has something to do."""
        return min((each.due for each in self._asked.values()), default=None)

    def due(self, now: float) -> tuple[list[Request], int]:
        """The questions to broadcast now, and how much of what was held is lost."""
        requests, lost = [], 0
        for name, question in list(self._asked.items()):
            if question.due > now:
                continue
            if question.tries < TRIES:
                question.tries += 1
                question.due = now + INTERVAL
                requests.append(Request(question.id, Opcode.QUERY, name))
            else:
                lost += len(self._end(name).held)
                self._know(name, None, now + MISSING_AGE)
        return requests, lost

    def answered(self, response: Response, now: float) -> tuple[Found, list[Item]] | None:
        """Somebody says to have a name; what was held for it. None if it was not asked."""
        question = self._asked.get(response.name)
        if (
            question is None
            or not question.tries
            or (response.opcode, response.id, response.code) != (Opcode.QUERY, question.id, 0)
        ):
            return None
        found = Found(*response.holdings[0])
        self._end(response.name)
        self._know(response.name, found, now + FOUND_AGE)
        return found, question.held

    def _end(self, name: Name) -> _Question[Item]:
        question = self._asked.pop(name)
        self._held -= len(question.held)
        return question

    def _know(self, name: Name, found: Found | None, until: float) -> None:
        self._known.pop(name, None)
        while len(self._known) >= KNOWN:
            self._known.popitem(last=False)
        self._known[name] = found, until
