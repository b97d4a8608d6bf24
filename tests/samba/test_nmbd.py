"""Real mailslots to and from Samba's nmbd, through files."""

import os
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Mount
from tests.samba.conftest import Net
from tests.support import browser
from tests.support.network import Host, served, write
from tests.support.processes import wait_until
from tests.support.samba import MASTER_TIMEOUT, WORKGROUP, addresses

OWN = f"""
[netbios]
way = "own"
interfaces = ["eth0"]
workgroup = "{WORKGROUP}"
name = "PYHOST"
slots = ["BROWSE", "msfs/*", "NET/*"]
"""


def is_named(mount: Mount, name: str) -> bool:
    """Whether the host goes by a name."""
    return mount.status().get(f"link netbios {name}") == "connected"


@pytest.fixture
def mount(net: Net) -> Iterator[Mount]:
    """A mount on a host that has the ports to itself."""
    with net.ours.mounted(config=net.ours.configure(OWN)) as mount:
        wait_until(lambda: is_named(mount, "PYHOST"))
        yield mount


def wait_for_master(host: Host) -> None:
    """Until nmbd is what it wants to be."""
    wait_until(lambda: bool(addresses(host, f"{WORKGROUP}#1d")), MASTER_TIMEOUT)


def take_until(fd: int, start: bytes, timeout: float = 10.0) -> bytes:
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


def test_announcements_are_read_from_a_file(net: Net, mount: Mount) -> None:
    wait_for_master(net.third)
    with served(mount, "browse") as fd:
        write(mount, f"@{WORKGROUP}#1e/BROWSE", browser.announcement_request("PYHOST"))
        message = take_until(fd, bytes([browser.LOCAL_MASTER_ANNOUNCEMENT]))
        assert message[6:22].rstrip(b"\0") == b"NMBHOST"
        assert message[32:] == b"real samba nmbd\0"
        assert mount.attribute("browse", "sender_host") == f"NMBHOST@{net.samba.address}"
        assert mount.attribute("browse", "sender_proof") == "claimed"
        assert "user.mailslot.sender_uid" not in os.listxattr(mount / "browse")


def test_our_announcement_is_in_the_browse_list(net: Net, mount: Mount) -> None:
    wait_for_master(net.third)
    write(mount, f"@{WORKGROUP}#1d/BROWSE", browser.host_announcement("PYHOST", "mailslots"))
    wait_until(lambda: '"mailslots"' in net.nmbd.browse_list(), 40)
    assert '"PYHOST"' in net.nmbd.browse_list()


def test_an_answer_comes_to_a_slot_of_our_choice(net: Net, mount: Mount) -> None:
    (mount / "msfs").mkdir()
    with served(mount, "msfs/Reply") as fd:
        write(mount, "@NMBHOST/NET\\NETLOGON", browser.primary_query("PYHOST", "MSFS\\REPLY"))
        answer = take_until(fd, bytes([browser.PRIMARY_RESPONSE]))
    assert answer[2:].startswith(b"NMBHOST\0")
