"""Signals that end a command, but not in the middle of a message."""

import contextlib
import os
import select
import signal
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def wanted() -> list[signal.Signals]:
    """The signals that end a command: those that are ignored, as under nohup(1), stay so."""
    return [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]


class StopSignals:
    """Catches SIGINT, SIGTERM and SIGHUP while it is entered; those that are ignored stay so.

    The first one is noted. Any further one goes to the command that runs, or else ends this
    process at once: whoever sends it does not want to wait.

    Attributes:
        caught: the first signal that came.
        command: process group to pass further signals to.
        announce: what to say on stderr when a signal comes while a command runs.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self.command: int | None = None
        self.announce = b""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def __enter__(self) -> "StopSignals":
        # The pipe wakes poll(2), which Python otherwise takes up again after a signal.
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._handle) for number in wanted()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Readable once a signal has come."""
        return self._reader

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond a signal."""
        select.select([self], [], [], seconds)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first = self.caught is None
        if first:
            self.caught = number
        if self.command is not None:
            with contextlib.suppress(OSError):
                if first:
                    os.write(2, self.announce)  # print() may be what the signal interrupted
                else:
                    os.killpg(self.command, number)
        elif not first:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
