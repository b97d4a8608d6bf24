"""Who is there, the groups of a domain, and how addresses are written."""

import ipaddress
import socket

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.net.presence import EXPIRY, Peer, Peers
from msfs_fuse.net.udp import multicast
from msfs_fuse.net.udp.endpoint import Endpoint
from msfs_fuse.net.udp.resolver import StaticPeers
from msfs_fuse.net.udp.settings import split_host_and_port


def test_who_is_silent_is_gone() -> None:
    peers = Peers()
    peers.heard(b"1", Peer("ada", "x", 0.0))
    peers.heard(b"2", Peer("bob", "y", 1.0))
    assert peers.expire(EXPIRY) == []
    assert peers.expire(EXPIRY + 1) == [b"1"]
    peers.heard(b"2", Peer("bob", "y", EXPIRY))
    assert peers.expire(EXPIRY + 2) == []
    assert peers.gone(b"2") == Peer("bob", "y", EXPIRY)
    assert peers.gone(b"2") is None
    assert len(peers) == 0


def test_a_host_with_two_mounts_is_one_host() -> None:
    peers = Peers()
    for epoch, name in enumerate(("bob", "BOB", "ada")):
        peers.heard(bytes([epoch]), Peer(name, "x", 0.0))
    assert [name.lower() for name in peers.hosts()] == ["ada", "bob"]


def test_there_is_a_limit() -> None:
    peers = Peers(capacity=1)
    assert peers.heard(b"1", Peer("ada", "x", 0.0))
    assert not peers.heard(b"2", Peer("bob", "x", 0.0))
    assert peers.heard(b"1", Peer("ada", "y", 1.0))


@given(st.from_regex(r"[A-Za-z0-9_]{1,20}", fullmatch=True))
def test_groups_are_of_the_domain_and_stay_on_the_link(domain: str) -> None:
    groups = multicast.groups(domain)
    assert groups == multicast.groups(domain.upper())
    assert ipaddress.IPv4Address(groups[socket.AF_INET]) in ipaddress.IPv4Network("239.192.0.0/14")
    assert ipaddress.IPv6Address(groups[socket.AF_INET6]) in ipaddress.IPv6Network("ff12::/16")


def test_the_groups_stay_what_they_are() -> None:
    """Other versions of this program have to find them."""
    assert multicast.groups("corp") == {
        socket.AF_INET: "239.194.56.29",
        socket.AF_INET6: "ff12:5e92:381d:be8c:7198:2df9:14fc:cc80",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("build8", ("build8", 4424)),
        ("build8.example:1", ("build8.example", 1)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("[fd00::1]:5", ("fd00::1", 5)),
        ("[fd00::1]", ("fd00::1", 4424)),
        ("fd00::1", ("fd00::1", 4424)),
    ],
)
def test_hosts_and_ports(text: str, expected: tuple[str, int]) -> None:
    assert split_host_and_port(text, 4424) == expected


@pytest.mark.parametrize("text", ["", ":1", "a:", "a:0", "a:65536", "a:b", "[fd00::1", "[]:1"])
def test_what_is_no_host_and_port(text: str) -> None:
    with pytest.raises(ValueError, match="not HOST"):
        split_host_and_port(text, 4424)


def test_endpoints_as_people_have_them() -> None:
    assert str(Endpoint(socket.AF_INET, "10.0.0.1", 1)) == "10.0.0.1:1"
    assert str(Endpoint(socket.AF_INET6, "fd00::1", 1)) == "[fd00::1]:1"
    index = socket.if_nametoindex("lo")
    assert str(Endpoint(socket.AF_INET6, "fe80::1", 1, index)) == "[fe80::1%lo]:1"
    assert str(Endpoint(socket.AF_INET6, "fe80::1", 1, 4_000_000)) == "[fe80::1%4000000]:1"


def test_addresses_need_no_name_server() -> None:
    peers = StaticPeers(["10.0.0.1", "[fd00::1]:5", "build8.example"], 4424)
    assert peers.endpoints() == [
        Endpoint(socket.AF_INET, "10.0.0.1", 4424),
        Endpoint(socket.AF_INET6, "fd00::1", 5),
    ]
    assert peers.endpoints_of("10.0.0.1") == [Endpoint(socket.AF_INET, "10.0.0.1", 4424)]
    assert peers.endpoints_of("build8") == []


async def test_names_are_found_by_their_first_part(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = StaticPeers(["Build8.example:7"], 4424)
    answer = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("10.0.0.8", 7))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **named: answer)
    with trio.fail_after(5), trio.CancelScope() as scope:
        await peers.run(scope.cancel)
    for name in ("build8", "BUILD8.EXAMPLE"):
        assert peers.endpoints_of(name) == [Endpoint(socket.AF_INET, "10.0.0.8", 7)]
