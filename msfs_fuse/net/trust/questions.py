"""PROBEs that are out: whom we have asked, how often, and what an answer has to match.

Where many hosts start at once, as after an outage, each could ask all others at the same time. On
slow machines the answers would then come when nobody waits for them any more, and so would those
to the next questions. So only some newcomers are asked at a time: as with TCP (RFC 5681), one more
for each answer, and half as many where there was none.
"""

import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from msfs_fuse.core.names import fold
from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import ANY_MOUNT, NONCE_SIZE, Probe
from msfs_fuse.net.trust.limits import Limiter
from msfs_fuse.net.trust.mounts import GROUP_WAY, Way
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.timers import Timers
from msfs_fuse.net.trust.wire import Kind, Reason, Refused

PROBE_SIZE = 1024

_Subject = tuple[Way, bytes, str]


@dataclass(slots=True, eq=False)
class Question:
    """To whom: a mount, a host, or whoever is there.

    Attributes:
        is_claim: nobody who was proven is meant, so there is room for so many only.
        newcomer: the host, if it has presented itself and nothing waits for it; else empty.
        answers: so many wait to be checked; it is not asked again meanwhile.
    """

    way: Way
    to_mount: bytes
    to_host: str
    is_claim: bool
    newcomer: str = ""
    is_under_way: bool = False
    answered: bool = False
    answers: int = 0

    @property
    def subject(self) -> _Subject:
        return self.way, self.to_mount, self.to_host

    @property
    def limited_as(self) -> _Subject | Way:
        """What PROBEs are limited by: where they go to. Searches are limited by their users."""
        return self.subject if self.to_mount == ANY_MOUNT and self.to_host else self.way


class Asked(NamedTuple):
    """One PROBE that was sent.

    Attributes:
        body: of the PROBE; the answer proves to have read it.
        n: of the card in it.
    """

    question: Question
    body: bytes
    n: int
    until: float


class _Pause(NamedTuple):
    begun: float
    length: float


