"""What neighbours may try, and what networks do by themselves, at real mounts on real sockets."""

import contextlib
import os
import statistics
import subprocess
import time

import pytest

from tests.conftest import Mount
from tests.support.network import (
    Host,
    Lan,
    drain,
    ip,
    metric,
    mounted,
    sees,
    served,
    settle,
    write,
)
from tests.support.processes import ALICE, is_root, run, wait_until

pytestmark = [
    pytest.mark.skipif(not is_root(), reason="needs network namespaces"),
    pytest.mark.timeout(120),
]

CORP = "[domain.corp]\n"


# ---- other users of this host ----

_WRITE = "os.write(os.open(sys.argv[1], os.O_WRONLY), sys.argv[2].encode())"


def test_no_way_round_the_mode_of_a_slot_by_another_mount(hosts: list[Host]) -> None:
    """By a second mount of the host any user reaches what everybody may write to, no more."""
    two = "[domain.lab]\nport = 4434\n" + CORP
    ada, bob = hosts[:2]
    with (
        ada.mounted("allow_other", config=ada.configure(CORP)) as own,
        ada.mounted("allow_other", config=ada.configure(CORP)) as other,
        bob.mounted("allow_other", config=bob.configure(two)) as far,
        bob.mounted("allow_other", config=bob.configure(two)) as beside,
        served(own, "of-ada") as private,
        served(far, "of-bob") as far_private,
    ):
        os.chmod(own / "of-ada", 0o600)
        os.chmod(far / "of-bob", 0o600)
        wait_until(lambda: (own / ".msfs/peers").read_text().count("ada") == 1)
        wait_until(lambda: (far / ".msfs/peers").read_text().count("bob") == 2)
        for name in ("@corp/of-ada", "@*/OF-ADA"):
            run(_WRITE, other / name, "theft", uid=ALICE)
        run(_WRITE, beside / "@corp/of-bob", "theft", uid=ALICE)
        run(_WRITE, beside / "@lab/of-bob", "theft", uid=ALICE)
        wait_until(lambda: metric(own, "slot_refused") >= 2)
        wait_until(lambda: metric(far, "slot_refused") >= 2)
        assert b"theft" not in settle(private, 0) + settle(far_private, 0)
        # It does reach it where the mode lets everybody in.
        os.chmod(own / "of-ada", 0o602)
        run(_WRITE, other / "@corp/of-ada", "welcome", uid=ALICE)
        assert settle(private, 1) == [b"welcome"]


_BROADCAST = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for address in sys.argv[1:]:
    sock.sendto(bytes(64), (address, 4424))
"""


def test_what_is_broadcast_is_not_taken(hosts: list[Host]) -> None:
    """One datagram would have all hosts answer, wherever its source says."""
    ada, bob = hosts[:2]
    with mounted([ada], "") as (mount,):
        before = metric(mount, "dropped", reason="unmasked")
        command = [*bob.inside, "/usr/bin/python3", "-c", _BROADCAST]
        addresses = ["10.77.0.255", ada.address]
        subprocess.run([*command, *addresses], check=True, timeout=10)
        wait_until(lambda: metric(mount, "dropped", reason="unmasked") > before)
        assert metric(mount, "dropped", reason="unmasked") == before + 1


# Tries to get what comes to a port, in every way that socket(7) and ip(7) know; says what it has.
_THIEF = """
import os, select, socket, sys, time
os.setgroups([])
os.setgid(int(sys.argv[4]))
os.setuid(int(sys.argv[4]))
family = {"4": socket.AF_INET, "6": socket.AF_INET6}
held = []
for version, address in (("4", "0.0.0.0"), ("4", sys.argv[1]), ("6", "::"), ("6", sys.argv[2])):
    for reuse in ((), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,),
                  (socket.SO_REUSEADDR, socket.SO_REUSEPORT)):
        for only in ((0, 1) if version == "6" else (0,)):
            sock = socket.socket(family[version], socket.SOCK_DGRAM)
            for option in reuse:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
            if version == "6":
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            try:
                sock.bind((address, int(sys.argv[3])))
            except OSError:
                continue
            held.append(sock)
