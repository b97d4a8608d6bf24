"""`msfs config --check`: read the configuration and the files that it names."""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msfs_fuse.commands import output
from msfs_fuse.commands.command import Command
from msfs_fuse.config.file import read_configuration
from msfs_fuse.core.names import fold
from msfs_fuse.errors import CommandError, Exit

if TYPE_CHECKING:
    from msfs_fuse.net.settings import DomainSettings
    from msfs_fuse.net.trust.identity import Identity


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

    identities = []
    for domain in network.domains:
        try:
            identity, _ = load(domain)
        except NetworkError as error:
            raise CommandError(str(error)) from None
        identities.append(identity)
        ways = ", ".join(map(str, domain.transports))
        output.print_lines(
            [f"domain {identity.domain}: host {identity.host}, {ways}, {domain.member}"]
        )
        show_keys(identity.keys)
    output.print_lines(_oddities(network.domains, identities))
    if network.netbios is not None:
        output.print_lines([str(network.netbios)])
    return Exit.OK


def _oddities(
    domains: Sequence["DomainSettings"], identities: Sequence["Identity"]
) -> Iterator[str]:
    """What can be used, but may not be meant."""
    ports: dict[int, str] = {}
    names = {fold(each.domain) for each in identities}
    for domain, identity in zip(domains, identities, strict=True):
        if fold(identity.host) in names:
            yield f"warning: host {identity.host} is called like a domain: @{identity.host} is that"
        for transport in domain.transports:
            port = getattr(transport, "port", None)
            if port is None:
                continue
            if port in ports:
                yield (
                    f"warning: domains {ports[port]} and {identity.domain} both want UDP port "
                    f"{port}: one gets another, where static peers do not find it"
                )
            ports.setdefault(port, identity.domain)


COMMAND = Command(_run, _add_arguments)
