"""Queries with a reply slot in them, and the master locator's pair."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.core.names import Address
from msfs_fuse.programs import FormatError, discovery
from msfs_fuse.programs.discovery import LocatorQuery, LocatorReply, Query

REPLY = Address("build7", ("ask.1000", "b5x3"))

NAME = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"], max_codepoint=0xFFFF),
    min_size=1,
    max_size=17,
)


@given(st.binary())
def test_queries(body: bytes) -> None:
    query = Query(REPLY, body)
    assert discovery.decode(discovery.encode(query)) == query


def test_as_it_looks() -> None:
    data = discovery.encode(Query(Address(None, ("ask.0", "x")), b"who?"))
    assert data == b"\\\\.\\mailslot\\ask.0\\x\nwho?"
    assert discovery.decode(b"\\\\H\\MAILSLOT\\ask.0\\x\r\nwho?\n").body == b"who?\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"who?",
        b"\nwho?",
        b"\\\\.\\mailslot\\ask.0\\x",
        b"\\\\.\\mailslot\\secret\nwho?",
        b"\\\\h\\mailslot\\secret\\x\nwho?",
        b"\\\\h\\mailslot\\ask.0\nwho?",
        b"\\\\h\\mailslot\\ask.0\\x\\y\nwho?",
        b"\\\\h\\mailslot\\ask./../x\\y\nwho?",
        b"\\\\h\\mailslot\\ask.0\\..\nwho?",
        b"\\\\h\\mailslot\\ask.0\\" + b"x" * 400 + b"\nwho?",
        b"\\\\h\\mailslot\\ask.0\\\xff\nwho?",
    ],
)
def test_what_is_no_query(data: bytes) -> None:
    with pytest.raises(FormatError):
        discovery.decode(data)


@given(st.binary())
def test_anything_is_a_query_or_refused(data: bytes) -> None:
    for each in (data, b"\\\\h\\mailslot\\ask.0\\" + data):
        try:
            query = discovery.decode(each)
        except FormatError:
            continue
        assert query.reply.path[0].startswith(discovery.REPLY_DIRECTORY)


@given(NAME, st.integers(0, 2**32 - 1))
def test_locators(name: str, uptime: int) -> None:
    query, reply = LocatorQuery(name), LocatorReply(name, uptime)
    assert discovery.decode_locator_query(discovery.encode_locator(query)) == query
    assert discovery.decode_locator_reply(discovery.encode_locator(reply)) == reply


def test_the_published_structures() -> None:
    query = discovery.encode_locator(LocatorQuery("PC1"))
    assert query == b"\1\0\0\0\4\0\0\0P\0C\0001\0" + bytes(30)
    reply = discovery.encode_locator(LocatorReply("PC1", 258))
    assert reply == b"\0\0\0\0\1\0\0\0\2\1\0\0P\0C\0001\0" + bytes(30)


@given(st.binary(max_size=60))
def test_anything_is_a_locators_or_refused(data: bytes) -> None:
    for decode in (discovery.decode_locator_query, discovery.decode_locator_reply):
        with pytest.raises(FormatError):
            decode(data)


@pytest.mark.parametrize(
    "data", [b"\1\0\0\0\4\0\0\0" + b"a\0" * 18, b"\1\0\0\0\4\0\0\0" + bytes(36)]
)
def test_names_that_are_none(data: bytes) -> None:
    with pytest.raises(FormatError):
        discovery.decode_locator_query(data)
    with pytest.raises(FormatError):
        discovery.encode_locator(LocatorQuery("x" * 18))
