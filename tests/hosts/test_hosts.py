"""Real hosts: three network namespaces on a bridge, each with its own mount and daemon."""

import contextlib
import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest

from msfs_fuse.net.trust.authority import Authority
from tests.conftest import Mount
from tests.support.network import (
    Host,
    Lan,
    drain,
    ip,
    metric,
    mounted,
    peer_count,
    poor_relay,
    read_all,
    sees,
    served,
    settle,
    stop,
    tc,
    write,
    writev,
)
from tests.support.processes import ALICE, is_root, msfs, refused, run, wait_until

pytestmark = [
    pytest.mark.skipif(not is_root(), reason="needs network namespaces"),
    pytest.mark.timeout(120),
]


MULTICAST = ""
STATIC = 'multicast = false\npeers = ["10.77.0.1", "10.77.0.2", "10.77.0.3"]'


@pytest.mark.parametrize("domain", [MULTICAST, STATIC], ids=["multicast", "static"])
def test_a_host_and_a_domain(hosts: list[Host], domain: str) -> None:
    with mounted(hosts, domain) as (ada, bob, cyd), contextlib.ExitStack() as stack:
        slots = [stack.enter_context(served(each, "alerts")) for each in (ada, bob, cyd)]
        write(ada, "@bob/alerts", b"to bob")
        assert settle(slots[1], 1) == [b"to bob"]
        write(ada, "@corp/alerts", b"to all")
        write(bob, "@*/ALERTS", b"to all of mine")
        for slot in slots:
            assert sorted(settle(slot, 2)) == [b"to all", b"to all of mine"]
        assert os.getxattr(slots[2], "user.mailslot.sender_host") in (b"ada", b"bob")
        assert os.getxattr(slots[2], "user.mailslot.sender_uid") == b"0"
        names = set(os.listdir(ada.path))
        assert {"@corp", "@bob", "@cyd", "alerts", ".msfs"} == names


def test_the_rules_of_remote_files(hosts: list[Host]) -> None:
    with mounted(hosts[:2], MULTICAST) as (ada, bob), served(bob, "slot") as slot:
        for name in ("@bob/slot", "@corp/slot", "@*/slot"):
            with refused(errno.EACCES):
                os.open(ada / name, os.O_RDONLY)
            with refused(errno.EACCES):
                os.open(ada / name, os.O_RDWR | os.O_CREAT)
            with refused(errno.EMSGSIZE):
                write(ada, name, b"x" * 425)
            with refused(errno.EMSGSIZE):
                writev(ada, name, [b"x"] * 500)  # the kernel may split it
            write(ada, name, b"y" * 424)
            assert settle(slot, 1) == [b"y" * 424]
        with refused(errno.EHOSTUNREACH):
            os.open(ada / "@nobody/slot", os.O_WRONLY)
        # No mailslot can be called so, and the name is not too long.
        with refused(errno.EINVAL):
            os.open(ada / "@bob/.msfsx", os.O_WRONLY)
        long = "n" * 150
        os.mkdir(ada / "@bob" / long)
        with refused(errno.ENAMETOOLONG):  # 301 bytes: a datagram has room for 255
            os.open(ada / "@bob" / long / long, os.O_WRONLY)


def test_a_slot_may_keep_other_hosts_out(hosts: list[Host]) -> None:
    with mounted(hosts[:2], MULTICAST) as (ada, bob), served(bob, "slot") as slot:
        bob.set_attribute("slot", "network", "off")
        write(ada, "@bob/slot", b"kept out")
        write(ada, "@corp/slot", b"kept out too")
        wait_until(lambda: metric(bob, "slot_refused") == 2)
        write(bob, "@corp/slot", b"from here")
        bob.set_attribute("slot", "network", "on")
        write(ada, "@bob/slot", b"let in")
        assert settle(slot, 2) == [b"from here", b"let in"]


