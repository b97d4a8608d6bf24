"""The answers that come later than their request: to reads that wait, and to whoever polls."""

import errno
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Protocol, cast

import trio

from msfs_fuse.core.limits import Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Answer, Slot
from msfs_fuse.core.tables import is_too_roomy

log = logging.getLogger(__name__)

_SECONDS_PER_NANOSECOND = 1e-9

# To answer a read or to notify a poll takes some microseconds, most of them to wake a process. What
# one request can bring about of that is done for so many at once; others follow in parts, which end
# after so many seconds. Between parts those who wait for the daemon have their turn.
_AT_ONCE = 16
_PART = 0.0005

# A poll notification that took longer, in seconds, wakes very many. Such may take a tenth of the
# time: after each part there is a rest of so many times as long.
_SLOW = 0.0002
_REST = 9


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

    A slot may be polled by thousands of open files, and one open file by thousands of epoll
    descriptors, all of which the kernel wakes before it goes on. So only a few are notified at
    once, and those that took long last time are not: they follow in `run`.
    """

    def __init__(self) -> None:
        self.waiting: OrderedDict[Slot, dict[object, PollHandle]] = OrderedDict()
        self._later: OrderedDict[object, PollHandle] = OrderedDict()
        self._slow: set[object] = set()
        self._slots_later = 0  # how many of the first slots in `waiting` are to be woken
        self._some = trio.Event()

    def add(self, slot: Slot, file: object, poll_handle: PollHandle) -> None:
        """Wake this one at the slot's next change."""
        self.waiting.setdefault(slot, {})[file] = poll_handle

    def discard(self, slot: Slot, file: object) -> None:
        """The open file is closed."""
        self._later.pop(file, None)
        self._slow.discard(file)
        waiting = self.waiting.get(slot)
        if waiting is None or waiting.pop(file, None) is None:
            return
        if not waiting:
            del self.waiting[slot]
        elif is_too_roomy(waiting):
            self.waiting[slot] = dict(waiting)

    def wake(self, slot: Slot) -> None:
        """The slot changed: it got a message, or room for one."""
        if not self.waiting:
            return
        files = iter(self.waiting.pop(slot, {}).items())
        for file, poll_handle in islice(files, _AT_ONCE):
            if file in self._slow:
                self._later[file] = poll_handle
            else:
                self._notify(file, poll_handle)
        self._later.update(files)
        if self._later:
            self._some.set()

    def wake_all(self) -> None:
        """Something that concerns all slots changed."""
        for slot in list(islice(self.waiting, _AT_ONCE)):
            self.wake(slot)
        self._slots_later = len(self.waiting)
        if self._slots_later:
            self._some.set()

    def _notify(self, file: object, poll_handle: PollHandle) -> None:
        start = time.perf_counter()
        try:
            poll_handle.notify()
        except OSError as error:
            log.debug("poll notification: %s", error)
        if time.perf_counter() - start > _SLOW:
            self._slow.add(file)
        else:
            self._slow.discard(file)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Notify those who were too many to be notified at once. Sleeps while there are none."""
        task_status.started()
        while True:
            await self._some.wait()
            self._some = trio.Event()
            while self._later or self._slots_later:
                start = time.perf_counter()
                while time.perf_counter() - start < _PART and self._notify_next():
                    pass
                await trio.sleep(_REST * (time.perf_counter() - start))

    def _notify_next(self) -> bool:
        if self._later:
            self._notify(*self._later.popitem(last=False))
        elif self._slots_later and self.waiting:
            self._slots_later -= 1
            self.wake(next(iter(self.waiting)))
        else:
            self._slots_later = 0
            return False
        return True


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
            start = time.perf_counter()
            answers = self._mail.expire(time.monotonic_ns(), _AT_ONCE)
            self.settle(answers)
            if len(answers) == _AT_ONCE:
                await trio.sleep(time.perf_counter() - start)
                continue
            deadline = self._mail.next_deadline()
            self._deadline = math.inf if deadline is None else deadline
            self._earlier = trio.Event()
            delay = (self._deadline - time.monotonic_ns()) * _SECONDS_PER_NANOSECOND
            with trio.move_on_after(max(delay, 0)):
                await self._earlier.wait()
