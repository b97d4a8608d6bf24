"""`msfs browse` and a real nmbd: each shows what the other announces."""

import contextlib
import json
import re
import subprocess
from typing import Any

import pytest

from tests.conftest import Mount
from tests.samba.conftest import OWN, Net, link, take_until
from tests.support import browser
from tests.support.command import TIMEOUT, msfs, refusal, serving
from tests.support.network import served, write
from tests.support.processes import wait_until
from tests.support.samba import MASTER_TIMEOUT, WORKGROUP, nmblookup, smbd

pytestmark = pytest.mark.timeout(180)


def wait_for_master(net: Net) -> None:
    """Until nmbd announces itself as the master of its workgroup when it is asked."""
    wait_until(lambda: "is now a local master browser" in net.nmbd.log, MASTER_TIMEOUT)


def browsing(
    mount: Mount, *arguments: str
) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    """`msfs browse` at work. Killed at the end."""
    return serving(mount, ("BROWSE",), "browse", *arguments, text=True)


def events_of(process: "subprocess.Popen[str]", *names: str) -> list[dict[str, Any]]:
    """What is told of these hosts when they come, in this order, whichever comes first."""
    assert process.stdout is not None
    found: dict[str, dict[str, Any]] = {}
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "came":
            found[event["name"]] = event
        if set(names) <= found.keys():
            break
    return [found[name] for name in names]


def test_each_shows_the_other(net: Net, mount: Mount) -> None:
    wait_for_master(net)
    with browsing(mount, "--json", "--comment", "mailslots here") as process:
        own, master = events_of(process, "PYHOST", "NMBHOST")
        assert (own["comment"], own["sender"]) == ("mailslots here", "this host")
        assert master["comment"] == "real samba nmbd"
        assert {"master browser", "unix"} <= set(master["roles"])
        assert master["sender"] == f"NMBHOST@{net.samba.address}"
        wait_until(lambda: '"mailslots here"' in net.nmbd.browse_list(), 60)

        write(mount, f"@{WORKGROUP}#1d/BROWSE", browser.host_announcement("A\x1b[2JB", "x\ny"))
        [forged] = events_of(process, "A\x1b[2JB")
        assert forged["comment"] == "x\ny"


def test_smbclient_shows_this_host_with_its_comment(net: Net, mount: Mount) -> None:
    """It asks smbd, which has the list from the master browser: nmbd, to whom we announce us."""
    wait_for_master(net)
    with smbd(net.nmbd), browsing(mount, "--comment", "mailslots here"):
        wait_until(lambda: '"mailslots here"' in net.nmbd.browse_list(), 60)
        conf = net.third.directory / "client.conf"
        conf.write_text("[global]\n    client min protocol = NT1\n")
        listed = subprocess.run(
            [
                *(*net.third.inside, "smbclient", "-L", "NMBHOST"),
                *("-I", net.samba.address, "-U%", "-s", str(conf)),
            ],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        ).stdout
        assert re.search(r"^\s+PYHOST\s+mailslots here$", listed, re.M), listed
        # What a host has, by its own word: an adapter status.
        assert re.search(r"PYHOST +<00>.*<ACTIVE>", nmblookup(net.third, "-A", net.ours.address))


def test_who_goes_says_so(net: Net, mount: Mount) -> None:
    wait_for_master(net)
    with browsing(mount, "--comment", "only for now") as process:
        wait_until(lambda: '"only for now"' in net.nmbd.browse_list(), 60)
        process.terminate()
        assert process.wait(TIMEOUT) == -15
    wait_until(lambda: '"PYHOST"' not in net.nmbd.browse_list(), 60)


def test_for_people(net: Net, mount: Mount) -> None:
    wait_for_master(net)
    expected = {
        "+ PYHOST           unix  (this host)  Linux with mailslots\n",
        f"(NMBHOST@{net.samba.address})  real samba nmbd",
        "+ A\\x1b[2JB",
        "x\\ny",
    }
    with browsing(mount) as process:
        write(mount, f"@{WORKGROUP}#1d/BROWSE", browser.host_announcement("A\x1b[2JB", "x\ny"))
        assert process.stdout is not None
        assert process.stderr is not None
        output = ""
        while not all(each in output for each in expected):
            output += process.stdout.readline()
        process.terminate()
        assert process.stderr.read() == ""


def test_it_ends_when_it_is_told_to(mount: Mount) -> None:
    result = msfs(mount, "browse", "-t", 1)
    assert (result.returncode, result.stderr) == (0, "")


def test_who_asks_is_told(net: Net, mount: Mount) -> None:
    """Another host asks all: this one announces itself then, not in a minute."""
    config = net.third.configure(OWN.replace('"PYHOST"', '"THIRD"'))
    with net.third.mounted(config=config) as third:
        wait_until(lambda: link(third, "THIRD") == "connected")
        with served(third, "browse") as fd, browsing(mount, "--comment", "asked"):
            take_until(fd, b"\x01")  # what is said at the start; then nothing for a minute
            write(third, f"@{WORKGROUP}#1e/BROWSE", browser.announcement_request("THIRD"))
            assert take_until(fd, b"\x01")[32:] == b"asked\0"


def test_a_slot_that_is_closed_to_the_network(net: Net) -> None:
    wait_for_master(net)
    config = net.ours.configure(OWN.replace('"BROWSE", ', ""))
    with net.ours.mounted(config=config) as mount:
        wait_until(lambda: link(mount, "PYHOST") == "connected")
        with browsing(mount) as process:
            assert process.stderr is not None
            assert '[netbios] needs slots = ["BROWSE"]' in process.stderr.readline()
            process.terminate()
            output, _ = process.communicate(timeout=TIMEOUT)
    assert "NMBHOST" not in output


def test_beside_nmbd_there_is_nothing_to_hear(net: Net) -> None:
    own = OWN.replace('"own"', '"nmbd"').replace('name = "PYHOST"\n', "")
    config = net.samba.configure(f'{own}nmbd_socket = "{net.nmbd.socket}"\n')
    with net.samba.mounted(config=config) as mount:
        assert "nmbd on this host" in refusal(msfs(mount, "browse"))
