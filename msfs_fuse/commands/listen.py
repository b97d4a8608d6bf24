"""`msfs listen`: serve slots, and show or hand on each message as it comes."""

import argparse
import base64
import errno
import json
import math
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from msfs_fuse.commands import targets
from msfs_fuse.commands.command import Command
from msfs_fuse.commands.output import Fact, complain, emit, quoted, typed
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.core.attributes import PREFIX
from msfs_fuse.core.limits import MESSAGE_SIZE_CEILING
from msfs_fuse.errors import CommandError, Exit, Stopped
from msfs_fuse.mounts import find_mount

_EPILOG = """\
Each NAME is NAME, DIR/NAME or \\\\.\\mailslot\\NAME. The slots are made, and go when msfs listen
ends and nobody else has them open. It says on stderr that they are there, if that is a terminal;
with -b it returns then, so that a script can go on and write to them. Who may write is up to the
umask, as for any file: after `umask 0` all users may.

Messages are printed one after the other, a newline added to those that do not end in one.
Several slots take turns. With --json each message is one line with the keys slot, message (or
message_base64, if it is not UTF-8), size, sender_host, sender_uid, sender_pid, sent_at (seconds
since 1970).

With --exec the next message is read when the command for the last one has ended. It has the
message on standard input, and in the environment MSFS_SLOT, MSFS_SENDER_HOST, MSFS_SENDER_UID,
MSFS_SENDER_PID, MSFS_SENT_AT and MSFS_MOUNT. One that fails is reported on stderr, and the next
message has its turn; one that cannot be started for want of memory, processes or files is tried
again. It runs in a process group of its own: ^C or SIGTERM lets it finish and ends msfs listen
then; a second one is passed on to the command.

exit codes:
  0  -n messages came; or the time was over and there was no -n, but a message
  1  failed; or with --exec a command did
  2  the command line makes no sense
  3  no mailslots are mounted, more than one mount to choose from, or the mount is gone
  5  the time was over before -n messages, or without -n before any, had come
"""

# Beyond this poll(2) would wait for ever, in seconds: 24 days.
_LONGEST_TIME = 2_000_000.0

SENDER_FACTS = ("sender_host", "sender_uid", "sender_pid", "sent_at")

_NEW_SLOT_MODE = 0o666  # less the umask, as for any file
_MILLISECONDS = 1000


class Server:
    """A slot that this process serves until it ends.

    Attributes:
        name: of the slot, below the mount.
    """

    # Any message fits, so it is never read in parts. One for all: a new one for each read
    # would cost more than the read.
    _buffer = bytearray(MESSAGE_SIZE_CEILING)

    def __init__(self, name: str, mount: str) -> None:
        self.name = name
        self._path = os.path.join(mount, name)
        self._mount = mount
        flags = os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK
        try:
            self._fd = os.open(self._path, flags, _NEW_SLOT_MODE)
        except OSError as error:
            raise self._explain(error) from None

    def fileno(self) -> int:
        """Readable when there is a message."""
        return self._fd

    def take(self) -> bytes | None:
        """The next message, None if there is none yet.

        Raises:
            CommandError: the mount is gone.
        """
        try:
            size = os.readv(self._fd, [self._buffer])
        except BlockingIOError:
            return None
        except OSError as error:
            raise targets.refusal(error, self._path, self._mount) from None
        return bytes(self._buffer[:size])

    def sender(self) -> dict[str, str]:
        """SENDER_FACTS of the message taken last, as far as they are known."""
        facts = {}
        for name in SENDER_FACTS:
            try:
                facts[name] = os.fsdecode(os.getxattr(self._fd, PREFIX + name))
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise targets.refusal(error, self._path, self._mount) from None
        return facts

    def _explain(self, error: OSError) -> CommandError:
        path = self._path
        parent = os.path.dirname(path)
        match error.errno:
            case errno.ENOENT:
                return CommandError(
                    f"{path}: there is no such directory (mkdir -p {quoted(parent)})"
                )
            case errno.EISDIR:
                return CommandError(f"{path} is a directory: name a slot in it")
            case errno.EDQUOT:
                return CommandError(f"{path}: you have too many slots (max_slots_per_user)")
            case errno.EACCES if os.access(path, os.R_OK):
                return CommandError(f"{path} has a server already: only one can listen")
            case errno.EACCES if os.path.exists(path):
                return CommandError(f"{path} is another user's slot: only its owner can listen")
            case errno.EACCES if os.access(self._mount, os.X_OK):
                return CommandError(f"{path}: you may not create slots in {parent}")
            case errno.EPERM:
                return CommandError(f"{path}: names with @ or .msfs in front are reserved")
        return targets.refusal(error, path, self._mount)


Deliver = Callable[[Server, bytes], None]


class Output(NamedTuple):
    """Where messages go.

    Attributes:
        deliver: called with each message, and returns when it is out of our hands.
        watched: a descriptor that tells, by an error in poll(2), that nobody is there any more.
        failures: tells how many messages went wrong there.
    """

    deliver: Deliver
    watched: int | None = None
    failures: Callable[[], int] = lambda: 0


