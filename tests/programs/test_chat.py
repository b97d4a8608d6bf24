"""Lines of a chat: split, parsed, joined."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE
from msfs_fuse.programs import FormatError, chat
from msfs_fuse.programs.chat import Joiner, Line, Part

TEXT = st.text(st.characters(exclude_categories=["Cs"])).filter(
    lambda text: len(text.encode()) <= chat.MAX_TEXT
)
NICK = st.text(st.sampled_from("abzÄ9_.-"), min_size=1, max_size=24)
LINES = st.builds(Line, st.sampled_from(sorted(chat.KINDS)), st.just("0a1b2c3d"), NICK, TEXT)


@given(LINES, st.randoms())
def test_what_is_split_is_joined_in_any_order(line: Line, order: random.Random) -> None:
    messages = chat.split(line)
    assert all(len(message) <= REMOTE_MESSAGE_SIZE for message in messages)
    order.shuffle(messages)
    joiner = Joiner()
    joined = [joiner.add("source", chat.parse(message), 0) for message in messages]
    assert joined == [*[None] * (len(messages) - 1), line]


@pytest.mark.parametrize("character", ["a", "ä", "☃", "\U0001f40d"])
def test_long_lines_of_any_character(character: str) -> None:
    line = Line("say", "00000000", "n" * 24, character * (chat.MAX_TEXT // len(character.encode())))
    messages = chat.split(line)
    assert 10 <= len(messages) <= chat.MAX_PARTS
    joiner = Joiner()
    assert [joiner.add(1, chat.parse(each), 0) for each in messages][-1] == line


def test_as_it_looks() -> None:
    assert chat.split(Line("say", "3f2a91c0", "anna", "hello")) == [b"say 3f2a91c0 1/1 anna\nhello"]


@pytest.mark.parametrize(
    "line",
    [
        Line("say", "00000000", "two words"),
        Line("say", "00000000", ""),
        Line("say", "00000000", "x" * 25),
        Line("shout", "00000000", "anna"),
        Line("say", "00000000", "anna", "x" * (chat.MAX_TEXT + 1)),
    ],
)
def test_what_cannot_be_said(line: Line) -> None:
    with pytest.raises(FormatError):
        chat.split(line)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"say 00000000 1/1 anna",
        b"say 00000000 0/1 anna\nx",
        b"say 00000000 2/1 anna\nx",
        b"say 00000000 1/17 anna\nx",
        b"shout 00000000 1/1 anna\nx",
        b"say 0000000G 1/1 anna\nx",
        b"say 00000000 1/1 an\x1bna\nx",
        b"say 00000000 1/1 anna\n\xff",
        b"say 00000000 1/1 anna\n" + b"x" * chat.MAX_TEXT,
    ],
)
def test_what_is_no_line(data: bytes) -> None:
    with pytest.raises(FormatError):
        chat.parse(data)


@given(st.binary())
def test_anything_is_a_line_or_refused(data: bytes) -> None:
    for each in (data, b"say 00000000 1/2 anna\n" + data):
        try:
            part = chat.parse(each)
        except FormatError:
            continue
        assert chat.is_nickname(part.line.nick)


def part(ident: int, number: int = 1, parts: int = 2, text: str = "x") -> Part:
    return Part(Line("say", f"{ident:08x}", "anna", text), number, parts)


def test_parts_of_two_sources_are_not_joined() -> None:
    joiner = Joiner()
    assert joiner.add("one", part(1), 0) is None
    assert joiner.add("other", part(1, 2), 0) is None
    joined = joiner.add("one", part(1, 2, text="y"), 0)
    assert joined is not None
    assert joined.text == "xy"


def test_the_same_part_twice_is_one() -> None:
    joiner = Joiner()
    assert joiner.add(1, part(1), 0) is None
    assert joiner.add(1, part(1), 0) is None
    assert joiner.add(1, part(1, 2), 0) is not None


def test_parts_are_waited_for_but_not_for_ever() -> None:
    joiner = Joiner()
    joiner.add(1, part(1), 0)
    assert joiner.add(1, part(1, 2), chat.PENDING_SECONDS - 0.1) is not None
    joiner.add(1, part(2), 0)
    assert joiner.add(1, part(2, 2), chat.PENDING_SECONDS) is None


def test_one_source_cannot_push_out_the_lines_of_another() -> None:
    joiner = Joiner()
    joiner.add("patient", part(1), 0)
    for ident in range(1000):
        joiner.add("flooder", part(ident), 0)
    assert joiner.add("patient", part(1, 2), 0) is not None


def test_what_is_kept_is_bounded_whatever_the_number_of_sources() -> None:
    joiner = Joiner()
    for source in range(1000):
        joiner.add(source, part(1), 0)
    assert len(joiner._pending) == chat.MAX_PENDING
