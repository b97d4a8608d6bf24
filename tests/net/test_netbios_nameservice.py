"""Packets of the NetBIOS name service."""

import struct
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.net.netbios import names, nameservice
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.nameservice import CLAIMS, Holding, Opcode, Request, Response, Type
from msfs_fuse.net.netbios.refusal import Reason, Refused
from tests.net.test_netbios_codec import MUTATIONS, NAMES, patched

IDS = st.integers(0, 65535)
HOLDINGS = st.builds(Holding, st.integers(0, 2**32 - 1).map(IPv4Address), st.booleans())
QUERIES = st.builds(
    Request,
    IDS,
    st.just(Opcode.QUERY),
    NAMES,
    st.sampled_from(Type),
    st.booleans(),
    st.none(),
    st.just(False),
)
CLAIMING = st.builds(
    Request,
    IDS,
    st.sampled_from([*CLAIMS, Opcode.RELEASE]),
    NAMES,
    st.just(Type.NB),
    st.booleans(),
    HOLDINGS,
    st.booleans(),
)
RESPONSES = st.builds(
    Response,
    IDS,
    st.sampled_from(Opcode),
    NAMES,
    st.integers(0, 15),
    st.lists(HOLDINGS, min_size=1, max_size=5).map(tuple),
)

QUERY = nameservice.encode_request(Request(7, Opcode.QUERY, Name(b"PYHOST")))
HOLDING = Holding(IPv4Address("10.77.0.2"), group=False)
CLAIM = nameservice.encode_request(Request(7, Opcode.REGISTER, Name(b"PYHOST"), holding=HOLDING))
ANSWER = nameservice.encode_response(Response(7, Opcode.QUERY, Name(b"PYHOST"), 0, (HOLDING,)))


def reason_of(packet: bytes) -> Reason | None:
    """Why a packet is refused; None for one that is taken."""
    try:
        nameservice.decode(packet)
    except Refused as refused:
        return refused.reason
    return None


def test_a_query_as_the_rfc_draws_it() -> None:
    """RFC 1002 4.2.12."""
    header, question = QUERY[:12], QUERY[46:]
    assert header == b"\x00\x07\x01\x10\x00\x01\x00\x00\x00\x00\x00\x00"
    assert QUERY[12:46] == names.encode(Name(b"PYHOST"))
    assert question == b"\x00\x20\x00\x01"


def test_a_registration_as_the_rfc_draws_it() -> None:
    """RFC 1002 4.2.2, with the name in the record as a pointer."""
    header, record = CLAIM[:12], CLAIM[50:]
    assert header == b"\x00\x07\x29\x10\x00\x01\x00\x00\x00\x00\x00\x01"
    assert CLAIM[12:50] == QUERY[12:]
    assert record == b"\xc0\x0c\x00\x20\x00\x01\x00\x00\x01\x2c\x00\x06\x00\x00\x0a\x4d\x00\x02"


def test_a_negative_answer_as_the_rfc_draws_it() -> None:
    """RFC 1002 4.2.6: the one that defends a name says whose it is; flags as nmbd's, 0xad86."""
    packet = nameservice.encode_response(
        Response(7, Opcode.REGISTER, Name(b"PYHOST"), nameservice.OWNED, (HOLDING,))
    )
    assert packet[2:4] == b"\xad\x06"


@given(st.one_of(QUERIES, CLAIMING))
def test_requests_come_back_as_they_went(sent: Request) -> None:
    assert nameservice.decode(nameservice.encode_request(sent)) == sent


@given(RESPONSES)
def test_responses_come_back_as_they_went(sent: Response) -> None:
    assert nameservice.decode(nameservice.encode_response(sent)) == sent


def test_a_negative_response_has_no_holder() -> None:
    sent = Response(7, Opcode.QUERY, Name(b"NOBODY"), 3)
    assert nameservice.decode(nameservice.encode_response(sent)) == sent


def test_any_name() -> None:
    """Node status is asked of `*`, padded with zeros."""
    request = Request(1, Opcode.QUERY, names.ANY, Type.STATUS, broadcast=False)
    packet = nameservice.encode_request(request)
    assert packet[13:46] == b"CK" + b"A" * 30 + b"\0"
    assert nameservice.decode(packet) == request


