"""`msfs peers`: list the other hosts that the mount knows to be there, for each domain."""

import argparse
import os

from msfs_fuse.commands import output, targets
from msfs_fuse.commands.command import Command
from msfs_fuse.core.names import CONTROL_DIRECTORY
from msfs_fuse.errors import Exit
from msfs_fuse.mounts import find_mount


def _run(args: argparse.Namespace) -> Exit:
    mount = find_mount(args.mount)
    path = os.path.join(mount, CONTROL_DIRECTORY, "peers")
    try:
        with open(path, encoding="ascii") as file:
            header, *rows = (line.split("\t") for line in file.read().splitlines() or [""])
    except OSError as error:
        raise targets.refusal(error, path, mount) from None
    if args.json:
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
    elif header == [""]:
        output.complain(
            "no domain is configured, so this mount knows no other hosts (man msfs.toml)"
        )
    else:
        output.print_table(header, rows, right={"HEARD"})
    return Exit.OK


COMMAND = Command(_run, uses_mount=True, json=True)
