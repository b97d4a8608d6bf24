"""Which network a name means, and what `msfs` tells about a NetBIOS network."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mount, force_unmount
from tests.samba.conftest import link
from tests.support.examples import CHECKOUT
from tests.support.network import (
    Host,
    Lan,
    ip,
    metric,
    read_all,
    sees,
    served,
    settle,
    write,
)
from tests.support.processes import wait_until
from tests.support.samba import addresses

CONFIG = """
[netbios]
way = "own"
interfaces = ["eth0"]
workgroup = "CORP"
slots = ["inbox"]
"""

DOMAIN = """
[domain.corp]
interfaces = ["eth0"]
"""


@pytest.fixture(scope="module")
def hosts(lan: Lan) -> list[Host]:
    """Three of them."""
    return [lan.add(name, v6=False) for name in ("one", "two", "three")]


@pytest.fixture(scope="module")
def domain(hosts: list[Host]) -> str:
    """A sealed domain of the workgroup's name."""
    return DOMAIN


@pytest.fixture
def mounts(hosts: list[Host], domain: str) -> Iterator[tuple[Mount, Mount, Mount]]:
    """Two in the domain and the network, and one in the network alone."""
    one, two, three = hosts
    with (
        one.mounted(config=one.configure(domain + CONFIG)) as first,
        two.mounted(config=two.configure(domain + CONFIG)) as second,
        three.mounted(config=three.configure(CONFIG)) as third,
    ):
        wait_until(lambda: sees(first, "two") and sees(second, "one"))
        wait_until(lambda: link(first, "ONE") == link(second, "TWO") == "connected")
        wait_until(lambda: link(third, "THREE") == "connected")
        yield first, second, third


def reaches(mounts: tuple[Mount, ...], name: str, count: int) -> None:
    """What the first mount writes there comes to the slot `inbox` of so many of them, once each."""
    first, second, third = mounts
    with served(first, "inbox") as a, served(second, "inbox") as b, served(third, "inbox") as c:
        write(first, name, b"news")
        expected = [1] * count + [0] * (3 - count)
        came = [settle(fd, number) for fd, number in zip((a, b, c), expected, strict=True)]
    assert came == [[b"news"] * number for number in expected]


def test_a_domain_wins_over_a_workgroup_of_its_name(mounts: tuple[Mount, Mount, Mount]) -> None:
    for name in ("@corp/inbox", "@*/inbox"):
        reaches(mounts, name, 2)


def test_the_workgroup_can_be_meant(mounts: tuple[Mount, Mount, Mount]) -> None:
    for name in ("@corp.netbios/inbox", "@CORP.NetBIOS/inbox"):
        reaches(mounts, name, 3)


def test_a_host_of_the_domain_is_sealed_to_unless_the_network_is_meant(
    mounts: tuple[Mount, Mount, Mount],
) -> None:
    first, second, _ = mounts
    before = metric(second, "received")
    with served(second, "inbox") as fd:
        write(first, "@two/inbox", b"sealed")
        assert settle(fd, 1) == [b"sealed"]
        assert second.attribute("inbox", "sender_proof") == "proven"
        assert second.attribute("inbox", "sender_host") == "one"
        write(first, "@two.netbios/inbox", b"plain")
        assert settle(fd, 1) == [b"plain"]
        assert second.attribute("inbox", "sender_proof") == "claimed"
        assert second.attribute("inbox", "sender_host") == "ONE@10.77.0.1"
    wait_until(lambda: metric(second, "received") >= before + 2)


def test_what_is_sealed_does_not_go_to_whoever_takes_the_name(
    mounts: tuple[Mount, Mount, Mount],
) -> None:
    """`three` is no member: without saying so nobody writes to it from a host of the domain."""
    first, second, third = mounts
    with pytest.raises(OSError, match="No route to host"):
        write(first, "@three/inbox", b"secret")
    with served(third, "inbox") as fd:
        write(first, "@three.netbios/inbox", b"not secret")
        assert settle(fd, 1) == [b"not secret"]
    # A host without domains need not say so.
    with served(second, "inbox") as fd:
        write(third, "@two/inbox", b"plain")
        assert settle(fd, 1) == [b"plain"]
        assert read_all(fd) == []


