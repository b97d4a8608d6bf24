"""`msfs ls`, `msfs info`, `msfs status` and `msfs peers`: what there is, for people and as JSON."""

import errno
import grp
import os
import pwd
import stat

from msfs_fuse.commands import output, targets
from msfs_fuse.core.attributes import PREFIX
from msfs_fuse.core.names import CONTROL_DIRECTORY
from msfs_fuse.errors import CommandError, Exit

_TIMES = ("written_at", "read_at", "sent_at")

_HEADER = ("NAME", "MODE", "OWNER", "MESSAGES", "NEXT", "WRITTEN")
_NUMBERS = {"MESSAGES", "NEXT"}


def ls(mount: str, directory: str, *, as_json: bool) -> None:
    """List the slots and directories in a directory below the mount.

    Raises:
        CommandError: it cannot be listed.
    """
    below = os.path.normpath(directory)
    if os.path.isabs(below) or below.split("/")[0] == "..":
        raise CommandError(f"{directory}: name a directory in {mount}, from there", Exit.USAGE)
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
    if as_json:
        output.print_json(entries)
    else:
        output.print_table(_HEADER, map(_row, entries), right=_NUMBERS)


def info(mount: str, name: str, *, as_json: bool) -> None:
    """Show all that can be known of a slot.

    Raises:
        CommandError: there is no such slot, or it cannot be looked at.
    """
    address = targets.parse_local(name)
    path = targets.path_of(address, mount)
    try:
        node = os.lstat(path)
        attributes = _attributes(path)
    except OSError as error:
        raise targets.refusal(error, path, mount) from None
    if stat.S_ISDIR(node.st_mode):
        raise CommandError(f"{path} is a directory (msfs ls {output.quoted(name)})")
    facts: dict[str, output.Fact] = {
        "slot": address.to_path(),
        "path": path,
        "unc": address.to_unc(),
        "owner": _user_name(node.st_uid),
        "group": _group_name(node.st_gid),
        "mode": _octal(node),
        "written_at": node.st_mtime,
        "read_at": node.st_atime,
        **{key: text and output.typed(key, text) for key, text in attributes.items()},
    }
    if as_json:
        output.print_json(facts)
        return
    for key, value in facts.items():
        if key in _TIMES and isinstance(value, float):
            facts[key] = output.local_time(value)
        elif value is None:
            facts[key] = attributes[key] or output.ABSENT
    output.print_facts(facts)


def status(mount: str, *, as_json: bool) -> None:
    """Show what the mount says about itself.

    Raises:
        CommandError: it says nothing.
    """
    facts = targets.read_status(mount)
    if as_json:
        output.print_json({name: output.typed(name, text) for name, text in facts.items()})
    else:
        output.print_facts(facts)


def peers(mount: str, *, as_json: bool) -> None:
    """List the hosts that the mount has heard of late, for each domain.

    Raises:
        CommandError: the mount does not tell.
    """
    path = os.path.join(mount, CONTROL_DIRECTORY, "peers")
    try:
        with open(path, encoding="ascii") as file:
            header, *rows = (line.split("\t") for line in file.read().splitlines() or [""])
    except OSError as error:
        raise targets.refusal(error, path, mount) from None
    if as_json:
        output.print_json(
            [
                {
                    "domain": domain,
                    "host": host,
                    "address": address,
                    "seconds_since_heard": int(heard),
                }
                for domain, host, address, heard in rows
            ]
        )
    elif header != [""]:
        output.print_table(header, rows, right={"HEARD"})


def _attributes(path: str) -> dict[str, str | None]:
    """The attributes of a slot; None for those that we may not read."""
    values: dict[str, str | None] = {}
    for name in os.listxattr(path):
        key = name.removeprefix(PREFIX)
        try:
            values[key] = os.fsdecode(os.getxattr(path, name))
        except PermissionError:
            values[key] = None
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
    return values


def _entry(path: str, name: str) -> dict[str, output.Fact]:
    """What `ls` tells of one name, as JSON has it."""
    node = os.lstat(path)
    is_directory = stat.S_ISDIR(node.st_mode)
    attributes = {} if is_directory else _attributes(path)
    known = {key: output.typed(key, text) for key, text in attributes.items() if text is not None}
    return {
        "name": name,
        "type": "directory" if is_directory else "slot",
        "mode": _octal(node),
        "owner": _user_name(node.st_uid),
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


def _octal(node: os.stat_result) -> str:
    return f"{stat.S_IMODE(node.st_mode):04o}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