def test_names_match_without_case_and_in_directories(hosts: list[Host]) -> None:
    with mounted(hosts[:2], MULTICAST) as (ada, bob):
        os.mkdir(bob / "Dir")
        os.mkdir(ada / "@bob/dir")
        with served(bob, "Dir/Slot") as slot, served(bob, "Dir/SLOT") as same:
            write(ada, r"@BOB/dIR\sLOT", b"one")
            write(ada, "@bob/dir/slot", b"two")
            assert settle(slot, 2) == settle(same, 2) == [b"one", b"two"]
        wait_until(lambda: not os.listdir(bob / "Dir"))
        write(ada, "@bob/dir/slot", b"nobody")
        wait_until(lambda: metric(bob, "no_slot") == 1)


def test_a_writer_may_not_write_to_this_hosts_slot_by_its_domain(hosts: list[Host]) -> None:
    with mounted(hosts[:1], MULTICAST) as (ada,), served(ada, "slot") as slot:
        os.chmod(ada / "slot", 0o600)
        code = "os.write(os.open(sys.argv[1], os.O_WRONLY), b'x')"
        run(code, ada / "@corp/slot", uid=ALICE)
        assert settle(slot, 0) == []
        os.chmod(ada / "slot", 0o602)
        run(code, ada / "@corp/slot", uid=ALICE)
        assert settle(slot, 1) == [b"x"]
        assert ada.attribute("slot", "sender_uid") == str(ALICE)


def test_ipv6_alone(lan: Lan) -> None:
    hosts = [lan.add(name, v4=False) for name in ("ada", "bob")]
    with mounted(hosts, MULTICAST) as (ada, bob), served(bob, "slot") as slot:
        write(ada, "@bob/slot", b"unicast")
        write(ada, "@corp/slot", b"multicast")
        assert sorted(settle(slot, 2)) == [b"multicast", b"unicast"]
        assert "[fe80::" in (ada / ".msfs/peers").read_text()


def test_ipv4_alone(lan: Lan) -> None:
    hosts = [lan.add(name, v6=False) for name in ("ada", "bob")]
    with mounted(hosts, MULTICAST) as (ada, bob), served(bob, "slot") as slot:
        write(ada, "@bob/slot", b"unicast")
        write(ada, "@corp/slot", b"multicast")
        assert sorted(settle(slot, 2)) == [b"multicast", b"unicast"]
        assert "10.77.0.2:4424" in (ada / ".msfs/peers").read_text()


def test_one_static_peer_is_enough_for_both_sides(hosts: list[Host]) -> None:
    """Who is heard by unicast alone is sent to by unicast."""
    lists = ('peers = ["10.77.0.2"]', "")
    with contextlib.ExitStack() as stack:
        # The one that is listed first: the HELLO of the other one is not repeated soon.
        for host, peers in reversed(list(zip(hosts[:2], lists, strict=True))):
            text = f"[domain.corp]\nmulticast = false\n{peers}"
            stack.enter_context(host.mounted("allow_other", config=host.configure(text)))
        ada, bob = (host.mount for host in hosts[:2])
        wait_until(lambda: sees(ada, "bob") and sees(bob, "ada"))
        with served(ada, "slot") as slot:
            write(bob, "@corp/slot", b"hi")
            assert settle(slot, 1) == [b"hi"]


def exchange_over_a_poor_network(ada: Mount, bob: Mount, slot: int) -> None:
    """Nothing twice, nothing altered, and what is lost can be seen in the metrics."""
    count = 2000
    sent, received = metric(ada, "sent"), metric(bob, "received")
    fd = os.open(ada / "@bob/slot", os.O_WRONLY)
    for number in range(count):
        os.write(fd, b"%d " % number + b"x" * 400)
    os.close(fd)
    messages = drain(slot)
    numbers = [int(message.partition(b" ")[0]) for message in messages]
    assert len(set(numbers)) == len(numbers), "a message came twice"
    assert all(m == b"%d " % n + b"x" * 400 for n, m in zip(numbers, messages, strict=True))
    assert 0.85 * count < len(numbers) < count
    assert numbers != sorted(numbers), "nothing was reordered: the test tests nothing"
    assert metric(ada, "sent") - sent >= count
    assert metric(bob, "received") - received < count
    assert metric(bob, "dropped", reason="replayed") > 0


