"""`msfs peers`: list the other hosts that the mount knows to be there, for each domain."""

import argparse
import os
from typing import TypedDict

from msfs_fuse.commands import output, targets
from msfs_fuse.commands.command import Command
from msfs_fuse.core.names import CONTROL_DIRECTORY
from msfs_fuse.errors import Exit
from msfs_fuse.mounts import find_mount

HEADER = ("DOMAIN", "HOST", "ADDRESS", "HEARD")


class Peer(TypedDict):
    """Another host, as `.msfs/peers` and `msfs peers --json` have it."""

    domain: str
    host: str
    address: str
    seconds_since_heard: int


def read(mount: str) -> list[Peer] | None:
    """The other hosts that the mount knows; None if no network is configured.

    Raises:
        CommandError: the mount does not tell.
    """
    path = os.path.join(mount, CONTROL_DIRECTORY, "peers")
    try:
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise targets.refusal(error, path, mount) from None
    if not lines:
        return None
    peers = []
    for line in lines[1:]:
        domain, host, address, heard = line.split("\t")
        peers.append(
            Peer(domain=domain, host=host, address=address, seconds_since_heard=int(heard))
        )
    return peers


def rows(peers: list[Peer]) -> list[tuple[str, str, str, str]]:
    """The peers as people read them."""
    return [
        (peer["domain"], peer["host"], peer["address"], str(peer["seconds_since_heard"]))
        for peer in peers
    ]


def _run(args: argparse.Namespace) -> Exit:
    peers = read(find_mount(args.mount))
    if args.json:
        output.print_json(peers or [])
    elif peers is None:
        output.complain(
            "no domain is configured, so this mount knows no other hosts (man msfs.toml)"
        )
    else:
        output.print_table(HEADER, rows(peers), right={"HEARD"})
    return Exit.OK


COMMAND = Command(_run, uses_mount=True, json=True)
