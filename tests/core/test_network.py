"""Several kinds of network as one."""

from collections.abc import Iterable, Sequence
from typing import Any

import trio

from msfs_fuse.core.metrics import Metric
from msfs_fuse.core.network import (
    Deliver,
    HasSlot,
    HeardHost,
    Link,
    Nursery,
    Route,
    Router,
    Routers,
)
from msfs_fuse.core.slot import Sender


class OneRoute(Route):
    @property
    def includes_this_host(self) -> bool:
        return False

    def capacity(self, path: tuple[str, ...]) -> int:
        return 424

    def send(self, path: tuple[str, ...], data: bytes, sender: Sender, now: int) -> None:
        return


class OneNetwork(Router):
    """A network that knows these names, and notes what it is told."""

    def __init__(self, domain: str, *hosts: str) -> None:
        self.domain = domain
        self.hosts = hosts
        self.routes = {name: OneRoute() for name in hosts}
        self.told: list[Any] = []

    def route(self, name: str, uid: int = 0) -> Route | None:
        return self.routes.get(name)

    def names(self) -> Sequence[str]:
        return self.hosts

    def heard(self) -> Iterable[HeardHost]:
        return [HeardHost(self.domain, host, "somewhere", 1.0) for host in self.hosts]

    def links(self) -> Sequence[Link]:
        return [Link(self.domain, "mqtt://a", "connecting")]

    def metrics(self) -> Iterable[Metric]:
        yield Metric("sent", "Sent.", "counter", len(self.hosts))
        yield Metric("up", "Up.", "gauge", 1, {"domain": self.domain})

    def reload(self, settings: Any) -> None:
        self.told.append(settings)

    async def start(self, nursery: Nursery, deliver: Deliver, has_slot: HasSlot) -> None:
        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            task_status.started()
            self.told.append(deliver)
            await trio.sleep_forever()

        await nursery.start(run)

    def close(self) -> None:
        self.told.append("close")


def nothing(path: tuple[str, ...], data: bytes, sender: Sender, sent_at: int) -> tuple[int, int]:
    return 0, 0


async def test_none_is_a_host_by_itself() -> None:
    routers = Routers()
    assert routers.route("*") is None
    assert not list(routers.names())
    assert not list(routers.heard())
    assert not list(routers.links())
    assert list(routers.metrics()) == []
    routers.reload(None)
    async with trio.open_nursery() as nursery:
        await routers.start(nursery, nothing, lambda path: True)
        assert not nursery.child_tasks
    routers.close()


def test_the_first_that_knows_a_name_has_the_route() -> None:
    one, other = OneNetwork("corp", "db", "web"), OneNetwork("old", "DB", "db", "fax")
    routers = Routers(one, other)
    assert routers.route("db") is one.routes["db"]
    assert routers.route("fax") is other.routes["fax"]
    assert routers.route("nobody") is None
    assert list(routers.names()) == ["db", "web", "fax"]
    assert [each.domain for each in routers.heard()] == ["corp", "corp", "old", "old", "old"]
    assert [each.domain for each in routers.links()] == ["corp", "old"]


def test_numbers_of_one_name_are_added_up_and_stand_together() -> None:
    routers = Routers(OneNetwork("corp", "a"), OneNetwork("old", "b", "c"))
    assert [(each.name, each.value, dict(each.labels)) for each in routers.metrics()] == [
        ("sent", 3, {}),
        ("up", 1, {"domain": "corp"}),
        ("up", 1, {"domain": "old"}),
    ]


async def test_all_start_reload_and_close() -> None:
    networks = [OneNetwork("corp"), OneNetwork("old")]
    routers = Routers(Routers(networks[0]), networks[1])
    async with trio.open_nursery() as nursery:
        await routers.start(nursery, nothing, lambda path: True)
        assert len(nursery.child_tasks) == 2
        routers.reload("settings")
        routers.close()
        nursery.cancel_scope.cancel()
    for each in networks:
        assert each.told == [nothing, "settings", "close"]
