"""Names claimed and looked for, copies told from news, and what nmbd says: pure parts."""

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.net.netbios import claims, lookups, names, nameservice, recent, unexpected
from msfs_fuse.net.netbios.claims import Claims, State
from msfs_fuse.net.netbios.lookups import Found, Lookups
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.nameservice import OWNED, Holding, Opcode, Request, Response, Type
from msfs_fuse.net.netbios.recent import Recent
from msfs_fuse.net.netbios.unexpected import NotNmbd, Record, Stream

HOST = Name(b"PYHOST")
GROUP = Name(b"MSFSTEST")
OURS = IPv4Address("10.77.0.2")
THEIRS = IPv4Address("10.77.0.1")


def claimed(now: float = 0.0) -> Claims:
    """Names that have just been claimed for the first time."""
    claims = Claims({HOST: False, GROUP: True})
    claims.start(now)
    claims.due(now)
    return claims


def held() -> Claims:
    """Names that are ours."""
    claims = claimed()
    for _ in range(claims_to_hold):
        now = claims.next()
        assert now is not None
        claims.due(now)
    assert claims.next() is None
    return claims


claims_to_hold = claims.TRIES


def number_of(claims: Claims, name: Name) -> int:
    """The id of a claim."""
    return next(each.id for each in claims if each.name == name)


def owned(claims: Claims, name: Name = HOST) -> Response:
    """What the owner of a name says to a claim."""
    return Response(
        number_of(claims, name), Opcode.REGISTER, name, OWNED, (Holding(THEIRS, group=False),)
    )


def test_a_name_is_claimed_three_times_and_then_taken() -> None:
    ours = Claims({HOST: False})
    ours.start(100.0)
    said = []
    while (now := ours.next()) is not None:
        said += [(now, opcode, demands) for _, opcode, demands in ours.due(now)]
    assert said == [
        (100.0, Opcode.REGISTER, False),
        (100.25, Opcode.REGISTER, False),
        (100.5, Opcode.REGISTER, False),
        (100.75, Opcode.REGISTER, True),
    ]
    assert ours.holds(HOST)


def test_who_has_the_name_keeps_it_and_is_asked_again_later() -> None:
    ours = claimed()
    lost = ours.refused(owned(ours), THEIRS, 0.1)
    assert lost is not None
    assert (lost.name, lost.owner, lost.state) == (HOST, THEIRS, State.LOST)
    assert ours.lost(HOST)
    assert not ours.lost(GROUP)
    for now in (0.25, 0.5, 0.75):
        assert [claim.name for claim, _, _ in ours.due(now)] == [GROUP]
    assert not ours.holds(HOST)
    assert ours.next() == 0.1 + claims.RETRY
    assert [claim.name for claim, _, _ in ours.due(0.1 + claims.RETRY)] == [HOST]
    assert not ours.lost(HOST)


def test_a_refusal_that_was_not_asked_for_is_not_believed() -> None:
    ours = claimed()
    right = owned(ours)
    for wrong in (
        right._replace(id=(right.id + 1) % 65536),
        right._replace(name=Name(b"OTHER")),
        right._replace(code=0),
        right._replace(opcode=Opcode.RELEASE),
    ):
        assert ours.refused(wrong, THEIRS, 0.1) is None
    ours = held()
    assert ours.refused(owned(ours), THEIRS, 5.0) is None
    assert ours.holds(HOST)


def claim_of(name: Name, *, group: bool) -> Request:
    """What another host says that wants a name."""
    return Request(7, Opcode.REGISTER, name, holding=Holding(THEIRS, group))


@pytest.mark.parametrize(
    ("name", "group", "defended"),
    [(HOST, False, True), (HOST, True, True), (GROUP, False, True), (GROUP, True, False)],
)
def test_a_name_is_defended(name: Name, group: bool, defended: bool) -> None:
    packet = held().answer(claim_of(name, group=group), OURS)
    if not defended:
        assert packet is None
        return
    assert packet is not None
    response = nameservice.decode(packet)
    assert response == Response(7, Opcode.REGISTER, name, OWNED, (Holding(OURS, name == GROUP),))


def test_nothing_is_said_about_names_that_are_not_ours() -> None:
    other = Name(b"OTHER")
    assert held().answer(claim_of(other, group=False), OURS) is None
    assert held().answer(Request(7, Opcode.QUERY, other), OURS) is None
    assert held().answer(Request(7, Opcode.QUERY, other, Type.STATUS), OURS) is None
    for request in (claim_of(HOST, group=False), Request(7, Opcode.QUERY, HOST)):
        assert claimed().answer(request, OURS) is None


def test_releases_and_refreshes_of_others_change_nothing() -> None:
    ours = held()
    for opcode in (Opcode.RELEASE, Opcode.REFRESH, Opcode.REFRESH_TOO):
        request = Request(7, opcode, HOST, holding=Holding(THEIRS, group=False))
        assert ours.answer(request, OURS) is None
    assert ours.holds(HOST)


def test_a_question_is_answered_with_the_address() -> None:
    packet = held().answer(Request(9, Opcode.QUERY, GROUP), OURS)
    assert packet is not None
    assert nameservice.decode(packet) == Response(
        9, Opcode.QUERY, GROUP, 0, (Holding(OURS, group=True),)
    )


@pytest.mark.parametrize("asked", [HOST, names.ANY])
def test_node_status_lists_the_names(asked: Name) -> None:
    packet = held().answer(Request(9, Opcode.QUERY, asked, Type.STATUS), OURS)
    assert packet == nameservice.encode_status(9, asked, [(HOST, False), (GROUP, True)])


