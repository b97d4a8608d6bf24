r"""From what people type to a path below the mount, and from an error to what to do about it.

People type `NAME`, `DIR/NAME`, `@HOST/NAME`, `HOST/NAME` and `\\HOST\mailslot\NAME`.
"""

import errno
import os

from msfs_fuse import client
from msfs_fuse.commands.output import quoted
from msfs_fuse.core.names import CONTROL_DIRECTORY, Address
from msfs_fuse.errors import CommandError, Exit


def parse(text: str, mount: str) -> Address:
    r"""The address of a slot, on this host or another one.

    `A/NAME` is a slot in the directory A if the mount has one, and else one on the host A.

    Raises:
        CommandError: the text names no slot.
    """
    try:
        return client.parse_target(text, mount)
    except ValueError as error:
        raise _no_name(text, error) from None


def _no_name(text: str, error: ValueError) -> CommandError:
    if text.startswith("/") and text != "/":
        return CommandError(
            f"{text} is a path: leave out that of the mount (NAME, or DIR/NAME)", Exit.USAGE
        )
    why = str(error).partition(": ")[0]  # the rest is the text once more
    return CommandError(f"{text or repr(text)} names no slot: {why}", Exit.USAGE)


def parse_local(text: str) -> Address:
    r"""The address of a slot on this host: `NAME`, `DIR/NAME` or `\\.\mailslot\NAME`.

    Raises:
        CommandError: the text names no slot, or one on another host.
    """
    try:
        return client.parse_name(text)
    except ValueError as error:
        raise _no_name(text, error) from None


def refusal(error: OSError, path: str, mount: str) -> CommandError:
    """What to tell about an error that any use of a path below the mount may meet."""
    if error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV):
        return CommandError(
            f"the mount at {mount} has died or is gone (msfs mount {quoted(mount)})", Exit.NO_MOUNT
        )
    if error.errno == errno.EACCES and not os.access(mount, os.X_OK):
        return CommandError(f"{mount} is for its owner alone (mount it with -o allow_other)")
    if error.errno == errno.ENOENT:
        name = os.path.relpath(path, mount)
        return CommandError(f"{path}: no such slot (msfs listen {quoted(name)})", Exit.NO_SLOT)
    return CommandError(f"{path}: {error.strerror}")


def read_status(mount: str) -> dict[str, str]:
    """What the mount says about itself, by name.

    Raises:
        CommandError: it says nothing.
    """
    path = os.path.join(mount, CONTROL_DIRECTORY, "status")
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:  # another directory is there now
        raise refusal(OSError(errno.ENOTCONN, ""), path, mount) from None
    except OSError as error:
        raise refusal(error, path, mount) from None
    return dict(line.split(": ", 1) for line in lines)


def holdings(text: str) -> dict[str, int]:
    """What a user holds, by a `user UID` line of the status, such as `bytes 5 handles 2`.

    Only the users who hold most have such a line.
    """
    words = text.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))