print("bound", len(held), flush=True)
sys.stdin.readline()
got = 0
while select.select(held, [], [], 0)[0]:
    for sock in select.select(held, [], [], 0)[0]:
        sock.recv(2000)
        got += 1
print("got", got)
"""


def test_no_other_user_of_a_host_gets_what_is_sent_to_it(hosts: list[Host]) -> None:
    with mounted(hosts[:2], "") as (ada, bob), served(bob, "slot") as slot:
        host = hosts[1]
        command = [*host.inside, "/usr/bin/python3", "-c", _THIEF, host.address, "fd77::2"]
        for port, may_bind in (("4424", False), ("4425", True)):
            with subprocess.Popen(
                [*command, port, str(ALICE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as thief:
                try:
                    assert thief.stdout is not None
                    said = thief.stdout.readline()
                    assert (said != "bound 0\n") is may_bind, said
                    for number in range(20):
                        write(ada, "@bob/slot", b"for bob %d" % number)
                        write(ada, "@corp/slot", b"for all %d" % number)
                    assert len(settle(slot, 40)) == 40
                    output, _ = thief.communicate("\n", timeout=10)
                    # Of multicast anybody gets a copy, which is sealed.
                    assert (output == "got 0\n") is not may_bind
                finally:
                    thief.kill()


_SQUATTER = """
import os, socket, sys, time
os.setuid(int(sys.argv[1]))
held = []
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, 4425))
    held.append(sock)
print("bound", flush=True)
sys.stdin.readline()
"""


def test_who_had_the_port_of_multicast_first_is_told_of_and_outlived(hosts: list[Host]) -> None:
    """Any user may have it, while no mount has. Then it is as where multicast goes one way."""
    ada, bob = hosts[:2]
    command = [*bob.inside, "/usr/bin/python3", "-c", _SQUATTER, str(ALICE)]
    faster = (
        "-c",
        "from msfs_fuse.net.udp import transport\ntransport._RETRY = 1.0\n"
        "from msfs_fuse.commands.main import main\nmain()",
    )
    with contextlib.ExitStack() as stack:
        squatter = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(squatter.kill)
        assert squatter.stdout is not None
        assert squatter.stdout.readline() == "bound\n"
        near = stack.enter_context(ada.mounted(config=ada.configure(CORP)))
        far = stack.enter_context(
            bob.mounted(config=bob.configure(CORP), allow_log="WARNING", program=faster)
        )
        # What writes the log is a thread of its own.
        told = "UDP port 4425 is taken by another program"
        wait_until(lambda: told in far.log.read_text())
        slot = stack.enter_context(served(far, "slot"))
        wait_until(lambda: sees(near, "bob") and sees(far, "ada"))
        write(near, "@corp/slot", b"to all")
        assert settle(slot, 1) == [b"to all"]
        squatter.communicate("\n", timeout=10)
        wait_until(lambda: ":1149 " in bob.sockets())  # 4425: it listens now
        assert far.log.read_text().count(told) == 1


# ---- multicast that goes one way ----


def test_multicast_that_goes_one_way_is_gone_round(lan: Lan) -> None:
    hosts = [lan.add(name, v6=False) for name in ("ada", "bob", "cyd")]
    # The switch has none go out to bob, and takes what bob sends.
    command = ["bridge", "-n", lan.switch, "link", "set", "dev", "port2", "mcast_flood", "off"]
    subprocess.run(command, check=True, timeout=10)
    # bob comes last: the others hear of him, and he of them by their answers.
    hosts = [hosts[0], hosts[2], hosts[1]]
    with mounted(hosts, "") as mounts, contextlib.ExitStack() as stack:
        slots = [stack.enter_context(served(each, "slot")) for each in mounts]
        for mount, name in zip(mounts, (b"ada", b"cyd", b"bob"), strict=True):
            write(mount, "@corp/slot", name)
        for slot in slots:
            assert sorted(settle(slot, 3)) == [b"ada", b"bob", b"cyd"]


# ---- ways to name a host ----


def test_a_peer_is_written_to_by_its_address_and_by_its_name_in_the_dns(
    hosts: list[Host],
) -> None:
    ada, bob = hosts[:2]
    text = f'{CORP}multicast = false\npeers = ["far.example.net", "10.77.0.3"]\n'
    with (
        hosts[2].mounted(config=hosts[2].configure(f"{CORP}multicast = false")) as cyd_mount,
        bob.mounted(config=bob.configure(f"{CORP}multicast = false")) as bob_mount,
        ada.mounted(config=ada.configure(text), program=("-c", _WITH_HOSTS)) as mount,
        served(bob_mount, "slot") as slot,
        served(cyd_mount, "slot") as last,
    ):
        wait_until(lambda: sees(mount, "bob", "cyd"))
        for name in ("far.example.net", "FAR.example.net", "far", "bob"):
            write(mount, f"@{name}/slot", name.encode())
        assert settle(slot, 4) == [b"far.example.net", b"FAR.example.net", b"far", b"bob"]
        write(mount, "@10.77.0.3/slot", b"by address")
        assert settle(last, 1) == [b"by address"]


# The name server of this host, which is not a test's to change, knows one name more.
_WITH_HOSTS = """
import socket
look_up = socket.getaddrinfo
def known(host, *arguments, flags=0, **named):
    if host == "far.example.net" and not flags & socket.AI_NUMERICHOST:
        host = "10.77.0.2"
    return look_up(host, *arguments, flags=flags, **named)
