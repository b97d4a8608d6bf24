"""Multicast: the groups of a domain, and the sockets that send and listen there."""

import ctypes
import hashlib
import ipaddress
import logging
import socket
import struct
from collections.abc import Mapping

log = logging.getLogger(__name__)

# Linux numbers that the socket module does not name in Python 3.11: <linux/in.h>, <linux/in6.h>.
_IP_PKTINFO = 8
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT = 0
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_SO_MEMINFO = 55  # <asm-generic/socket.h>

_IN_PKTINFO = struct.Struct("@i4s4s")
_IP_MREQN = struct.Struct("@4s4si")
_IPV6_MREQ = struct.Struct("@16si")
_ANY = bytes(4)

# A program of classic BPF, <linux/filter.h>: what was sent to this host alone is taken.
_SOCK_FILTER = struct.Struct("@HBBI")
_SOCK_FPROG = struct.Struct("@HP")
_TO_US_ALONE = (
    (0x20, 0, 0, 0xFFFFF004),  # load the packet's type: SKF_AD_OFF + SKF_AD_PKTTYPE
    (0x15, 0, 1, 0),  # PACKET_HOST, or skip one
    (0x06, 0, 0, 0xFFFFFFFF),  # take all of it
    (0x06, 0, 0, 0),  # drop it
)


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


def make_room(sock: socket.socket, size: int) -> None:
    """Have the kernel keep so many bytes for us; without CAP_NET_ADMIN up to rmem_max."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def drops(sock: socket.socket) -> int:
    """How many datagrams the kernel has dropped because the socket's buffer was full.

    The number that SO_RXQ_OVFL attaches to datagrams, without the cost of asking with each.
    """
    # <linux/sock_diag.h>: nine numbers of 4 bytes, SK_MEMINFO_DROPS the last.
    try:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)[32:], "little")
    except OSError:
        return 0


def take_no_broadcast(sock: socket.socket) -> None:
    """Have a socket receive only what was sent to this host alone."""
    program = b"".join(_SOCK_FILTER.pack(*each) for each in _TO_US_ALONE)
    kept = ctypes.create_string_buffer(program)  # the kernel copies it
    prog = _SOCK_FPROG.pack(len(_TO_US_ALONE), ctypes.addressof(kept))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, prog)


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
