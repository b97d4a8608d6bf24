"""Which way a name leads to on a NetBIOS network, before anything is sent."""

import errno
from typing import Any

import pytest

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.slot import Sender
from msfs_fuse.net.netbios.router import NetbiosRouter
from msfs_fuse.net.netbios.routes import GroupRoute, HostRoute, OwnRoute
from msfs_fuse.net.netbios.settings import NetbiosSettings

SENDER = Sender("here", 1000, 42)


def router(*, beside_domains: bool = False, **fields: Any) -> NetbiosRouter:
    """A router that is not started: it has no interface."""
    settings = NetbiosSettings(interfaces=("eth0",), workgroup="Workshop", **fields)
    return NetbiosRouter("here.example", settings, beside_domains=beside_domains)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("*", GroupRoute),
        ("*.netbios", GroupRoute),
        ("WORKSHOP", GroupRoute),
        ("workshop.NETBIOS", GroupRoute),
        ("workshop#1d", GroupRoute),
        ("other#1c", GroupRoute),
        ("%01%02__MSBROWSE__%02#01", GroupRoute),
        ("HERE", OwnRoute),
        ("here.netbios", OwnRoute),
        ("alice#03", OwnRoute),
        ("alice", HostRoute),
        ("nas", HostRoute),
        ("unknown", HostRoute),
    ],
)
async def test_ways(name: str, kind: type) -> None:
    route = router(names=("ALICE#03",), hosts={"NAS": "10.0.0.9"}).route(name)
    assert type(route) is kind


@pytest.mark.parametrize(
    "name", ["here.example", "much-too-long-for-it", "a b", "", "x#", "nas@10.0.0.9", "nas@x", "@"]
)
async def test_no_way(name: str) -> None:
    """The name of the host itself is the file side's; nobody was heard yet."""
    assert router(hosts={"NAS": "10.0.0.9"}).route(name) is None


async def test_beside_domains_a_name_is_looked_for_only_if_that_is_said() -> None:
    beside = router(beside_domains=True, hosts={"NAS": "10.0.0.9"})
    assert beside.route("unknown") is None
    assert isinstance(beside.route("unknown.netbios"), HostRoute)
    assert isinstance(beside.route("nas"), HostRoute)
    assert isinstance(beside.route("workshop"), GroupRoute)


async def test_without_look_ups() -> None:
    assert router(lookup=False).route("unknown") is None
    assert router(lookup=False).route("unknown.netbios") is None


async def test_names_are_listed() -> None:
    named = router(hosts={"Nas": "10.0.0.9"}, names=("ALICE#03",))
    assert list(named.names()) == ["Workshop", "Nas"]
    assert list(named.heard()) == []


async def test_who_is_meant_too() -> None:
    one = router(names=("ALICE#03",))
    for name, includes in (("workshop", True), ("other#1e", False), ("alice#03", True)):
        route = one.route(name)
        assert route is not None
        assert route.includes_this_host is includes, name


async def test_nothing_goes_without_an_interface() -> None:
    route = router().route("workshop")
    assert route is not None
    with pytest.raises(SlotError) as caught:
        route.send(("x",), b"data", SENDER, 0)
    assert caught.value.errno == errno.EHOSTUNREACH


async def test_slots_that_cannot_be_named() -> None:
    route = router().route("workshop")
    assert route is not None
    for path, code in ((("grüße",), errno.EINVAL), (("x" * 500,), errno.ENAMETOOLONG)):
        with pytest.raises(SlotError) as caught:
            route.capacity(path)
        assert caught.value.errno == code


def test_a_host_whose_name_is_too_long_goes_by_its_beginning() -> None:
    settings = NetbiosSettings(interfaces=("eth0",))
    long = NetbiosRouter("a-name-of-a-host-in-a-cloud", settings, beside_domains=False)
    assert type(long.route("A-NAME-OF-A-HOS")) is OwnRoute
