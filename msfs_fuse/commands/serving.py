"""What the commands that serve slots have in common: opening them, and taking messages in turn."""

import errno
import math
import os
import select
import sys
import time
from collections.abc import Iterator, Sequence

from msfs_fuse.client import NEW_SLOT_MODE, Mailslot, file_of
from msfs_fuse.commands import targets
from msfs_fuse.commands.output import complain, quoted
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.errors import CommandError, Exit, Stopped

SENDER_FACTS = ("sender_host", "sender_proof", "sender_uid", "sender_pid", "sent_at")

_MILLISECONDS = 1000

EXIT_CODES = """\
exit codes:
  0  ended by -n or -t
  1  failed; or a command or an answer did
  2  the command line is wrong
  3  no mailslots are mounted, more than one mount to choose from, or the mount is gone
"""


def serve(name: str, mount: str, *, mode: int = NEW_SLOT_MODE) -> Mailslot:
    r"""Open a slot of this host to read it.

    Args:
        name: `NAME`, `DIR/NAME` or `\\.\mailslot\NAME`.
        mode: of a new slot, less the umask.

    Raises:
        CommandError: it cannot be served, and why.
    """
    path = file_of(targets.parse_local(name), mount)
    try:
        return Mailslot(name, mount=mount, mode=mode)
    except OSError as error:
        raise _explain(error, path, mount) from None


def go_on(names: Sequence[str], *, background: bool) -> None:
    """Say that messages can be sent now: to a person, or by returning to who started us.

    Args:
        names: the slots that are served.
        background: this process ends, with exit code 0, and a child of it goes on.
    """
    if not background:
        if sys.stderr is not None and sys.stderr.isatty():
            complain(f"listening at {', '.join(names)} (Ctrl-C ends)")
        return
    if os.fork():
        os._exit(Exit.OK)
    os.setsid()  # ^C at the terminal is for others now


def messages(
    slots: Sequence[Mailslot],
    mount: str,
    signals: StopSignals,
    *,
    watched: int | None = None,
    deadline: float = math.inf,
) -> Iterator[tuple[Mailslot, bytes]]:
    """Each message as it comes, one from each slot in turn, until the deadline.

    A message is taken only when it is asked for, and only when nothing speaks against it: what
    has been taken cannot be put back.

    Args:
        watched: a descriptor that tells, by an error in poll(2), that nobody is there any more.
        deadline: by time.monotonic().

    Raises:
        CommandError: the mount is gone.
        Stopped: by a signal.
        BrokenPipeError: nobody is at the other end of `watched` any more.
    """
    ends, anything = select.poll(), select.poll()
    for poll in (ends, anything):
        poll.register(signals, select.POLLIN)
        if watched is not None:
            poll.register(watched, 0)
    for slot in slots:
        anything.register(slot, select.POLLIN)

    while True:
        idle = True
        for slot in slots:
            ended = ends.poll(0)
            if signals.caught is not None:
                raise Stopped(signals.caught)
            if any(fd == watched for fd, _ in ended):
                raise BrokenPipeError
            if time.monotonic() >= deadline:
                return
            try:
                message = slot.take()
            except OSError as error:
                raise targets.refusal(error, slot.path, mount) from None
            if message is not None:
                idle = False
                yield slot, message
        if idle:
            rest = deadline - time.monotonic()
            anything.poll(None if rest == math.inf else math.ceil(max(rest, 0) * _MILLISECONDS))


def sender_facts(slot: Mailslot, mount: str) -> dict[str, str]:
    """SENDER_FACTS of the message taken last, as far as they are known, as text.

    Raises:
        CommandError: the mount is gone.
    """
    try:
        facts = {name: slot.attribute(name) for name in SENDER_FACTS}
    except OSError as error:
        raise targets.refusal(error, slot.path, mount) from None
    return {name: value for name, value in facts.items() if value is not None}


def _explain(error: OSError, path: str, mount: str) -> CommandError:
    parent = os.path.dirname(path)
    match error.errno:
        case errno.ENOENT:
            return CommandError(f"{path}: there is no such directory (mkdir -p {quoted(parent)})")
        case errno.EISDIR:
            return CommandError(f"{path} is a directory: name a slot in it")
        case errno.EDQUOT:
            return CommandError(f"{path}: you have too many slots (max_slots_per_user)")
        case errno.EACCES if os.access(path, os.R_OK):
            return CommandError(
                f"{path} has a server already: only one can listen (fuser -v {quoted(path)})"
            )
        case errno.EACCES if os.path.exists(path):
            return CommandError(f"{path} is another user's slot: only its owner can listen")
        case errno.EACCES if os.access(mount, os.X_OK):
            return CommandError(f"{path}: you may not create slots in {parent}")
        case errno.EPERM:
            return CommandError(f"{path}: names with @ or .msfs in front are reserved")
    return targets.refusal(error, path, mount)
