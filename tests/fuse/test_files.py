"""The three kinds of open file: what read, write, poll and release do."""

import errno
import logging
import os
import select

import pytest

from tests.support.fuse import Kernel, OtherHosts, Read, RecordedRoute

NONBLOCK = os.O_RDWR | os.O_NONBLOCK

READABLE = select.POLLIN | select.POLLRDNORM
WRITABLE = select.POLLOUT | select.POLLWRNORM


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(max_messages=2)


async def test_slot_read_now_or_later(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    client = await kernel.open("slot")
    kernel.write(client, b"one")
    assert kernel.read(server).answer == b"one"
    waiting = kernel.read(server)
    assert waiting.answer is None
    kernel.write(client, b"two")
    assert waiting.answer == b"two"


async def test_slot_read_does_not_wait_where_it_must_not(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    assert kernel.read(server, flags=NONBLOCK).answer == errno.EAGAIN
    cached = Read()
    assert kernel.operations.on_read(cached, server, 0, 4096, os.O_RDWR, True, 1) is None
    assert cached.answer == errno.EIO


async def test_slot_write_that_is_refused(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    assert kernel.write(server, b"x" * 65537) == errno.EMSGSIZE
    assert [kernel.write(server, b"x") for _ in range(3)] == [0, 0, errno.ENOSPC]


async def test_slot_poll(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    client = await kernel.open("slot")
    assert await kernel.poll(server) == WRITABLE
    kernel.write(client, b"x")
    kernel.write(client, b"x")
    assert await kernel.poll(server) == READABLE
    assert await kernel.poll(client) == 0


async def test_slot_release_answers_who_waits(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    waiting = kernel.read(server)
    kernel.release(server)
    assert waiting.answer == errno.EBADF


async def test_slot_release_tells_of_what_was_lost(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = await kernel.create("a\nforged", os.O_WRONLY)
    kernel.write(client, b"x")
    kernel.release(client)
    assert "slot 'a\\nforged' died with 1 messages unread" in caplog.text


async def test_remote_file() -> None:
    kernel = Kernel(router=OtherHosts(there=RecordedRoute()))
    client = await kernel.open("@there/slot")
    assert await kernel.poll(client) == WRITABLE
    assert kernel.write(client, b"x" * 425) == errno.EMSGSIZE
    assert kernel.write(client, b"") == errno.EINVAL
    assert kernel.read(client).answer == errno.EBADF
    kernel.release(client)


async def test_what_is_written_to_all_reaches_this_host_too() -> None:
    route = RecordedRoute(includes_this_host=True)
    kernel = Kernel(router=OtherHosts(corp=route))
    server = await kernel.create("Slot", mode=0o622)
    waiting = kernel.read(server)
    client = await kernel.open("@corp/slot")
    assert kernel.write(client, b"x") == 0
    assert (waiting.answer, route.sent) == (b"x", [(("slot",), b"x")])


async def test_control_file_is_as_it_was_when_opened(kernel: Kernel) -> None:
    fh = await kernel.open(".msfs/status", os.O_RDONLY)
    await kernel.create("slot")
    data = kernel.read(fh, 1 << 16).answer
    assert isinstance(data, bytes)
    assert b"\nslots: 0\n" in data
    assert kernel.operations.on_read(Read(), fh, 9, 5, 0, False, 1) == data[9:14]
    assert await kernel.poll(fh) == READABLE
    assert kernel.write(fh, b"x") == errno.EBADF
    kernel.release(fh)


async def test_what_goes_wrong_inside_is_eio(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    """No such file handle, for one."""
    assert kernel.read(77).answer == errno.EIO
    assert kernel.write(77, b"x") == errno.EIO
    assert "read failed" in caplog.text
    assert "write failed" in caplog.text
