"""What comes from other mounts, and who of them is believed."""

from collections.abc import Callable
from typing import NamedTuple

from msfs_fuse.net.trust import limits
from msfs_fuse.net.trust.bodies import (
    ANY_MOUNT,
    SIGNATURE_SIZE,
    Card,
    Done,
    GroupType,
    Message,
    PairType,
    Reader,
)
from msfs_fuse.net.trust.handshake import Handshake
from msfs_fuse.net.trust.here import Heard, Here, Job, check_host
from msfs_fuse.net.trust.holds import Holds
from msfs_fuse.net.trust.keys import DomainKey
from msfs_fuse.net.trust.limits import Bucket, Limiter
from msfs_fuse.net.trust.mounts import Mount, Way
from msfs_fuse.net.trust.wire import (
    Header,
    Kind,
    Reason,
    Refused,
    check_size,
    open_body,
    unmask,
)


class _Held(NamedTuple):
    id: bytes
    way: Way
    datagram: bytes
    by_group: bool


class Hearing:
    """Takes datagrams.

    Args:
        keep: for how long what comes from a mount that is not proven is kept, in seconds.
        restart: called when there is a copy of this mount.
    """

    def __init__(
        self,
        here: Here,
        handshake: Handshake,
        keep: float,
        restart: Callable[[float], None],
        now: float,
    ) -> None:
        self._here = here
        self._handshake = handshake
        self._keep = keep
        self._restart = restart
        self._held = Holds[_Held](limits.HELD, limits.HELD_PER_SOURCE)
        self._in_turn: set[bytes] = set()  # datagrams whose signatures wait to be verified
        self._unknown_limit = Limiter(limits.UNKNOWN_PER_SOURCE, limits.UNKNOWN, now)
        self._group_limit = Limiter(limits.GROUP_ELSEWHERE, limits.GROUP, now)
        self._host_limit = Limiter(limits.GROUP_OF_HOST, limits.GROUP, now)
        self._clone_limit = Bucket(1.0, now)

    def receive(self, datagram: bytes, way: Way, now: float, by_group: bool) -> bool:
        """Whether a datagram was good for something, as far as is known yet."""
        try:
            self._receive(datagram, way, now, by_group)
        except Refused as refused:
            self._here.drops[refused.reason] += 1
            self._here.last_refusal = refused.reason
            return refused.reason in _EVERYDAY
        return True

    def release(self, mount: Mount, now: float) -> None:
        """It is proven: take what it has sent before."""
        self.expire(now)
        ids = {mount.id, *(pair.in_id for pair in mount.pairs.values())}
        for held in self._held.take(lambda each: each.id in ids):
            self.receive(held.datagram, held.way, now, held.by_group)

    def expire(self, now: float) -> None:
        """Drop what has waited for too long."""
        self._here.drops[Reason.UNPROVEN_EXPIRED] += len(self._held.expire(now))

    def close(self) -> None:
        """Drop all that waits: this start of the mount is over."""
        lost = len(self._held) + len(self._in_turn)
        self._here.drops[Reason.UNPROVEN_EXPIRED] += lost

    def _receive(self, datagram: bytes, way: Way, now: float, by_group: bool) -> None:
        check_size(datagram)
        if datagram in self._in_turn:
            raise Refused(Reason.REPLAYED)
        refusal = Reason.UNMASKED
        for key, mask in self._here.own.masks.items():
            header = unmask(mask, datagram)
            if header is None:
                continue
            try:
                if header.kind is Kind.PAIR:
                    self._take_pair(key, header, datagram, way, now, by_group)
                else:
                    self._take_open(key, header, datagram, way, now, by_group)
            except Refused as refused:
                # Another key may fit by chance: one in 16,384.
                if refused.reason not in (Reason.FORGED, Reason.UNKNOWN_KEY):
                    raise
                refusal = refused.reason
            else:
                return
        raise Refused(refusal)

    def _take_pair(
        self, key: DomainKey, header: Header, datagram: bytes, way: Way, now: float, by_group: bool
    ) -> None:
        pair = self._here.table.pair(header.id)
        if pair is None:
            self._hold_unknown(ANY_MOUNT, header, datagram, way, now, by_group)
            return
        if pair.key is not key and pair.key != key:
            raise Refused(Reason.UNKNOWN_KEY)
        mount = pair.mount
        window = mount.window
        if window is not None:
            window.check(header.counter)
        body = open_body(pair.in_cipher, header, datagram)
        check_host(mount, way)
        if not body:
            raise Refused(Reason.MALFORMED)
        if body[0] == PairType.DONE:
            self._handshake.take_done(mount, Done.parse(body), way, now)
        elif body[0] != PairType.MESSAGE:
            raise Refused(Reason.MALFORMED)
        elif window is None or mount.gone:
            self._hold_unknown(mount.id, header, datagram, way, now, by_group)
        else:
            message = Message.parse(body[1:])
            window.mark(header.counter)
            self._heard(mount, way, now, by_group)
            self._here.counts["received"] += 1
            self._here.outlet.deliver(Heard(mount.host, message, False))

    def _heard(self, mount: Mount, way: Way, now: float, by_group: bool) -> None:
        """Something authentic and new has come from a proven mount."""
        mount.heard = now
        if by_group:
            mount.heard_by_group = now
        state = mount.ways.get(way)
        if state is not None:
            state.heard = now
        else:
            self._handshake.consider(mount, way, now)

    def _hold_unknown(
        self,
        to_mount: bytes,
        header: Header,
        datagram: bytes,
        way: Way,
        now: float,
        by_group: bool,
    ) -> None:
        """Keep a datagram of somebody who is not proven, and ask its source who that is."""
        is_asked = self._handshake.questions.is_open(way, to_mount)
        if not is_asked:
            if self._handshake.questions.is_paused(way, to_mount, now):
                raise Refused(Reason.UNKNOWN_KEY)
            if not self._unknown_limit.take(way, now, self._here.fraction()):
                raise Refused(Reason.LIMITED_SOURCE)
        held = _Held(header.id, way, datagram, by_group)
        self.expire(now)
        if len(self._held) >= limits.HELD:
            self._drop_unasked()
        if not self._held.add(way, held, now + self._keep):
            raise Refused(Reason.LIMITED_HELD)
        if not is_asked:
            self._handshake.questions.ask(way, now, to_mount=to_mount, is_claim=True)
            self._here.outlet.wake()

    def _drop_unasked(self) -> None:
        """Make room: nobody is asked any more who has sent these, for there was no answer."""
        is_open = self._handshake.questions.is_open
        dropped = self._held.take(
            lambda each: not (is_open(each.way, each.id) or is_open(each.way, ANY_MOUNT))
        )
        self._here.drops[Reason.UNPROVEN_EXPIRED] += len(dropped)

    def _take_open(
        self, key: DomainKey, header: Header, datagram: bytes, way: Way, now: float, by_group: bool
    ) -> None:
        """A datagram that every member can read."""
        if header.id == self._here.own.mount:
            self._take_own(key, header, datagram, now)
            return
        mount = self._here.table.get(header.id)
        if mount is not None and mount.window is not None and header.kind is Kind.GROUP:
            mount.group_window.check(header.counter)
            if mount.left:
                raise Refused(Reason.GONE)
        cipher = mount.group.get(key) if mount is not None else None
        if cipher is None:
            cipher = key.group_cipher(self._here.context, header.id)
        body = open_body(cipher, header, datagram)
        if mount is not None:
            mount.group[key] = cipher
            check_host(mount, way)
        if header.kind is Kind.PROBE:
            self._handshake.take_probe(key, header, body, way, now, by_group)
        elif header.kind is Kind.PROOF:
            self._handshake.take_proof(key, header, body, way, now)
        else:
            self._take_group(header, body, datagram, mount, way, now, by_group)

    def _take_own(self, key: DomainKey, header: Header, datagram: bytes, now: float) -> None:
        """Multicast brings our own back. But what we have not sealed is of a copy of us."""
        if header.kind is Kind.GROUP and header.counter >= self._here.own.counter:
            body = open_body(key.group_cipher(self._here.context, header.id), header, datagram)

            def verify(at: float) -> None:
                self._here.verify(self._here.identity.certificate.public, header, body)
                self._here.counts["clone"] += 1
                self._restart(at)

            if self._clone_limit.take(now):
                self._here.later(verify)
        raise Refused(Reason.OWN)

    def _take_group(
        self,
        header: Header,
        body: bytes,
        datagram: bytes,
        mount: Mount | None,
        way: Way,
        now: float,
        by_group: bool,
    ) -> None:
        content = body[:-SIGNATURE_SIZE]
        if not content:
            raise Refused(Reason.MALFORMED)
        proven = mount if mount is not None and mount.proven else None
        if content[0] == GroupType.MESSAGE:
            message = Message.parse(content[1:])
            if not self._here.outlet.has_slot(message.path):
                self._here.counts["no_slot"] += 1
            elif proven is None:
                self._hold_unknown(header.id, header, datagram, way, now, by_group)
            else:
                self._limit_group(proven, way, now)
                self._verify_later(
                    datagram,
                    lambda at: self._take_message(proven, header, body, message, way, at, by_group),
                )
        elif content[0] == GroupType.HELLO:
            card = _card_of(content[1:])
            if card.mount(self._here.context) != header.id:
                raise Refused(Reason.MALFORMED)
            self._limit_hello(proven, card, header, way, now)
            self._verify_later(
                datagram, lambda at: self._take_hello(card, header, body, way, now, at, by_group)
            )
        elif content[0] == GroupType.BYE and len(content) == 1:
            if proven is not None:
                self._limit_group(proven, way, now)
                self._verify_later(datagram, lambda at: self._take_bye(proven, header, body, at))
        else:
            raise Refused(Reason.MALFORMED)

    def _verify_later(self, datagram: bytes, job: Job) -> None:
        """Have a signature verified when the loop has time.

        No window knows the counter until then, so copies that come meanwhile are told by their
        bytes: who repeats all that he hears must not use up the sender's rate.

        Raises:
            Refused: LIMITED_WORK.
        """

        def in_turn(at: float) -> None:
            self._in_turn.discard(datagram)
            job(at)

        self._here.later(in_turn)
        self._in_turn.add(datagram)

    def _limit_group(self, mount: Mount, way: Way, now: float) -> None:
        # A broker pins the sender, also while a slow one keeps its answers back.
        if way in mount.ways or way.host:
            passes = self._host_limit.take(mount.name, now)  # however many mounts it has
        else:
            passes = self._group_limit.take(way, now)
        if not passes:
            raise Refused(Reason.LIMITED_GROUP)

    def _limit_hello(
        self, proven: Mount | None, card: Card, header: Header, way: Way, now: float
    ) -> None:
        if proven is not None and proven.card.raw == card.raw:
            self._limit_group(proven, way, now)
            return
        questions = self._handshake.questions
        if questions.is_open(way, header.id) or questions.is_paused(way, header.id, now):
            raise Refused(Reason.REPLAYED)
        self._handshake.limit_cards(way, now)

    def _fresh(self, mount: Mount, header: Header, body: bytes) -> None:
        """Refuse what is not new or not signed by that mount's host; else note that it was here."""
        if mount.window is None or mount.left:
            raise Refused(Reason.GONE)
        mount.group_window.check(header.counter)
        self._here.verify(mount.certificate.public, header, body)
        mount.group_window.mark(header.counter)

    def _take_message(
        self,
        mount: Mount,
        header: Header,
        body: bytes,
        message: Message,
        way: Way,
        now: float,
        by_group: bool,
    ) -> None:
        self._fresh(mount, header, body)
        self._heard(mount, way, now, by_group)
        self._here.counts["received"] += 1
        self._here.outlet.deliver(Heard(mount.host, message, True))

    def _take_bye(self, mount: Mount, header: Header, body: bytes, now: float) -> None:
        self._fresh(mount, header, body)
        self._here.part(mount, "has left", for_good=True)

    def _take_hello(
        self,
        card: Card,
        header: Header,
        body: bytes,
        way: Way,
        arrival: float,
        now: float,
        by_group: bool,
    ) -> None:
        mount = self._here.table.get(header.id)
        if mount is not None and self._is_over(mount, card, way, arrival):
            return
        if mount is not None and mount.gone:
            self._fresh(mount, header, body)
            self._here.identity.check_standing(mount.certificate, self._here.wall())
            self._here.table.restore(mount, now)
            self._here.outlet.appeared(mount.host)
            self._heard(mount, way, now, by_group)
            return
        if mount is not None and mount.proven:
            self._fresh(mount, header, body)
            if card.raw != mount.card.raw:
                self._take_card(mount, card, now)
            self._heard(mount, way, now, by_group)
            for other, state in list(mount.ways.items()):
                if other != way and state.since <= now - limits.NEW_WAY:
                    self._handshake.ask(other, now, to_mount=mount.id)
            return
        certificate = self._here.table.certify(card.certificate, self._here.wall())
        self._here.verify(certificate.public, header, body)
        peers = len(self._here.table)
        delay = self._here.fraction() * peers * limits.SPREAD_PER_PEER
        if self._held.has(lambda held: held.id == header.id):
            delay = 0.0
        until = now + delay + limits.NONCE_LIFETIME
        mount = self._here.table.admit(card, until, self._here.wall(), signed=True)
        check_host(mount, way)
        if by_group:
            mount.heard_by_group = now
        self._handshake.ask_newcomer(mount, way, now, delay)

    def _is_over(self, mount: Mount, card: Card, way: Way, arrival: float) -> bool:
        """Whether a HELLO has waited while another one was taken: there is no need to verify it."""
        if mount.proven:
            return card.raw == mount.card.raw and mount.heard > arrival
        return self._handshake.questions.is_open(way, mount.id)

    def _take_card(self, mount: Mount, card: Card, now: float) -> None:
        """A proven mount has another X25519 key; the former one is good for a while."""
        self._here.table.admit(card, now, self._here.wall(), signed=True)
        mount.renewed = now


# Our own datagrams and second copies come with multicast, at all times.
_EVERYDAY = (Reason.OWN, Reason.REPLAYED, Reason.OTHER_DESTINATION)


def _card_of(content: bytes) -> Card:
    reader = Reader(content)
    try:
        card = Card.read(reader)
        if reader.rest():
            raise ValueError
    except ValueError:
        raise Refused(Reason.MALFORMED) from None
    return card
