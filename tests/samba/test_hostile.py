"""What strangers send: refused, counted, never answered, and nobody waits for it."""

import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from msfs_fuse.net.netbios import datagram, mailslot, names, nameservice
from msfs_fuse.net.netbios.datagram import Datagram, Kind
from msfs_fuse.net.netbios.mailslot import Write
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.nameservice import Opcode, Request
from tests.conftest import Mount
from tests.net.test_netbios_codec import BAD_HEADERS, BAD_SMBS, with_smb
from tests.net.test_netbios_nameservice import BAD as BAD_PACKETS
from tests.samba.conftest import OWN, link
from tests.support.capture import captured, protocols
from tests.support.network import Host, Lan, metric, read_all, served, settle, write
from tests.support.processes import wait_until

STRANGER = names.encode(Name(b"STRANGER"))

# Sends each line of its input, in hexadecimal, from a socket of its own.
SENDER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for line in sys.stdin:
    for _ in range(int(sys.argv[3])):
        sock.sendto(bytes.fromhex(line), (sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def hosts(lan: Lan) -> tuple[Host, Host]:
    """One for the mount, and a stranger."""
    return lan.add("ours", v6=False), lan.add("stranger", v6=False)


@pytest.fixture
def mount(hosts: tuple[Host, Host]) -> Iterator[Mount]:
    """A mount that has the ports to itself."""
    ours, _ = hosts
    with ours.mounted(config=ours.configure(OWN)) as mount:
        wait_until(lambda: link(mount, "PYHOST") == "connected")
        (mount / "msfs").mkdir()
        yield mount


def send(host: Host, packets: list[bytes], port: int) -> None:
    """Send datagrams from a host."""
    subprocess.run(
        [*host.inside, sys.executable, "-c", SENDER, "10.77.0.1", str(port), "1"],
        input="\n".join(packet.hex() for packet in packets),
        text=True,
        check=True,
        timeout=50,
    )


def message(
    number: int, data: bytes, slot: str = "inbox", to: str = "PYHOST", source: str = "X"
) -> bytes:
    """A well-formed datagram."""
    smb = mailslot.encode(Write(("msfs", slot), data))
    address = IPv4Address("10.77.0.2")
    return datagram.encode(
        Datagram(Kind.UNIQUE, number, address, 138, Name.parse(source), Name.parse(to), smb)
    )


def dropped(mount: Mount) -> Counter[str]:
    """Why things were dropped."""
    counts: Counter[str] = Counter()
    for line in (mount / ".msfs/metrics").read_text().splitlines():
        if line.startswith("msfs_network_dropped_total{"):
            reason = line.partition('reason="')[2].partition('"')[0]
            counts[reason] = int(float(line.rpartition(" ")[2]))
    return counts


def test_what_is_malformed_is_counted_by_its_reason_and_not_answered(
    hosts: tuple[Host, Host], mount: Mount, tmp_path: Path
) -> None:
    _, stranger = hosts
    bad = [*BAD_HEADERS.values(), *((with_smb(smb), why) for smb, why in BAD_SMBS.values())]
    # Those are for another host: what is for other names is not looked at any further.
    ours, theirs = names.encode(Name(b"PYHOST")), names.encode(Name(b"NMBHOST"))
    packets = [packet.replace(ours, STRANGER).replace(theirs, ours) for packet, _ in bad]
    expected = Counter(reason.value for _, reason in bad)
    expected.update(reason.value for _, reason in BAD_PACKETS.values())
    capture = tmp_path / "answers.pcapng"
    with served(mount, "msfs/inbox") as fd, captured(stranger, capture, "src host 10.77.0.1"):
        before = dropped(mount)
        send(stranger, packets, 138)
        send(stranger, [packet for packet, _ in BAD_PACKETS.values()], 137)
        wait_until(lambda: dropped(mount) - before == expected)
        assert read_all(fd) == []
        write(mount, "msfs/inbox", b"still there")
        assert read_all(fd) == [b"still there"]
    assert [each for each in protocols(capture) if "nb" in each] == []


def test_only_what_is_for_us_and_for_an_open_slot_is_taken(
    hosts: tuple[Host, Host], mount: Mount
) -> None:
    _, stranger = hosts
    with served(mount, "msfs/inbox") as fd, served(mount, "closed") as closed:
        before = dropped(mount)
        outside = mailslot.encode(Write(("closed",), b"no"))
        packets = [
            message(1, b"yes"),
            message(2, b"no", to="OTHER"),
            message(3, b"no", source="PYHOST"),
            message(1, b"yes"),
            datagram.encode(datagram.decode(message(4, b"no"))._replace(data=outside)),
            message(5, b"nobody", slot="missing"),
        ]
        send(stranger, packets, 138)
        wait_until(lambda: metric(mount, "no_slot") == 1)
        assert settle(fd, 1) == [b"yes"]
        assert read_all(closed) == []
        gone = dropped(mount) - before
        assert gone == {"other_name": 1, "poses_as_us": 1, "duplicate": 1, "closed_slot": 1}


def test_a_flood_holds_nobody_up(hosts: tuple[Host, Host], mount: Mount) -> None:
    _, stranger = hosts
    junk = [packet for packet, _ in BAD_HEADERS.values()]
    good = [message(number, b"flood") for number in range(200)]
    questions = (Request(number, Opcode.QUERY, Name(b"PYHOST")) for number in range(50))
    queries = [nameservice.encode_request(question) for question in questions]
    with contextlib.ExitStack() as stack:
        fd = stack.enter_context(served(mount, "local"))
        stack.enter_context(served(mount, "msfs/inbox"))
        for packets, port in ((junk, 138), (good, 138), (queries, 137)):
            process = subprocess.Popen(
                [*stranger.inside, sys.executable, "-c", SENDER, "10.77.0.1", str(port), "300"],
                stdin=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.wait, 20)
            stack.callback(process.kill)
            assert process.stdin is not None
            process.stdin.write("\n".join(packet.hex() for packet in packets))
            process.stdin.close()
        for number in range(500):
            os.write(fd, b"%d" % number)
            assert os.read(fd, 100) == b"%d" % number
        wait_until(lambda: metric(mount, "not_answered") > 0)
    log = mount.log.read_text()
    assert log.count("dropped a") <= 2


# It looks for names for long enough to write to all of them meanwhile.
_PATIENT = (
    "-c",
    "from msfs_fuse.net.netbios import lookups\nlookups.INTERVAL = 2.0\n"
    "from msfs_fuse.commands.main import main\nmain()",
)


def test_a_flood_of_our_own_is_refused_at_the_limit(hosts: tuple[Host, Host]) -> None:
    """Nobody has these names: what waits for them is bounded, and lost."""
    ours, _ = hosts
    with ours.mounted(config=ours.configure(OWN), program=_PATIENT) as mount:
        wait_until(lambda: link(mount, "PYHOST") == "connected")
        check_flood_of_our_own(mount)


def check_flood_of_our_own(mount: Mount) -> None:
    fds = []
    try:
        refusals = Counter[str]()
        for number in range(40):
            try:
                fds.append(os.open(mount / f"@NOBODY{number}/msfs\\x", os.O_WRONLY))
            except OSError as error:
                refusals[os.strerror(error.errno or 0)] += 1
        assert refusals == {"No route to host": 8}
        for fd in fds:
            for _ in range(20):
                try:
                    os.write(fd, b"x")
                except OSError as error:
                    refusals[os.strerror(error.errno or 0)] += 1
        assert refusals["No buffer space available"] == 32 * 20 - 256
        wait_until(lambda: metric(mount, "lost_unknown") == 256)
        with pytest.raises(OSError, match="No route to host"):
            os.write(fds[0], b"x")
    finally:
        for fd in fds:
            os.close(fd)
