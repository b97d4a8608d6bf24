"""`msfs send`: one message to a slot."""

import argparse
import errno
import os
import sys

from msfs_fuse import client
from msfs_fuse.commands import arguments, targets
from msfs_fuse.commands.command import Command, completed
from msfs_fuse.commands.output import complain, quoted
from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE, Address, fold
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import find_mount

_EPILOG = """\
TARGET is one of
  NAME, DIR/NAME             a slot on this host
  HOST/NAME, @HOST/NAME      one on another host; with the @ even if there is a directory HOST
  DOMAIN/NAME, @DOMAIN/NAME  one on each host of a domain
  \\\\HOST\\mailslot\\NAME      the same as Windows writes it, in quotes; HOST is . for this host

TEXT is sent as it is, without a newline. Put -- in front of a text that begins with a dash. Without
TEXT all of standard input is one message. Nothing confirms that a message is read.

exit codes:
  0  the slot has the message
  1  it has not: the slot is full or out of reach, you may not write to it, or the message is empty
     or too long
  2  the command line is wrong
  3  no mailslots are mounted, or more than one mount to choose from
  4  nobody listens there
"""


def send(
    mount: str,
    target: str,
    text: str | bytes | None,
    wait: float = 0,
    proposal: str | None = None,
) -> None:
    """Write one message.

    Args:
        text: the message; None to take all of standard input for it.
        wait: seconds to wait until somebody serves the slot, or knows the host.
        proposal: the command to propose where nobody listens; None for msfs listen.

    Raises:
        CommandError: nothing was sent, and why.
    """
    address = targets.parse(target, mount)
    path = client.file_of(address, mount)
    # The message comes first: a slot held open while stdin is read would outlive its server,
    # and swallow the message with nobody there to read it.
    if text is None:
        text = read_stdin(client.LONGEST_MESSAGE + 1)
    message = os.fsencode(text)
    if not message:
        raise CommandError(f"{path}: there is no empty message; it needs one byte at least")
    if len(message) > client.LONGEST_MESSAGE:
        raise CommandError(
            f"{path}: the message is longer than the {client.LONGEST_MESSAGE} bytes that any slot "
            "can take: split it"
        )
    try:
        client.send(target, message, mount=mount, wait=wait)
    except OSError as error:
        if error.errno == errno.EMSGSIZE:
            limit = _size_limit(address, mount)
            raise CommandError(
                f"{path} takes up to {limit} bytes, the message has {len(message)}: split it"
            ) from None
        raise explain(error, address, path, mount, len(message), proposal) from None


def read_stdin(most: int) -> bytes:
    """A message from standard input, or the first `most` bytes of it.

    Raises:
        CommandError: there is none, or it cannot be read.
    """
    if sys.stdin is None:
        raise CommandError("nothing to send: give a TEXT, or the message on standard input")
    if sys.stdin.isatty():
        complain("type the message; Ctrl-D at the beginning of a line sends it")
    try:
        return sys.stdin.buffer.read(most)
    except OSError as error:
        raise CommandError(f"standard input: {error.strerror}") from None


def _size_limit(address: Address, mount: str) -> str:
    """How many bytes the slot takes."""
    from msfs_fuse.core.attributes import MAX_MESSAGE_SIZE

    status = targets.read_status(mount)
    is_remote = address.host is not None and fold(address.host) != fold(status["host"])
    target = address if is_remote else Address(None, address.path)
    try:
        return os.getxattr(client.file_of(target, mount), MAX_MESSAGE_SIZE).decode()
    except OSError:  # it takes permission to read
        if is_remote:
            return f"{REMOTE_MESSAGE_SIZE} (to Windows and Samba some less)"
        return status["max_message_size"]


def explain(
    error: OSError,
    address: Address,
    path: str,
    mount: str,
    size: int,
    proposal: str | None = None,
) -> CommandError:
    """What to tell about an error of a write to an address.

    Args:
        size: of the message, in bytes.
        proposal: the command to propose where nobody listens; None for msfs listen.
    """
    name = "/".join(address.path)
    match error.errno:
        case errno.ENOENT:
            proposal = proposal or f"msfs listen {quoted(name)}"
            return CommandError(f"nobody listens at {path} ({proposal})", Exit.NO_SLOT)
        case errno.ENOSPC:
            return CommandError(f"{path}: {_no_room(mount, size)}; try again later")
        case errno.ENOBUFS:
            return CommandError(f"{path}: too much is on its way to other hosts; try again later")
        case errno.EHOSTUNREACH if address.host == "*":
            return CommandError(f"{path}: this mount is in no domain (man msfs.toml)")
        case errno.EHOSTUNREACH:
            return CommandError(
                f"{path}: no host or domain {address.host} can be reached from here (msfs peers), "
                f"nor is there a directory of that name in {mount}"
            )
        case errno.EACCES if os.access(mount, os.X_OK):
            return CommandError(
                f"{path}: you may not write there (its owner: chmod o+w {quoted(path)})"
            )
        case errno.EISDIR:
            return CommandError(f"{path} is a directory, not a slot (msfs ls {quoted(name)})")
    return targets.refusal(error, path, mount)


def _no_room(mount: str, size: int) -> str:
    """Which limit a message has met: the mount's, the user's share, or the slot's own."""
    from msfs_fuse.core.shares import share_of, usable_by_all

    status = targets.read_status(mount)
    share = int(status["max_user_share"])
    mine = targets.holdings(status.get(f"user {os.geteuid()}", ""))
    is_root = os.geteuid() == 0
    for what, limit, more in (("bytes", "max_bytes", size), ("messages", "max_total_messages", 1)):
        most, held, queued = int(status[limit]), mine.get(what, 0), int(status[what])
        if not is_root and held + more > share_of(most, share):
            return (
                f"{held} {what} of yours wait to be read, in all slots, and your share is "
                f"{share} % of {most} (max_user_share of {limit})"
            )
        if queued + more > (most if is_root else usable_by_all(most)):
            return f"the mount is full: {queued} {what} wait to be read, of {most} ({limit})"
    return (
        "the slot is full: its server has to read first (limits: max_slot_bytes "
        f"{status['max_slot_bytes']}, max_messages {status['max_messages']})"
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    completed(
        parser.add_argument("target", metavar="TARGET", help="the slot, see below"), "targets"
    )
    parser.add_argument("text", metavar="TEXT", nargs="?", help="the message, if not stdin")
    parser.add_argument(
        "--wait",
        type=arguments.seconds,
        default=0,
        metavar="SECONDS",
        help="how long to wait until somebody serves the slot, or its host is known",
    )


def _run(args: argparse.Namespace) -> Exit:
    send(find_mount(args.mount), args.target, args.text, args.wait)
    return Exit.OK


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True)
