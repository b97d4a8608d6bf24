"""Answers that come later than the request: by a message, an interrupt, a timeout, new limits."""

import errno
import os

import pytest
import trio

from msfs_fuse.core.limits import Limits
from tests.support.fuse import ALICE, Kernel, Poll

MILLISECONDS = b"user.mailslot.read_timeout"


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(max_messages=1, max_bytes=100)


async def test_a_message_wakes_who_polls_once(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    older, newer = Poll(), Poll()
    await kernel.poll(server, older)
    await kernel.poll(server, newer)
    kernel.write(server, b"x")
    assert (older.notified, newer.notified) == (0, 1)
    kernel.read(server)
    assert newer.notified == 1


async def test_room_in_the_slot_wakes_who_polls(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    kernel.write(server, b"x")
    poll = Poll()
    assert not await kernel.poll(await kernel.open("slot"), poll)
    kernel.read(server)
    assert poll.notified == 1


@pytest.mark.parametrize("relief", ["read", "close"])
async def test_room_in_the_mount_wakes_who_polls_elsewhere(kernel: Kernel, relief: str) -> None:
    full, other = await kernel.create("full"), await kernel.create("other")
    kernel.write(full, b"x" * 100)
    poll = Poll()
    assert not await kernel.poll(other, poll)
    if relief == "read":
        kernel.read(full)
    else:
        await kernel.release(full)
    assert poll.notified == 1


async def test_higher_limits_wake_who_polls(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    kernel.write(server, b"x")
    poll = Poll()
    await kernel.poll(server, poll)
    kernel.operations.use_limits(Limits(max_messages=2), strict=False)
    assert poll.notified == 1
    assert await kernel.poll(server, None)


async def test_an_attribute_wakes_who_polls(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    poll = Poll()
    await kernel.poll(server, poll)
    inode = await kernel.lookup("slot")
    await kernel.ask("setxattr", inode, b"user.mailslot.max_message_size", b"5", ALICE)
    assert poll.notified == 1


async def test_a_closed_file_is_not_woken(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    client = await kernel.open("slot")
    poll = Poll()
    await kernel.poll(client, poll)
    await kernel.release(client)
    kernel.write(server, b"x")
    assert poll.notified == 0


async def test_an_interrupted_read_gets_no_message(
    kernel: Kernel, nursery: trio.Nursery, autojump_clock: trio.abc.Clock
) -> None:
    await nursery.start(kernel.operations.replies.run_timeouts)
    server = await kernel.create("slot")
    read = kernel.read(server)
    kernel.operations.replies.interrupt(read)
    assert read.answer == errno.EINTR
    kernel.write(server, b"x")
    assert kernel.read(server).answer == b"x"
    nursery.cancel_scope.cancel()


async def test_timeouts(kernel: Kernel, nursery: trio.Nursery) -> None:
    await nursery.start(kernel.operations.replies.run_timeouts)
    late, soon = await kernel.create("late"), await kernel.create("soon")
    for name, timeout in (("late", b"60000"), ("soon", b"20")):
        inode = await kernel.lookup(name)
        await kernel.ask("setxattr", inode, MILLISECONDS, timeout, ALICE)
    late_read, soon_read = kernel.read(late), kernel.read(soon)
    with trio.fail_after(10):
        while soon_read.answer is None:
            await trio.sleep(0.005)
    assert soon_read.answer == errno.ETIMEDOUT
    assert late_read.answer is None
    nursery.cancel_scope.cancel()


async def test_at_the_end_every_read_is_answered(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    before = kernel.read(server)
    kernel.operations.replies.close(errno.ESHUTDOWN)
    assert before.answer == errno.ESHUTDOWN
    assert kernel.read(server, flags=os.O_RDWR).answer == errno.ESHUTDOWN
