"""Frames of the Browser protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.programs import FormatError, browse
from msfs_fuse.programs.browse import Announcement, AnnouncementRequest, Other, ServerType

# As nmbd sent it to its workgroup.
NMBD = bytes.fromhex(
    "0f03c0d40100"
    "4e4d42484f5354000000000000000000"
    "06010b9b8c000f0155aa"
    "7265616c2073616d6261206e6d626400"
)

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126))
BYTE = st.integers(0, 255)
ANNOUNCEMENTS = st.builds(
    Announcement,
    st.sampled_from([0x01, 0x0C, 0x0F]),
    TEXT.filter(lambda text: 0 < len(text) <= browse.MAX_NAME),
    TEXT.filter(lambda text: len(text) <= browse.MAX_COMMENT),
    st.integers(0, 2**32 - 1).map(lambda milliseconds: milliseconds / 1000),
    st.integers(0, 2**32 - 1),
    st.tuples(BYTE, BYTE),
    BYTE,
)


def test_what_nmbd_announces() -> None:
    frame = browse.decode(NMBD)
    assert frame == Announcement(
        browse.LOCAL_MASTER_ANNOUNCEMENT, "NMBHOST", "real samba nmbd", 120.0, 0x8C9B0B, (6, 1), 3
    )
    assert ServerType(frame.server_type) & ServerType.DOMAIN_MASTER
    assert browse.encode(frame) == NMBD


@given(ANNOUNCEMENTS)
def test_announcements(frame: Announcement) -> None:
    assert browse.decode(browse.encode(frame)) == frame


@given(TEXT.filter(lambda text: len(text) <= browse.MAX_NAME))
def test_requests(name: str) -> None:
    frame = AnnouncementRequest(name)
    assert browse.decode(browse.encode(frame)) == frame


def test_the_request_that_makes_nmbd_announce_itself() -> None:
    assert browse.encode(AnnouncementRequest("PYHOST")) == b"\x02\x00PYHOST\0"


def test_what_is_for_masters() -> None:
    assert browse.decode(b"\x08" + bytes(20)) == Other(browse.ELECTION)


@pytest.mark.parametrize("data", [b"", b"\0", b"\x10", b"text", NMBD[:31], b"\x01"])
def test_what_is_no_frame(data: bytes) -> None:
    with pytest.raises(FormatError):
        browse.decode(data)


@given(st.binary(max_size=200))
def test_anything_is_a_frame_or_refused(data: bytes) -> None:
    try:
        frame = browse.decode(data)
    except FormatError:
        return
    if isinstance(frame, Announcement):
        assert len(frame.name) <= 16
        assert len(frame.comment) <= browse.MAX_COMMENT + 1


@pytest.mark.parametrize(
    "frame",
    [
        Announcement(1, "x" * 16),
        Announcement(1, ""),
        Announcement(1, "x", "y" * 43),
        Announcement(1, "x", "y\0"),
        Announcement(1, "x", period=-1),
    ],
)
def test_what_cannot_be_encoded(frame: Announcement) -> None:
    with pytest.raises(FormatError):
        browse.encode(frame)
