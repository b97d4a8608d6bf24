"""What `msfs doctor` looks at if there are domains: their member files, the UDP port."""

import contextlib
import glob
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msfs_fuse.commands.check import Check, State
from msfs_fuse.mounts import daemon_of, is_alive, our_mounts
from msfs_fuse.net.assembly import NetworkError, load
from msfs_fuse.net.settings import DomainSettings
from msfs_fuse.net.udp.settings import UdpSettings

_TABLES = ("/proc/net/udp", "/proc/net/udp6")


class _Socket(NamedTuple):
    """A line of /proc/net/udp."""

    port: int
    uid: int
    inode: str


def check(domains: Sequence[DomainSettings]) -> Iterator[Check]:
    """Look at what it takes to reach the other hosts of these domains."""
    for domain in domains:
        yield _member(domain)
    transports = [transport for domain in domains for transport in domain.transports]
    for port in sorted({each.port for each in transports if isinstance(each, UdpSettings)}):
        yield _port(port)
        multicast = _port(port + 1)
        if multicast.state is not State.OK:
            yield multicast


def _member(domain: DomainSettings) -> Check:
    try:
        identity, _ = load(domain)
    except NetworkError as error:
        return Check("member", State.FAIL, str(error))
    message = f"domain {identity.domain}: {domain.member} makes this host {identity.host}"
    return Check("member", State.OK, message)


def _port(port: int) -> Check:
    strangers = strangers_at(port)
    if strangers is None:
        return Check("port", State.OK, f"UDP port {port} is free")
    for who in strangers:
        message = (
            f"UDP port {port} is taken{who}: stop that, or configure another port on all hosts of "
            "the domain"
        )
        return Check("port", State.WARN, message)
    return Check("port", State.OK, f"UDP port {port} is that of a mount")


def strangers_at(port: int) -> list[str] | None:
    """Who has a UDP port, but for mounts: ` by process 7 (nmbd)` each, or nothing where that cannot
    be seen. None if nobody has the port.
    """
    sockets = [each for each in _sockets() if each.port == port]
    if not sockets:
        return None
    ours = [(daemon_of(each), each.owner) for each in our_mounts() if is_alive(each.path)]
    daemons = {pid: owner for pid, owner in ours if pid is not None}
    holders = _holders({each.inode for each in sockets})
    strangers = []
    for sock in sockets:
        pid = holders.get(sock.inode)
        # Of another user's socket only the user can be seen.
        is_ours = pid in daemons if pid is not None else sock.uid in daemons.values()
        if not is_ours:
            strangers.append(f" by process {pid} ({_program(pid)})" if pid is not None else "")
    return strangers


def _sockets() -> Iterator[_Socket]:
    for table in _TABLES:
        with contextlib.suppress(OSError), open(table) as file:
            for words in map(str.split, list(file)[1:]):
                yield _Socket(int(words[1].rpartition(":")[2], 16), int(words[7]), words[9])


def _holders(inodes: set[str]) -> dict[str, int]:
    """The processes that have these sockets open, as far as they can be seen."""
    holders = {}
    links = {f"socket:[{inode}]": inode for inode in inodes}
    for path in glob.iglob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            inode = links.get(os.readlink(path))
            if inode is not None:
                holders[inode] = int(path.split("/")[2])
    return holders


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return "it has ended"
