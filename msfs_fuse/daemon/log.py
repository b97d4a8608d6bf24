"""The log of a daemon, which never waits for whoever reads it.

Handlers of the file system log, and any user can bring that about. So a line goes to a pipe that
does not block, and a thread carries it on: to the stderr that the daemon was started with, which
may be the journal, or from the background to syslog. While that takes nothing the pipe gets full;
then lines are dropped and counted. In the foreground the pipe is the daemon's stderr as well, for
what libraries write there.
"""

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from msfs_fuse.core.metrics import counter

_SYSLOG_SOCKET = "/dev/log"
_SYSLOG_FACILITY = 1  # "user-level messages" of RFC 3164

# sd-daemon(3) and syslog(3) have the same priorities; lines of libraries get that of a warning.
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
_LIBRARY_PRIORITY = _PRIORITIES["WARNING"]

# A write to a pipe is whole up to this many bytes, PIPE_BUF; longer lines are cut.
_LONGEST_LINE = 4096

# Of one cause so many lines are said in a window of so many seconds, and the rest is told as a
# number. A cause is a line of the source; of causes, only so many are told apart.
_LINES_OF_A_CAUSE = 50
_WINDOW = 60.0
_CAUSES = 500

# How long the end of the daemon waits for the last lines to be taken, in seconds.
_LAST_LINES = 1.0


@dataclass
class LogCounts:
    """What did not get to the log line by line."""

    log_dropped: int = counter("Lines lost because the reader of the log took none.")
    log_repeated: int = counter("Lines of the log told as a number, for they were many of a kind.")


@dataclass
class _Cause:
    """What one cause has had to say in its window."""

    since: float
    said: int = 0
    unsaid: int = 0
    last: str = ""
    priority: int = 0


class _Handler(logging.Handler):
    """Writes lines of `<PRIORITY>text` to a pipe that does not block."""

    def __init__(self, pipe: int, counts: LogCounts) -> None:
        super().__init__()
        self._pipe = pipe
        self._counts = counts
        self._causes: dict[str, _Cause] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        priority = _PRIORITIES.get(record.levelname, _LIBRARY_PRIORITY)
        if self._may_be_said(record, priority):
            for line in self.format(record).splitlines():
                self._write(priority, line)

    def _may_be_said(self, record: logging.LogRecord, priority: int) -> bool:
        source = f"{record.pathname}:{record.lineno}"
        if source not in self._causes and len(self._causes) >= _CAUSES:
            source = ""
        cause = self._causes.setdefault(source, _Cause(time.monotonic()))
        if cause.said < _LINES_OF_A_CAUSE:
            cause.said += 1
            return True
        cause.unsaid += 1
        cause.last, cause.priority = f"{record.name}: {record.getMessage()}", priority
        self._counts.log_repeated += 1
        return False

    def _write(self, priority: int, text: str) -> None:
        line = f"<{priority}>{text}".encode(errors="backslashreplace")[: _LONGEST_LINE - 1]
        try:
            os.write(self._pipe, line + b"\n")
        except OSError:  # it is full
            self._counts.log_dropped += 1

    def end_windows(self, now: float) -> list[bytes]:
        """Forget the causes whose window is over; a line for each that has more to tell."""
        self.acquire()
        try:
            ended = [key for key, each in self._causes.items() if each.since + _WINDOW <= now]
            causes = [self._causes.pop(key) for key in ended]
        finally:
            self.release()
        return [
            f"<{each.priority}>{each.unsaid} more like: {each.last}".encode(
                errors="backslashreplace"
            )[:_LONGEST_LINE]
            for each in causes
            if each.unsaid
        ]

    def next_end(self) -> float | None:
        """When the next window is over, by time.monotonic(); None if there is none."""
        self.acquire()
        try:
            return min((each.since + _WINDOW for each in self._causes.values()), default=None)
        finally:
            self.release()


class _Sink(Protocol):
    def __call__(self, priority: int, text: bytes) -> None:
        """Put down a line. It may wait. Raises OSError."""


def _logs_to_journal() -> bool:
    """Whether stderr is the stream of systemd.exec(5). A shell may have inherited its name."""
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def _to_stderr(stderr: int, *, with_priority: bool) -> _Sink:
    def put(priority: int, text: bytes) -> None:
        rest = memoryview(b"<%d>%s\n" % (priority, text) if with_priority else text + b"\n")
        while rest:
            rest = rest[os.write(stderr, rest) :]

    return put


def _to_syslog() -> _Sink:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def put(priority: int, text: bytes) -> None:
        sock.sendto(b"<%d>msfs: %s" % (_SYSLOG_FACILITY << 3 | priority, text), _SYSLOG_SOCKET)

    return put


class Log:
    """The log of this process, while it is entered.

    Args:
        background: to syslog, if there is one, and else to stderr.
        debug: libfuse shows each request on stderr; nothing is dropped of that, and the daemon
            waits until it is read.

    Attributes:
        counts: what did not get to it.
    """

    def __init__(self, *, background: bool, debug: bool) -> None:
        self.counts = LogCounts()
        self._background = background
        self._debug = debug

    def __enter__(self) -> "Log":
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._handler = _Handler(self._writer, self.counts)
        self._stderr = None if self._background else os.dup(2)
        sink: _Sink | None = None
        form = "%(name)s: %(message)s"
        if self._stderr is not None:
            in_journal = _logs_to_journal()
            sink = _to_stderr(self._stderr, with_priority=in_journal)
            if not in_journal:
                form = "%(asctime)s %(levelname)s %(message)s"
            if not self._debug:
                os.dup2(self._writer, 2)
        elif os.path.exists(_SYSLOG_SOCKET):
            sink = _to_syslog()
        self._handler.setFormatter(logging.Formatter(form))
        level = logging.DEBUG if self._debug else logging.INFO
        logging.basicConfig(level=level, handlers=[self._handler])
        self._thread = threading.Thread(target=self._carry, args=(sink,), name="log", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        logging.getLogger().removeHandler(self._handler)
        if self._stderr is not None:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(self._stderr, 2)
        os.close(self._writer)
        self._thread.join(_LAST_LINES)

    def _carry(self, sink: _Sink | None) -> None:
        """Carry lines to where they go, until the pipe is closed."""
        # They are for the thread that runs the event loop.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        told = 0
        for line in self._lines():
            priority, text = _parse(line)
            try:
                if sink is not None:
                    sink(priority, text)
                    if told != self.counts.log_dropped:
                        lost, told = self.counts.log_dropped - told, self.counts.log_dropped
                        sink(_LIBRARY_PRIORITY, b"%d lines of the log were lost here" % lost)
            except OSError:  # nobody is there to read it any more
                self.counts.log_dropped += 1

    def _lines(self) -> Iterator[bytes]:
        """Each line that comes by the pipe, and what is to be told of causes that repeat."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        rest = b""
        while True:
            end = self._handler.next_end()
            timeout = None if end is None else max(0.0, end - time.monotonic()) * 1000 + 1
            if poll.poll(timeout):
                data = os.read(self._reader, 1 << 16)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                yield from lines
                rest = rest[-_LONGEST_LINE:]
            yield from self._handler.end_windows(time.monotonic())
        yield from self._handler.end_windows(float("inf"))


def _parse(line: bytes) -> tuple[int, bytes]:
    """The priority and the text of a line in the pipe."""
    if line[:1] == b"<" and line[2:3] == b">" and line[1:2].isdigit():
        return int(line[1:2]), line[3:]
    return _LIBRARY_PRIORITY, line
