"""`AsyncMailslot` under trio and under asyncio."""

import errno
import os
from collections.abc import Awaitable, Callable

import anyio
import pytest

from msfs_fuse import AsyncMailslot, Mailslot, async_messages, async_send, send
from tests.conftest import Mount
from tests.support.processes import started, wait_until

BACKENDS = ("trio", "asyncio")


@pytest.fixture(params=BACKENDS)
def loop(
    request: pytest.FixtureRequest, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Runs an async function on one of the event loops, with a time limit."""
    monkeypatch.setenv("MSFS_MOUNT", str(mount.path))

    def run(main: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            with anyio.fail_after(20):
                await main()

        anyio.run(limited, backend=request.param)

    return run


Loop = Callable[[Callable[[], Awaitable[None]]], None]


def test_messages_as_they_come(loop: Loop) -> None:
    async def main() -> None:
        async with AsyncMailslot("a") as slot:
            send("a", "first")
            assert (await slot.receive()).text == "first"
            with started(
                "time.sleep(0.1); os.write(os.open(sys.argv[1], 1), b'x')", slot.slot.path
            ) as client:
                message = await slot.receive()
                assert (message.data, message.slot, message.sender.pid) == (b"x", "a", client.pid)
            for number in range(10):
                send("a", str(number))
            got = []
            async for message in slot:
                got.append(message.text)
                if len(got) == 10:
                    break
            assert got == [str(number) for number in range(10)]

    loop(main)


def test_cancelling_loses_no_message(loop: Loop) -> None:
    total = 200

    async def main() -> None:
        got: list[bytes] = []
        async with AsyncMailslot("a") as slot, anyio.create_task_group() as tasks:

            async def write() -> None:
                for number in range(total):
                    send("a", b"%d" % number)
                    await anyio.sleep(0.0005 * (number % 3))

            tasks.start_soon(write)
            patience = 0.0
            while len(got) < total:
                patience = (patience + 0.0001) % 0.002
                with anyio.move_on_after(patience):
                    got.append(await slot.read())
        assert got == [b"%d" % number for number in range(total)]

    loop(main)


def test_several_slots(loop: Loop) -> None:
    async def main() -> None:
        async with AsyncMailslot("a") as one, AsyncMailslot("b") as other:
            for number in range(3):
                send("a", f"a{number}")
            send("b", "b0")
            got = []
            with started(
                "time.sleep(0.2); os.write(os.open(sys.argv[1], 1), b'late')", other.slot.path
            ):
                async for message in async_messages(one, other):
                    got.append((message.slot, message.text))
                    if message.text == "late":
                        break
            assert got == [("a", "a0"), ("b", "b0"), ("a", "a1"), ("a", "a2"), ("b", "late")]

    loop(main)


def test_other_tasks_have_their_turn_while_messages_keep_coming(loop: Loop) -> None:
    async def main() -> None:
        turns = 0
        async with AsyncMailslot("a") as slot, anyio.create_task_group() as tasks:

            async def count() -> None:
                nonlocal turns
                while True:
                    await anyio.sleep(0)
                    turns += 1

            tasks.start_soon(count)
            for _ in range(100):
                send("a", "x")
            for _ in range(100):
                await slot.read()
            tasks.cancel_scope.cancel()
        assert turns >= 50  # which task of the two goes first is the loop's to say

    loop(main)


def test_closing_ends_a_wait(loop: Loop, mount: Mount) -> None:
    async def main() -> None:
        slot = AsyncMailslot("a")
        async with anyio.create_task_group() as tasks:

            async def close() -> None:
                await anyio.sleep(0.1)
                slot.close()

            tasks.start_soon(close)
            with pytest.raises(anyio.ClosedResourceError):
                await slot.receive()
        slot.close()
        with pytest.raises(ValueError, match="closed"):
            await slot.read()

    loop(main)
    wait_until(lambda: not (mount / "a").exists())


def test_waiting_for_a_server(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError, match="nobody listens"):
            await async_send("a", "x", wait=0.02)
        with pytest.raises(ValueError, match="empty"):
            await async_send("a", "")
        slots: list[Mailslot] = []

        async def serve() -> None:
            await anyio.sleep(0.1)
            slots.append(Mailslot("a"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            await async_send("a", "x", wait=10)
        assert slots[0].read(0) == b"x"
        slots[0].close()

    loop(main)


def test_the_mount_goes_away(loop: Loop, mount: Mount) -> None:
    async def main() -> None:
        async with AsyncMailslot("a") as slot, anyio.create_task_group() as tasks:

            async def end() -> None:
                await anyio.sleep(0.1)
                mount.daemon.terminate()

            tasks.start_soon(end)
            with pytest.raises(OSError, match=r".") as caught:
                await slot.receive()
            assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ESHUTDOWN)

    loop(main)


def test_attributes_are_those_of_the_slot(loop: Loop) -> None:
    async def main() -> None:
        async with AsyncMailslot("a", mode=0o600, exclusive=True) as slot:
            assert os.stat(slot.slot.path).st_mode & 0o777 == 0o600
            slot.slot.network = False
            assert not slot.slot.network

    loop(main)
