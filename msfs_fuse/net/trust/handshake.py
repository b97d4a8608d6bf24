"""The handshake: PROBE, PROOF, DONE. It proves a mount, its freshness, and a way to it.

    A to B   PROBE   who are you? here is my card, and for how long I remember everything
    B to A   PROOF   my card, a code that only its key can make, and the least counter to take
    A to B   DONE    the same for you

Either may begin, and both at once: there are no roles, and the keys are the same.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from msfs_fuse.core.names import fold
from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import (
    ANY_MOUNT,
    NONCE_SIZE,
    NOT_SEEN,
    Done,
    Probe,
    Proof,
    proof_to_code,
)
from msfs_fuse.net.trust.here import Here, check_host
from msfs_fuse.net.trust.keys import DomainKey
from msfs_fuse.net.trust.limits import Limiter
from msfs_fuse.net.trust.mounts import GROUP_WAY, Mount, Way
from msfs_fuse.net.trust.questions import Question, Questions
from msfs_fuse.net.trust.wire import Header, Kind, Reason, Refused

# One PROBE may be answered so often: it may come by several ways.
_ANSWERS_PER_NONCE = 3


class _Pending(NamedTuple):
    mount: Mount
    way: Way
    until: float


class Handshake:
    """Asks and answers.

    Args:
        proven: called when a mount has answered well, again each time.
    """

    def __init__(self, here: Here, proven: Callable[[Mount, float], None], now: float) -> None:
        self._here = here
        self._proven = proven
        self.questions = Questions(
            here.own,
            here.timers,
            here.random,
            here.send,
            self._tell_hears,
            self._unanswered,
            now,
            here.drops,
        )
        here.on_forgot = self._void
        self._pending: OrderedDict[bytes, _Pending] = OrderedDict()
        self._answers: OrderedDict[bytes, int] = OrderedDict()
        self._asked_by: OrderedDict[tuple[bytes, Way], float] = OrderedDict()  # when, the last time
        self._cards_limit = Limiter(
            limits.CARDS_PER_SOURCE, limits.CARDS, now, limits.CARDS_AT_ONCE
        )
        self._proofs_limit = Limiter(limits.PROOFS_PER_SOURCE, limits.PROOFS, now)

    def ask(
        self,
        way: Way,
        now: float,
        *,
        to_mount: bytes = ANY_MOUNT,
        to_host: str = "",
        delay: float = 0.0,
        is_claim: bool = False,
        newcomer: str = "",
        max_pause: float = limits.MAX_BACK_OFF,
    ) -> None:
        """Send a PROBE there, and again, until there is an answer or the time is over."""
        try:
            self.questions.ask(
                way,
                now,
                to_mount=to_mount,
                to_host=to_host,
                delay=delay,
                is_claim=is_claim,
                newcomer=newcomer,
                max_pause=max_pause,
            )
        except Refused as refused:
            self._here.drops[refused.reason] += 1
        self._here.outlet.wake()

    def ask_newcomer(self, mount: Mount, way: Way, now: float, delay: float) -> None:
        """It has presented itself. If it asks us already, one handshake does for both."""
        if self._asked_by.get((mount.id, way), -math.inf) > now - limits.PROBE_END:
            delay = max(delay, limits.PROBE_END)
        self.ask(way, now, to_mount=mount.id, is_claim=True, newcomer=mount.name, delay=delay)

    def look_for(self, mount: Mount, now: float) -> None:
        """No way to it answers: ask where it may be. A broker need not tell all others."""
        if mount.considered is not None and self.questions.is_open(mount.considered, mount.id):
            return  # it has just been heard from there
        self.ask(GROUP_WAY, now, to_mount=mount.id, to_host=mount.name)

    def limit_cards(self, way: Way, now: float) -> None:
        """A card from there has to be verified.

        Raises:
            Refused: LIMITED_CARDS.
        """
        if not self._cards_limit.take(way, now, self._here.fraction()):
            raise Refused(Reason.LIMITED_CARDS)

    def expire(self, now: float) -> None:
        """Forget what has not been answered in time."""
        self.questions.expire(now)
        while self._pending and next(iter(self._pending.values())).until < now:
            self._pending.popitem(last=False)

    def consider(self, mount: Mount, way: Way, now: float) -> None:
        """It may be a way: one more, or where the mount has moved to."""
        full = len(mount.ways) >= limits.WAYS_PER_MOUNT
        if full and all(state.direct for state in mount.ways.values()):
            return
        # It is heard from there, so it may answer there again: do not wait long, and not at all
        # where no other way answers.
        answers = any(not state.silent for state in mount.ways.values())
        mount.considered = way
        self.ask(
            way,
            now,
            to_mount=mount.id,
            is_claim=True,
            max_pause=limits.BACK_OFF if answers else 0.0,
        )

    def _tell_hears(self, id: bytes, now: float) -> bool:
        """Whether we hear its multicast; it is about to be told."""
        mount = self._here.table.get(id)
        if mount is None:
            return False
        mount.told_hears = now - mount.heard_by_group < limits.GROUP_SILENCE
        return mount.told_hears

    def _void(self) -> None:
        self.questions.void()
        self._pending.clear()

    def _unanswered(self, question: Question, now: float) -> None:
        self._here.counts["probe_unanswered"] += 1
        mount = self._here.table.get(question.to_mount)
        if mount is None or not mount.proven:
            return
        state = mount.ways.get(question.way)
        if state is None:
            return
        if len(mount.ways) == 1 and not mount.doubted:
            # Used until there is another one: who floods a host with questions can keep it from
            # answering this one, and must not cut it off by that.
            state.silent = True
            self.look_for(mount, now)
            return
        del mount.ways[question.way]
        self._here.counts["way_lost"] += 1
        if not mount.ways:
            self._here.part(mount, "is lost")

    # ---- what comes ----

    def take_probe(
        self, key: DomainKey, header: Header, body: bytes, way: Way, now: float, by_group: bool
    ) -> None:
        """Somebody asks who we are. Raises Refused."""
        probe = Probe.parse(body)
        if by_group and not probe.to_host:
            # Its source, which may be false, would get more than was sent. Who asks all names one.
            raise Refused(Reason.OTHER_DESTINATION)
        if probe.to_mount not in (ANY_MOUNT, self._here.own.mount) or probe.to_host not in (
            "",
            fold(self._here.identity.host),
        ):
            raise Refused(Reason.OTHER_DESTINATION)
        if probe.card.mount(self._here.context) != header.id:
            raise Refused(Reason.MALFORMED)
        if self._answers.get(probe.nonce, 0) >= _ANSWERS_PER_NONCE:
            raise Refused(Reason.LIMITED_PROOFS)
        if not self._here.table.is_known(probe.card):
            self.limit_cards(way, now)
        if not self._proofs_limit.take(way, now, self._here.fraction()):
            raise Refused(Reason.LIMITED_PROOFS)
        self._answers[probe.nonce] = self._answers.get(probe.nonce, 0) + 1
        if len(self._answers) > limits.NONCES:
            self._answers.popitem(last=False)
        self._asked_by[header.id, way] = now
        self._asked_by.move_to_end((header.id, way))
        if len(self._asked_by) > limits.NONCES:
            self._asked_by.popitem(last=False)
        self._here.later(lambda at: self._answer(key, probe, body, way, now, at), is_step=True)

    def _answer(
        self, key: DomainKey, probe: Probe, body: bytes, way: Way, arrival: float, now: float
    ) -> None:
        # Where many ask at once, all that is done would else be answers that nobody waits for.
        again = self._asked_by.get((probe.card.mount(self._here.context), way), arrival)
        if now - arrival > (limits.PROBE_AGAIN if again > arrival else limits.PROBE_END):
            raise Refused(Reason.LIMITED_WORK)
        mount = self._here.table.admit(probe.card, now + limits.NONCE_LIFETIME, self._here.wall())
        check_host(mount, way)
        state = mount.ways.get(way)
        if state is not None and state.answered > arrival:
            return  # it has asked again meanwhile, and was answered
        pair = mount.pairs.get((key, self._here.own.card.n, probe.card.n))
        if pair is None:
            raise Refused(Reason.UNKNOWN_KEY)
        nonce = self._here.random(NONCE_SIZE)
        floor = self._here.own.floor(arrival, probe.age)
        proof = Proof(
            probe.nonce,
            mount.id,
            nonce,
            floor,
            self._here.own.age(now),
            way.seen,
            self._tell_hears(mount.id, now),
            self._here.own.card,
        ).pack()
        self._pending[nonce] = _Pending(mount, way, now + limits.NONCE_LIFETIME)
        if len(self._pending) > limits.NONCES:
            self._pending.popitem(last=False)
        code = pair.code(proof_to_code(body, proof))
        self._here.send(way, self._here.own.seal_for_all(Kind.PROOF, proof + code, now))

    def take_proof(self, key: DomainKey, header: Header, body: bytes, way: Way, now: float) -> None:
        """Somebody has answered. Raises Refused."""
        proof = Proof.parse(body)
        question = self.questions.match(proof.nonce, way, now).question
        if proof.to_mount != self._here.own.mount:
            raise Refused(Reason.OTHER_DESTINATION)
        if proof.card.mount(self._here.context) != header.id:
            raise Refused(Reason.MALFORMED)
        if not self._here.table.is_known(proof.card):
            self.limit_cards(way, now)

        def check(at: float) -> None:
            question.answers -= 1
            self._check_proof(key, proof, body, way, now, at)

        self._here.later(check, is_step=True)
        question.answers += 1

    def _check_proof(
        self, key: DomainKey, proof: Proof, body: bytes, way: Way, arrival: float, now: float
    ) -> None:
        asked = self.questions.match(proof.nonce, way, arrival)  # it may be void meanwhile
        mount = self._here.table.admit(proof.card, now + limits.NONCE_LIFETIME, self._here.wall())
        check_host(mount, way)
        if asked.question.to_mount not in (ANY_MOUNT, mount.id) or (
            asked.question.to_host and asked.question.to_host != mount.name
        ):
            raise Refused(Reason.UNASKED)
        pair = mount.pairs.get((key, asked.n, proof.card.n))
        if pair is None:
            raise Refused(Reason.UNKNOWN_KEY)
        rest = body[: -len(proof.code)]
        pair.check(proof_to_code(asked.body, rest), proof.code)
        self.questions.answered(asked)
        mount.knows = max(mount.knows, asked.n)
        was_asked = asked.question.way == way
        self._prove(mount, proof.floor, way, proof.seen, proof.hears, now, way_proven=was_asked)
        floor = self._here.own.floor(arrival, proof.age)
        done = Done(proof.new_nonce, floor, way.seen, self._tell_hears(mount.id, now))
        self._here.send(way, self._here.own.seal_pair(pair, done.pack(), now))
        self._proven(mount, now)

    def take_done(self, mount: Mount, done: Done, way: Way, now: float) -> None:
        """Somebody has shown to have read our PROOF. Raises Refused."""
        pending = self._pending.get(done.nonce)
        if pending is None or pending.mount is not mount or pending.until < now:
            raise Refused(Reason.UNASKED)
        if not self._may_finish(pending.way, way):
            raise Refused(Reason.UNASKED)
        del self._pending[done.nonce]
        mount.knows = max(mount.knows, self._here.own.card.n)
        self._prove(mount, done.floor, way, done.seen, done.hears, now)
        state = mount.ways.get(way)
        if state is not None:
            state.answered = now
        # Both ends ask at once where both say HELLO. One handshake does for both.
        self.questions.settle(way, mount.id)
        self._here.outlet.wake()
        # The window stays as it is: the nonce was good once, and this may have come by another
        # socket than thousands of messages that were sealed before.
        self._proven(mount, now)

    def _may_finish(self, asked: Way, way: Way) -> bool:
        """Only who was asked."""
        return asked == way

    def _prove(
        self,
        mount: Mount,
        floor: int,
        way: Way,
        seen: bytes,
        hears: bool,
        now: float,
        *,
        way_proven: bool = True,
    ) -> None:
        self._here.identity.check_standing(mount.certificate, self._here.wall())
        is_new = self._here.table.prove(mount, floor, now)
        mount.heard = now
        mount.doubted = False
        mount.hears_us = hears
        if way_proven:
            mount.add_way(way, self._is_direct(seen), now)
            self._supersede(mount, way)
        else:  # the source of an answer to a question to all may be anybody's word
            self.consider(mount, way, now)
        if is_new:
            self._here.outlet.appeared(mount.host)

    def _supersede(self, mount: Mount, way: Way) -> None:
        """Where this mount is, none of the same host can be that was there before.

        One that has died and started again would be two for a while, and soon too many.
        """
        here = mount.ways.get(way)
        if here is None or way.seen == NOT_SEEN:  # by a broker all mounts of a host go one way
            return
        for other in self._here.table.mounts_of(mount.name):
            there = other.ways.get(way)
            if there is not None and there.since < here.since:
                del other.ways[way]
                if not other.ways:
                    self._here.part(other, "is lost")

    def _is_direct(self, seen: bytes) -> bool:
        """Whether the other end sees us where we are: then nobody stands in between."""
        return self._here.outlet.is_ours(seen)
