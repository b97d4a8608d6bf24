"""Whatever is open counts for who opened it, and is given back."""

import errno
import os

import pytest

from msfs_fuse.fuse.thrift import Thrift
from tests.support.fuse import ALICE, BOB, ROOT_INODE, Context, Kernel, OtherHosts, RecordedRoute
from tests.support.fuse import refused as refused_with


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(router=OtherHosts(there=RecordedRoute()), max_handles=128, max_user_share=25)


async def open_directory(kernel: Kernel, by: Context) -> int:
    number = await kernel.ask("opendir", ROOT_INODE, by)
    assert isinstance(number, int)
    return number


async def test_open_directories(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    opened = [await open_directory(kernel, ALICE) for _ in range(32)]
    with refused_with(errno.ENFILE):
        await open_directory(kernel, ALICE)
    assert "user 1000 has his share of max_handles open" in caplog.text
    with refused_with(errno.ENFILE):
        await kernel.create("slot")
    await open_directory(kernel, BOB)
    kernel.release(opened[0])
    await open_directory(kernel, ALICE)
    assert kernel.mail.shares.handles == 33


async def test_names_on_other_hosts(kernel: Kernel) -> None:
    opened = [await kernel.open("@there/slot") for _ in range(32)]
    with refused_with(errno.ENFILE):
        await kernel.open("@there/slot")
    await kernel.open("@there/slot", by=BOB)
    kernel.release(opened[0])
    await kernel.open("@there/slot")
    assert kernel.mail.shares.handles == 33


async def test_control_files_count_by_their_length(kernel: Kernel) -> None:
    weight = 1 + len((await kernel.contents(".msfs/metrics")).encode()) // 1024
    assert weight > 1
    opened = [await kernel.open(".msfs/metrics", os.O_RDONLY) for _ in range(32 // weight)]
    with refused_with(errno.ENFILE):
        for _ in range(weight):
            opened.append(await kernel.open(".msfs/peers", os.O_RDONLY))
    await kernel.open(".msfs/metrics", os.O_RDONLY, by=BOB)
    for number in opened:
        kernel.release(number)
    assert kernel.mail.shares.of(ALICE.uid).handles == 0
    assert kernel.mail.shares.handles == weight


def test_a_flood_of_control_files_takes_a_part_of_the_time() -> None:
    now, made = 0.0, 0

    def make() -> bytes:
        nonlocal now, made
        now += 0.001
        made += 1
        return b"%d" % made

    text = Thrift(make, lambda: now)
    while now < 10:
        assert text() == b"%d" % made
        now += 0.0001
    assert made == pytest.approx(2500, rel=0.2)  # a quarter of the time


async def test_a_control_file_is_new_for_whoever_comes_seldom(kernel: Kernel) -> None:
    for number in range(20):
        assert f"slots_created: {number}\n" in await kernel.contents(".msfs/status")
        kernel.release(await kernel.create("slot"))
