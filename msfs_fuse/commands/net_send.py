"""`msfs net-send`: a message to people, as NET SEND of Windows wrote it."""

import argparse
import contextlib
import os
import pwd
import socket

from msfs_fuse import client
from msfs_fuse.commands import arguments, targets
from msfs_fuse.commands.command import Command, completed
from msfs_fuse.commands.send import read_stdin, send
from msfs_fuse.core.names import fold
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import find_mount
from msfs_fuse.programs import FormatError, messenger
from msfs_fuse.programs import messenger_session as session
from msfs_fuse.programs.messenger import Notice

_EPILOG = """\
TO is one of
  HOST, USER@HOST  a host, or somebody there; . stands for this host
  DOMAIN           everybody in a domain
  '*'              everybody in the primary domain
With [netbios] HOST and DOMAIN may also be a host and a workgroup of Samba and Windows.

TEXT is what is said; without it, it is read from standard input. It has to fit into one message:
424 bytes with the names, if it goes to other hosts. msfs messenger shows it there. Nothing confirms
that anybody has seen it.

With --session the message goes by an SMB session on TCP port 139, as smbclient -M sends it, and may
have up to 8192 bytes: HOST is a host's name or address, and no mailslots need to be mounted. Such
a message is neither encrypted nor proven. It is confirmed that the other end took it.

exit codes:
  0  sent
  1  not sent, and why
  2  the command line is wrong
  3  no mailslots are mounted, or more than one mount to choose from
  4  nobody listens there
"""

_SESSION_TIMEOUT = 10.0  # seconds for each step
_LONGEST_LABEL = 15  # bytes of a NetBIOS name


def user_name() -> str:
    """Who runs this, by name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def check_recipient(to: str) -> None:
    """Whether that can be a TO at all.

    Raises:
        CommandError: it cannot.
    """
    if not to.rpartition("@")[2] or "/" in to or "\\" in to:
        raise CommandError(f"{to!r} is neither HOST, USER@HOST, a domain nor '*'", Exit.USAGE)


def net_send(
    mount: str, to: str, text: str, sender: str, code_page: str = "utf-8", wait: float = 0
) -> None:
    """Send a message to people, by the slot `MESSNGR`.

    Args:
        to: as in the help of the command.
        sender: who says so.
        code_page: what the receivers read, if that is not UTF-8.
        wait: seconds to wait until a messenger is here, or the host is known.

    Raises:
        CommandError: it was not sent, and why.
    """
    check_recipient(to)
    user, _, host = to.rpartition("@")
    own_host = targets.read_status(mount)["host"]
    host = own_host if host == "." else host
    is_here = fold(host) == fold(own_host)
    target = messenger.SLOT if is_here else f"@{host}/{messenger.SLOT}"
    try:
        body = messenger.encode(Notice(sender, user or host, text), code_page)
    except FormatError as error:
        raise CommandError(f"{to}: {error}") from None
    send(mount, target, body, wait, proposal="msfs messenger")


def send_by_session(host: str, to: str, text: str, sender: str, code_page: str) -> None:
    """Send a message to people by an SMB session.

    Args:
        host: its name or address.
        to: who there is meant.

    Raises:
        CommandError: it was not sent, and why.
    """
    label = to.encode(code_page, "replace")[:_LONGEST_LABEL].decode(code_page, "replace")
    calling = sender.encode(code_page, "replace")[:_LONGEST_LABEL].decode(code_page, "replace")
    packets = session.PacketBuffer()
    steps = session.converse(Notice(calling, label, text), code_page)
    try:
        request = next(steps)
        with socket.create_connection((host, session.PORT), _SESSION_TIMEOUT) as connection:
            while True:
                connection.sendall(request)
                replies: list[session.Packet] = []
                while not replies:
                    data = connection.recv(session.MAX_PACKET)
                    if not data:
                        raise CommandError(f"{host}: the other end hung up")
                    replies = packets.feed(data)
                with contextlib.suppress(IndexError):
                    request = steps.send(replies.pop(0))
    except StopIteration:
        return
    except (FormatError, session.Refused) as error:
        raise CommandError(f"{host}: {error}") from None
    except OSError as error:
        raise CommandError(
            f"{host}: no session on TCP port {session.PORT}: {error.strerror or error}"
        ) from None


def _read_text() -> str:
    return read_stdin(client.LONGEST_MESSAGE).decode(errors="replace").rstrip("\n")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    completed(parser.add_argument("to", metavar="TO", help="to whom, see below"), "hosts")
    parser.add_argument("text", metavar="TEXT", nargs="?", help="what, if not stdin")
    parser.add_argument("--from", dest="sender", metavar="NAME", help="who says so (your name)")
    parser.add_argument(
        "--wait",
        type=arguments.seconds,
        default=0,
        metavar="SECONDS",
        help="how long to wait until a messenger is here, or the host is known",
    )
    parser.add_argument("--session", action="store_true", help="by an SMB session")
    parser.add_argument(
        "--code-page",
        type=arguments.code_page,
        metavar="NAME",
        help="what the receivers read, if not UTF-8 (with --session cp850)",
    )


def _run(args: argparse.Namespace) -> Exit:
    text = _read_text() if args.text is None else args.text
    if not text:
        raise CommandError("there is nothing to say")
    sender = args.sender or user_name()
    if args.session:
        if args.wait:
            raise CommandError("--wait is for messages by mailslot, not by --session", Exit.USAGE)
        user, _, host = args.to.rpartition("@")
        send_by_session(host, user or host, text, sender, args.code_page or messenger.OEM_CODE_PAGE)
    else:
        mount = find_mount(args.mount)
        net_send(mount, args.to, text, sender, args.code_page or "utf-8", args.wait)
    return Exit.OK


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True)
