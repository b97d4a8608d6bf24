"""`msfs answer`: what others ask, answered by a command or by a text."""

import argparse
import errno
import math
import os
import time
from collections.abc import Callable, Mapping

from msfs_fuse import client
from msfs_fuse.client import Mailslot
from msfs_fuse.commands import arguments, targets
from msfs_fuse.commands.command import Command, completed
from msfs_fuse.commands.execute import Executor
from msfs_fuse.commands.output import complain
from msfs_fuse.commands.serving import EXIT_CODES, go_on, messages, sender_facts, serve
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.core.names import Address, fold
from msfs_fuse.errors import Exit
from msfs_fuse.mounts import find_mount
from msfs_fuse.programs import FormatError, discovery
from msfs_fuse.programs.discovery import Query

_EPILOG = f"""\
The slot is made, and each question that comes to it is answered, one after the other. With --exec
the command has what was asked on standard input, and in the environment who asks: MSFS_SLOT,
MSFS_SENDER_HOST, MSFS_SENDER_PROOF, MSFS_SENDER_UID, MSFS_SENDER_PID, MSFS_SENT_AT and MSFS_MOUNT.
What it prints is the answer, less newlines at its end; if that is nothing, or if it fails, there is
none. When the time of --timeout is over, it is killed with its process group, and there is none.
Without --exec TEXT is the answer to whatever was asked. To another host an answer has up to 424
bytes.

A unit of systemd runs it as it is; -b is for scripts.

Answers go to the host that the question came from, and there or here only to a slot that msfs ask
has made. What is no question is reported on stderr, and left.

{EXIT_CODES}"""

_PROBLEMS_A_MINUTE = 20
_TIMEOUT = 60.0  # seconds: whoever asks must not keep all others from being answered


class _Complaints:
    """Says what is wrong with others' questions, but not without end: they decide how many."""

    def __init__(self) -> None:
        self._minute = 0
        self._said = 0

    def say(self, text: str) -> None:
        minute = int(time.monotonic() / 60)
        if minute != self._minute:
            self._minute, self._said = minute, 0
        self._said += 1
        if self._said <= _PROBLEMS_A_MINUTE:
            complain(text)


def _reply_address(reply: Address, sender_host: str, own_host: str) -> Address:
    """Where an answer goes.

    Raises:
        FormatError: the question wants it elsewhere than on the host it came from.
    """
    is_ours = fold(sender_host) == fold(own_host)
    if reply.host is None or fold(reply.host) == fold(own_host):
        if not is_ours:
            raise FormatError("the answer should go to a slot on this host, which did not ask")
        return Address(None, reply.path)
    # Where there is more than one domain, the sender is HOST.DOMAIN, and knows itself as HOST.
    if not f"{fold(sender_host)}.".startswith(f"{fold(reply.host)}."):
        raise FormatError(f"the answer should go to {reply.host}, which did not ask")
    return Address(sender_host, reply.path)


def _write(address: Address, answer: bytes, mount: str, asker: str) -> None:
    path = client.file_of(address, mount)
    if address.host is None:
        # Not to a slot of anybody else: the asker may have no right to write there.
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_uid != int(asker):
                raise OSError(errno.EPERM, "not a slot of the user who asks", path)
            os.write(fd, answer)
        finally:
            os.close(fd)
    else:
        client.write(path, answer)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    completed(
        parser.add_argument("name", metavar="SLOT", help="the slot to serve, on this host"), "slots"
    )
    answer = parser.add_mutually_exclusive_group(required=True)
    answer.add_argument("text", metavar="TEXT", nargs="?", help="the answer")
    answer.add_argument(
        "--exec", dest="command", metavar="CMD", help="run `sh -c CMD` for each question"
    )
    parser.add_argument(
        "--timeout",
        type=arguments.seconds,
        default=_TIMEOUT,
        metavar="SECONDS",
        help=f"how long CMD may take for one question ({_TIMEOUT:g})",
    )
    arguments.add_serving(parser)


def answer(
    slot: Mailslot,
    mount: str,
    signals: StopSignals,
    respond: Callable[[Query, Mapping[str, str]], bytes | None],
    *,
    count: int | None = None,
    deadline: float = math.inf,
) -> int:
    """Answer each question that comes to a slot.

    Args:
        respond: gives the answer, empty for none, or None if that failed. It has the question and
            the facts of who asks.
        count: end after so many messages.
        deadline: end then, by time.monotonic().

    Returns:
        How many answers failed.

    Raises:
        CommandError: the mount is gone.
        Stopped: by a signal.
    """
    own_host = targets.read_status(mount)["host"]
    complaints = _Complaints()
    failures = 0
    coming = messages([slot], mount, signals, deadline=deadline)
    for number, (_, message) in enumerate(coming, start=1):
        facts = sender_facts(slot, mount)
        try:
            query = discovery.decode(message)
            address = _reply_address(query.reply, facts.get("sender_host", own_host), own_host)
            text = respond(query, facts)
            failures += text is None
            if text:
                _write(address, text, mount, facts.get("sender_uid", "-1"))
        except FormatError as error:
            complaints.say(f"{slot.name}: {error}")
        except OSError as error:
            if error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV):
                raise targets.refusal(error, slot.path, mount) from None
            failures += error.errno != errno.ENOENT  # who has asked may have gone: that is all
            if error.errno != errno.ENOENT:
                complaints.say(f"{slot.name}: no answer to {error.filename}: {error.strerror}")
        if number == count:
            break
    return failures


def _run(args: argparse.Namespace) -> Exit:
    mount = find_mount(args.mount)
    deadline = math.inf if args.seconds is None else time.monotonic() + args.seconds
    with StopSignals() as signals:
        executor = Executor(args.command, mount, signals) if args.command is not None else None
        slot = serve(args.name, mount)
        go_on([args.name], background=args.background)

        def respond(query: Query, facts: Mapping[str, str]) -> bytes | None:
            if executor is None:
                return os.fsencode(args.text)
            printed = executor.run(slot.name, query.body, facts, capture=True, timeout=args.timeout)
            return None if printed is None else printed.rstrip(b"\n")

        failures = answer(slot, mount, signals, respond, count=args.count, deadline=deadline)
    return Exit.FAILED if failures else Exit.OK


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True)
