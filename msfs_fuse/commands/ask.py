"""`msfs ask`: a question to all who serve a slot, and what they answer."""

import argparse
import contextlib
import errno
import os
import random
import secrets
import stat
import time
from collections.abc import Generator, Iterator

from msfs_fuse import client
from msfs_fuse.client import Mailslot, file_of
from msfs_fuse.commands import arguments, listen, targets
from msfs_fuse.commands.command import Command, completed
from msfs_fuse.commands.output import emit, quoted
from msfs_fuse.commands.send import explain
from msfs_fuse.commands.serving import messages
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.core.names import Address, fold
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import find_mount
from msfs_fuse.programs import discovery

_EPILOG = """\
TARGET is as for msfs send: mostly a slot on each host of a domain, DOMAIN/NAME or '*/NAME'. Those
who serve it with msfs answer write their answers to a slot that is made for this question, in the
directory ask.UID: nobody else may list that, so only who was asked knows its name.

The first answer is printed. With --all every answer that comes before the time has passed, with
--random one of these at random, so that the work is shared. With --json each answer is a line with
its sender, as msfs listen prints it.

A query is one message: its first line is the name of the slot for answers as Windows writes it, and
QUERY is the rest. Programs of any kind can answer it.

exit codes:
  0  there was an answer
  1  failed
  2  the command line is wrong
  3  no mailslots are mounted, more than one mount to choose from, or the mount is gone
  4  nobody listens there
  5  the time passed before there was an answer
"""

_DEFAULT_SECONDS = 2.0

# How long whoever answers may still have our slot open, in seconds.
_PATIENCE = 1.0

# Its owner may list it; all may use what they know the name of.
_DIRECTORY_MODE = 0o711
# Anybody who knows the name may write.
_SLOT_MODE = 0o622


@contextlib.contextmanager
def reply_slot(mount: str) -> Iterator[Mailslot]:
    """A slot that only those can write to who are told its name. It is gone afterwards.

    Raises:
        CommandError: it cannot be made.
    """
    directory, is_shared = _reply_directory(mount)
    name = f"{directory}/{secrets.token_hex(16)}"
    path = os.path.join(mount, directory)
    try:
        with Mailslot(name, mount=mount, mode=_SLOT_MODE, exclusive=True) as slot:
            os.chmod(slot.path, _SLOT_MODE)  # whatever the umask
            yield slot
    except OSError as error:
        raise targets.refusal(error, path, mount) from None
    finally:
        if not is_shared:
            _remove(path)


def _remove(directory: str) -> None:
    """Remove a directory whose slot we have closed.

    Who answered may have that slot open still: we had his message before his write returned.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            os.rmdir(directory)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
        return


def _reply_directory(mount: str) -> tuple[str, bool]:
    """A directory of ours that others cannot list, and whether our other questions use it too.

    It is `ask.UID`; if somebody else has made one of that name, one for this question alone.
    """
    name = f"{discovery.REPLY_DIRECTORY}{os.geteuid()}"
    for is_shared in (True, False):
        path = os.path.join(mount, name)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, _DIRECTORY_MODE)
            node = os.lstat(path)
            if stat.S_ISDIR(node.st_mode) and node.st_uid == os.geteuid():
                os.chmod(path, _DIRECTORY_MODE)
                return name, is_shared
        except OSError as error:
            raise targets.refusal(error, path, mount) from None
        name += f".{secrets.token_hex(8)}"
    raise CommandError(f"{path}: somebody else makes directories of that name")


def ask(
    mount: str, target: str, body: bytes, signals: StopSignals, seconds: float
) -> Generator[tuple[Mailslot, bytes], None, None]:
    """Ask, and give each answer as it comes until the time is over.

    Raises:
        CommandError: the question was not sent, and why.
        Stopped: by a signal.
    """
    address = targets.parse(target, mount)
    with reply_slot(mount) as slot:
        host = None if address.host is None else targets.read_status(mount)["host"]
        reply = Address(host, tuple(slot.name.split("/")))
        if address.host is None or fold(address.host) == fold(host or ""):
            slot.network = False  # before anybody knows its name
        query = discovery.encode(discovery.Query(reply, body))
        deadline = time.monotonic() + seconds
        path = file_of(address, mount)
        try:
            client.write(path, query)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                room = len(query) - len(body)
                raise CommandError(
                    f"{path}: the question is too long; the name of the slot for answers needs "
                    f"{room} bytes"
                ) from None
            proposal = f"msfs answer {quoted('/'.join(address.path))} TEXT"
            raise explain(error, address, path, mount, len(query), proposal) from None
        yield from messages([slot], mount, signals, deadline=deadline)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    completed(
        parser.add_argument("target", metavar="TARGET", help="whom to ask, see below"), "targets"
    )
    parser.add_argument("query", metavar="QUERY", nargs="?", default="", help="what to ask")
    parser.add_argument(
        "-t",
        dest="seconds",
        type=arguments.seconds,
        default=_DEFAULT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for answers (2)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="print all answers, not the first")
    which.add_argument("--random", action="store_true", help="print one of them at random")


def _run(args: argparse.Namespace) -> Exit:
    mount = find_mount(args.mount)
    render = listen.json_line if args.json else listen.line
    chosen, number = b"", 0
    with StopSignals() as signals:
        answers = ask(mount, args.target, os.fsencode(args.query), signals, args.seconds)
        with contextlib.closing(answers):
            for number, (slot, answer) in enumerate(answers, start=1):
                text = render(slot, answer, mount)
                if not args.random:
                    emit(text)
                    if not args.all:
                        break
                elif random.randrange(number) == 0:  # each of N is the last to be so by 1 / N
                    chosen = text
    if not number:
        raise CommandError(f"{args.target}: no answer in {args.seconds:g} s", Exit.TIMEOUT)
    if args.random:
        emit(chosen)
    return Exit.OK


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True, json=True)