socket.getaddrinfo = known
from msfs_fuse.commands.main import main
main()
"""


def test_two_hosts_of_one_name_in_two_domains(lan: Lan) -> None:
    """What is for the one is not for the other, whichever is there."""
    ada, db, guest = (lan.add(name) for name in ("ada", "db", "guest"))
    guest.name = "DB"
    corp, lab = CORP + "port = 4424\n", "[domain.lab]\nport = 4434\n"
    with contextlib.ExitStack() as stack:
        for host, text in ((ada, corp + lab), (guest, lab)):
            stack.enter_context(host.mounted(config=host.configure(text)))
        wait_until(lambda: sees(ada.mount, "DB.lab"))
        for name in ("@db/slot", "@db.corp/slot"):  # the one of the first domain is not there
            with pytest.raises(OSError, match="No route to host"):
                write(ada.mount, name, b"for db of corp")
        stack.enter_context(db.mounted(config=db.configure(corp)))
        wait_until(lambda: sees(ada.mount, "db.corp", "DB.lab"))
        far = [stack.enter_context(served(each.mount, "slot")) for each in (db, guest)]
        write(ada.mount, "@db/slot", b"primary")
        write(ada.mount, "@DB.corp/slot", b"corp")
        write(ada.mount, "@db.LAB/slot", b"lab")
        assert settle(far[0], 2) == [b"primary", b"corp"]
        assert settle(far[1], 1) == [b"lab"]
        # The other way: who sent it is named with its domain.
        own = stack.enter_context(served(ada.mount, "slot"))
        write(guest.mount, "@ada/slot", b"from lab")
        assert settle(own, 1) == [b"from lab"]
        assert ada.mount.attribute("slot", "sender_host") == "DB.lab"


# ---- many interfaces ----

_BRIDGES = 100


def broadcasts(mount: os.PathLike[str], count: int = 300) -> float:
    """The median time of a write to all, in microseconds."""
    found = []
    fd = os.open(os.path.join(mount, "@corp/nobody"), os.O_WRONLY)
    for _ in range(count):
        began = time.perf_counter()
        os.write(fd, b"x" * 64)
        found.append((time.perf_counter() - began) * 1e6)
    os.close(fd)
    return statistics.median(found)


def datagrams_of_a_broadcast(mount: Mount) -> int:
    """How many a write to all makes, without those that the mount says meanwhile by itself."""
    found = []
    for _ in range(5):
        before = metric(mount, "sent")
        write(mount, "@corp/nobody", b"x")
        found.append(metric(mount, "sent") - before)
    return min(found)


def test_a_hundred_bridges_of_containers_cost_nothing(lan: Lan) -> None:
    host = lan.add("ada")
    with host.mounted(config=host.configure(CORP)) as mount:
        each = datagrams_of_a_broadcast(mount)
        quiet = broadcasts(mount.path)
        lines = []
        for number in range(_BRIDGES):
            lines += [
                f"link add br{number} type bridge",
                f"address add 172.30.{number}.1/24 dev br{number}",
                f"link add part{number} type veth peer name guest{number}",
                f"link set part{number} master br{number} up",
                f"link set br{number} up",
            ]
        subprocess.run(
            ["ip", "-n", host.namespace, "-batch", "-"],
            input="\n".join(lines),
            text=True,
            check=True,
            timeout=60,
        )
        time.sleep(1.5)
        assert datagrams_of_a_broadcast(mount) == each
        print(f"\na write to all: {quiet:.0f} µs, {broadcasts(mount.path):.0f} with {_BRIDGES}")
        assert metric(mount, "send_queue_full") == 0


# ---- a flood ----

_FLOOD = """
import os, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("ready", flush=True)
end = time.monotonic() + 30
while time.monotonic() < end:
    for _ in range(50):
        sock.sendto(os.urandom(448), (sys.argv[1], 4424))
