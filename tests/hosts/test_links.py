"""The interfaces of a host, and what a change of them leads to, in real network namespaces."""

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.network import Host, Lan, ip, metric
from tests.support.processes import is_root, wait_until

pytestmark = pytest.mark.skipif(not is_root(), reason="needs network namespaces")

USABLE = """
import sys
from msfs_fuse.net.udp.links import usable
print([each.name for each in usable(sys.argv[1:] or None).values()])
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    lan = Lan(tmp_path)
    try:
        yield lan.add("ada")
    finally:
        lan.close()


def usable(host: Host, *names: str) -> list[str]:
    """What is used there, unasked or of these names."""
    done = subprocess.run(
        [*host.inside, sys.executable, "-c", USABLE, *names],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    found: list[str] = ast.literal_eval(done.stdout)
    return found


def bridge(host: Host, number: int, *port: object) -> None:
    """A bridge with an address and one port, as container engines make them.

    Args:
        port: its kind and the options of ip(8) for that.
    """
    namespace, name, part = host.namespace, f"br{number}", f"part{number}"
    ip("-n", namespace, "link", "add", name, "type", "bridge")
    ip("-n", namespace, "address", "add", f"172.30.{number}.1/24", "dev", name)
    guest = ("veth", "peer", "name", f"guest{number}")
    ip("-n", namespace, "link", "add", part, "type", *(port or guest))
    ip("-n", namespace, "link", "set", part, "master", name, "up")
    ip("-n", namespace, "link", "set", name, "up")


def test_those_that_lead_to_other_machines(host: Host) -> None:
    assert usable(host) == ["eth0"]
    bridge(host, 1)  # of containers alone
    bridge(host, 2, "vxlan", "id", 5, "dstport", 4789, "remote", "10.77.0.9")
    ip("-n", host.namespace, "link", "add", "bare", "type", "veth", "peer", "name", "other")
    knob = "echo 1 > /proc/sys/net/ipv6/conf/bare/disable_ipv6"
    subprocess.run([*host.inside, "sh", "-c", knob], check=True, timeout=10)
    ip("-n", host.namespace, "link", "set", "bare", "up")
    assert usable(host) == ["eth0", "br2"]
    assert sorted(usable(host, "bare", "br1", "lo")) == ["bare", "br1"]
    ip("-n", host.namespace, "link", "set", "eth0", "down")
    assert usable(host) == ["br2"]


def said(host: Host) -> int:
    """How many datagrams the host has sent."""
    return metric(host.mount, "sent")


def quiet(host: Host) -> int:
    """Wait until the HELLOs of the start are over; how many datagrams there were."""
    count, since = said(host), time.monotonic()
    while time.monotonic() - since < 4:
        time.sleep(0.1)
        if said(host) != count:
            count, since = said(host), time.monotonic()
    return count


# A daemon that presents itself at its start, and then not by itself.
_SAYS_HELLO_ONCE = (
    "-c",
    "from msfs_fuse.net.trust import limits\nlimits.HELLO_INTERVAL = 1000.0\n"
    "from msfs_fuse.commands.main import main\nmain()",
)


def test_containers_make_no_host_say_hello_and_a_new_default_route_does(host: Host) -> None:
    config = host.configure("[domain.corp]\n")
    with host.mounted(config=config, program=_SAYS_HELLO_ONCE):
        before = quiet(host)
        for number in range(5):
            bridge(host, number)
            time.sleep(0.3)
        time.sleep(1)
        assert said(host) - before == 0
        ip("-n", host.namespace, "route", "add", "default", "via", "10.77.0.9")
        wait_until(lambda: said(host) > before)