def print_line(server: Server, message: bytes) -> None:
    """Print a message, with a newline if it has none."""
    emit(message if message.endswith(b"\n") else message + b"\n")


def print_terminated(server: Server, message: bytes) -> None:
    """Print a message as it is, and a NUL."""
    emit(message + b"\0")


def print_json(server: Server, message: bytes) -> None:
    """Print a message and its sender as one line of JSON."""
    record: dict[str, Fact] = {"slot": server.name}
    try:
        record["message"] = message.decode()
    except UnicodeDecodeError:
        record["message_base64"] = base64.b64encode(message).decode()
    record["size"] = len(message)
    sender = server.sender()
    for name in SENDER_FACTS:
        record[name] = typed(name, sender[name]) if name in sender else None
    emit(json.dumps(record).encode() + b"\n")


def to_stdout(deliver: Deliver) -> Output:
    """Messages go to standard output.

    Raises:
        CommandError: it is closed.
    """
    if sys.stdout is None:
        raise CommandError("standard output is closed")
    return Output(deliver, sys.stdout.fileno())


def listen(
    mount: str,
    names: list[str],
    output: Output,
    signals: StopSignals,
    *,
    ready: Callable[[], None] = lambda: None,
    count: int | None = None,
    seconds: float | None = None,
) -> Exit:
    """Serve slots.

    Args:
        ready: called when the slots are there.
        count: end after so many messages, and take no more than these.
        seconds: end after this time in all, but not while a message is being delivered.

    Returns:
        TIMEOUT if the time was over before `count` messages, or one if that is None, had come;
        FAILED if the output says that some went wrong.

    Raises:
        CommandError: a slot cannot be served, or the mount is gone.
        Stopped: by a signal.
        BrokenPipeError: nobody reads the output any more.
    """
    paths = dict.fromkeys(targets.parse_local(name).to_path() for name in names)
    servers = [Server(path, mount) for path in paths]
    ready()
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    taken = 0
    messages = _messages(servers, signals, output.watched, deadline)
    for taken, (server, message) in enumerate(messages, start=1):
        output.deliver(server, message)
        if taken == count:
            break
    else:
        if taken < (count or 1):
            return Exit.TIMEOUT
    return Exit.FAILED if output.failures() else Exit.OK


def _messages(
    servers: list[Server], signals: StopSignals, watched: int | None, deadline: float
) -> Iterator[tuple[Server, bytes]]:
    """Each message as it comes, one from each slot in turn, until the deadline.

    A message is taken only when it is asked for, and only when nothing speaks against it: what
    has been taken cannot be put back.
    """
    ends, anything = select.poll(), select.poll()
    for poll in (ends, anything):
        poll.register(signals, select.POLLIN)
        if watched is not None:
            poll.register(watched, 0)
    for server in servers:
        anything.register(server, select.POLLIN)

    while True:
        idle = True
        for server in servers:
            ended = ends.poll(0)
            if signals.caught is not None:
                raise Stopped(signals.caught)
            if any(fd == watched for fd, _ in ended):
                raise BrokenPipeError
            if time.monotonic() >= deadline:
                return
            message = server.take()
            if message is not None:
                idle = False
                yield server, message
        if idle:
            rest = deadline - time.monotonic()
            anything.poll(None if rest == math.inf else math.ceil(max(rest, 0) * _MILLISECONDS))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"not a number of messages: {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= _LONGEST_TIME:
        raise argparse.ArgumentTypeError(f"not a number of seconds: {text!r}")
    return seconds


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="a slot on this host")
    parser.add_argument("-n", dest="count", type=_count, metavar="N", help="end after N messages")
    parser.add_argument(
        "-t", dest="seconds", type=_seconds, metavar="SECONDS", help="end after this time in all"
    )
    parser.add_argument(
        "-b",
        dest="background",
        action="store_true",
        help="return when the slots are there, and go on in the background",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "-0", dest="terminate", action="store_true", help="print a NUL after each message"
    )
    form.add_argument("--json", action="store_true", help="print JSON, with the sender")
    form.add_argument(
        "--exec", dest="command", metavar="CMD", help="run `sh -c CMD` for each message"
    )


def _run(args: argparse.Namespace) -> Exit:
    mount = find_mount(args.mount)
    with StopSignals() as signals:
        if args.command is not None:
            from msfs_fuse.commands.execute import Executor  # it builds on this module

            output = Executor(args.command, mount, signals).output()
        elif args.json:
            output = to_stdout(print_json)
        else:
            output = to_stdout(print_terminated if args.terminate else print_line)
        return listen(
            mount,
            args.names,
            output,
            signals,
            ready=_leave if args.background else lambda: _announce(args.names),
            count=args.count,
            seconds=args.seconds,
        )


def _announce(names: list[str]) -> None:
    """Tell a person that messages can be sent now."""
    if sys.stderr is not None and sys.stderr.isatty():
        complain(f"listening at {', '.join(names)} (Ctrl-C ends)")


def _leave() -> None:
    """Go on in the background: whoever started this process goes on, too, and finds the slots."""
    if os.fork():
        os._exit(Exit.OK)
    os.setsid()  # ^C at the terminal is for others now


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True)
