"""Listings of a root with very many hosts."""

import pyfuse3
import pytest

from tests.support.fuse import ROOT_INODE, Context, Kernel, OtherHosts, RecordedRoute


class Counted(OtherHosts):
    asked = 0

    def names(self) -> list[str]:
        self.asked += 1
        return list(self.routes)


async def test_the_hosts_are_asked_for_once_in_each_listing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes long with a thousand, and comes in parts of a few."""
    hosts = [f"host{number}" for number in range(1000)]
    router = Counted(**{host: RecordedRoute() for host in hosts})
    kernel = Kernel(router=router)
    shown: list[str] = []
    goes_on = 0

    def show(token: object, name: bytes, entry: object, next_id: int) -> bool:
        nonlocal goes_on
        shown.append(name.decode())
        goes_on = next_id
        return True

    monkeypatch.setattr(pyfuse3, "readdir_reply", show)
    directory = await kernel.ask("opendir", ROOT_INODE, Context())
    before = 0
    while before < len(shown) or not shown:
        before = len(shown)
        await kernel.ask("readdir", directory, goes_on, None)
        assert len(shown) - before <= 64
    assert shown == [".", "..", ".msfs", *("@" + host for host in hosts)]
    assert router.asked == 1
