"""A mount on the host of an nmbd, which hands over what it does not want."""

import contextlib
import os
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Mount
from tests.samba.conftest import Net, link, take_until
from tests.support import browser
from tests.support.network import metric, read_all, served, settle, write
from tests.support.processes import wait_until
from tests.support.samba import WORKGROUP, Nmbd, nmbd


def beside(server: Nmbd) -> str:
    """The configuration of a mount beside that nmbd."""
    return f"""
[netbios]
way = "nmbd"
interfaces = ["eth0"]
workgroup = "{WORKGROUP}"
name = "{server.name}"
slots = ["msfs/*"]
nmbd_socket = "{server.socket}"
"""


@contextlib.contextmanager
def mounted_beside(net: Net) -> Iterator[Mount]:
    """A mount on nmbd's host."""
    config = net.samba.configure(beside(net.nmbd))
    with net.samba.mounted(config=config) as neighbour:
        wait_until(lambda: link(neighbour, str(net.nmbd.socket)) == "connected")
        (neighbour / "msfs").mkdir()
        yield neighbour


def test_a_datagram_comes_by_nmbd(net: Net, mount: Mount) -> None:
    with mounted_beside(net) as neighbour, served(neighbour, "msfs/inbox") as fd:
        write(mount, "@NMBHOST/msfs\\INBOX", b"hello, nmbd's host")
        assert settle(fd, 1) == [b"hello, nmbd's host"]
        sender = neighbour.attribute("msfs/inbox", "sender_host")
        assert sender == f"PYHOST@{net.ours.address}"
        # The other way round: nobody but us answers for PYHOST.
        with served(mount, "msfs/back") as back:
            write(neighbour, f"@{sender}/msfs\\back", b"hello, to whom we heard")
            write(neighbour, "@PYHOST/msfs\\back", b"and by name")
            assert settle(back, 2) == [b"hello, to whom we heard", b"and by name"]
            assert mount.attribute("msfs/back", "sender_host") == f"NMBHOST@{net.samba.address}"


def test_a_broadcast_that_nmbd_hands_over_twice_comes_once(net: Net, mount: Mount) -> None:
    with mounted_beside(net) as neighbour, served(neighbour, "msfs/inbox") as fd:
        for number in range(5):
            write(mount, f"@{WORKGROUP}/msfs\\inbox", b"%d" % number)
            time.sleep(0.05)
        assert settle(fd, 5) == [b"%d" % number for number in range(5)]
        wait_until(lambda: metric(neighbour, "dropped", reason="duplicate") >= 5)


def test_own_broadcasts_are_heard_once(net: Net, mount: Mount) -> None:
    with mounted_beside(net) as neighbour, served(neighbour, "msfs/inbox") as fd:
        write(neighbour, f"@{WORKGROUP}/msfs\\inbox", b"to all")
        assert settle(fd, 1) == [b"to all"]
        wait_until(lambda: metric(neighbour, "dropped", reason="own") >= 1)


def test_the_answer_of_the_nmbd_beside_us(net: Net) -> None:
    """It has our name, and our address."""
    with mounted_beside(net) as neighbour, served(neighbour, "msfs/reply") as fd:
        query = browser.primary_query("NMBHOST", "MSFS\\REPLY")
        write(neighbour, f"@{WORKGROUP}#1c/NET\\NETLOGON", query)
        assert take_until(fd, bytes([browser.PRIMARY_RESPONSE]))[2:].startswith(b"NMBHOST\0")


@pytest.mark.parametrize("size", [406, 407, 424])
def test_what_is_too_long_for_nmbd_is_refused(net: Net, mount: Mount, size: int) -> None:
    with mounted_beside(net) as neighbour, served(neighbour, "msfs/in") as fd:
        limit = int(os.getxattr(mount / "@NMBHOST/msfs\\in", "user.mailslot.max_message_size"))
        assert limit == 406  # seven letters of a name
        if size > limit:
            with pytest.raises(OSError, match="Message too long"):
                write(mount, "@NMBHOST/msfs\\in", bytes(size))
            assert read_all(fd) == []
        else:
            write(mount, "@NMBHOST/msfs\\in", bytes(size))
            assert settle(fd, 1) == [bytes(size)]


def test_no_privilege_is_needed(net: Net) -> None:
    """The mount needs some; the way to nmbd does not."""
    with mounted_beside(net) as neighbour:
        sockets = net.samba.sockets()
        assert neighbour.daemon.poll() is None
    ours = [line for line in sockets.splitlines() if ":008A " in line or ":0089 " in line]
    # nmbd's: on all addresses, on the interface's and on its broadcast address.
    assert len(ours) == 6


def test_nmbd_is_killed_and_started_again(net: Net, mount: Mount) -> None:
    with contextlib.ExitStack() as stack:
        neighbour = stack.enter_context(mounted_beside(net))
        fd = stack.enter_context(served(neighbour, "msfs/inbox"))
        local = stack.enter_context(served(neighbour, "local"))
        net.nmbd.process.kill()
        net.nmbd.process.wait(20)
        wait_until(lambda: str(link(neighbour, str(net.nmbd.socket))).startswith("away: "))
        for number in range(100):
            write(neighbour, "local", b"%d" % number)
        assert read_all(local) == [b"%d" % number for number in range(100)]
        stack.enter_context(nmbd(net.samba, "NMBHOST", again="-again"))
        wait_until(lambda: link(neighbour, str(net.nmbd.socket)) == "connected")
        write(mount, "@NMBHOST/msfs\\inbox", b"after the restart")
        assert settle(fd, 1) == [b"after the restart"]
