"""The session loop's wait for the next request: busy for a short while before it sleeps.

A sleep and a wake-up between two cores cost more than all that a request needs. So after a
request the loop looks for the next one for some tens of microseconds, as long as that keeps
paying; an idle mount sleeps, and so does one that shares its only core with its clients.

pyfuse3 takes `trio` from a global of its own, as pyfuse3.asyncio replaces it; here it is replaced
by something that differs in two points only, the wait and the lock around it.
"""

import os
import select
import time
from types import TracebackType
from typing import Any

import pyfuse3
import trio

# Other tasks (timeouts, signals, the network) get their turn this often, in nanoseconds, however
# fast the requests come.
_TURN = 200_000

# After spinning in vain, how many requests to sleep for before trying again: doubled each time.
_MOST_SKIPPED = 1024


class BusyPoll:
    """Waits until a descriptor is readable.

    Args:
        microseconds: how long to look for the next request before sleeping, 0 for not at all.
    """

    def __init__(self, microseconds: int) -> None:
        # With one core, the client could not even run while this looks for its request.
        self._limit = microseconds * 1000 if (os.cpu_count() or 1) > 1 else 0
        self._poller: select.poll | None = None
        self._last_turn = 0
        self._skip = 0
        self._penalty = 1
        self._closed = False

    def close(self) -> None:
        """The session is over."""
        self._closed = True

    async def wait_readable(self, fd: int) -> None:
        """Return once `fd` is readable; a checkpoint only every now and then.

        Raises:
            trio.ClosedResourceError: the session is over.
        """
        if self._poller is None:
            os.set_blocking(fd, False)  # a request may be taken back after poll(2) has seen it
            self._poller = select.poll()
            self._poller.register(fd, select.POLLIN)
        poll = self._poller.poll
        began = now = time.monotonic_ns()
        if now - self._last_turn > _TURN:
            await trio.lowlevel.checkpoint()
            self._last_turn = now
            if self._closed:  # before there was anybody to notify
                raise trio.ClosedResourceError
        if self._skip:
            self._skip -= 1
        elif self._limit:
            while now - began < self._limit:
                if poll(0):
                    self._penalty = 1
                    return
                now = time.monotonic_ns()
            self._skip = self._penalty
            self._penalty = min(2 * self._penalty, _MOST_SKIPPED)
        await trio.lowlevel.wait_readable(fd)
        self._last_turn = time.monotonic_ns()


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
    def __init__(self, busy_poll: BusyPoll) -> None:
        self.wait_readable = busy_poll.wait_readable

    def __getattr__(self, name: str) -> Any:
        return getattr(trio.lowlevel, name)


class _Trio:
    Lock = _NoLock

    def __init__(self, busy_poll: BusyPoll) -> None:
        self.lowlevel = _Lowlevel(busy_poll)

    def __getattr__(self, name: str) -> Any:
        return getattr(trio, name)


def install(microseconds: int) -> BusyPoll:
    """Have pyfuse3's session loop wait this way."""
    busy_poll = BusyPoll(microseconds)
    pyfuse3.trio = _Trio(busy_poll)  # type: ignore[attr-defined]
    return busy_poll
