"""Hosts whose clocks differ, or are set, and what a mount tells those who listen on the wire."""

import contextlib
import subprocess
import time
from pathlib import Path

import pytest

from msfs_fuse.net.trust.keys import DomainKey, domain_context, parse_keys
from msfs_fuse.net.udp.multicast import groups
from tests.support.network import (
    Host,
    metric,
    mounted,
    peer_count,
    sees,
    served,
    settle,
    stop,
    write,
)
from tests.support.processes import is_root, wait_until

pytestmark = [
    pytest.mark.skipif(not is_root(), reason="needs network namespaces"),
    pytest.mark.timeout(120),
]

CORP = "[domain.corp]\n"

# A daemon whose clock is wrong by as many seconds as a file says: that of the machine is for all.
_CLOCK = """
import pathlib, time
now, now_ns = time.time, time.time_ns
offset = pathlib.Path({file!r})
time.time = lambda: now() + float(offset.read_text())
time.time_ns = lambda: now_ns() + int(float(offset.read_text()) * 1e9)
from msfs_fuse.commands.main import main
main()
"""


def clock(file: Path, seconds: float) -> tuple[str, str]:
    """What Python runs for a daemon with that clock, which the file may set again."""
    set_clock(file, seconds)
    return "-c", _CLOCK.format(file=str(file))


def set_clock(file: Path, seconds: float) -> None:
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.rename(file)


@pytest.mark.parametrize("seconds", [-0.05, 20, -86400, 86400 * 365])
def test_a_clock_that_is_wrong_keeps_no_host_out_and_brings_nothing_again(
    hosts: list[Host], seconds: float
) -> None:
    ada, bob = hosts[:2]
    wrong = clock(ada.directory / "clock", seconds)
    with bob.mounted(config=bob.configure(CORP)) as far:
        time.sleep(3)  # the HELLOs of its start are over
        with (
            ada.mounted(config=ada.configure(CORP), program=wrong) as mount,
            served(mount, "slot") as own,
            served(far, "slot") as slot,
        ):
            # It does not wait for the next HELLO, half a minute later.
            wait_until(lambda: sees(mount, "bob") and sees(far, "ada"), 15)
            write(mount, "@bob/slot", b"there")
            write(far, "@corp/slot", b"to all")
            assert sorted(settle(slot, 2)) == [b"there", b"to all"]
            assert settle(own, 1) == [b"to all"]
            stop(far)
            with (
                bob.mounted(config=bob.configure(CORP)) as again,
                served(again, "slot") as new,
            ):
                wait_until(lambda: peer_count(mount, "bob") == 2 and sees(again, "ada"), 15)
                write(mount, "@bob/slot", b"new")
                assert settle(new, 1) == [b"new"]


def test_a_clock_that_jumps_as_after_a_snapshot_makes_another_mount(hosts: list[Host]) -> None:
    ada, bob = hosts[:2]
    file = ada.directory / "clock"
    with (
        bob.mounted(config=bob.configure(CORP)) as far,
        ada.mounted(config=ada.configure(CORP), program=clock(file, 0)) as mount,
        served(mount, "slot") as own,
        served(far, "slot") as slot,
    ):
        wait_until(lambda: sees(mount, "bob") and sees(far, "ada"))
        set_clock(file, 5)  # as a time server may do
        time.sleep(3)
        assert metric(mount, "restarts") == 0
        set_clock(file, 3600)
        wait_until(lambda: metric(mount, "restarts") == 1)
        # Another mount, which takes the place of the first.
        wait_until(lambda: peer_count(far, "ada") == 2)
        wait_until(lambda: sees(mount, "bob"))
        write(mount, "@bob/slot", b"to bob")
        write(far, "@corp/slot", b"to all")
        assert sorted(settle(slot, 2)) == [b"to all", b"to bob"]
        assert settle(own, 1) == [b"to all"]


# ---- what the wire tells ----

# The UDP lengths and addresses of what goes by, as a stranger at the cable sees them.
_LISTEN = """
import socket, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
sock.bind(("eth0", 0))
print("ready", flush=True)
while True:
    packet = sock.recv(65536)
    if packet[0] >> 4 == 4 and packet[9] == 17:
        head = (packet[0] & 15) * 4
        to = socket.inet_ntop(socket.AF_INET, packet[16:20])
    elif packet[0] >> 4 == 6 and packet[6] == 17:
        head, to = 40, socket.inet_ntop(socket.AF_INET6, packet[24:40])
    else:
        continue
    port = int.from_bytes(packet[head + 2:head + 4], "big")
    if port in (4424, 4425):
        print(to, port, int.from_bytes(packet[head + 4:head + 6], "big") - 8, flush=True)
"""


def test_lengths_and_groups_tell_a_stranger_nothing(hosts: list[Host]) -> None:
    with contextlib.ExitStack() as stack:
        # A stranger behind a switch sees all multicast; unicast is looked at where it arrives.
        processes = []
        for inside in (hosts[2].inside, hosts[1].inside):
            process = stack.enter_context(
                subprocess.Popen(
                    [*inside, "/usr/bin/python3", "-c", _LISTEN], stdout=subprocess.PIPE, text=True
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            processes.append(process)
        with mounted(hosts[:2], "") as (mount, far), served(far, "slot") as slot:
            for size in (1, 2, 63, 64, 200, 424):
                write(mount, "@bob/slot", b"x" * size)
                write(mount, "@corp/slot", b"y" * size)
            assert len(settle(slot, 12)) == 12
        seen = []
        for process in processes:
            process.kill()
            assert process.stdout is not None
            seen += [line.split() for line in process.stdout]
    lengths = {int(length) for _, _, length in seen}
    assert lengths
    assert all(length % 64 == 0 and 64 <= length <= 1216 for length in lengths), lengths
    context = domain_context("corp")
    used = {to for to, port, _ in seen if port == "4425"}
    (key,) = parse_keys((hosts[0].directory / "corp/corp.key").read_text())
    assert used == set(groups(key.multicast_seed(context)).values())
    other = groups(DomainKey(bytes(32)).multicast_seed(context)).values()
    assert used.isdisjoint(other)  # who has not the key does not know where
