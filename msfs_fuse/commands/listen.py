"""`msfs listen`: serve slots, and show or hand on each message as it comes."""

import argparse
import base64
import json
import math
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from msfs_fuse.client import Mailslot
from msfs_fuse.commands import arguments, targets
from msfs_fuse.commands.command import Command, completed
from msfs_fuse.commands.output import Fact, emit, printable, standard_output, typed
from msfs_fuse.commands.serving import SENDER_FACTS, go_on, messages, sender_facts, serve
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.errors import Exit
from msfs_fuse.mounts import find_mount

_EPILOG = """\
Each NAME is NAME, DIR/NAME or \\\\.\\mailslot\\NAME. The command makes the slots. They are gone
when it has ended and nobody else has them open. If stderr is a terminal, it says there when they
are there. With -b it returns then, so that a script can go on and write to them. The umask decides
who may write, as for any file: after `umask 0` all users may.

Messages are printed one after the other, as they are. On a terminal control characters are escaped,
since whoever writes to the slot could give it orders; --json escapes them always. One that does not
end in a newline gets one. Several slots take turns. With --json each message is one line with the
keys slot, message (or message_base64, if it is not UTF-8), size, sender_host, sender_proof (local,
proven or claimed), sender_uid, sender_pid, sent_at (seconds since 1970).

With --exec the next message is read when the command for the last one has ended. It has the message
on standard input, and in the environment MSFS_SLOT, MSFS_SENDER_HOST, MSFS_SENDER_PROOF,
MSFS_SENDER_UID, MSFS_SENDER_PID, MSFS_SENT_AT and MSFS_MOUNT. A command that fails is reported on
stderr, and the next message has its turn. A command that cannot be started because memory,
processes or open files have run out is tried again. It runs in a process group of its own. After ^C
or SIGTERM msfs listen lets it finish, and ends then. A second signal is passed on to the command.

exit codes:
  0  -n messages came; without -n: the time passed, and a message came
  1  failed, or with --exec a command failed
  2  the command line is wrong
  3  no mailslots are mounted, more than one mount to choose from, or the mount is gone
  5  the time passed before -n messages came; without -n: before any came
"""

Deliver = Callable[[Mailslot, bytes, str], None]


class Output(NamedTuple):
    """Where messages go.

    Attributes:
        deliver: called with the slot, each message and the mount, and returns when it is out of our
            hands.
        watched: a descriptor that tells, by an error in poll(2), that nobody is there any more.
        failures: tells how many messages went wrong there.
    """

    deliver: Deliver
    watched: int | None = None
    failures: Callable[[], int] = lambda: 0


Render = Callable[[Mailslot, bytes, str], bytes]


def line(slot: Mailslot, message: bytes, mount: str) -> bytes:
    """A message with a newline, if it has none."""
    return message if message.endswith(b"\n") else message + b"\n"


def shown(slot: Mailslot, message: bytes, mount: str) -> bytes:
    """The same for a terminal, which anybody who may write to the slot could give orders."""
    lines = message.decode(errors="backslashreplace").removesuffix("\n").split("\n")
    cells = (map(printable, line.split("\t")) for line in lines)
    return "".join("\t".join(each) + "\n" for each in cells).encode()


def terminated(slot: Mailslot, message: bytes, mount: str) -> bytes:
    """A message as it is, and a NUL."""
    return message + b"\0"


def json_line(slot: Mailslot, message: bytes, mount: str) -> bytes:
    """The message that was taken last and its sender as one line of JSON."""
    record: dict[str, Fact] = {"slot": slot.name}
    try:
        record["message"] = message.decode()
    except UnicodeDecodeError:
        record["message_base64"] = base64.b64encode(message).decode()
    record["size"] = len(message)
    sender = sender_facts(slot, mount)
    for name in SENDER_FACTS:
        record[name] = typed(name, sender[name]) if name in sender else None
    return json.dumps(record).encode() + b"\n"


def to_stdout(render: Render) -> Output:
    """Messages go to standard output.

    Raises:
        CommandError: it is closed.
    """
    return Output(lambda *message: emit(render(*message)), standard_output())


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
    slots = [serve(path, mount) for path in paths]
    ready()
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    taken = 0
    coming = messages(slots, mount, signals, watched=output.watched, deadline=deadline)
    for taken, (slot, message) in enumerate(coming, start=1):
        output.deliver(slot, message, mount)
        if taken == count:
            break
    else:
        if taken < (count or 1):
            return Exit.TIMEOUT
    return Exit.FAILED if output.failures() else Exit.OK


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    completed(
        parser.add_argument("names", metavar="NAME", nargs="+", help="a slot on this host"), "slots"
    )
    arguments.add_serving(parser)
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
            from msfs_fuse.commands.execute import Executor

            executor = Executor(args.command, mount, signals)
            output = Output(executor.deliver, failures=lambda: executor.failures)
        elif args.json:
            output = to_stdout(json_line)
        else:
            plain = shown if os.isatty(standard_output()) else line
            output = to_stdout(terminated if args.terminate else plain)
        return listen(
            mount,
            args.names,
            output,
            signals,
            ready=lambda: go_on(args.names, background=args.background),
            count=args.count,
            seconds=args.seconds,
        )


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True)
