"""Answers that come later than the request: by a message, an interrupt, a timeout, new limits."""

import errno
import os
import time
from collections.abc import Callable

import pytest
import trio

from msfs_fuse.core.limits import Limits
from msfs_fuse.fuse import replies
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
    kernel.write(full, b"x" * 97)  # the rest is for root
    poll = Poll()
    assert not await kernel.poll(other, poll)
    if relief == "read":
        kernel.read(full)
    else:
        kernel.release(full)
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
    kernel.release(client)
    kernel.write(server, b"x")
    assert poll.notified == 0


async def eventually(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.001)


async def test_very_many_polls_are_told_in_parts(kernel: Kernel, nursery: trio.Nursery) -> None:
    server = await kernel.create("slot")
    polls = [Poll() for _ in range(1000)]
    for poll in polls:
        await kernel.poll(await kernel.open("slot"), poll)
    kernel.write(server, b"x")
    assert 0 < sum(poll.notified for poll in polls) < 50
    await nursery.start(kernel.operations.replies.polls.run)
    await eventually(lambda: all(poll.notified == 1 for poll in polls))
    nursery.cancel_scope.cancel()


async def test_room_in_the_mount_is_told_in_parts(kernel: Kernel, nursery: trio.Nursery) -> None:
    full = await kernel.create("full")
    kernel.write(full, b"x" * 97)
    polls = [Poll() for _ in range(1000)]
    for number, poll in enumerate(polls):
        await kernel.poll(await kernel.create(f"slot{number}"), poll)
    kernel.read(full)
    assert 0 < sum(poll.notified for poll in polls) < 50
    await nursery.start(kernel.operations.replies.polls.run)
    await eventually(lambda: all(poll.notified == 1 for poll in polls))
    nursery.cancel_scope.cancel()


class Clock:
    """The time of day for `replies`, in which nothing takes any that is not said to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(replies, "time", clock)
    return clock


class SlowPoll(Poll):
    """An open file that very many epoll descriptors wait for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def notify(self) -> None:
        self._clock.now += 0.001
        super().notify()


async def test_who_takes_long_is_told_later(
    kernel: Kernel, nursery: trio.Nursery, clock: Clock
) -> None:
    server, client = await kernel.create("slot"), await kernel.open("slot")
    slow, other = SlowPoll(clock), Poll()
    for count in (1, 2):
        await kernel.poll(server, slow)
        await kernel.poll(client, other)
        kernel.write(server, b"x")
        kernel.read(server)
        assert (slow.notified, other.notified) == (1, count)
    await nursery.start(kernel.operations.replies.polls.run)
    await eventually(lambda: slow.notified == 2)
    nursery.cancel_scope.cancel()


async def test_who_is_told_later_and_closes_is_not_told(
    kernel: Kernel, nursery: trio.Nursery, clock: Clock
) -> None:
    server, client = await kernel.create("slot"), await kernel.open("slot")
    slow = SlowPoll(clock)
    for _ in range(2):
        await kernel.poll(client, slow)
        kernel.write(server, b"x")
        kernel.read(server)
    kernel.release(client)
    await nursery.start(kernel.operations.replies.polls.run)
    await trio.sleep(0.01)
    assert slow.notified == 1
    nursery.cancel_scope.cancel()


async def test_very_many_timeouts_leave_room_for_others(
    kernel: Kernel, nursery: trio.Nursery
) -> None:
    server, inode = await kernel.create("slot"), await kernel.lookup("slot")
    await kernel.ask("setxattr", inode, MILLISECONDS, b"1", ALICE)
    reads = [kernel.read(server) for _ in range(1000)]
    time.sleep(0.005)  # all are due
    await nursery.start(kernel.operations.replies.run_timeouts)
    assert sum(read.answer is not None for read in reads) < 500
    await eventually(lambda: all(read.answer == errno.ETIMEDOUT for read in reads))
    nursery.cancel_scope.cancel()


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
