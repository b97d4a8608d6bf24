"""`msfs ls`: list slots and directories."""

import argparse
import os
import stat

from msfs_fuse.commands import output, targets
from msfs_fuse.commands.command import Command, completed
from msfs_fuse.commands.nodes import attributes, octal, user_name
from msfs_fuse.core.names import CONTROL_DIRECTORY
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import find_mount

_EPILOG = """\
The columns are the permissions, the owner, the messages queued, the size of the next one in bytes,
and the time of the last write. A dash means that there is none, or that you may not read it.
"""

_HEADER = ("NAME", "MODE", "OWNER", "MESSAGES", "NEXT", "WRITTEN")
_NUMBERS = {"MESSAGES", "NEXT"}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    completed(
        parser.add_argument(
            "directory", metavar="DIR", nargs="?", default=".", help="below the mount"
        ),
        "slots",
    )


def _run(args: argparse.Namespace) -> Exit:
    mount, directory = find_mount(args.mount), args.directory
    below = os.path.normpath(directory)
    if os.path.isabs(below) or below.split("/")[0] == "..":
        raise CommandError(
            f"{directory} is not below {mount}: leave out the path of the mount (DIR, or nothing)",
            Exit.USAGE,
        )
    path = os.path.normpath(os.path.join(mount, below))
    try:
        names = sorted(os.listdir(path))
    except NotADirectoryError:
        raise CommandError(
            f"{path} is not a directory (msfs info {output.quoted(below)})"
        ) from None
    except FileNotFoundError:
        raise CommandError(f"{path}: no such directory", Exit.NO_SLOT) from None
    except OSError as error:
        raise targets.refusal(error, path, mount) from None
    entries = []
    for name in names:
        try:
            if name != CONTROL_DIRECTORY or path != mount:
                entries.append(_entry(os.path.join(path, name), name))
        except FileNotFoundError:
            continue  # gone since
    if args.json:
        output.print_json(entries)
    else:
        output.print_table(_HEADER, map(_row, entries), right=_NUMBERS)
    return Exit.OK


def _entry(path: str, name: str) -> dict[str, output.Fact]:
    """What is told of one name, as JSON has it."""
    node = os.lstat(path)
    is_directory = stat.S_ISDIR(node.st_mode)
    values = {} if is_directory else attributes(path)
    known = {key: output.typed(key, text) for key, text in values.items() if text is not None}
    return {
        "name": name,
        "type": "directory" if is_directory else "slot",
        "mode": octal(node),
        "owner": user_name(node.st_uid),
        "messages": known.get("message_count"),
        "next_size": known.get("next_size"),
        "written_at": node.st_mtime,
    }


def _row(entry: dict[str, output.Fact]) -> list[str]:
    cells = [output.ABSENT if value is None else str(value) for value in entry.values()]
    name, kind, *cells, _ = cells
    written = entry["written_at"]
    assert isinstance(written, float)
    return [name + "/" * (kind == "directory"), *cells, output.local_time(written)]


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True, json=True)