# ---- names of others ----

FOUND = Found(THEIRS, group=False)
ADA, BOB = 1000, 1001  # users


def answer_to(request: Request, *holdings: Holding) -> Response:
    return Response(request.id, Opcode.QUERY, request.name, 0, holdings)


def test_a_name_is_asked_for_three_times_and_then_missing() -> None:
    others = Lookups[str]()
    assert others.ask(HOST, 0.0, ADA)
    assert others.hold(HOST, "a message")
    times = []
    lost = 0
    while (now := others.next()) is not None:
        requests, more = others.due(now)
        times += [now] * len(requests)
        lost += more
    assert times == [0.0, 0.25, 0.5]
    assert lost == 1
    assert others.is_missing(HOST, 0.8)
    assert not others.is_missing(HOST, 0.76 + lookups.MISSING_AGE)


def test_an_answer_frees_what_was_held_and_is_remembered() -> None:
    others = Lookups[str]()
    others.ask(HOST, 0.0, ADA)
    others.hold(HOST, "one")
    (request,), _ = others.due(0.0)
    others.hold(HOST, "two")
    answer = answer_to(request, Holding(THEIRS, group=False))
    assert others.answered(answer._replace(id=request.id ^ 1), 0.1) is None
    assert others.answered(answer, 0.1) == (FOUND, ["one", "two"])
    assert others.answered(answer, 0.1) is None  # the second host that says so is late
    assert others.next() is None
    assert others.find(HOST, 1.0) == FOUND
    assert others.found(1.0) == [(HOST, FOUND)]
    assert others.find(HOST, 0.2 + lookups.FOUND_AGE) is None


def test_who_looks_for_many_names_keeps_no_other_user_from_his() -> None:
    others = Lookups[int]()
    wanted = [Name(b"N%d" % number) for number in range(lookups.ASKED)]
    asked = [name for name in wanted if others.ask(name, 0.0, ADA)]
    assert len(asked) == lookups.ASKED / 2
    assert any(not others.hold(name, n) for name in asked for n in range(lookups.HELD_EACH))
    for name in wanted[-lookups.ASKED // 4 :]:
        assert others.ask(name, 0.0, BOB)
        assert others.hold(name, 0)


def test_nothing_grows_without_bound() -> None:
    others = Lookups[int]()
    wanted = [Name(b"N%d" % number) for number in range(2 * lookups.ASKED)]
    asked = [others.ask(name, 0.0, number % 99) for number, name in enumerate(wanted)]
    assert asked.count(True) == lookups.ASKED
    assert [others.hold(wanted[0], n) for n in range(100)].count(True) == lookups.HELD_EACH
    held = sum(others.hold(name, n) for name in wanted for n in range(lookups.HELD_EACH))
    assert lookups.HELD - 99 < lookups.HELD_EACH + held <= lookups.HELD
    for number in range(2 * lookups.KNOWN):
        name = Name(b"M%d" % number)
        now = 10.0 + number
        others.due(now)
        others.due(now + 0.3)
        others.due(now + 0.6)
        others.due(now + 0.9)
        assert others.ask(name, now + 0.9, ADA)
        (request,), _ = others.due(now + 0.9)
        others.answered(answer_to(request, Holding(THEIRS, group=False)), now + 0.9)
    assert len(others._known) == lookups.KNOWN


# ---- copies ----


def test_a_copy_is_known_for_some_seconds() -> None:
    heard = Recent()
    assert heard.add(THEIRS, b"a", 0.0)
    assert not heard.add(THEIRS, b"a", 0.1)
    assert heard.add(OURS, b"a", 0.1)
    assert heard.add(THEIRS, b"b", 0.1)
    assert heard.knows(THEIRS, b"a", recent.AGE)
    assert heard.add(THEIRS, b"a", recent.AGE + 0.01)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 2)), max_size=100))
def test_a_full_table_forgets_the_oldest(events: list[tuple[int, float]]) -> None:
    heard = Recent(capacity=8)
    now = 0.0
    for what, pause in events:
        now += pause
        known = heard.knows(None, bytes([what]), now)
        assert heard.add(None, bytes([what]), now) is not known
        assert heard.knows(None, bytes([what]), now)
        assert len(heard) <= 8


# ---- what nmbd says ----


def record_of(packet: bytes, kind: int = 1, port: int = 138) -> bytes:
    """As struct unexpected_header of Samba lays it out on x86-64."""
    size = len(packet)
    return struct.pack("@NiIq4si", size, kind, 0, 1_700_000_000, THEIRS.packed, port) + packet


PACKETS = st.lists(st.binary(max_size=600), max_size=5)


@given(PACKETS, st.integers(1, 50))
def test_what_nmbd_says_however_it_is_cut(packets: list[bytes], size: int) -> None:
    said = b"\0" + b"".join(map(record_of, packets))
    stream = Stream()
    records = [
        record for at in range(0, len(said), size) for record in stream.feed(said[at : at + size])
    ]
    assert records == [Record(THEIRS, 138, packet) for packet in packets]


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\0" + record_of(b"x", kind=0),
        b"\0" + record_of(b"x", port=65536),
        b"\0" + record_of(bytes(1025)),
        b"\0" + b"\xff" * 32,
    ],
)
def test_what_nmbd_does_not_say(said: bytes) -> None:
    with pytest.raises(NotNmbd):
        list(Stream().feed(said))


def test_the_greeting_is_as_samba_has_it() -> None:
    assert struct.pack("@iINiI", 1, 0, 0, -1, 0) == unexpected.GREETING
