"""Where the session task waits: reads and writes are answered there, without a turn of trio.

The loop itself is in the extension (`_loop.c`), which has its story. This is trio's side of it:
what trio has to do and when, so that the loop knows whose turn it is.

pyfuse3 takes `trio` from a global of its own, as pyfuse3.asyncio replaces it; here it is replaced
by something that differs in two points only, the wait and the lock around it.
"""

import logging
import math
import os
import select
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import pyfuse3
import trio

from msfs_fuse.fuse import interpose

log = logging.getLogger(__name__)

_NANOSECONDS_PER_MICROSECOND = 1000
_NANOSECONDS_PER_SECOND = 1_000_000_000
_NEVER = -1
_UNKNOWN = -1

# How often the self-test goes round with trio before it gives up.
_MOST_TURNS = 100


class _Runnable(trio.abc.Instrument):
    """Keeps the set of tasks that wait for their turn to run."""

    def __init__(self) -> None:
        self.tasks: set[trio.lowlevel.Task] = set()

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self.tasks.add(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.tasks.discard(task)


class InnerLoop:
    """Waits until there is a request for pyfuse3, and answers reads and writes meanwhile.

    Args:
        busy_poll: microseconds to look for the next request before sleeping, 0 for not at all.
    """

    def __init__(self, busy_poll: int) -> None:
        # With one core, the client could not even run while this looks for its request.
        several = (os.cpu_count() or 1) > 1
        self._busy = busy_poll * _NANOSECONDS_PER_MICROSECOND if several else 0
        self._runnable = _Runnable()
        self._others = _UNKNOWN
        self._deadline = 0  # over: trio is asked before the first sleep
        self._is_new = True
        self._closed = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Know trio's tasks and its descriptor as long as requests are served."""
        descriptor = await find_descriptor()
        if descriptor is None:
            log.info("trio's descriptor was not found: requests wait in trio's own loop")
        else:
            self._others = descriptor
        trio.lowlevel.add_instrument(self._runnable)
        try:
            # Whoever was to run before that is unknown to it, and runs in this turn or the next.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            yield
        finally:
            trio.lowlevel.remove_instrument(self._runnable)

    def close(self) -> None:
        """The session is over."""
        self._closed = True

    async def wait_readable(self, fd: int) -> None:
        """Return once there is something for pyfuse3 to receive from `fd`.

        Raises:
            trio.ClosedResourceError: the session is over.
        """
        if self._is_new:
            os.set_blocking(fd, False)  # a request may be taken back before it is read
            self._is_new = False
        while True:
            outcome = interpose.serve(
                self._runnable.tasks, self._others, self._deadline, self._busy
            )
            if outcome == interpose.REQUEST:
                return
            if outcome == interpose.EMPTY:
                await trio.lowlevel.wait_readable(fd)
            else:
                await trio.lowlevel.checkpoint()
            if self._closed:
                raise trio.ClosedResourceError
            # Only other tasks change it. It is a time, not a delay, and so does not start anew
            # with every request.
            self._deadline = _next_deadline()


def _next_deadline() -> int:
    """When trio has to wake a task, in monotonic nanoseconds."""
    delay = trio.lowlevel.current_statistics().seconds_to_next_deadline
    if delay == math.inf:
        return _NEVER
    return time.monotonic_ns() + max(0, int(delay * _NANOSECONDS_PER_SECOND))


async def find_descriptor() -> int | None:
    """The epoll descriptor that trio waits for, found by what it does.

    It becomes readable when something is posted to trio, and is not when trio has looked. trio
    does not tell its number. None if there is no such descriptor, or not exactly one.
    """
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return None
    found = [number for number in numbers if _is_epoll(number) and await _is_trios(number)]
    return found[0] if len(found) == 1 else None


def _is_epoll(number: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{number}") == "anon_inode:[eventpoll]"
    except OSError:
        return False


async def _is_trios(number: int) -> bool:
    poller = select.poll()
    poller.register(number, select.POLLIN)

    async def becomes_quiet() -> bool:
        for _ in range(_MOST_TURNS):
            # In the first, trio's own tasks may take what came; after the second they wait again.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            if not poller.poll(0):
                return True
        return False

    if not await becomes_quiet():
        return False
    trio.lowlevel.current_trio_token().run_sync_soon(lambda: None)
    return bool(poller.poll(0)) and await becomes_quiet()


class _NoLock:
    """For one session task, which has nobody to exclude."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class _Lowlevel:
    def __init__(self, inner_loop: InnerLoop) -> None:
        self.wait_readable = inner_loop.wait_readable

    def __getattr__(self, name: str) -> Any:
        return getattr(trio.lowlevel, name)


class _Trio:
    Lock = _NoLock

    def __init__(self, inner_loop: InnerLoop) -> None:
        self.lowlevel = _Lowlevel(inner_loop)

    def __getattr__(self, name: str) -> Any:
        return getattr(trio, name)


def install(busy_poll: int) -> InnerLoop:
    """Have pyfuse3's session task wait this way."""
    inner_loop = InnerLoop(busy_poll)
    pyfuse3.trio = _Trio(inner_loop)  # type: ignore[attr-defined]
    return inner_loop
