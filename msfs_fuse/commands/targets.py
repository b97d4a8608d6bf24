r"""From what people type to a path below the mount, and from an error to what to do about it.

People type `NAME`, `DIR/NAME`, `@HOST/NAME`, `HOST/NAME` and `\\HOST\mailslot\NAME`.
"""

import errno
import os

from msfs_fuse.commands.output import quoted
from msfs_fuse.core.names import CONTROL_DIRECTORY, REMOTE_MARK, Address
from msfs_fuse.errors import CommandError, Exit

_UNC_MARK = "\\\\"


def parse(text: str, mount: str) -> Address:
    r"""The address of a slot, on this host or another one.

    `A/NAME` is a slot in the directory A if the mount has one, and else one on the host A.

    Raises:
        CommandError: the text names no slot.
    """
    try:
        if text.startswith(_UNC_MARK):
            return Address.from_unc(text)
        first, slash, _ = text.partition("/")
        if slash and first and not os.path.isdir(os.path.join(mount, first)):
            return Address.from_path(REMOTE_MARK + text.removeprefix(REMOTE_MARK))
        return Address.from_path(text)
    except ValueError as error:
        raise CommandError(f"{text or repr(text)} names no slot: {error}", Exit.USAGE) from None


def parse_local(text: str) -> Address:
    r"""The address of a slot on this host: `NAME`, `DIR/NAME` or `\\.\mailslot\NAME`.

    Raises:
        CommandError: the text names no slot, or one on another host.
    """
    try:
        unc = text.startswith(_UNC_MARK)
        address = Address.from_unc(text) if unc else Address.from_path(text)
    except ValueError as error:
        raise CommandError(f"{text or repr(text)} names no slot: {error}", Exit.USAGE) from None
    if address.host is not None:
        raise CommandError(
            f"{text}: a slot on another host can be written, but neither read nor looked at",
            Exit.USAGE,
        )
    return address


def path_of(address: Address, mount: str) -> str:
    """The file to open.

    Nested names on another host are written with backslashes: that needs no directories there.
    """
    if address.host is None:
        return os.path.join(mount, *address.path)
    return os.path.join(mount, REMOTE_MARK + address.host, "\\".join(address.path))


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
    except OSError as error:
        raise refusal(error, path, mount) from None
    return dict(line.split(": ", 1) for line in lines)
