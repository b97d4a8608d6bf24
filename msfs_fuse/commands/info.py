"""`msfs info`: show all that is known of a slot."""

import argparse
import os
import stat

from msfs_fuse.client import file_of
from msfs_fuse.commands import output, targets
from msfs_fuse.commands.command import Command, completed
from msfs_fuse.commands.nodes import attributes, group_name, octal, user_name
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import find_mount

_EPILOG = """\
The lines below read_at are the attributes user.mailslot.* of the slot, see getfattr(1). Those of
the sender are about the message read last. read_timeout is in milliseconds. The owner can set
max_message_size, read_timeout, short_read and network, with setfattr(1).
With --json numbers are numbers, times are seconds since 1970, and null is what there is not or
what you may not read.
"""

_TIMES = ("written_at", "read_at", "sent_at")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    completed(parser.add_argument("name", metavar="NAME", help="a slot on this host"), "slots")


def _run(args: argparse.Namespace) -> Exit:
    mount = find_mount(args.mount)
    address = targets.parse_local(args.name)
    path = file_of(address, mount)
    try:
        node = os.lstat(path)
        values = attributes(path)
    except OSError as error:
        raise targets.refusal(error, path, mount) from None
    if stat.S_ISDIR(node.st_mode):
        raise CommandError(f"{path} is a directory (msfs ls {output.quoted(args.name)})")
    facts: dict[str, output.Fact] = {
        "slot": address.to_path(),
        "path": path,
        "unc": address.to_unc(),
        "owner": user_name(node.st_uid),
        "group": group_name(node.st_gid),
        "mode": octal(node),
        "written_at": node.st_mtime,
        "read_at": node.st_atime,
        **{key: text and output.typed(key, text) for key, text in values.items()},
    }
    if args.json:
        output.print_json(facts)
        return Exit.OK
    for key, value in facts.items():
        if key in _TIMES and isinstance(value, float):
            facts[key] = output.local_time(value)
        elif key in values:
            facts[key] = values[key] or output.ABSENT  # the attribute's own word
    output.print_facts(facts)
    return Exit.OK


COMMAND = Command(_run, _add_arguments, _EPILOG, uses_mount=True, json=True)
