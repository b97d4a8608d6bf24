"""The interfaces of this network namespace, and how to hear when they change: rtnetlink(7).

Not from /sys/class/net, which shows the namespace that sysfs was mounted in.
"""

import logging
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

log = logging.getLogger(__name__)

# <linux/netlink.h>
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_REQUEST_DUMP = 0x1 | 0x300
_DONE, _ERROR = 3, 2

# <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>
_NEWLINK, _GETLINK = 16, 18
_NEWADDR, _GETADDR = 20, 22
_ROUTES = (24, 25)  # RTM_NEWROUTE, RTM_DELROUTE
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # family, prefix, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, prefix, …, table, protocol, scope, type, flags
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO = 3, 10, 18
_INFO_KIND, _INFO_SLAVE_KIND = 1, 4
_IFA_ADDRESS = 1
_TYPE_MASK = 0x3FFF
_MAIN_TABLE, _UNICAST = 254, 1

# RTMGRP_LINK, RTMGRP_IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400

# <linux/if.h>
_IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING, _IFF_MULTICAST = 0x1, 0x8, 0x40, 0x1000

# What containers and virtual machines have on this side.
_OF_GUESTS = ("veth", "tun")

# The most interfaces that are used unasked.
_MAX_INTERFACES = 16

_SIZE = 64 * 1024

# Changes come in bursts: what follows within so many seconds is part of the same one.
_SETTLE = 0.5


class Interface(NamedTuple):
    """An interface that can be used.

    Attributes:
        is_running: whether it has a carrier.
        addresses: of IPv4 and IPv6, 4 or 16 bytes each.
    """

    name: str
    is_running: bool
    addresses: frozenset[bytes]


@dataclass
class _Link:
    name: str
    flags: int
    master: int
    kind: str
    part_of: str  # the kind of its master: bridge, bond, vrf …
    addresses: set[bytes] = field(default_factory=set)


def usable(names: Sequence[str] | None) -> dict[int, Interface]:
    """The interfaces that are up and do multicast, by index.

    Args:
        names: those to use; None for those that lead to other machines, the first 16 of them:
            not loopback, not parts of a bridge or bond, not bridges of containers and virtual
            machines alone, none without an address.

    Raises:
        OSError: there is no netlink here.
    """
    links = _links()
    found: dict[int, Interface] = {}
    for index, link in sorted(links.items()):
        if not (link.flags & _IFF_UP and link.flags & _IFF_MULTICAST):
            continue
        if link.flags & _IFF_LOOPBACK or (names is not None and link.name not in names):
            continue
        if names is None and (
            len(found) == _MAX_INTERFACES or not _leads_elsewhere(index, link, links)
        ):
            continue
        is_running = bool(link.flags & _IFF_RUNNING)
        found[index] = Interface(link.name, is_running, frozenset(link.addresses))
    return found


def _leads_elsewhere(index: int, link: _Link, links: dict[int, _Link]) -> bool:
    if not link.addresses or (link.master and link.part_of != "vrf"):
        return False
    if link.kind != "bridge":
        return True
    parts = [each for each in links.values() if each.master == index]
    return any(each.kind not in _OF_GUESTS for each in parts)


def _links() -> dict[int, _Link]:
    links: dict[int, _Link] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        for kind, body in _dump(sock, _GETLINK):
            if kind == _NEWLINK:
                _, _, index, flags, _ = _LINK.unpack_from(body)
                facts = dict(_attributes(body[_LINK.size :]))
                info = dict(_attributes(facts.get(_IFLA_LINKINFO, b"")))
                links[index] = _Link(
                    _text(facts.get(_IFLA_IFNAME, b"")),
                    flags,
                    int.from_bytes(facts.get(_IFLA_MASTER, b"")[:4], "little"),
                    _text(info.get(_INFO_KIND, b"")),
                    _text(info.get(_INFO_SLAVE_KIND, b"")),
                )
        for kind, body in _dump(sock, _GETADDR):
            if kind == _NEWADDR:
                index = _ADDRESS.unpack_from(body)[4]
                address = dict(_attributes(body[_ADDRESS.size :])).get(_IFA_ADDRESS)
                if index in links and address is not None:
                    links[index].addresses.add(address)
    return links


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode(errors="surrogateescape")


def _dump(sock: socket.socket, request: int) -> Iterator[tuple[int, bytes]]:
    """The kernel's answer to a request for all, which is there at once."""
    size = _HEADER.size + _LINK.size
    sock.send(_HEADER.pack(size, request, _REQUEST_DUMP, 0, 0) + bytes(_LINK.size))
    while True:
        for kind, body in _messages(sock.recv(_SIZE)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -int.from_bytes(body[:4], "little", signed=True)
                raise OSError(number, "netlink refuses")
            yield kind, body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


class LinkChanges:
    """Tells when a change of interfaces, their addresses or the default route matters.

    Args:
        names: as for usable(). What happens to other interfaces does not matter: containers come
            and go all the time.

    Raises:
        OSError: there is no netlink here.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self._names = names
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, _GROUPS))
        self._known = usable(names)

    async def wait(self) -> None:
        """Wait for the next change that matters, and until no more follow it at once."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            await trio.sleep(_SETTLE)
            is_moved = self._read()
            known, self._known = self._known, usable(self._names)
            if is_moved or known != self._known:
                return

    def _read(self) -> bool:
        """Take what has come. Whether the default route is another one."""
        is_moved = False
        while True:
            try:
                data = self._socket.recv(_SIZE)
            except BlockingIOError:
                return is_moved
            except OSError as error:  # ENOBUFS: some were lost
                log.debug("netlink: %s", error)
                is_moved = True
                continue
            for kind, body in _messages(data):
                if kind in _ROUTES and len(body) >= _ROUTE.size:
                    _, prefix, _, _, table, _, _, type, _ = _ROUTE.unpack_from(body)
                    is_moved |= (prefix, table, type) == (0, _MAIN_TABLE, _UNICAST)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