def test_a_poor_network(hosts: list[Host]) -> None:
    with mounted(hosts[:2], MULTICAST) as (ada, bob), served(bob, "slot") as slot:
        rule = "loss 5% duplicate 5% reorder 25% 50% delay 2ms 1ms corrupt 1%"
        words = ("qdisc", "add", "dev", "eth0", "root", "netem", *rule.split(" "))
        if not tc("-n", hosts[0].namespace, *words):
            pytest.skip("this kernel has no netem")
        exchange_over_a_poor_network(ada, bob, slot)


def test_a_poor_relay(hosts: list[Host]) -> None:
    """The same, where the kernel has no netem."""
    with (
        poor_relay(hosts[2], *hosts[:2]),
        mounted(hosts[:2], f'multicast = false\npeers = ["{hosts[2].address}"]') as (ada, bob),
        served(bob, "slot") as slot,
    ):
        exchange_over_a_poor_network(ada, bob, slot)
        assert sum(metric(bob, "dropped", reason=r) for r in ("forged", "unknown_key")) > 0


def test_a_link_that_goes_down_and_comes_back(hosts: list[Host]) -> None:
    with mounted(hosts[:2], MULTICAST) as (ada, bob), served(bob, "slot") as slot:
        ip("-n", hosts[0].namespace, "link", "set", "eth0", "down")
        write(ada, "@bob/slot", b"lost")
        write(ada, "@corp/slot", b"lost as well")
        assert settle(slot, 0) == []
        ip("-n", hosts[0].namespace, "link", "set", "eth0", "up")
        ip("-n", hosts[0].namespace, "address", "replace", "fd77::1/64", "dev", "eth0", "nodad")

        def arrives() -> bool:
            write(ada, "@corp/slot", b"back")
            return b"back" in settle(slot, 1, timeout=0.2, quiet=0)

        wait_until(arrives)
        write(ada, "@bob/slot", b"unicast")
        wait_until(lambda: b"unicast" in read_all(slot))


def test_an_interface_that_comes_later(lan: Lan) -> None:
    ada, bob = lan.add("ada"), lan.add("bob")
    ip("-n", bob.namespace, "link", "set", "eth0", "down")
    text = "[domain.corp]"
    with contextlib.ExitStack() as stack:
        mounts = [
            stack.enter_context(host.mounted(config=host.configure(text))) for host in (ada, bob)
        ]
        assert not sees(mounts[0], "bob")
        ip("-n", bob.namespace, "link", "set", "eth0", "up")
        wait_until(lambda: sees(mounts[0], "bob") and sees(mounts[1], "ada"))


def test_bye_and_kill_and_restart(hosts: list[Host]) -> None:
    with mounted(hosts[:1], MULTICAST) as (ada,), served(ada, "slot") as slot:
        with mounted(hosts[:2], MULTICAST) as (second, bob):
            assert second.path != ada.path  # two mounts on this host
            wait_until(lambda: peer_count(bob, "ada") == 2)
            write(bob, "@ada/slot", b"before")
            assert settle(slot, 1) == [b"before"]
        wait_until(lambda: not sees(ada, "bob"))
        with refused(errno.EHOSTUNREACH):
            os.open(ada / "@bob/slot", os.O_WRONLY)
        with mounted(hosts[1:2], MULTICAST) as (bob,):
            wait_until(lambda: sees(ada, "bob"))
            stop(bob, signal.SIGKILL)
            write(ada, "@bob/slot", b"nobody hears it, and nobody waits")
            assert sees(ada, "bob")  # it has not said BYE, and is missed later
        with mounted(hosts[1:2], MULTICAST) as (bob,), served(bob, "slot") as far:
            wait_until(lambda: sees(bob, "ada"))
            wait_until(lambda: peer_count(ada, "bob") == 3)
            write(ada, "@bob/slot", b"again")
            write(bob, "@ada/slot", b"after")
            assert settle(far, 1) == [b"again"]
            assert settle(slot, 1) == [b"after"]


