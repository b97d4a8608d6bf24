"""From settings to the way to other hosts."""

import time

from msfs_fuse.core.network import Router, Routers
from msfs_fuse.net.domain import Domain
from msfs_fuse.net.keyring import Keyring, load_keyring
from msfs_fuse.net.private_file import SecretError
from msfs_fuse.net.router import DomainRouter, Member
from msfs_fuse.net.settings import DomainSettings, NetworkSettings


class NetworkError(Exception):
    """A network that cannot be used as it is configured; the message says why, for people."""


def make_router(settings: NetworkSettings, host: str) -> Router:
    """The way to other hosts.

    Args:
        host: what other hosts call this one.

    Raises:
        NetworkError: a key, password or certificate cannot be used, or the host's name.
    """
    members = [_member(domain, host) for domain in settings.domains]
    return Routers(DomainRouter(host, members)) if members else Routers()


def load_secrets(domain: DomainSettings) -> Keyring:
    """Read all files with secrets that a domain names, to see whether they can be used.

    Raises:
        NetworkError: one cannot.
    """
    try:
        for transport in domain.transports:
            transport.check()
        return load_keyring(domain.keyring)
    except SecretError as error:
        raise NetworkError(f"domain {domain.name}: {error}") from None


def _member(settings: DomainSettings, host: str) -> Member:
    try:
        transports = [each.make(settings.name, host) for each in settings.transports]
        keyring = load_keyring(settings.keyring)
        domain = Domain(settings.name, host, keyring, time.time_ns() // 1_000_000)
    except (SecretError, ValueError) as error:
        raise NetworkError(f"domain {settings.name}: {error}") from None
    return Member(domain, transports)
