"""The names of this host on the network: claimed, defended, answered for, given up. Pure.

A B node's part of RFC 1002 5.1.1: three claims by broadcast, a quarter of a second apart. Who has
the name says so, and then we are not called so; if nobody does we are, and defend it. The RFC also
has a name given up when others say later that it is in conflict. Anybody can say that, without
proof, so it is not believed.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from msfs_fuse.net.netbios import names, nameservice
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.nameservice import Holding, Opcode, Request, Response, Type

TRIES = 3
INTERVAL = 0.25

# A name that another had is claimed again after so many seconds: the other may have gone.
RETRY = 300.0


class State(Enum):
    """How it stands with a name."""

    CLAIMED = "claimed"
    HELD = "held"
    LOST = "lost"


@dataclass
class Claim:
    """One name.

    Attributes:
        group: it is the name of a group: many have it.
        due: when to do the next thing, monotonic, in seconds; None for nothing.
        owner: who has it, after it was lost, until it is ours.
    """

    name: Name
    group: bool
    state: State = State.CLAIMED
    id: int = 0
    tries: int = 0
    due: float | None = None
    owner: IPv4Address | None = None


class Claims:
    """The names of this host.

    Args:
        wanted: the names, and whether each is a group's.
    """

    def __init__(self, wanted: Mapping[Name, bool]) -> None:
        self._claims = {name: Claim(name, group) for name, group in wanted.items()}

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims.values())

    def holds(self, name: Name) -> bool:
        """Whether this host is called so."""
        claim = self._claims.get(name)
        return claim is not None and claim.state is State.HELD

    def lost(self, name: Name) -> bool:
        """Whether another host has it."""
        claim = self._claims.get(name)
        return claim is not None and claim.state is State.LOST

    def start(self, now: float) -> None:
        """Claim all names, again too: there is another interface, or another address."""
        for claim in self._claims.values():
            self._begin(claim, now)

    @staticmethod
    def _begin(claim: Claim, now: float) -> None:
        claim.state = State.CLAIMED
        claim.id = random.randrange(0x10000)
        claim.tries, claim.due = 0, now

    def next(self) -> float | None:
        """When due() has something to do."""
        return min(
            (each.due for each in self._claims.values() if each.due is not None), default=None
        )

    def due(self, now: float) -> list[tuple[Claim, Opcode, bool]]:
        """What to broadcast now: for a name, what, and whether it demands and does not ask."""
        packets = []
        for claim in self._claims.values():
            if claim.due is None or claim.due > now:
                continue
            if claim.state is State.LOST:
                self._begin(claim, now)
            claim.tries += 1
            over = claim.tries > TRIES
            packets.append((claim, Opcode.REGISTER, over))
            claim.due = None if over else now + INTERVAL
            if over:
                claim.state, claim.owner = State.HELD, None
        return packets

    def refused(self, response: Response, source: IPv4Address, now: float) -> Claim | None:
        """Somebody says that a name is theirs; the claim that is lost, if we have just asked."""
        claim = self._claims.get(response.name)
        if (
            claim is None
            or claim.state is not State.CLAIMED
            or not claim.tries
            or (response.opcode, response.id) != (Opcode.REGISTER, claim.id)
            or not response.code
        ):
            return None
        claim.state, claim.due, claim.owner = State.LOST, now + RETRY, source
        return claim

    def answer(self, request: Request, ours: IPv4Address) -> bytes | None:
        """What to say to a request of another host, if anything.

        Args:
            ours: the address of this host on the interface where it came.
        """
        if request.opcode is Opcode.QUERY:
            return self._tell(request, ours)
        claim = self._claims.get(request.name)
        if (
            claim is None
            or claim.state is not State.HELD
            or request.opcode not in (Opcode.REGISTER, Opcode.REGISTER_MULTIHOMED)
            or request.holding is None
            or (claim.group and request.holding.group)
        ):
            return None
        return nameservice.encode_response(
            Response(
                request.id,
                Opcode.REGISTER,
                request.name,
                nameservice.OWNED,
                (Holding(ours, claim.group),),
            )
        )

    def _tell(self, request: Request, ours: IPv4Address) -> bytes | None:
        held = [(each.name, each.group) for each in self if each.state is State.HELD]
        if request.type is Type.STATUS:
            if held and (request.name == names.ANY or self.holds(request.name)):
                return nameservice.encode_status(request.id, request.name, held)
            return None
        if not self.holds(request.name):
            return None
        holding = Holding(ours, self._claims[request.name].group)
        return nameservice.encode_response(
            Response(request.id, Opcode.QUERY, request.name, 0, (holding,))
        )
