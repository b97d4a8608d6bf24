"""What `msfs doctor` looks at if there is a network of Windows and Samba hosts."""

import errno
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator

from msfs_fuse.commands.check import Check, State
from msfs_fuse.commands.doctor_network import strangers_at
from msfs_fuse.net.netbios import datagram, nameservice
from msfs_fuse.net.netbios.interfaces import interfaces
from msfs_fuse.net.netbios.settings import NetbiosSettings, Way

_PORTS = (nameservice.PORT, datagram.PORT)

# <linux/capability.h>
_CAP_NET_BIND_SERVICE = 10

_UNIT = "msfs.service"
_UNIT_REMEDY = (
    "systemctl edit msfs, with the lines [Service] and CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
)


def check(settings: NetbiosSettings) -> Iterator[Check]:
    """Look at what it takes to be on that network."""
    yield _interfaces(settings)
    if settings.way is Way.OWN:
        yield _ports()
        yield _privilege()
        yield from _unit()
        yield from _firewall()
    elif settings.way is Way.NMBD:
        yield _nmbd(settings.nmbd_socket)


def _interfaces(settings: NetbiosSettings) -> Check:
    present = interfaces(settings.interfaces)
    missing = sorted(set(settings.interfaces) - {each.name for each in present})
    if missing:
        names = ", ".join(missing)
        message = f"{names}: no such interface is up and has an IPv4 address (ip address)"
        return Check("netbios", State.WARN, message)
    told = ", ".join(f"{each.name} {each.address}" for each in present)
    return Check("netbios", State.OK, f"NetBIOS workgroup {settings.workgroup} by {told}")


def _ports() -> Check:
    for port in _PORTS:
        for who in strangers_at(port) or ():
            message = (
                f"UDP port {port} is taken{who}: stop that, or, if it is nmbd, take "
                'way = "nmbd" in [netbios]'
            )
            return Check("netbios_ports", State.FAIL, message)
    return Check("netbios_ports", State.OK, "UDP ports 137 and 138 are free, or a mount's")


def _privilege() -> Check:
    with open("/proc/self/status") as file:
        effective = int(re.findall(r"^CapEff:\s*(\w+)$", file.read(), re.M)[0], 16)
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        start = int(file.read())
    if effective >> _CAP_NET_BIND_SERVICE & 1 or start <= min(_PORTS):
        message = "UDP ports 137 and 138 may be opened from here"
        return Check("netbios_privilege", State.OK, message)
    message = (
        "UDP ports 137 and 138 take root, CAP_NET_BIND_SERVICE, or "
        f"sysctl -w net.ipv4.ip_unprivileged_port_start={min(_PORTS)}"
    )
    return Check("netbios_privilege", State.FAIL, message)


def _unit() -> Iterator[Check]:
    """Whether the service may open the ports: it gets no more capabilities than it needs."""
    if shutil.which("systemctl") is None:
        return
    command = ["systemctl", "show", "-P", "CapabilityBoundingSet", _UNIT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (subprocess.SubprocessError, OSError):
        return
    allowed = done.stdout.split()
    if allowed and "cap_net_bind_service" not in allowed:
        message = f"{_UNIT} may not open UDP ports 137 and 138 ({_UNIT_REMEDY})"
        yield Check("netbios_unit", State.WARN, message)


def _firewall() -> Iterator[Check]:
    """Whether there is one that drops what it does not know. Only root can see."""
    nft = shutil.which("nft")
    if nft is None or os.geteuid() != 0:
        return
    command = [nft, "list", "chains"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (subprocess.SubprocessError, OSError):
        return
    if re.search(r"hook input [^;]*; policy drop", done.stdout):
        message = (
            "a firewall drops what it does not know: let UDP ports 137 and 138 in "
            "(firewall-cmd --add-service=samba-client, ufw allow 137:138/udp, or as you do it)"
        )
        yield Check("netbios_firewall", State.WARN, message)
    else:
        message = "no chain of nftables drops what comes in by default"
        yield Check("netbios_firewall", State.OK, message)


def _nmbd(path: str) -> Check:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(path)
        except OSError as error:
            remedy = {
                errno.ENOENT: "is nmbd running (systemctl start nmbd), is nmbd_socket right?",
                errno.ECONNREFUSED: "nmbd is not running (systemctl start nmbd)",
            }.get(error.errno or 0, os.strerror(error.errno or 0))
            return Check("netbios_nmbd", State.FAIL, f"{path}: {remedy}")
    return Check("netbios_nmbd", State.OK, f"{path}: nmbd is there")
