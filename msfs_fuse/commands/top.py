"""`msfs top`: slots, rates, queues, hosts and links, live in a terminal."""

import argparse
import contextlib
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Iterator
from types import FrameType

from msfs_fuse.commands import arguments, output, picture
from msfs_fuse.commands.command import Command
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.errors import CommandError, Exit, Stopped
from msfs_fuse.mounts import find_mount

_EPILOG = """\
The picture is what any user may see of the mount. Rates are messages a second since the picture
before; a dash stands for what is not known yet, is not there, or is not for you to read.

In a terminal: q ends, o changes the order of the slots (most messages, written last, name), any
other key looks again. Elsewhere the first picture comes after SECONDS, and each is lines of text,
or with --json a line.

exit codes:
  0  ended by q, -n or --once
  1  failed
  2  the command line is wrong
  3  no mailslots are mounted, more than one mount to choose from, or the mount is gone
"""

_SECONDS = 2.0
_LEAST_SECONDS = 0.1

# The terminal's other screen, without cursor, and back; home, and what is left of an old picture.
_ENTER = b"\x1b[?1049h\x1b[?25l"
_LEAVE = b"\x1b[?25h\x1b[?1049l"
_HOME = "\x1b[H"
_REST_OF_LINE = "\x1b[K"
_REST_OF_SCREEN = "\x1b[J"
_REVERSE, _PLAIN = "\x1b[7m", "\x1b[m"


class _Screen:
    """The terminal at standard input and output, while it shows pictures.

    Attributes:
        order: of the slots, as the user chose it.
    """

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._input, self._output = sys.stdin.fileno(), sys.stdout.fileno()
        self._suspend = False
        self._orders = list(picture.ORDERS)

    @property
    def order(self) -> str:
        return self._orders[0]

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Take the terminal, and give it back as it was, whatever happens."""
        before = termios.tcgetattr(self._input)
        handlers = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGWINCH, signal.SIGTSTP)
        }
        try:
            self._take(before)
            self._before = before
            yield
        finally:
            self._give_back(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._suspend = self._suspend or number == signal.SIGTSTP

    def _take(self, before: "list[object]") -> None:
        mode = termios.tcgetattr(self._input)
        mode[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(self._input, termios.TCSADRAIN, mode)
        os.write(self._output, _ENTER)

    def _give_back(self, before: "list[object]") -> None:
        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            os.write(self._output, _LEAVE)
            termios.tcsetattr(self._input, termios.TCSADRAIN, before)  # type: ignore[arg-type]

    def show(self, before: picture.Sample | None, after: picture.Sample, mount: str) -> None:
        """Show a picture."""
        # Not shutil's, which believes $COLUMNS, and that does not change with the window.
        size = os.get_terminal_size(self._output)
        width, height = size.columns or 80, size.lines or 24  # a serial line does not tell
        text = picture.lines(before, after, mount, self.order, height)
        rows = [picture.clipped(line, width) for line in text]
        heading = f"{_REVERSE}{rows[0]}{_REST_OF_LINE}{_PLAIN}"
        body = f"{_REST_OF_LINE}\r\n".join([heading, *rows[1:]])
        data = f"{_HOME}{body}{_REST_OF_LINE}{_REST_OF_SCREEN}"
        output.emit(data.encode(errors="backslashreplace"))

    def wait(self, seconds: float) -> bool:
        """Wait for the next picture; whether the user wants one.

        Raises:
            Stopped: by a signal.
        """
        ready, _, _ = select.select([self._input, self._signals], [], [], seconds)
        if self._signals in ready:
            os.read(self._signals.fileno(), 64)  # SIGWINCH wakes us, too
        if self._signals.caught is not None:
            raise Stopped(self._signals.caught)
        if self._suspend:
            self._suspend = False
            self._give_back(self._before)
            os.kill(os.getpid(), signal.SIGSTOP)
            self._take(self._before)
        if self._input in ready:
            keys = os.read(self._input, 64)
            if not keys or b"q" in keys:
                return False
            if b"o" in keys:
                self._orders.append(self._orders.pop(0))
        return True


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d",
        dest="seconds",
        type=arguments.seconds,
        default=_SECONDS,
        metavar="SECONDS",
        help="the time from one picture to the next (2)",
    )
    parser.add_argument(
        "-n", dest="count", type=arguments.count, metavar="COUNT", help="end after COUNT pictures"
    )
    parser.add_argument(
        "--once", action="store_true", help="print one picture as text, as -n 1 in a pipe does"
    )


def _print(args: argparse.Namespace, mount: str, signals: StopSignals) -> None:
    """Print pictures for a pipe."""
    count = 1 if args.once else args.count
    seconds = max(args.seconds, _LEAST_SECONDS)
    before, shown = picture.sample(mount), 0
    while shown != count:
        signals.sleep(seconds)
        if signals.caught is not None:
            raise Stopped(signals.caught)
        after = picture.sample(mount)
        if args.json:
            output.print_json(picture.facts(before, after, mount))
        else:
            text = picture.lines(before, after, mount, next(iter(picture.ORDERS)), None)
            output.print_lines([*([""] if shown else []), *text])
        before, shown = after, shown + 1


def _watch(args: argparse.Namespace, mount: str, signals: StopSignals) -> None:
    """Show pictures in a terminal."""
    seconds = max(args.seconds, _LEAST_SECONDS)
    screen = _Screen(signals)
    before, after = None, picture.sample(mount)
    with screen.shown():
        shown = 1
        screen.show(before, after, mount)
        while shown != args.count:
            due = after.at + seconds
            if not screen.wait(max(due - time.monotonic(), 0)):
                return
            now = picture.sample(mount)
            if now.at >= due:
                before, after, shown = after, now, shown + 1
            screen.show(before, after, mount)


def _run(args: argparse.Namespace) -> Exit:
    mount = find_mount(args.mount)
    is_terminal = all(file is not None and file.isatty() for file in (sys.stdin, sys.stdout))
    with StopSignals() as signals:
        if args.json or args.once or not is_terminal:
            _print(args, mount, signals)
        elif os.environ.get("TERM", "dumb") == "dumb":
            raise CommandError("this terminal cannot show it ($TERM): try --once", Exit.USAGE)
        else:
            _watch(args, mount, signals)
    return Exit.OK


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True, json=True)