"""


def delivered_of(mount: Host, slot: int, count: int) -> int:
    """How many of so many messages come, at 1,000 a second."""
    fd = os.open(mount.mount / "@bob/slot", os.O_WRONLY)
    messages = []
    began = time.monotonic()
    for number in range(count):
        os.write(fd, b"%d" % number)
        time.sleep(max(0.0, began + number / 1000 - time.monotonic()))
        if number % 50 == 0:
            messages += settle(slot, 0, quiet=0)
    os.close(fd)
    return len(messages + drain(slot))


def test_what_a_flood_takes_of_what_is_good(lan: Lan) -> None:
    """All that is lost is counted. How much that is depends on the machine: it is printed."""
    # By IPv4 alone: each family has a socket, and a flood of one does not touch the other.
    hosts = [lan.add(name, v6=False) for name in ("ada", "bob", "cyd")]
    with mounted(hosts[:2], "") as (ada, bob), served(bob, "slot") as slot:
        command = [*hosts[2].inside, "/usr/bin/python3", "-c", _FLOOD, hosts[1].address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood:
            try:
                assert flood.stdout is not None
                assert flood.stdout.readline() == "ready\n"
                time.sleep(1)
                count, before = 2000, metric(bob, "dropped", reason="unmasked")
                began = time.monotonic()
                came = delivered_of(hosts[0], slot, count)
                seconds = time.monotonic() - began
                forged = metric(bob, "dropped", reason="unmasked") - before
            finally:
                flood.kill()
        lost = count - came
        overflow = metric(bob, "receive_overflow")
        print(
            f"\n{lost} of {count} lost; {forged / seconds:.0f} forged a second dropped, "
            f"{overflow} overflowed"
        )
        assert forged > count, "that was no flood"
        assert overflow >= lost
        assert sees(ada, "bob")


def test_what_a_full_buffer_loses_is_counted(lan: Lan) -> None:
    """A daemon that does not run takes nothing: the kernel's buffer overflows."""
    # By IPv4 alone: who is silent for long is written to by IPv6 then, and what comes by two ways
    # may come too late to be taken.
    hosts = [lan.add(name, v6=False) for name in ("ada", "bob")]
    with mounted(hosts, "") as (ada, bob), served(bob, "slot") as slot:
        os.kill(bob.daemon.pid, 19)  # SIGSTOP
        try:
            fd = os.open(ada / "@bob/slot", os.O_WRONLY)
            count = 30_000
            for number in range(count):
                os.write(fd, b"%d" % number)
            os.close(fd)
            write(ada, "@corp/slot", b"it overtakes")
        finally:
            os.kill(bob.daemon.pid, 18)  # SIGCONT
        wait_until(lambda: metric(bob, "receive_overflow") > 0)
        assert b"it overtakes" in drain(slot)
        wait_until(lambda: metric(bob, "received") + metric(bob, "receive_overflow") > count)
        assert metric(bob, "received") < count


# ---- time to mend ----


def mends(sender: Host, slot: int, patience: float) -> float:
    """Write every tenth of a second until something comes; how long that took, in seconds."""
    settle(slot, 0, quiet=0.3)
    began = time.monotonic()
    while time.monotonic() - began < patience:
        with contextlib.suppress(OSError):
            write(sender.mount, "@bob/slot", b"are you there?")
        time.sleep(0.1)
        if settle(slot, 0, quiet=0):
            return time.monotonic() - began
    raise AssertionError(f"nothing in {patience} s")