BAD: dict[str, tuple[bytes, Reason]] = {
    "nothing": (b"", Reason.TOO_SHORT),
    "11 bytes": (QUERY[:11], Reason.TOO_SHORT),
    "too long": (QUERY.ljust(2000), Reason.TOO_LONG),
    "opcode 1": (patched(QUERY, 2, ">H", 0x0910), Reason.OPCODE),
    "wait for acknowledgement": (patched(QUERY, 2, ">H", 0xBC00), Reason.OPCODE),
    "no question": (patched(QUERY, 4, ">H", 0), Reason.RECORD),
    "two questions": (patched(QUERY, 4, ">H", 2), Reason.RECORD),
    "a record too many": (patched(QUERY, 10, ">H", 1), Reason.RECORD),
    "cut": (QUERY[:-1], Reason.RECORD),
    "something behind": (QUERY + b"\0", Reason.RECORD),
    "type A": (patched(QUERY, 46, ">H", 1), Reason.RECORD),
    "class 2": (patched(QUERY, 48, ">H", 2), Reason.RECORD),
    "scope": (patched(QUERY, 45, "B", 1), Reason.SCOPE),
    "bad name": (patched(QUERY, 13, "B", 0), Reason.NAME),
    "pointer to itself": (patched(QUERY, 12, ">H", 0xC00C), Reason.NAME),
    "claim without a record": (patched(CLAIM, 10, ">H", 0), Reason.RECORD),
    "record cut": (CLAIM[:-1], Reason.RECORD),
    "record of 7 bytes": (patched(CLAIM, 60, ">H", 7), Reason.RECORD),
    "record of 65535 bytes": (patched(CLAIM, 60, ">H", 65535), Reason.RECORD),
    "no holder": (patched(CLAIM, 60, ">H", 0)[:-6], Reason.RECORD),
    "answer without an answer": (patched(ANSWER, 6, ">H", 0), Reason.RECORD),
    "answer with 0 holders": (patched(ANSWER, 54, ">H", 0)[:-6], Reason.RECORD),
}


def test_the_valid_ones_are_taken() -> None:
    assert [reason_of(each) for each in (QUERY, CLAIM, ANSWER)] == [None] * 3


@pytest.mark.parametrize("case", BAD)
def test_bad_packets(case: str) -> None:
    packet, reason = BAD[case]
    assert reason_of(packet) is reason


def test_node_status_as_the_rfc_draws_it() -> None:
    """RFC 1002 4.2.18."""
    held = [(Name(b"PYHOST"), False), (Name(b"MSFSTEST"), True)]
    packet = nameservice.encode_status(9, names.ANY, held)
    assert packet[:12] == b"\x00\x09\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00"
    kind, internet, ttl, length, count = struct.unpack_from(">HHIHB", packet, 46)
    assert (kind, internet, ttl, length, count) == (0x21, 1, 0, 1 + 2 * 18 + 46, 2)
    assert packet[57:93] == b"PYHOST         \0\x04\0MSFSTEST       \0\x84\0"
    assert len(packet) == 57 + 36 + 46


@given(
    st.one_of(
        QUERIES.map(nameservice.encode_request),
        CLAIMING.map(nameservice.encode_request),
        RESPONSES.map(nameservice.encode_response),
    ),
    st.lists(st.tuples(st.sampled_from(MUTATIONS), st.floats(0, 0.999), st.integers(0, 255))),
)
def test_nothing_but_refusals(
    packet: bytes, mutations: list[tuple[Callable[[bytearray, int, int], object], float, int]]
) -> None:
    changed = bytearray(packet)
    for mutate, where, byte in mutations:
        if changed:
            mutate(changed, int(where * len(changed)), byte)
    reason_of(bytes(changed))  # raises nothing but what it looks for


@given(st.binary(max_size=300))
def test_noise_is_refused(packet: bytes) -> None:
    assert reason_of(packet) is not None
