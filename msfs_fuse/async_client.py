"""Mailslots for programs on trio or asyncio, by anyio: `AsyncMailslot`.

The same as `msfs_fuse.client`, but that waiting is awaited, and ended by cancelling as usual:

    >>> import anyio
    >>> from msfs_fuse import AsyncMailslot, send
    >>> async def main():
    ...     async with AsyncMailslot("alerts") as slot:
    ...         send("alerts", "disk full")
    ...         with anyio.fail_after(5):
    ...             print((await slot.receive()).text)
    ...         with anyio.move_on_after(0.1):
    ...             async for message in slot:
    ...                 print("nothing more is sent, so that this is not printed")
    >>> anyio.run(main)
    disk full
    >>> anyio.run(main, backend="trio")
    disk full

A message is taken in the same step that hands it over: cancelling loses none. `send` never waits,
and can be called in a task as it is; `async_send` is for those who want to wait for a server.
"""

import select
from collections import deque
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

import anyio

from msfs_fuse import client
from msfs_fuse.client import Mailslot, Message


class AsyncMailslot:
    """A slot that this process serves, until `close` or the end of the process.

    One task at a time may wait for its messages.

    Attributes:
        slot: the slot itself, with its name and its attributes.
    """

    def __init__(
        self,
        name: str,
        *,
        mount: str | None = None,
        mode: int = client.NEW_SLOT_MODE,
        exclusive: bool = False,
    ) -> None:
        """Create the slot, or take over one that has no server: see `Mailslot`."""
        self.slot = Mailslot(name, mount=mount, mode=mode, exclusive=exclusive)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Serve no more. A task that waits for a message gets anyio.ClosedResourceError."""
        if not self.slot.closed:
            anyio.notify_closing(self.slot)
            self.slot.close()

    async def read(self) -> bytes:
        """Take the next message, only its data: that is faster than `receive`.

        Raises:
            anyio.ClosedResourceError: the slot was closed meanwhile.
            anyio.BusyResourceError: another task waits for a message already.
            OSError: ENOTCONN, ECONNABORTED or ESHUTDOWN: the mount is gone.
        """
        while True:
            await anyio.wait_readable(self.slot)
            data = self.slot.take()
            if data is not None:
                return data

    async def receive(self) -> Message:
        """Take the next message. Raises what `read` does."""
        return Message(await self.read(), self.slot.name, self.slot.sender())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        return await self.receive()


def async_messages(*slots: AsyncMailslot) -> AsyncIterator[Message]:
    """Take messages from several slots as they come; those that have some take turns.

    Raises ValueError if there are no slots. Iterating raises OSError ENOTCONN, ECONNABORTED or
    ESHUTDOWN when the mount is gone.
    """
    return _Messages(slots)


class _Messages:
    # No async generator: one that is left in the middle keeps what it holds until it is collected,
    # and event loops complain of it then.

    def __init__(self, slots: Sequence[AsyncMailslot]) -> None:
        if not slots:
            raise ValueError("no slots to take messages from")
        self._turns = deque(each.slot for each in slots)
        self._anything = select.epoll()  # one descriptor to wait for, whatever their number
        for slot in self._turns:
            self._anything.register(slot, select.EPOLLIN)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while True:
            await anyio.wait_readable(self._anything)
            for _ in range(len(self._turns)):
                slot = self._turns[0]
                self._turns.rotate(-1)
                data = slot.take()
                if data is not None:
                    return Message(data, slot.name, slot.sender())


async def async_send(
    target: str, data: bytes | str, *, mount: str | None = None, wait: float = 0
) -> None:
    """Write one message: `send`, but that it awaits the server."""
    message = client.checked(data)
    path, is_here = client.locate(target, mount=mount)
    awaited = is_here and wait > 0
    for pause in client.pauses(wait):
        try:
            return client.write(path, message, served=awaited)
        except OSError as error:
            if error.errno not in client.MAY_COME:
                raise
        await anyio.sleep(pause)
    return client.write(path, message, served=awaited)
