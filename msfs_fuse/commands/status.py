"""`msfs status`: show what the mount says about itself."""

import argparse

from msfs_fuse.commands import output, targets
from msfs_fuse.commands.command import Command
from msfs_fuse.errors import Exit
from msfs_fuse.mounts import find_mount

# Begins the name of a line that tells what a user holds.
_USER = "user "


def _run(args: argparse.Namespace) -> Exit:
    facts = targets.read_status(find_mount(args.mount))
    if args.json:
        users = [
            {"uid": int(name.removeprefix(_USER)), **targets.holdings(text)}
            for name, text in facts.items()
            if name.startswith(_USER)
        ]
        others = {
            name: output.typed(name, text)
            for name, text in facts.items()
            if not name.startswith(_USER)
        }
        output.print_json({**others, "users": users})
    else:
        output.print_facts(facts)
    return Exit.OK


COMMAND = Command(_run, uses_mount=True, json=True)
