"""Reads that wait, and whoever waits in poll: the answers that come later than the request."""

import errno
import logging
import math
import os
import select
import time
from collections.abc import Callable, Iterable

import pyfuse3
import trio

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Answer, Handle, Slot
from msfs_fuse.fuse.interpose import Request

log = logging.getLogger(__name__)

_SECONDS_PER_NANOSECOND = 1e-9


def deliver(answers: Iterable[Answer]) -> None:
    """Send the answers of waiting reads to the kernel."""
    for token, data, code in answers:
        assert isinstance(token, Request)
        if data is None:
            token.error(code)
        else:
            token.reply(data)


class Polls:
    """Who wants to know when a slot changes.

    One poll handle serves one notification, and a newer one replaces an older one of the same
    file handle. A notification only makes the kernel ask again, so one too many does no harm.
    """

    def __init__(self) -> None:
        self._waiting: dict[Slot, dict[int, pyfuse3.PollHandle]] = {}

    def add(self, slot: Slot, fh: int, poll_handle: pyfuse3.PollHandle) -> None:
        """Wake this one at the slot's next change."""
        self._waiting.setdefault(slot, {})[fh] = poll_handle

    def discard(self, slot: Slot, fh: int) -> None:
        """The file handle is closed."""
        waiting = self._waiting.get(slot)
        if waiting and waiting.pop(fh, None) is not None and not waiting:
            del self._waiting[slot]

    def wake(self, slot: Slot) -> None:
        """The slot changed: it got a message, or room for one."""
        if not self._waiting:
            return
        for poll_handle in self._waiting.pop(slot, {}).values():
            try:
                poll_handle.notify()
            except OSError as error:
                log.debug("poll notification: %s", error)

    def wake_all(self) -> None:
        """The mount, which was full, has room again."""
        for slot in list(self._waiting):
            self.wake(slot)


class Reads:
    """Answers FUSE_READ for slots: at once, when a message comes, or at an interrupt or timeout.

    A read that waits is a Request in the core's queue; no task is held for it.
    """

    def __init__(self, mail: Mailslots, polls: Polls) -> None:
        self._mail = mail
        self._polls = polls
        self._closing = 0
        self._deadline = math.inf
        self._earlier = trio.Event()
        self._run_soon: Callable[..., None] | None = None

    def read(self, handle: Handle, request: Request, size: int, flags: int) -> None:
        """Answer the request, or keep it until there is an answer."""
        if self._closing:
            raise SlotError(self._closing)
        monotonic = time.monotonic_ns()
        slot = handle.slot
        was_full = self._mail.is_full
        answers = self._mail.add_reader(
            handle,
            request,
            size,
            time.time_ns(),
            monotonic,
            wait=not flags & os.O_NONBLOCK,
        )
        if answers:
            deliver(answers)
            self._polls.wake(slot)
            if was_full and not self._mail.is_full:
                self._polls.wake_all()
        elif slot.read_timeout is not None:
            self._note_deadline()

    def interrupt(self, request: Request) -> None:
        """A signal came for a reader: from now on it gets no message.

        Called by libfuse, with the request locked, so the answer itself has to come later.
        """
        if self._mail.cancel_reader(request):
            assert self._run_soon is not None
            self._run_soon(request.error, errno.EINTR)

    def poll(self, handle: Handle, fh: int, poll_handle: pyfuse3.PollHandle | None) -> int:
        """The events of poll(2) that are true now."""
        if poll_handle is not None:
            self._polls.add(handle.slot, fh, poll_handle)
        events = 0
        if handle.access.reads and handle.slot.messages:
            events |= select.POLLIN | select.POLLRDNORM
        if handle.access.writes and self._mail.is_writable(handle.slot):
            events |= select.POLLOUT | select.POLLWRNORM
        return events

    def close(self, code: int) -> None:
        """Answer every read with this error, those that wait and those that come."""
        self._closing = code
        deliver(self._mail.cancel_all(code))

    async def run_timeouts(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Give up reads when their time is over. Sleeps while none has a timeout."""
        self._run_soon = trio.lowlevel.current_trio_token().run_sync_soon
        task_status.started()
        while True:
            deliver(self._mail.expire(time.monotonic_ns()))
            deadline = self._mail.next_deadline()
            self._deadline = math.inf if deadline is None else deadline
            self._earlier = trio.Event()
            delay = (self._deadline - time.monotonic_ns()) * _SECONDS_PER_NANOSECOND
            with trio.move_on_after(max(delay, 0)):
                await self._earlier.wait()

    def _note_deadline(self) -> None:
        deadline = self._mail.next_deadline()
        if deadline is not None and deadline < self._deadline:
            self._earlier.set()