def test_two_mounts_on_one_host(hosts: list[Host]) -> None:
    with (
        mounted(hosts[:2], MULTICAST) as (ada, bob),
        mounted(hosts[1:2], MULTICAST) as (other,),
        served(bob, "slot") as first,
        served(other, "slot") as second,
    ):
        wait_until(lambda: (ada / ".msfs/peers").read_text().count("bob") == 2)
        for mount in (bob, other):
            wait_until(lambda: peer_count(mount, "bob") == 1 and sees(mount, "ada"))  # noqa: B023
        # The mounts of one host do not know each other's users: the mode counts for anybody.
        write(bob, "@corp/slot", b"kept out by the mode")
        wait_until(lambda: metric(other, "slot_refused") == 1)
        assert settle(first, 1) == [b"kept out by the mode"]
        for mount in (bob, other):
            os.chmod(mount / "slot", 0o602)
        write(ada, "@bob/slot", b"to both mounts of bob")
        write(ada, "@corp/slot", b"to all")
        write(bob, "@corp/slot", b"from one to the other")
        for slot in (first, second):
            expected = [b"from one to the other", b"to all", b"to both mounts of bob"]
            assert sorted(settle(slot, 3)) == expected


def reread(mount: Mount) -> None:
    """Have a daemon read its files again."""
    before = mount.log.read_text().count("has read its keys")
    os.kill(mount.daemon.pid, signal.SIGHUP)
    wait_until(lambda: mount.log.read_text().count("has read its keys") > before)


def test_keys_change_without_a_gap_and_without_a_restart(hosts: list[Host]) -> None:
    with mounted(hosts[:2], MULTICAST) as (ada, bob), served(bob, "slot") as slot:
        authority = Authority.load(str(hosts[0].directory / "corp"))  # its key is beside the files
        for _ in range(3):
            authority.rekey()
            for mount in (ada, bob):
                reread(mount)
                write(ada, "@bob/slot", b"unicast")
                write(ada, "@corp/slot", b"to all")
                assert sorted(settle(slot, 2)) == [b"to all", b"unicast"]
            first, *others = (key.fingerprint for key in authority._keys())
            words = "".join(f"{each} receives, " for each in others)
            shown = f"{first} sends, {words}revoked certificates: 0"
            assert ada.status()["keys corp"] == bob.status()["keys corp"] == shown
        assert metric(bob, "dropped", reason="unmasked") == 0


def test_a_revoked_host_is_out_at_the_next_sighup(hosts: list[Host]) -> None:
    with mounted(hosts[:2], MULTICAST) as (ada, bob), served(ada, "slot") as slot:
        write(bob, "@ada/slot", b"as a member")
        assert settle(slot, 1) == [b"as a member"]
        Authority.load(str(hosts[0].directory / "corp")).revoke("bob")
        reread(ada)
        assert not sees(ada, "bob")
        assert ada.status()["keys corp"].endswith("revoked certificates: 1")
        write(bob, "@ada/slot", b"revoked")
        write(bob, "@corp/slot", b"revoked, to all")
        assert settle(slot, 0, quiet=2) == []
        with refused(errno.EHOSTUNREACH):
            os.open(ada / "@bob/slot", os.O_WRONLY)


def test_a_member_file_that_others_can_read_is_not_taken_at_sighup(hosts: list[Host]) -> None:
    config = hosts[0].configure("[domain.corp]")
    with hosts[0].mounted(config=config, allow_log="keeps its keys") as ada:
        (hosts[0].directory / "corp/ada.member").chmod(0o644)
        os.kill(ada.daemon.pid, signal.SIGHUP)
        wait_until(lambda: "keeps its keys" in ada.log.read_text())
        assert os.listdir(ada.path)