def test_a_port_that_is_dead_and_has_a_carrier(lan: Lan) -> None:
    """Of two interfaces the one that is used goes silent, and nothing says so."""
    ada, bob = lan.add("ada"), lan.add("bob")
    for host in (ada, bob):
        port = f"second{host.number}"
        ip(
            *("-n", lan.switch, "link", "add", port, "type", "veth"),
            *("peer", "name", "eth1", "netns", host.namespace),
        )
        ip("-n", lan.switch, "link", "set", port, "up")
        ip("-n", host.namespace, "link", "set", "eth1", "up")
        ip("-n", host.namespace, "address", "add", f"10.88.0.{host.number}/24", "dev", "eth1")
    ip("-n", lan.switch, "link", "add", "bridge2", "type", "bridge", "mcast_snooping", 0)
    for number in (1, 2):
        ip("-n", lan.switch, "link", "set", f"second{number}", "master", "bridge2")
    ip("-n", lan.switch, "link", "set", "bridge2", "up")
    with mounted([ada, bob], "") as (_, mount), served(mount, "slot") as slot:
        write(ada.mount, "@bob/slot", b"hello")
        assert settle(slot, 1) == [b"hello"]
        time.sleep(3)  # all HELLOs of the start have come by both
        (peer,) = (ada.mount / ".msfs/peers").read_text().splitlines()[-1:]
        used = 1 if "10.77." in peer or "eth0" in peer else 2
        bridge = "bridge" if used == 1 else "bridge2"
        # Without the bridge the cable still has a carrier.
        for number in (1, 2):
            name = f"port{number}" if used == 1 else f"second{number}"
            ip("-n", lan.switch, "link", "set", name, "nomaster")
        print(f"\n{bridge} died, mended after {mends(ada, slot, 60):.1f} s")


def test_a_default_route_that_is_another_one(lan: Lan) -> None:
    """A host takes another address and way; its peer, a static one beyond a router, follows."""
    ada, bob, router = lan.add("ada"), lan.add("bob"), lan.add("router")
    ip("-n", router.namespace, "link", "add", "far", "type", "veth", "peer", "name", "back",
       "netns", bob.namespace)  # fmt: skip
    ip("-n", router.namespace, "address", "add", "10.99.0.1/24", "dev", "far")
    ip("-n", router.namespace, "link", "set", "far", "up")
    ip("-n", bob.namespace, "address", "add", "10.99.0.2/24", "dev", "back")
    ip("-n", bob.namespace, "link", "set", "back", "up")
    knob = "echo 1 > /proc/sys/net/ipv4/ip_forward"
    subprocess.run([*router.inside, "sh", "-c", knob], check=True, timeout=10)
    ip("-n", bob.namespace, "link", "set", "eth0", "down")
    ip("-n", bob.namespace, "route", "add", "default", "via", "10.99.0.1")
    ip("-n", ada.namespace, "route", "add", "default", "via", router.address)
    peers = 'multicast = false\npeers = ["10.99.0.2"]'
    with (
        bob.mounted(config=bob.configure(f"{CORP}multicast = false")) as mount,
        ada.mounted(config=ada.configure(CORP + peers)),
        served(mount, "slot") as slot,
        served(ada.mount, "slot") as own,
    ):
        wait_until(lambda: sees(ada.mount, "bob") and sees(mount, "ada"))
        ip("-n", ada.namespace, "address", "del", "10.77.0.1/24", "dev", "eth0")
        ip("-n", ada.namespace, "address", "add", "10.77.0.77/24", "dev", "eth0")
        ip("-n", ada.namespace, "route", "replace", "default", "via", router.address)
        there = mends(ada, slot, 30)
        began = time.monotonic()
        while not settle(own, 0, quiet=0):
            assert time.monotonic() - began < 30
            with contextlib.suppress(OSError):
                write(mount, "@ada/slot", b"back")
            time.sleep(0.1)
        print(f"\nthere after {there:.1f} s, back after {time.monotonic() - began:.1f} s more")
