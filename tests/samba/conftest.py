"""One nmbd for the tests of a module: it takes its time to become master."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import Mount
from tests.support.network import Host, Lan
from tests.support.processes import is_root, wait_until
from tests.support.samba import WORKGROUP, Nmbd, nmbd

OWN = f"""
[netbios]
way = "own"
interfaces = ["eth0"]
workgroup = "{WORKGROUP}"
name = "PYHOST"
slots = ["BROWSE", "msfs/*", "NET/*"]
"""


@dataclass
class Net:
    """A network with an nmbd, a host for our mount, and one for other programs.

    Attributes:
        samba: where nmbd runs, NMBHOST.
        ours: where it does not.
        third: nobody runs there.
    """

    samba: Host
    ours: Host
    third: Host
    nmbd: Nmbd


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """A network without hosts."""
    if not is_root():
        pytest.skip("needs root for network namespaces")
    lan = Lan(tmp_path_factory.mktemp("samba"))
    try:
        yield lan
    finally:
        lan.close()


@pytest.fixture(scope="module")
def net(lan: Lan) -> Iterator[Net]:
    """Three hosts, and nmbd on the first."""
    samba, ours, third = (lan.add(name, v6=False) for name in ("samba", "ours", "third"))
    with nmbd(samba, "NMBHOST") as server:
        yield Net(samba, ours, third, server)


@pytest.fixture
def mount(net: Net) -> Iterator[Mount]:
    """A mount on a host that has the ports to itself."""
    with net.ours.mounted(config=net.ours.configure(OWN)) as mount:
        wait_until(lambda: link(mount, "PYHOST") == "connected")
        (mount / "msfs").mkdir()
        yield mount


def link(mount: Mount, name: str) -> str | None:
    """How it stands with a name of this host, or with nmbd's socket."""
    return mount.status().get(f"link netbios {name}")


def take_until(fd: int, start: bytes, timeout: float = 30.0) -> bytes:
    """The first message that begins so."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            message = os.read(fd, 65536)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        if message.startswith(start):
            return message
    raise AssertionError(f"nothing that begins with {start!r}")