def test_a_user_sees_it(hosts: list[Host], mounts: tuple[Mount, Mount, Mount]) -> None:
    first, _, third = mounts

    def msfs(*words: str) -> str:
        command = [sys.executable, "-m", "msfs_fuse", *words, "--mount", str(third.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout + done.stderr

    command = [sys.executable, "-m", "msfs_fuse", "listen", "inbox", "-n", "1", "--json"]
    with subprocess.Popen(
        [*command, "--mount", str(third.path)], stdout=subprocess.PIPE, text=True
    ) as listener:
        try:
            wait_until(lambda: (third / "inbox").exists())
            write(first, "@three.netbios/inbox", b"hi")
            assert listener.stdout is not None
            heard = json.loads(listener.stdout.readline())
        finally:
            listener.kill()
    assert heard["sender_host"] == "ONE@10.77.0.1"
    assert heard["sender_proof"] == "claimed"
    assert heard["sender_uid"] is heard["sender_pid"] is None
    assert "ONE" in msfs("peers")
    assert "@CORP" in os.listdir(third.path)
    long = msfs("send", r"\\ONE\mailslot\inbox", "x" * 407)
    assert "takes up to 406 bytes, the message has 407" in long


def test_an_address_that_changes(lan: Lan, hosts: list[Host]) -> None:
    """The names are claimed again, with the new one."""
    four = lan.add("four", v6=False)
    with four.mounted(config=four.configure(CONFIG)) as mount:

        def is_cut_off() -> bool:
            try:
                write(mount, "@CORP/inbox", b"to nobody")
            except OSError as error:
                return error.errno == errno.EHOSTUNREACH
            return False

        wait_until(lambda: addresses(hosts[0], "FOUR") == [four.address])
        ip("-n", four.namespace, "address", "flush", "dev", "eth0")
        wait_until(is_cut_off)
        ip("-n", four.namespace, "address", "add", "10.77.0.44/24", "dev", "eth0")
        wait_until(lambda: addresses(hosts[0], "FOUR") == ["10.77.0.44"])
        write(mount, "@CORP/inbox", b"to all")


def test_doctor(hosts: list[Host], mounts: tuple[Mount, Mount, Mount], tmp_path: Path) -> None:
    one = hosts[0]

    def doctor(config: str, *before: str) -> dict[str, str]:
        path = tmp_path / "doctor.toml"
        path.write_text(config)
        command = [*one.inside, *before, sys.executable, "-m", "msfs_fuse", "doctor"]
        done = subprocess.run(
            [*command, "--json", "--config", str(path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        checks = json.loads(done.stdout)
        return {
            each["check"]: f"{each['state']} {each['message']}"
            for each in checks
            if each["check"].startswith("netbios")
        }

    told = doctor(CONFIG)
    assert told["netbios"] == "ok NetBIOS workgroup CORP by eth0 10.77.0.1/24"
    assert told["netbios_ports"].startswith("ok")
    assert told["netbios_privilege"].startswith("ok")
    weak = doctor(CONFIG, "setpriv", "--bounding-set=-net_bind_service")
    assert weak["netbios_privilege"].startswith("fail UDP ports 137 and 138 take root, CAP_NET")
    assert "eth7: no such interface" in doctor(CONFIG.replace("eth0", "eth7"))["netbios"]
    missing = doctor(CONFIG.replace('"own"', '"nmbd"') + 'nmbd_socket = "/nowhere"\n')
    assert missing["netbios_nmbd"].startswith("fail /nowhere: is nmbd running")


def test_a_port_that_is_taken_is_told(hosts: list[Host], tmp_path: Path) -> None:
    one = hosts[0]
    code = "import socket as s; a = s.socket(2, 2); a.bind(('', 138)); print(flush=True); input()"
    with subprocess.Popen(
        [*one.inside, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            (tmp_path / "mail").mkdir()
            config = one.configure(CONFIG)
            command = [*one.inside, sys.executable, "-m", "msfs_fuse"]
            done = subprocess.run(
                [*command, "mount", "-f", "--config", str(config), str(tmp_path / "mail")],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            assert done.returncode == 1
            assert "UDP port 138: somebody has it; beside nmbd take way" in done.stderr
            told = subprocess.run(
                [*command, "doctor", "--config", str(config)],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            ).stdout
            assert f"UDP port 138 is taken by process {other.pid}" in told
        finally:
            other.kill()


def capabilities(text: str) -> list[str]:
    """What the lines CapabilityBoundingSet of a unit or a drop-in allow, for setpriv(1)."""
    found = re.findall(r"^\s*CapabilityBoundingSet=(.*)$", text, re.MULTILINE)
    return [word.removeprefix("CAP_").lower() for line in found for word in line.split()]


@pytest.mark.parametrize("with_drop_in", [False, True])
def test_what_the_service_may_do(hosts: list[Host], tmp_path: Path, with_drop_in: bool) -> None:
    """With what its unit allows, and what the page has one add."""
    allowed = capabilities((CHECKOUT / "scripts/install.d/msfs.service").read_text())
    if with_drop_in:
        allowed += capabilities((CHECKOUT / "docs/samba-and-windows.md").read_text())
    assert ("net_bind_service" in allowed) is with_drop_in
    bounding = ",".join(["-all", *(f"+{each}" for each in allowed)])
    (tmp_path / "mail").mkdir()
    one = hosts[0]
    command = [*one.inside, "setpriv", f"--bounding-set={bounding}", sys.executable]
    command += ["-m", "msfs_fuse", "mount", "--config", str(one.configure(CONFIG))]
    try:
        done = subprocess.run(
            [*command, str(tmp_path / "mail")],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert (done.returncode == 0) is with_drop_in, done.stderr
        if not with_drop_in:
            assert "not permitted; it takes root, or CAP_NET_BIND_SERVICE" in done.stderr
    finally:
        force_unmount(tmp_path / "mail")
