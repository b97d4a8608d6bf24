"""poll, select and epoll wake on the event."""

import os
import select
import time

import pytest

from tests.conftest import Mount, MountFactory
from tests.support.processes import SERVER, line_of, opened, started


def test_poll_wakes_on_the_event(mount_with: MountFactory) -> None:
    mount = mount_with("max_messages=2")
    with opened(mount / "slot", SERVER) as server, opened(mount / "slot", os.O_WRONLY) as client:
        readable, writable = select.poll(), select.poll()
        readable.register(server, select.POLLIN)
        writable.register(client, select.POLLOUT)
        assert readable.poll(0) == []
        assert writable.poll(0) == [(client, select.POLLOUT)]
        write = "time.sleep(0.3); os.write(os.open(sys.argv[1], os.O_WRONLY), b'x')"
        began = time.monotonic()
        with started(write, mount / "slot"):
            assert readable.poll(30_000) == [(server, select.POLLIN)]
            assert time.monotonic() - began >= 0.3
        os.write(client, b"y")
        assert writable.poll(0) == []
        read = "time.sleep(0.3); os.read(int(sys.argv[1]), 9)"
        with started(read, server, pass_fds=[server]):
            assert writable.poll(30_000) == [(client, select.POLLOUT)]


@pytest.mark.parametrize("relief", ["os.read(fd, 100)", "os.close(fd)"])
def test_poll_wakes_when_another_slot_makes_room(mount_with: MountFactory, relief: str) -> None:
    mount = mount_with("max_bytes=100")
    fill = f"""
    fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 100)
    print("full", flush=True)
    time.sleep(0.3)
    {relief}
    time.sleep(60)
    """
    with opened(mount / "slot", SERVER) as server, started(fill, mount / "other") as other:
        assert line_of(other) == "full"
        writable = select.poll()
        writable.register(server, select.POLLOUT)
        assert writable.poll(0) == []
        assert writable.poll(30_000) == [(server, select.POLLOUT)]


def test_epoll_edges(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server, select.epoll() as epoll:
        epoll.register(server, select.EPOLLIN | select.EPOLLET)
        for _ in range(3):
            assert epoll.poll(0) == []
            os.write(server, b"x")
            assert epoll.poll(30) == [(server, select.EPOLLIN)]
