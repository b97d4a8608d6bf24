"""Multicast: the groups of a domain, the interfaces to use, and how to hear when they change."""

import fcntl
import hashlib
import ipaddress
import logging
import os
import socket
import struct
from collections.abc import Mapping, Sequence

import trio

log = logging.getLogger(__name__)

# Linux numbers that the socket module does not name in Python 3.11: <linux/in.h>, <linux/in6.h>.
_IP_PKTINFO = 8
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT = 0
_SO_MEMINFO = 55  # <asm-generic/socket.h>

# <linux/sockios.h>, <linux/if.h>
_SIOCGIFFLAGS = 0x8913
_IFREQ = struct.Struct("16sH22x")
_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IFF_MULTICAST = 0x1000

# <linux/rtnetlink.h>: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
_LINK_AND_ADDRESS_GROUPS = 0x1 | 0x10 | 0x100
_NETLINK_SIZE = 64 * 1024

# Changes come in bursts: what follows within so many seconds is part of the same one.
_SETTLE = 0.5

_IN_PKTINFO = struct.Struct("@i4s4s")
_IP_MREQN = struct.Struct("@4s4si")
_IPV6_MREQ = struct.Struct("@16si")
_ANY = bytes(4)

# The most interfaces that are used unasked.
_MAX_INTERFACES = 16

# <linux/sockios.h>
_SIOCGIFADDR = 0x8915


def groups(seed: bytes) -> Mapping[int, str]:
    """The multicast group of a domain's key, by address family.

    IPv4: organization-local scope, 239.192.0.0/14 (RFC 2365), kept on the link by a TTL of 1.
    IPv6: transient and link-local, ff12::/16 (RFC 4291). Both tell nothing without the key.
    """
    digest = hashlib.sha256(seed).digest()
    network = int(ipaddress.IPv4Address("239.192.0.0"))
    host_bits = int.from_bytes(digest[:4]) & (1 << 18) - 1
    return {
        socket.AF_INET: str(ipaddress.IPv4Address(network | host_bits)),
        socket.AF_INET6: str(ipaddress.IPv6Address(b"\xff\x12" + digest[:14])),
    }


def interfaces(names: Sequence[str] | None) -> dict[int, str]:
    """The interfaces that are up and do multicast, by index.

    Args:
        names: those to use; None for those that lead to other machines, the first 16 of them:
            not loopback, not parts of a bridge or bond, not bridges of containers alone, none
            without an address.
    """
    found: dict[int, str] = {}
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        for index, name in socket.if_nameindex():
            if names is not None and name not in names:
                continue
            try:
                reply = fcntl.ioctl(probe, _SIOCGIFFLAGS, _IFREQ.pack(os.fsencode(name), 0))
            except OSError:
                continue  # gone since
            flags = _IFREQ.unpack(reply)[1]
            if not (flags & _IFF_UP and flags & _IFF_MULTICAST) or flags & _IFF_LOOPBACK:
                continue
            if names is None and (len(found) == _MAX_INTERFACES or not _leads_elsewhere(name)):
                continue
            found[index] = name
    return found


def _leads_elsewhere(name: str) -> bool:
    """Whether other machines may be behind an interface, as far as sysfs and its address tell."""
    path = os.path.join("/sys/class/net", name)
    if os.path.exists(os.path.join(path, "master")) or not _has_address(name):
        return False
    try:
        parts = os.listdir(os.path.join(path, "brif"))
    except OSError:
        return True  # no bridge, or no sysfs of this network namespace
    # Virtual devices have no bus to be on.
    return any(os.path.exists(os.path.join("/sys/class/net", each, "device")) for each in parts)


def _has_address(name: str) -> bool:
    try:
        with open("/proc/net/if_inet6") as table:
            if any(line.split()[-1] == name for line in table):
                return True
    except OSError:
        pass  # no IPv6 here
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            fcntl.ioctl(probe, _SIOCGIFADDR, _IFREQ.pack(os.fsencode(name), 0))
        except OSError:
            return False
    return True


def drops(sock: socket.socket) -> int:
    """How many datagrams the kernel has dropped because the socket's buffer was full.

    The number that SO_RXQ_OVFL attaches to datagrams, without the cost of asking with each.
    """
    # <linux/sock_diag.h>: nine numbers of 4 bytes, SK_MEMINFO_DROPS the last.
    try:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)[32:], "little")
    except OSError:
        return 0


def prepare_sending(sock: socket.socket) -> None:
    """Set a unicast socket up to send to groups on the link, and to receive none of theirs."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        # Routers may fragment: finding the path's MTU would cost the first datagram.
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)


def interface_control(family: int, index: int) -> list[tuple[int, int, bytes]]:
    """Ancillary data that has sendmsg(2) use an interface; the scope does that for IPv6."""
    if family != socket.AF_INET or not index:
        return []
    return [(socket.IPPROTO_IP, _IP_PKTINFO, _IN_PKTINFO.pack(index, _ANY, _ANY))]


def listen(family: int, group: str, port: int, index: int) -> socket.socket:
    """A socket that gets what is sent to the group on one interface, and nothing else.

    Raises:
        OSError: the interface does not do this family, or has gone.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        # Other mounts on this host listen as well.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        packed = socket.inet_pton(family, group)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            sock.bind((group, port))
            membership = _IP_MREQN.pack(packed, _ANY, index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
            sock.bind((group, port, 0, index))
            membership = _IPV6_MREQ.pack(packed, index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
    except OSError:
        sock.close()
        raise
    return sock


class LinkChanges:
    """Tells when interfaces or their addresses come and go, from rtnetlink(7).

    Raises:
        OSError: there is no netlink here.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, _LINK_AND_ADDRESS_GROUPS))

    async def wait(self) -> None:
        """Wait for the next change, and until no more follow it at once."""
        await trio.lowlevel.wait_readable(self._socket)
        await trio.sleep(_SETTLE)
        while True:
            try:
                self._socket.recv(_NETLINK_SIZE)
            except BlockingIOError:
                return
            except OSError as error:  # ENOBUFS: we missed some, and look at everything anyway
                log.debug("netlink: %s", error)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
