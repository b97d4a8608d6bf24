"""From settings to the way to other hosts."""

import socket
import time

from msfs_fuse.core.names import fold
from msfs_fuse.core.network import Router, Routers
from msfs_fuse.net.member import Member
from msfs_fuse.net.private_file import SecretError
from msfs_fuse.net.router import DomainRouter
from msfs_fuse.net.settings import DomainSettings, NetworkSettings
from msfs_fuse.net.transport import Transport
from msfs_fuse.net.trust.identity import Identity, load_identity


class NetworkError(Exception):
    """A network that cannot be used as it is configured; the message says why, for people."""


def make_router(settings: NetworkSettings, host: str | None) -> tuple[Router, str | None]:
    """The way to other hosts, and the name of this one.

    Args:
        host: what this host is to be called; None for what its certificate says, or its host name.

    Raises:
        NetworkError: a key, password or certificate cannot be used, or proves another name.
    """
    members = [_member(domain, host) for domain in settings.domains]
    domains = [fold(each.name) for each in members]
    for domain in domains:
        if domains.count(domain) > 1:
            raise NetworkError(f"domain {domain} is there twice")
    name = host if host is not None or not members else members[0].host
    routers: list[Router] = [DomainRouter(members)] if members else []
    if settings.netbios is not None:
        from msfs_fuse.net.netbios.router import NetbiosRouter

        own = name or socket.gethostname().partition(".")[0]
        try:
            routers.append(NetbiosRouter(own, settings.netbios, beside_domains=bool(members)))
        except ValueError as error:
            raise NetworkError(f"netbios: {error}") from None
    return Routers(*routers), name


def load(settings: DomainSettings) -> tuple[Identity, list[Transport]]:
    """What a domain needs, with all files read that its settings name. Nothing is opened to others.

    Raises:
        NetworkError: something of it cannot be used.
    """
    try:
        identity = load_identity(settings.member, settings.name, time.time())
        return identity, [each.make(identity) for each in settings.transports]
    except (SecretError, ImportError) as error:
        about = "" if settings.name is None else f"domain {settings.name}: "
        raise NetworkError(f"{about}{error}") from None


def _member(settings: DomainSettings, host: str | None) -> Member:
    identity, transports = load(settings)
    if host is not None and fold(host) != fold(identity.host):
        raise NetworkError(
            f"domain {identity.domain}: {settings.member} is that of {identity.host}, and this "
            f"host is to be called {host} (leave the name out, or admit {host})"
        )
    return Member(identity, transports, says_hello=settings.presence == "all")
