"""`msfs status`: show what the mount says about itself."""

import argparse

from msfs_fuse.commands import output, targets
from msfs_fuse.commands.command import Command
from msfs_fuse.errors import Exit
from msfs_fuse.mounts import find_mount


def _run(args: argparse.Namespace) -> Exit:
    facts = targets.read_status(find_mount(args.mount))
    if args.json:
        output.print_json({name: output.typed(name, text) for name, text in facts.items()})
    else:
        output.print_facts(facts)
    return Exit.OK


COMMAND = Command(_run, uses_mount=True, json=True)
