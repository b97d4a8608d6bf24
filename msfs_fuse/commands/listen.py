"""`msfs listen`: serve slots, and show or hand on each message as it comes."""

import argparse
import base64
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from msfs_fuse.client import Mailslot
from msfs_fuse.commands import arguments, targets
from msfs_fuse.commands.command import Command, completed
from msfs_fuse.commands.output import Fact, complain, emit, typed
from msfs_fuse.commands.serving import SENDER_FACTS, messages, sender_facts, serve
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import find_mount

_EPILOG = """\
Each NAME is NAME, DIR/NAME or \\\\.\\mailslot\\NAME. The slots are made, and go when msfs listen
ends and nobody else has them open. It says on stderr that they are there, if that is a terminal;
with -b it returns then, so that a script can go on and write to them. Who may write is up to the
umask, as for any file: after `umask 0` all users may.

Messages are printed one after the other, a newline added to those that do not end in one.
Several slots take turns. With --json each message is one line with the keys slot, message (or
message_base64, if it is not UTF-8), size, sender_host, sender_proof (local, proven or claimed),
sender_uid, sender_pid, sent_at (seconds since 1970).

With --exec the next message is read when the command for the last one has ended. It has the message
on standard input, and in the environment MSFS_SLOT, MSFS_SENDER_HOST, MSFS_SENDER_PROOF,
MSFS_SENDER_UID, MSFS_SENDER_PID, MSFS_SENT_AT and MSFS_MOUNT. One that fails is reported on stderr,
and the next message has its turn; one that cannot be started for want of memory, processes or files
is tried again. It runs in a process group of its own: ^C or SIGTERM lets it finish and ends msfs
listen then; a second one is passed on to the command.

exit codes:
  0  -n messages came; or the time was over and there was no -n, but a message
  1  failed; or with --exec a command did
  2  the command line makes no sense
  3  no mailslots are mounted, more than one mount to choose from, or the mount is gone
  5  the time was over before -n messages, or without -n before any, had come
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
    if sys.stdout is None:
        raise CommandError("standard output is closed")
    return Output(lambda *message: emit(render(*message)), sys.stdout.fileno())


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
    arguments.add_limits(parser)
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
            from msfs_fuse.commands.execute import Executor

            executor = Executor(args.command, mount, signals)
            output = Output(executor.deliver, failures=lambda: executor.failures)
        elif args.json:
            output = to_stdout(json_line)
        else:
            output = to_stdout(terminated if args.terminate else line)
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
