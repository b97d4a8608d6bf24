"""`msfs config --check`: read the configuration and the files that it names."""

import argparse

from msfs_fuse.commands import output
from msfs_fuse.commands.command import Command
from msfs_fuse.config.file import read_configuration
from msfs_fuse.errors import CommandError, Exit


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check", action="store_true", required=True, help="say whether it and its keys are good"
    )
    parser.add_argument("--config", metavar="FILE", help="instead of the one in /etc or ~/.config")


def _run(args: argparse.Namespace) -> Exit:
    """Show what the configuration makes; the first thing that is wrong is an error."""
    network = read_configuration(args.config).network
    if network is None:
        output.print_lines(["no domain: other hosts are out of reach"])
        return Exit.OK
    from msfs_fuse.commands.keys import show_keys
    from msfs_fuse.net.assembly import NetworkError, load

    for domain in network.domains:
        try:
            _, keyring = load(domain, "localhost")
        except NetworkError as error:
            raise CommandError(str(error)) from None
        ways = ", ".join(map(str, domain.transports))
        output.print_lines([f"domain {domain.name}: {ways}, {domain.keyring}"])
        show_keys(keyring)
    if network.netbios is not None:
        output.print_lines([str(network.netbios)])
    return Exit.OK


COMMAND = Command(_run, _add_arguments)
