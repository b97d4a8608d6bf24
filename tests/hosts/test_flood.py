"""A flood of datagrams that no member has sent: what it costs those who use the mount."""

import contextlib
import os
import select
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from msfs_fuse.net.trust.keys import domain_context, parse_keys
from msfs_fuse.net.trust.wire import Kind, pack_header, seal
from tests.conftest import Mount
from tests.support.network import Host, Lan, metric, read_all, sees, served, write
from tests.support.processes import TIMEOUT, busy, is_root, wait_until

pytestmark = pytest.mark.skipif(not is_root(), reason="needs network namespaces")

# Sends one datagram as fast as it can, for so many seconds, changing its last bytes each time.
_FLOOD = """
import socket, sys, time
datagram, address, seconds = bytes.fromhex(sys.argv[1]), sys.argv[2], float(sys.argv[3])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end, count = time.monotonic() + seconds, 0
print("ready", flush=True)
while time.monotonic() < end:
    for _ in range(100):
        count += 1
        sock.sendto(datagram[:-4] + count.to_bytes(4, "big"), (address, 4424))
print(count)
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    lan = Lan(tmp_path)
    try:
        yield lan.add("ada")
    finally:
        lan.close()


@contextlib.contextmanager
def flooded(host: Host, datagram: bytes, seconds: float) -> Iterator["subprocess.Popen[str]"]:
    command = [*host.inside, "/usr/bin/python3", "-c", _FLOOD, datagram.hex(), "127.0.0.1"]
    with subprocess.Popen([*command, str(seconds)], stdout=subprocess.PIPE, text=True) as flood:
        try:
            assert flood.stdout is not None
            assert flood.stdout.readline() == "ready\n"
            yield flood
        finally:
            flood.kill()


def latencies(mount: Mount, count: int) -> list[float]:
    """Microseconds from the write of a message to the end of its read, on this host."""
    found = []
    with served(mount, "local") as fd:
        for _ in range(count):
            began = time.perf_counter()
            os.write(fd, b"x" * 64)
            os.read(fd, 100)
            found.append((time.perf_counter() - began) * 1e6)
    return found


def describe(values: list[float]) -> str:
    ordered = sorted(values)
    return f"p50 {statistics.median(values):.0f} µs, p99 {ordered[len(ordered) * 99 // 100]:.0f} µs"


@pytest.mark.parametrize("kind", ["noise", "forged"])
def test_a_flood_does_not_stop_local_use(host: Host, kind: str) -> None:
    config = host.configure("[domain.corp]")
    with host.mounted(config=config) as mount:
        quiet = latencies(mount, 500)
        # Masked with the domain's key, as a member could; and what anybody could send.
        (key,) = parse_keys((host.directory / "corp/corp.key").read_text())
        context = domain_context("corp")
        header = pack_header(Kind.GROUP, bytes(8), 1)
        cipher = key.group_cipher(context, b"mallory!")
        sealed = seal(cipher, key.mask(context), header, bytes(4), b"x" * 424)
        datagram = sealed if kind == "forged" else bytes(448)
        began = time.monotonic()
        with flooded(host, datagram, 3) as flood:
            during = latencies(mount, 500)
            output, _ = flood.communicate(timeout=20)
        seconds = time.monotonic() - began
        dropped = sum(
            metric(mount, "dropped", reason=reason)
            for reason in ("unmasked", "forged", "malformed")
        )
        print(
            f"\n{kind}: {int(output) / seconds:.0f} datagrams/s sent, "
            f"{dropped / seconds:.0f}/s dropped by us; "
            f"write+read without {describe(quiet)}; during {describe(during)}"
        )
        assert dropped > 100
        assert metric(mount, "received") == 0
        wait_until(lambda: "dropped a datagram" in mount.log.read_text())
        assert mount.log.read_text().count("dropped a datagram") == 1


def test_latency_between_hosts(host: Host) -> None:
    """Printed, not asserted: from the write on one mount to the read on another one."""
    config = host.configure("[domain.corp]")
    far = Host("bob", 9, host.namespace, host.directory)  # another mount beside it, by loopback
    with (
        host.mounted(config=config) as ada,
        far.mounted(config=far.configure("[domain.corp]")) as bob,
        served(bob, "slot") as slot,
    ):
        wait_until(lambda: sees(ada, "bob") and sees(bob, "ada"))
        os.set_blocking(slot, True)
        fd = os.open(ada / "@bob/slot", os.O_WRONLY)
        found = []
        for _ in range(1000):
            began = time.perf_counter()
            os.write(fd, b"x" * 64)
            os.read(slot, 100)
            found.append((time.perf_counter() - began) * 1e6)
        os.set_blocking(slot, False)

        # In bursts of 100, 10,000 in a second if it keeps up.
        count, came = 10_000, 0
        began = time.perf_counter()
        for burst in range(count // 100):
            for _ in range(100):
                os.write(fd, b"y" * 64)
            came += len(read_all(slot))
            time.sleep(max(0, began + burst * 0.01 - time.perf_counter()))
        seconds = time.perf_counter() - began
        deadline = time.monotonic() + 2
        while came < count and time.monotonic() < deadline:
            came += len(read_all(slot))
        os.close(fd)
        print(
            f"\nbetween hosts: {describe(found)}; "
            f"{count / seconds:.0f} messages/s sent, {count - came} of {count} lost"
        )
        write(ada, "@corp/slot", b"end")


def test_a_local_flood_keeps_no_message_of_another_host_waiting(host: Host) -> None:
    """How long each takes is printed; that each comes while the flood goes on is asserted."""
    config = host.configure("[domain.corp]")
    far = Host("bob", 9, host.namespace, host.directory)
    with (
        host.mounted(config=config) as ada,
        far.mounted(config=far.configure("[domain.corp]")) as bob,
        served(bob, "slot") as slot,
    ):
        wait_until(lambda: sees(ada, "bob") and sees(bob, "ada"))

        def times() -> list[float]:
            found = []
            for number in range(200):
                began = time.perf_counter()
                write(ada, "@bob/slot", b"%d" % number)
                wait_until(lambda: bool(select.select([slot], [], [], TIMEOUT)[0]))
                assert read_all(slot) == [b"%d" % number]
                found.append((time.perf_counter() - began) * 1e6)
            return found

        quiet = times()
        with busy(bob.path):
            during = times()
        print(f"\nfrom a host: {describe(quiet)}; beside a flood there: {describe(during)}")
