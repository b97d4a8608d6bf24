"""Frames of the Browser protocol."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.programs import FormatError, browse
from msfs_fuse.programs.browse import (
    Announcement,
    AnnouncementRequest,
    Hosts,
    Other,
    ServerType,
)

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


def announcement(name: str, **named: Any) -> Announcement:
    return Announcement(browse.HOST_ANNOUNCEMENT, name, **named)


def test_hosts_come_change_and_go() -> None:
    hosts = Hosts()
    first = announcement("NAS", comment="disks", period=60.0)
    for expected in ("came", None):
        change = hosts.take(first, "NAS@10.0.0.1", 0)
        assert (change.event if change else None) == expected
    changed = hosts.take(first._replace(name="nas", comment="more"), "NAS@10.0.0.1", 10)
    assert changed is not None
    assert (changed.event, changed.host.said.comment) == ("changed", "more")
    moved = hosts.take(changed.host.said, "NAS@10.0.0.66", 20)
    assert moved is not None
    assert moved.event == "changed"
    assert hosts.expire(20 + 179.9) == []
    [gone] = hosts.expire(20 + 180.0)
    assert (gone.event, gone.host.said.name) == ("gone", "nas")
    assert hosts.expire(1e9) == []


@pytest.mark.parametrize("last", [{"period": 0}, {"server_type": 0}])
def test_who_says_good_bye_is_gone(last: dict[str, int]) -> None:
    hosts = Hosts()
    assert hosts.take(announcement("A", **last), "?", 0) is None
    assert hosts.take(announcement("A"), "?", 0) is not None
    gone = hosts.take(announcement("A", **last), "?", 0)
    assert gone is not None
    assert gone.event == "gone"


@pytest.mark.parametrize("period", [0.001, 4_294_967.295])
def test_nobody_stays_as_long_as_he_says(period: float) -> None:
    hosts = Hosts()
    hosts.take(announcement("A", period=period), "?", 0)
    assert hosts.expire(179.0) == []
    assert len(hosts.expire(3 * 12 * 60.0)) == 1


def test_a_flood_of_names_is_bounded() -> None:
    hosts = Hosts()
    changes = [hosts.take(announcement(f"H{n}"), "?", 0) for n in range(2 * browse.MAX_HOSTS)]
    assert sum(change is not None for change in changes) == browse.MAX_HOSTS
    assert len(hosts.expire(1e9)) == browse.MAX_HOSTS
