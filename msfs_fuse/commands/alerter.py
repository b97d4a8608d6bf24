"""`msfs alerter`: what programs of this host raise, told to people by net-send."""

import argparse
import math
import os
import time

from msfs_fuse.client import Mailslot
from msfs_fuse.commands import arguments, targets
from msfs_fuse.commands.command import Command, completed
from msfs_fuse.commands.net_send import check_recipient, net_send
from msfs_fuse.commands.output import complain, emit, printable, standard_output
from msfs_fuse.commands.serving import EXIT_CODES, go_on, messages, serve
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import find_mount
from msfs_fuse.programs import FormatError, alerter
from msfs_fuse.programs.folding import Folder

_EPILOG = f"""\
Any program of this host may write to the slot Alerter: plain text, or a STD_ALERT as Windows
programs raise it (NetAlertRaise). Each alert goes to each TO, which is as for msfs net-send. Alerts
that are too long for a message are cut. Other hosts cannot write to the slot.

The unit msfs-alerter.service runs it, and is the way to have it always: TO= in
/etc/default/msfs-alerter. -b is for scripts. What nobody could be told is reported on stderr.

Of many alerts in short time five are sent at once, then one every two seconds, and the number of
the others.

{EXIT_CODES}"""

_SLOT_MODE = 0o622  # everybody may write
_SENDER = "Alerter"
_SUMMARY_SECONDS = 2.0
_ELLIPSIS = "…"


def describe(data: bytes) -> str:
    """What people are told of an alert or a text; others' bytes, so all that is none is escaped."""
    try:
        text = alerter.describe(alerter.decode(data)) if alerter.is_alert(data) else None
    except FormatError:
        text = None
    if text is None:
        text = data.rstrip(b"\0\n").decode(errors="replace")
    return "\n".join(printable(line) for line in text.split("\n"))


def cut(text: str, size: int) -> str:
    """As much of a text as fits into so many bytes of UTF-8, line ends counted as two."""
    if len(text.replace("\n", "\r\n").encode()) <= size:
        return text
    while len((text + _ELLIPSIS).replace("\n", "\r\n").encode()) > size:
        text = text[:-1]
    return text + _ELLIPSIS


class _Alerter:
    def __init__(self, mount: str, recipients: list[str], *, prints: bool) -> None:
        self._mount = mount
        self._recipients = recipients
        self._prints = prints
        self._folder = Folder()

    def take(self, data: bytes) -> None:
        """Tell people of an alert, or count it."""
        text = describe(data)
        if self._prints:
            emit(f"{text}\n".encode())
        if self._folder.admits(time.monotonic()):
            self._tell(text)

    @property
    def patience(self) -> float:
        """In how many seconds `summarise` has something to say."""
        return _SUMMARY_SECONDS if self._folder.held else math.inf

    def summarise(self) -> None:
        """Tell how many alerts were only counted, if any."""
        held = self._folder.release()
        if held:
            self._tell(f"{held} more alerts in short time")

    def _tell(self, text: str) -> None:
        for to in self._recipients:
            room = REMOTE_MESSAGE_SIZE - len(f"{_SENDER}\0{to}\0\0".encode())
            try:
                net_send(self._mount, to, cut(text, room), _SENDER)
            except CommandError as error:
                complain(f"{error}; not told to {to}: {text}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    completed(
        parser.add_argument("recipients", metavar="TO", nargs="+", help="whom to tell"), "hosts"
    )
    parser.add_argument("--print", action="store_true", help="print each alert, too")
    arguments.add_serving(parser)


def _serve(mount: str) -> Mailslot:
    slot = serve(alerter.SLOT, mount, mode=_SLOT_MODE)
    try:
        os.chmod(slot.path, _SLOT_MODE)  # whatever the umask
        slot.network = False
    except OSError as error:
        raise targets.refusal(error, slot.path, mount) from None
    return slot


def _run(args: argparse.Namespace) -> Exit:
    mount = find_mount(args.mount)
    end = math.inf if args.seconds is None else time.monotonic() + args.seconds
    service = _Alerter(mount, args.recipients, prints=args.print)
    watched = standard_output() if args.print else None
    for to in args.recipients:
        check_recipient(to)
    taken = 0
    with StopSignals() as signals, _serve(mount) as slot:
        go_on([slot.name], background=args.background)
        while taken != args.count:
            now = time.monotonic()
            deadline = min(end, now + service.patience)
            coming = messages([slot], mount, signals, watched=watched, deadline=deadline)
            message = next(coming, None)
            if message is not None:
                taken += 1
                service.take(message[1])
                continue
            service.summarise()
            if time.monotonic() >= end:
                break
        service.summarise()
    return Exit.OK


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True)