def test_two_domains_on_one_host(hosts: list[Host]) -> None:
    corp, lab = (
        f"[domain.{name}]\nport = {port}\n" for name, port in (("corp", 4424), ("lab", 4434))
    )
    with contextlib.ExitStack() as stack:
        for host, text in zip(hosts, (lab + corp, corp, lab), strict=True):
            stack.enter_context(host.mounted("allow_other", config=host.configure(text)))
        ada, bob, cyd = (host.mount for host in hosts)
        wait_until(
            lambda: sees(ada, "bob.corp", "cyd.lab") and sees(bob, "ada") and sees(cyd, "ada")
        )
        assert not sees(bob, "cyd")
        slots = [stack.enter_context(served(each, "slot")) for each in (ada, bob, cyd)]
        write(ada, "@corp/slot", b"corp")
        write(ada, "@*/slot", b"primary")
        with refused(errno.EHOSTUNREACH):  # without a domain the primary one is meant
            os.open(ada / "@bob/slot", os.O_WRONLY)
        write(ada, "@bob.corp/slot", b"to bob")
        fd = os.open(ada / "@ada.lab/slot", os.O_WRONLY)
        os.write(fd, b"to myself")
        os.close(fd)
        assert sorted(settle(slots[0], 3)) == [b"corp", b"primary", b"to myself"]
        assert sorted(settle(slots[1], 2)) == [b"corp", b"to bob"]
        assert settle(slots[2], 1) == [b"primary"]


def test_without_a_domain_nothing_listens_and_nothing_is_sent(lan: Lan) -> None:
    host = lan.add("ada")
    before = sockets_of_processes(host)
    with host.mounted() as mount:
        with refused(errno.EHOSTUNREACH):
            os.open(mount / "@bob/slot", os.O_WRONLY)
        assert sockets_of_processes(host) == before
        assert "msfs_network" not in (mount / ".msfs/metrics").read_text()
        assert "cryptography" not in Path(f"/proc/{mount.daemon.pid}/maps").read_text()


def sockets_of_processes(host: Host) -> list[str]:
    """The UDP and netlink sockets, and the groups joined, in a namespace."""
    lines = host.sockets().splitlines()
    return [line for line in lines if not line.endswith(" 0") or ":" in line]


# As if no name server ever answered: getaddrinfo(3) does not come back.
_STUCK_RESOLVER = """
import socket, time
look_up = socket.getaddrinfo
def stuck(*arguments, flags=0, **named):
    if flags & socket.AI_NUMERICHOST:
        return look_up(*arguments, flags=flags, **named)
    time.sleep(1000)
socket.getaddrinfo = stuck
from msfs_fuse.commands.main import main
main()
"""


def test_a_resolver_that_never_answers(hosts: list[Host]) -> None:
    names = ", ".join(f'"peer{n}.example"' for n in range(20))
    config = hosts[0].configure(f"[domain.corp]\npeers = [{names}]")
    with hosts[0].mounted(config=config, program=("-c", _STUCK_RESOLVER)) as ada:
        slowest = 0.0
        for number in range(200):
            began = time.perf_counter()
            with refused(errno.EHOSTUNREACH):
                os.open(ada / f"@peer{number % 20}/slot", os.O_WRONLY)
            write(ada, "@corp/slot", b"x")
            slowest = max(slowest, time.perf_counter() - began)
        assert slowest < 10  # the resolver takes a thousand
        began = time.perf_counter()
        stop(ada)
        assert time.perf_counter() - began < 10


def test_msfs_peers(hosts: list[Host]) -> None:
    with mounted(hosts[:2], MULTICAST) as (ada, bob):
        header, row = msfs("peers", "--mount", ada.path).stdout.splitlines()
        assert header.split() == ["DOMAIN", "HOST", "ADDRESS", "HEARD"]
        assert row.split()[:2] == ["corp", "bob"]
        (peer,) = json.loads(msfs("peers", "--json", "--mount", bob.path).stdout)
        assert (peer["domain"], peer["host"]) == ("corp", "ada")
        assert 0 <= peer["seconds_since_heard"] < 100
