"""Real mailslots to and from Samba's nmbd, through files."""

import os

import pytest

from tests.conftest import Mount
from tests.samba.conftest import OWN, Net, link, take_until
from tests.support import browser
from tests.support.network import Host, metric, served, settle, write
from tests.support.processes import wait_until
from tests.support.samba import MASTER_TIMEOUT, WORKGROUP, addresses, nmblookup, started

pytestmark = pytest.mark.timeout(180)


def wait_for_master(host: Host) -> None:
    """Until nmbd is what it wants to be."""
    wait_until(lambda: bool(addresses(host, f"{WORKGROUP}#1d")), MASTER_TIMEOUT)


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
    wait_until(lambda: '"mailslots"' in net.nmbd.browse_list(), 60)
    assert '"PYHOST"' in net.nmbd.browse_list()


def test_an_answer_comes_to_a_slot_of_our_choice(net: Net, mount: Mount) -> None:
    with served(mount, "msfs/Reply") as fd:
        write(mount, "@NMBHOST/NET\\NETLOGON", browser.primary_query("PYHOST", "MSFS\\REPLY"))
        answer = take_until(fd, bytes([browser.PRIMARY_RESPONSE]))
    assert answer[2:].startswith(b"NMBHOST\0")


def test_an_answer_to_a_broadcast_comes_once(net: Net, mount: Mount) -> None:
    """nmbd reads a broadcast on two sockets, and answers twice."""
    with served(mount, "msfs/reply") as fd:
        before = metric(mount, "dropped", reason="duplicate")
        write(mount, f"@{WORKGROUP}/NET\\NETLOGON", browser.primary_query("PYHOST", "MSFS\\REPLY"))
        answers = settle(fd, 1)
        assert all(answer[0] == browser.PRIMARY_RESPONSE for answer in answers)
        # Each answer has an id of its own; copies of one do not come through.
        assert 1 <= len(answers) <= 2
        assert metric(mount, "dropped", reason="duplicate") >= before


def test_what_is_sent_to_all_is_heard_once_here(net: Net, mount: Mount) -> None:
    with served(mount, "msfs/inbox") as fd:
        write(mount, f"@{WORKGROUP}/msfs\\Inbox", b"to all of us")
        assert settle(fd, 1) == [b"to all of us"]


def test_nmblookup_finds_us(net: Net, mount: Mount) -> None:
    assert addresses(net.third, "PYHOST") == [net.ours.address]
    assert net.ours.address in addresses(net.third, WORKGROUP)
    status = nmblookup(net.third, "-A", net.ours.address)
    assert "PYHOST          <00> -         B <ACTIVE>" in status
    assert f"{WORKGROUP}        <00> - <GROUP> B <ACTIVE>" in status
    assert addresses(net.third, "NOBODY") == []


def test_a_name_that_nmbd_has_is_given_up(net: Net) -> None:
    config = net.ours.configure(OWN.replace('"PYHOST"', '"NMBHOST"'))
    with net.ours.mounted(config=config, allow_log="is 10.77") as mount:
        wait_until(lambda: link(mount, "NMBHOST") == f"away: {net.samba.address} has it")
        assert addresses(net.third, "NMBHOST") == [net.samba.address]
        for name in (f"@{WORKGROUP}/x", "@OTHER/x"):
            with pytest.raises(OSError, match="No route to host"):
                write(mount, name, b"as nobody")
        wait_until(lambda: f"NMBHOST<00> is {net.samba.address}" in mount.log.read_text())


def test_our_name_is_kept_from_nmbd(net: Net, mount: Mount) -> None:
    """An nmbd that is started later, on another host, with our name."""
    with started(net.third, "PYHOST") as other:
        wait_until(lambda: "Failed to register my name PYHOST<00>" in other.log, 60)
    assert addresses(net.samba, "PYHOST") == [net.ours.address]
    assert metric(mount, "defended") >= 1


def test_the_name_is_released_at_the_end(net: Net) -> None:
    with net.ours.mounted(config=net.ours.configure(OWN)) as mount:
        wait_until(lambda: link(mount, "PYHOST") == "connected")
    assert addresses(net.third, "PYHOST") == []