class Questions:
    """Asks, asks again, and backs off.

    Args:
        send: takes a way, a datagram, and the host that is meant.
        hears: whether multicast of that mount reaches us.
        unanswered: is told of a question that nobody has answered in time.
        drops: counts what is not sent.
    """

    def __init__(
        self,
        own: Own,
        timers: Timers,
        random: Callable[[int], bytes],
        send: Callable[[Way, bytes, str], None],
        hears: Callable[[bytes, float], bool],
        unanswered: Callable[[Question, float], None],
        now: float,
        drops: Counter[str],
    ) -> None:
        self.own = own
        self._timers = timers
        self._random = random
        self._send = send
        self._hears = hears
        self._unanswered = unanswered
        self._open: dict[_Subject, Question] = {}
        self._claims = 0
        self._newcomers: deque[Question] = deque()  # that wait for others to be answered
        self._of_hosts: dict[str, list[Question]] = {}  # newcomers that wait or are under way
        self._under_way = 0  # newcomers
        self._window = limits.NEWCOMERS_FIRST
        self._nonces: OrderedDict[bytes, Asked] = OrderedDict()
        self._pauses: OrderedDict[_Subject, _Pause] = OrderedDict()
        self._limiter = Limiter(limits.PROBES_PER_SOURCE, limits.PROBES, now)
        self._drops = drops

    def __len__(self) -> int:
        return len(self._open)

    def is_open(self, way: Way, to_mount: bytes) -> bool:
        return (way, to_mount, "") in self._open

    def is_paused(
        self, way: Way, to_mount: bytes, now: float, most: float = limits.MAX_BACK_OFF
    ) -> bool:
        """Whether that was asked in vain of late.

        Args:
            most: how long a pause may be, in seconds.
        """
        pause = self._pauses.get((way, to_mount, ""))
        return pause is not None and now < pause.begun + min(pause.length, most)

    def ask(
        self,
        way: Way,
        now: float,
        *,
        to_mount: bytes = ANY_MOUNT,
        to_host: str = "",
        is_claim: bool = False,
        newcomer: str = "",
        delay: float = 0.0,
        max_pause: float = limits.MAX_BACK_OFF,
    ) -> bool:
        """Ask there, unless that is under way. False in a pause after it was done in vain.

        Args:
            newcomer: a host that can wait until others have answered. So many of its mounts are
                asked at a time: who presents ever new ones keeps no others from their turn. One
                more takes the place of the oldest, and is asked at once: the others may be former
                starts of the host, which somebody repeats to keep this one out.
            max_pause: how long that pause may have been, in seconds.

        Raises:
            Refused: LIMITED_CLAIMS.
        """
        question = Question(way, to_mount, fold(to_host), is_claim, newcomer)
        if question.subject in self._open:
            return True
        if self.is_paused(way, to_mount, now, max_pause):
            return False
        if is_claim:
            if self._claims >= limits.CLAIMS:
                raise Refused(Reason.LIMITED_CLAIMS)
            self._claims += 1
        if newcomer:
            of_host = self._of_hosts.setdefault(newcomer, [])
            of_host.append(question)
            if len(of_host) > limits.NEWCOMERS_PER_HOST:
                self._close(of_host[0])
                delay = 0.0
        self._open[question.subject] = question
        if newcomer and self._under_way >= self._window:
            self._newcomers.append(question)
        else:
            self._begin(question, now, delay)
        return True

    def _begin(self, question: Question, now: float, delay: float = 0.0) -> None:
        question.is_under_way = True
        self._under_way += bool(question.newcomer)
        for after in limits.PROBE_TIMES:
            if after == 0 and delay == 0:
                self._probe(question, now)
            else:
                self._timers.at(now + delay + after, lambda at: self._probe(question, at))
        self._timers.at(now + delay + limits.PROBE_END, lambda at: self._end(question, at))

    def _go_on(self, now: float) -> None:
        """Ask those newcomers whose turn it is."""
        while self._newcomers and self._under_way < self._window:
            question = self._newcomers.popleft()
            if self._open.get(question.subject) is question:
                self._begin(question, now)

    def _probe(self, question: Question, now: float) -> None:
        is_done = question.answered or question.answers
        if is_done or self._open.get(question.subject) is not question:
            return
        if not self._limiter.take(question.limited_as, now, self._share()):
            self._drops[Reason.LIMITED_PROBES] += 1
            return
        nonce = self._random(NONCE_SIZE)
        card = self.own.card
        hears = self._hears(question.to_mount, now)
        age = self.own.age(now)
        body = Probe(question.to_mount, question.to_host, nonce, age, hears, card).pack()
        self._nonces[nonce] = Asked(question, body, card.n, now + limits.NONCE_LIFETIME)
        if len(self._nonces) > limits.NONCES:
            self._nonces.popitem(last=False)
        datagram = self.own.seal_for_all(Kind.PROBE, body, now, PROBE_SIZE)
        self._send(question.way, datagram, question.to_host)

    def _share(self) -> float:
        return int.from_bytes(self._random(2)) / 65536

    def _end(self, question: Question, now: float) -> None:
        if self._open.get(question.subject) is not question:
            return
        if question.answers:
            self._timers.at(now + limits.PROBE_AGAIN, lambda at: self._end(question, at))
            return
        self._close(question)
        if question.answered:
            return
        if question.newcomer:
            self._window = max(self._window // 2, limits.NEWCOMERS_LEAST)
        pause = self._pauses.get(question.subject)
        length = min(pause.length * 2, limits.MAX_BACK_OFF) if pause else limits.BACK_OFF
        if question.is_claim:
            made = self._pauses[question.subject] = _Pause(now, length)
            self._pauses.move_to_end(question.subject)
            if question.newcomer and pause is None:
                self._timers.at(now + length, lambda at: self._ask_again(question, made, at))
            if len(self._pauses) > limits.CLAIMS:
                self._pauses.popitem(last=False)
        self._unanswered(question, now)

    def _ask_again(self, question: Question, pause: _Pause, now: float) -> None:
        """It may have been too busy. It is there, as it has presented itself: ask once more."""
        if self._pauses.get(question.subject) is pause:
            with contextlib.suppress(Refused):
                way, to_mount, _ = question.subject
                host = question.newcomer
                self.ask(way, now, to_mount=to_mount, is_claim=True, newcomer=host)

    def _close(self, question: Question) -> None:
        del self._open[question.subject]
        self._claims -= question.is_claim
        if question.newcomer:
            self._under_way -= question.is_under_way
            of_host = self._of_hosts[question.newcomer]
            of_host.remove(question)
            if not of_host:
                del self._of_hosts[question.newcomer]
        if question.answered and question.newcomer:
            self._window = min(self._window + 1, limits.NEWCOMERS_MOST)
        if self._newcomers:
            self._timers.at(0.0, self._go_on)  # as soon as there is time

    def match(self, nonce: bytes, way: Way, now: float) -> Asked:
        """The PROBE that an answer from there is to.

        Raises:
            Refused: UNASKED.
        """
        asked = self._nonces.get(nonce)
        if asked is None or asked.until < now or not self._may_answer(asked.question.way, way):
            raise Refused(Reason.UNASKED)
        return asked

    def _may_answer(self, asked: Way, way: Way) -> bool:
        """Only who was asked; a group is everybody."""
        return asked in (GROUP_WAY, way)

    def answered(self, asked: Asked) -> None:
        """The answer was a good one."""
        asked.question.answered = True
        self._pauses.pop(asked.question.subject, None)
        # Perhaps the same was asked once more meanwhile.
        question = self._open.get(asked.question.subject)
        if question is not None and question.way != GROUP_WAY:
            question.answered = True
            self._close(question)

    def settle(self, way: Way, to_mount: bytes) -> None:
        """That mount has shown by itself to be there: there is no need to ask."""
        question = self._open.get((way, to_mount, ""))
        if question is not None:
            question.answered = True
            self._close(question)
        self._pauses.pop((way, to_mount, ""), None)

    def void(self) -> None:
        """Take no answer to what was asked until now: its age is not true any more."""
        self._nonces.clear()

    def expire(self, now: float) -> None:
        while self._nonces and next(iter(self._nonces.values())).until < now:
            self._nonces.popitem(last=False)
