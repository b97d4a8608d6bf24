"""From settings to the way to other hosts."""

import time

from msfs_fuse.core.network import Router, Routers
from msfs_fuse.net.domain import Domain
from msfs_fuse.net.keyring import Keyring, load_keyring
from msfs_fuse.net.private_file import SecretError
from msfs_fuse.net.router import DomainRouter, Member
from msfs_fuse.net.settings import DomainSettings, NetworkSettings
from msfs_fuse.net.transport import Transport


class NetworkError(Exception):
    """A network that cannot be used as it is configured; the message says why, for people."""


def make_router(settings: NetworkSettings, host: str) -> Router:
    """The way to other hosts.

    Args:
        host: what other hosts call this one.

    Raises:
        NetworkError: a key, password, certificate, library or the name of the host cannot be used.
    """
    members = []
    for each in settings.domains:
        transports, keyring = load(each, host)
        try:
            domain = Domain(each.name, host, keyring, time.time_ns() // 1_000_000)
        except ValueError as error:
            raise NetworkError(f"domain {each.name}: {error}") from None
        members.append(Member(domain, transports))
    routers: list[Router] = [DomainRouter(host, members)] if members else []
    if settings.netbios is not None:
        from msfs_fuse.net.netbios.router import NetbiosRouter

        try:
            routers.append(NetbiosRouter(host, settings.netbios, beside_domains=bool(members)))
        except ValueError as error:
            raise NetworkError(f"netbios: {error}") from None
    return Routers(*routers)


def load(settings: DomainSettings, host: str) -> tuple[list[Transport], Keyring]:
    """What a domain needs, with all files read that its settings name. Nothing is opened to others.

    Raises:
        NetworkError: something of it cannot be used.
    """
    try:
        transports = [each.make(settings.name, host) for each in settings.transports]
        return transports, load_keyring(settings.keyring)
    except (SecretError, ImportError) as error:
        raise NetworkError(f"domain {settings.name}: {error}") from None
