"""Rates and latencies to and from nmbd, as lines of JSON, for `scripts/bench netbios`. No test.

Both ends are on this machine, in namespaces, with whatever else runs here.
"""

import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.conftest import Mount
from tests.samba.conftest import OWN, link
from tests.samba.test_beside_nmbd import beside
from tests.support import browser
from tests.support.network import Lan, read_all, served
from tests.support.processes import wait_until
from tests.support.samba import nmbd

ROUNDS = 500
BURST = 5_000


def wait_for(fd: int) -> None:
    """Until a message has come, and take it."""
    while True:
        with contextlib.suppress(BlockingIOError):
            os.read(fd, 1000)
            return


def latency(client: int, data: bytes, fd: int) -> dict[str, float]:
    """Milliseconds from a write to the end of the read of what came of it."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        os.write(client, data)
        wait_for(fd)
        times.append(time.perf_counter() - start)
        time.sleep(0.002)
    times.sort()
    median, late = statistics.median(times), times[int(len(times) * 0.99)]
    return {"median ms": median * 1e3, "99 % ms": late * 1e3}


def rate(client: int, fd: int, pace: float) -> dict[str, float]:
    """How much of what is written at a pace a second arrives."""
    start = time.perf_counter()
    came = 0
    for number in range(BURST):
        while time.perf_counter() < start + number / pace:
            pass
        with contextlib.suppress(OSError):
            os.write(client, b"x" * 64)
        if not number % 32:
            came += len(read_all(fd))
    seconds = time.perf_counter() - start
    time.sleep(0.5)
    came += len(read_all(fd))
    return {"written a second": BURST / seconds, "lost": BURST - came}


def tell(way: str, figures: dict[str, float]) -> None:
    print(json.dumps({"way": way, **figures}), flush=True)


def measure(ours: Mount, neighbour: Mount, other: Mount) -> None:
    """Print them.

    Args:
        ours: has the ports to itself.
        neighbour: beside nmbd, on its host.
        other: as ours, on a third host.
    """
    with contextlib.ExitStack() as stack:
        fd = stack.enter_context(served(neighbour, "msfs/in"))
        back = stack.enter_context(served(ours, "msfs/reply"))
        third = stack.enter_context(served(other, "msfs/in"))
        os.setxattr(neighbour / "msfs/in", "user.mailslot.max_message_size", b"424")
        names = {
            "mount to mount": ("@THIRD/msfs\\in", third),
            "mount to the mount beside nmbd, by nmbd": ("@NMBHOST/msfs\\in", fd),
        }
        for what, (name, reader) in names.items():
            client = os.open(ours / name, os.O_WRONLY)
            stack.callback(os.close, client)
            os.write(client, b"x")  # the first one waits for the look-up of the name
            wait_for(reader)
            tell(what, latency(client, b"x", reader))
            for pace in (1_000, 5_000, 100_000):
                tell(what, rate(client, reader, pace))
        query = browser.primary_query("PYHOST", "MSFS\\REPLY")
        client = os.open(ours / "@NMBHOST/NET\\NETLOGON", os.O_WRONLY)
        stack.callback(os.close, client)
        tell("question to nmbd, and its answer in a slot", latency(client, query, back))


def wait_for_link(mount: Mount, name: str) -> None:
    """Until the mount takes part."""
    wait_until(lambda: link(mount, name) == "connected")


def main() -> None:
    """Set up, measure, take down."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        lan = Lan(Path(directory))
        stack.callback(lan.close)
        samba, first, second = (lan.add(name, v6=False) for name in ("samba", "ours", "other"))
        server = stack.enter_context(nmbd(samba, "NMBHOST"))
        mounts = []
        for host, config, name in (
            (first, OWN, "PYHOST"),
            (samba, beside(server), str(server.socket)),
            (second, OWN.replace("PYHOST", "THIRD"), "THIRD"),
        ):
            mount = stack.enter_context(host.mounted(config=host.configure(config)))
            wait_for_link(mount, name)
            (mount / "msfs").mkdir()
            mounts.append(mount)
        measure(*mounts)


if __name__ == "__main__":
    main()
