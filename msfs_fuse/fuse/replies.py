"""The answers that come later than their request: to reads that wait, and to whoever polls."""

import errno
import logging
import math
import time
from collections.abc import Iterable
from typing import Protocol, cast

import trio

from msfs_fuse.core.limits import Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Answer, Slot

log = logging.getLogger(__name__)

_SECONDS_PER_NANOSECOND = 1e-9


class Request(Protocol):
    """A read that the kernel waits for, as `_interpose.Request` is one; answered once."""

    def __hash__(self) -> int: ...

    def reply(self, data: bytes, /) -> bool:
        """Answer with these bytes. False if the kernel no longer wants them."""

    def error(self, errno: int, /) -> bool:
        """Answer with this error code. False if the kernel no longer wants it."""


class PollHandle(Protocol):
    """Somebody in poll(2), as pyfuse3.PollHandle is one."""

    def notify(self) -> None:
        """Have the kernel ask again."""


class Polls:
    """Who wants to know when a slot changes.

    One poll handle serves one notification, and a newer one replaces an older one of the same
    open file. A notification only makes the kernel ask again, so one too many does no harm.
    """

    def __init__(self) -> None:
        self.waiting: dict[Slot, dict[object, PollHandle]] = {}

    def add(self, slot: Slot, file: object, poll_handle: PollHandle) -> None:
        """Wake this one at the slot's next change."""
        self.waiting.setdefault(slot, {})[file] = poll_handle

    def discard(self, slot: Slot, file: object) -> None:
        """The open file is closed."""
        waiting = self.waiting.get(slot)
        if waiting and waiting.pop(file, None) is not None and not waiting:
            del self.waiting[slot]

    def wake(self, slot: Slot) -> None:
        """The slot changed: it got a message, or room for one."""
        if not self.waiting:
            return
        for poll_handle in self.waiting.pop(slot, {}).values():
            try:
                poll_handle.notify()
            except OSError as error:
                log.debug("poll notification: %s", error)

    def wake_all(self) -> None:
        """Something that concerns all slots changed."""
        for slot in list(self.waiting):
            self.wake(slot)


class Replies:
    """Answers reads when a message comes, or at an interrupt or a timeout, and wakes polls.

    A read that waits is its Request in the core's queue; no task is held for it.
    """

    def __init__(self, mail: Mailslots) -> None:
        self.polls = Polls()
        self._mail = mail
        self._closing = 0
        self._deadline = math.inf
        self._earlier = trio.Event()

    def settle(self, answers: Iterable[Answer], changed: Iterable[Slot] = ()) -> None:
        """Send the answers that a call into the core gave, and wake those who poll.

        Called after everything that can change what a read gets or what poll(2) says.

        Args:
            changed: the slots that got a message, or room for one.
        """
        for token, data, code in answers:
            request = cast(Request, token)
            if data is None:
                request.error(code)
            else:
                request.reply(data)
        for slot in changed:
            self.polls.wake(slot)
        if self._mail.relieved:
            self._mail.relieved = False
            self.polls.wake_all()

    def use_limits(self, limits: Limits) -> None:
        """Take new upper bounds. What waited for room in any slot may have it now."""
        self._mail.limits = limits
        self.polls.wake_all()

    @property
    def closing(self) -> int:
        """The error code for reads that come when the session ends; until then 0."""
        return self._closing

    def close(self, code: int) -> None:
        """Answer every read with this error, those that wait and those that come."""
        self._closing = code
        self.settle(self._mail.cancel_all(code))

    def interrupt(self, request: Request) -> None:
        """A signal came for a reader: it gets no message, but EINTR."""
        if self._mail.cancel_reader(request):
            request.error(errno.EINTR)

    def note_deadline(self) -> None:
        """A read with a timeout waits: it may be the first whose time is over."""
        deadline = self._mail.next_deadline()
        if deadline is not None and deadline < self._deadline:
            self._earlier.set()

    async def run_timeouts(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Give up reads when their time is over. Sleeps while none has a timeout."""
        task_status.started()
        while True:
            self.settle(self._mail.expire(time.monotonic_ns()))
            deadline = self._mail.next_deadline()
            self._deadline = math.inf if deadline is None else deadline
            self._earlier = trio.Event()
            delay = (self._deadline - time.monotonic_ns()) * _SECONDS_PER_NANOSECOND
            with trio.move_on_after(max(delay, 0)):
                await self._earlier.wait()
