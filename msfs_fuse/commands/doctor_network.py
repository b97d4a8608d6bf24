"""What `msfs doctor` looks at if there are domains: their keys, the UDP port, the clock."""

import contextlib
import ctypes
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

# <sys/timex.h>: what adjtimex(2) returns for a clock that nothing keeps right, and more room than
# its struct timex takes. All zeros change nothing.
_TIME_ERROR = 5
_TIMEX_SIZE = 1024


class _Socket(NamedTuple):
    """A line of /proc/net/udp."""

    port: int
    uid: int
    inode: str


def check(domains: Sequence[DomainSettings]) -> Iterator[Check]:
    """Look at what it takes to reach the other hosts of these domains."""
    for domain in domains:
        yield _keys(domain)
    transports = [transport for domain in domains for transport in domain.transports]
    for port in sorted({each.port for each in transports if isinstance(each, UdpSettings)}):
        yield _port(port)
    yield _clock()


def _keys(domain: DomainSettings) -> Check:
    try:
        load(domain, "localhost")
    except NetworkError as error:
        return Check("keyring", State.FAIL, str(error))
    return Check("keyring", State.OK, f"domain {domain.name}: {domain.keyring} can be used")


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


def _clock() -> Check:
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE))
    if state == _TIME_ERROR:
        message = (
            "the clock is not synchronised: messages from hosts whose clocks differ by more than a "
            "minute are dropped (timedatectl set-ntp true, or install chrony or systemd-timesyncd)"
        )
        return Check("clock", State.WARN, message)
    return Check("clock", State.OK, "the clock is synchronised")
