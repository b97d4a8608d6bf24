"""The name service at work: our names, the names of others, on one UDP port."""

import logging
import random
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

import trio

from msfs_fuse.net.complaints import Complaints
from msfs_fuse.net.netbios import nameservice
from msfs_fuse.net.netbios.claims import Claims, State
from msfs_fuse.net.netbios.counts import Counts
from msfs_fuse.net.netbios.interfaces import Interface
from msfs_fuse.net.netbios.lookups import Found, Lookups
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.nameservice import Holding, Opcode, Request, Response
from msfs_fuse.net.netbios.port import Place, Port
from msfs_fuse.net.netbios.refusal import Reason, Refused
from msfs_fuse.net.transport import QueueFull

log = logging.getLogger(__name__)

# Answers a second, and at once: whoever forges a source has us send no more than this to it.
_ANSWER_RATE = 100.0
_ANSWER_BURST = 50.0


class _Allowance:
    """A bucket of tokens."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class NameService:
    """Claims our names, and finds those of others.

    Args:
        claims: our names; none where nmbd has them, or nobody.
        owns_port: whether this is the name service of this host, at its port.
        interfaces: gives those that are up.
        found: gets what was held for a name that is found.
    """

    def __init__(
        self,
        claims: Claims,
        *,
        owns_port: bool,
        interfaces: Callable[[], Sequence[Interface]],
        counts: Counts,
        complaints: Complaints,
        found: Callable[[Name, Found, list[bytes]], None],
    ) -> None:
        self.claims = claims
        self.lookups = Lookups[bytes]()
        self.port = Port(nameservice.PORT if owns_port else 0, nameservice.RECEIVE_SIZE)
        self._interfaces = interfaces
        self._counts = counts
        self._complaints = complaints
        self._found = found
        self._answers = _Allowance(_ANSWER_RATE, _ANSWER_BURST)
        self._news = trio.Event()

    def ask(self, name: Name, uid: int) -> bool:
        """Look for a name that a user wants. False if too many are looked for."""
        asks = self.lookups.ask(name, trio.current_time(), uid)
        self._news.set()
        return asks

    def claim(self) -> None:
        """Claim our names, again too."""
        self.claims.start(trio.current_time())
        self._news.set()

    def release(self) -> None:
        """Give our names up, at the end."""
        for claim in self.claims:
            if claim.state is State.HELD:
                self._broadcast(Opcode.RELEASE, claim.name, claim.group)

    async def run(self) -> None:
        """Until cancelled; the port is open."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.port.run, self._take)
            while True:
                self._work(trio.current_time())
                self._news = trio.Event()
                with trio.move_on_at(self._next()):
                    await self._news.wait()

    def _next(self) -> float:
        times = (self.claims.next(), self.lookups.next())
        return min((each for each in times if each is not None), default=float("inf"))

    def _work(self, now: float) -> None:
        """Say what is due."""
        for claim, opcode, demands in self.claims.due(now):
            self._broadcast(opcode, claim.name, claim.group, claim.id, demands)
            if demands:
                log.info("this host is %r now", claim.name)
        requests, lost = self.lookups.due(now)
        self._counts.lost_unknown += lost
        for request in requests:
            self._counts.asked += 1
            for interface in self._interfaces():
                self._send_all(nameservice.encode_request(request), interface)

    def _broadcast(
        self,
        opcode: Opcode,
        name: Name,
        group: bool,
        number: int | None = None,
        demands: bool = False,
    ) -> None:
        number = random.randrange(0x10000) if number is None else number
        for interface in self._interfaces():
            holding = Holding(interface.address.ip, group)
            request = Request(number, opcode, name, holding=holding, demands=demands)
            self._send_all(nameservice.encode_request(request), interface)

    def _send_all(self, packet: bytes, interface: Interface) -> None:
        self._send(packet, Place(interface.broadcast, nameservice.PORT, interface.number))

    def _send(self, packet: bytes, place: Place) -> None:
        try:
            self.port.send(packet, place)
        except QueueFull:
            log.debug("not sent to %s: the queue is full", place)

    def _take(self, packet: bytes, place: Place) -> bool:
        now = trio.current_time()
        try:
            self._handle(packet, place, now)
        except Refused as refused:
            self._counts.dropped[refused.reason] += 1
            if refused.reason is not Reason.OWN and self._complaints.is_due(place.address, now):
                log.info("dropped a packet of the name service from %s: %s", place, refused)
            return False
        except Exception:  # whatever it is, it must not end the mount
            log.exception("a packet of the name service from %s", place)
            return False
        return True

    def _handle(self, packet: bytes, place: Place, now: float) -> None:
        ours = self._address_at(place)
        if place.port == self.port.number and place.address in self._own_addresses():
            raise Refused(Reason.OWN)
        decoded = nameservice.decode(packet)
        if isinstance(decoded, Response):
            self._handle_response(decoded, place.address, now)
            return
        answer = self.claims.answer(decoded, ours)
        if answer is None:
            return  # somebody else's business
        if not self._answers.take(now):
            self._counts.not_answered += 1
            return
        if decoded.opcode is Opcode.QUERY:
            self._counts.answered += 1
        else:
            self._counts.defended += 1
        self._send(answer, place._replace(interface=0))

    def _own_addresses(self) -> list[IPv4Address]:
        return [each.address.ip for each in self._interfaces()]

    def _address_at(self, place: Place) -> IPv4Address:
        """Our address on the interface where something came.

        Raises:
            Refused: OTHER_INTERFACE; programs of this host may come by loopback.
        """
        if place.address.is_loopback:
            return place.address
        interfaces = self._interfaces()
        for each in interfaces:
            if place.interface == each.number or place.address == each.address.ip:
                return each.address.ip
        raise Refused(Reason.OTHER_INTERFACE)

    def _handle_response(self, response: Response, source: IPv4Address, now: float) -> None:
        if response.opcode is Opcode.QUERY:
            answered = self.lookups.answered(response, now)
            if answered is None:
                raise Refused(Reason.UNASKED)
            self._found(response.name, *answered)
            return
        previous = {claim.name: claim.owner for claim in self.claims}
        claim = self.claims.refused(response, source, now)
        if claim is None:
            raise Refused(Reason.UNASKED)
        if source != previous[claim.name]:
            log.warning("%r is %s: this host is not called so on the network", claim.name, source)
