"""`msfs net-send` by [netbios]: to a mount with the ports to itself, and to one beside nmbd."""

from collections.abc import Iterator

import pytest

from tests.conftest import Mount
from tests.samba.conftest import OWN, Net, link
from tests.samba.test_beside_nmbd import beside
from tests.support.command import ended, msfs, refusal, serving
from tests.support.processes import wait_until
from tests.support.samba import WORKGROUP

SHOW = ("messenger", "--no-desktop", "--no-terminals", "--print")
OPEN = 'slots = ["MESSNGR"]'


@pytest.fixture
def neighbour(net: Net) -> Iterator[Mount]:
    """A mount beside nmbd, with a slot for messages to people."""
    config = net.samba.configure(beside(net.nmbd).replace('slots = ["msfs/*"]', OPEN))
    with net.samba.mounted(config=config) as mount:
        wait_until(lambda: link(mount, str(net.nmbd.socket)) == "connected")
        yield mount


def test_by_name_to_everybody_and_to_a_user(net: Net, mount: Mount, neighbour: Mount) -> None:
    source = f"PYHOST@{net.ours.address}, unproven"
    with serving(neighbour, ("MESSNGR",), *SHOW, "-n", 3) as process:
        for to, text in (("NMBHOST", "one"), (WORKGROUP, "two"), ("ann@nmbhost", "three")):
            assert msfs(mount, "net-send", to, text, "--from", "the boss").returncode == 0
        code, output, complaints = ended(process)
    assert (code, complaints) == (0, "")
    said = [line.partition("Message from the boss ")[2] for line in output.splitlines()]
    assert said == [
        f"({source}) to NMBHOST: one",
        f"({source}) to {WORKGROUP}: two",
        f"({source}) to ann: three",
    ]


def test_back_from_beside_nmbd(net: Net, neighbour: Mount) -> None:
    config = net.ours.configure(OWN.replace('"BROWSE"', '"MESSNGR"'))
    with net.ours.mounted(config=config) as mount:
        wait_until(lambda: link(mount, "PYHOST") == "connected")
        with serving(mount, ("MESSNGR",), *SHOW, "-n", 1) as process:
            assert msfs(neighbour, "net-send", "PYHOST", "back").returncode == 0
            assert f"(NMBHOST@{net.samba.address}, unproven) to PYHOST: back" in ended(process)[1]


def test_what_is_too_long_is_refused_with_the_limit(net: Net, mount: Mount) -> None:
    complaint = refusal(msfs(mount, "net-send", "NMBHOST", "x" * 424))
    assert "takes up to 406 bytes" in complaint
