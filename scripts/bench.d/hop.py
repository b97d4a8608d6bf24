"""What the section `network` measures with. Figures are JSON on stdout, in microseconds.

hop.py latency CORE COUNT SIZE PAUSE TARGET SLOT...
                                          from a write to TARGET until all SLOTs' readers have it,
                                          PAUSE seconds after the one before
hop.py flood CORE COUNT RATE SIZE TARGET SLOT
                                          so many messages, RATE a second (0: as fast as it goes)
hop.py clients CORE COUNT SIZE PORT       from a line to mosquitto_pub to mosquitto_sub's
hop.py serve ADDRESS READY                a plain UDP echo in trio; the file READY says it is there
hop.py echo COUNT SIZE ADDRESS            its client, in trio too: the round trip

CORE is where the readers run; all else stays where hop.py was started.
"""

import contextlib
import json
import mmap
import os
import select
import signal
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import trio

PORT = 7
WARM_UP = 100
PATIENCE = 5.0  # seconds, after which a message is lost
QUIET = 1.0  # seconds, after which a flood is over
NUMBER = struct.Struct("=q")


def report(nanoseconds: list[int]) -> None:
    us = sorted(n / 1000 for n in nanoseconds)
    sample = {
        "n": len(us),
        "min": us[0],
        "median": statistics.median(us),
        "p99": us[int((len(us) - 1) * 0.99)],
        "mean": statistics.fmean(us),
    }
    print(json.dumps({"latency": sample}))


def opened(slot: str) -> int:
    return os.open(slot, os.O_RDWR | os.O_CREAT)


@contextlib.contextmanager
def child(core: int, work: Callable[[], None]) -> Iterator[None]:
    """A process of its own, on that core, for as long as it is wanted."""
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setaffinity(0, {core})
            work()
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def latency(core: int, count: int, size: int, pause: float, target: str, *slots: str) -> None:
    """Each message is written when all readers have had the one before it."""
    heard, tell = os.pipe()

    def read(slot: int) -> None:
        while True:
            sent = NUMBER.unpack_from(os.read(slot, size))[0]
            os.write(tell, NUMBER.pack(time.monotonic_ns() - sent))

    last = []
    with contextlib.ExitStack() as readers:
        for slot in [opened(slot) for slot in slots]:
            readers.enter_context(child(core, partial(read, slot)))
        out = os.open(target, os.O_WRONLY)
        for number in range(WARM_UP + count):
            if pause:
                time.sleep(pause)
            os.write(out, NUMBER.pack(time.monotonic_ns()).ljust(size, b"\0"))
            slowest = 0
            for _ in slots:
                if not select.select([heard], [], [], PATIENCE)[0]:
                    sys.exit(f"message {number} was lost")
                slowest = max(slowest, *NUMBER.unpack(os.read(heard, NUMBER.size)))
            last.append(slowest)
    report(last[WARM_UP:])


def flood(core: int, count: int, rate: int, size: int, target: str, path: str) -> None:
    """Write at a pace while another process reads; what it has not read in the end is lost."""
    # When each was read, and how often one came again: shared with the reader, who has no time.
    got = memoryview(mmap.mmap(-1, NUMBER.size * (count + 1))).cast("q")
    slot = opened(path)
    refused = 0

    def read() -> None:
        while True:
            number = NUMBER.unpack_from(os.read(slot, size))[0]
            got[count] += got[number] != 0
            got[number] = time.monotonic_ns()

    def heard() -> int:
        return sum(at != 0 for at in got[:count])

    with child(core, read):
        out = os.open(target, os.O_WRONLY)
        start = time.monotonic_ns()
        for number in range(count):
            if rate:
                ahead = start + number * 1_000_000_000 // rate - time.monotonic_ns()
                if ahead > 0:
                    time.sleep(ahead / 1e9)
            try:
                os.write(out, NUMBER.pack(number).ljust(size, b"\0"))
            except OSError:
                refused += 1
        written = time.monotonic_ns()
        before = -1
        while before < heard() < count - refused:
            before = heard()
            time.sleep(QUIET)
    figures = {
        "written": count / ((written - start) / 1e9),
        "read": heard() / ((max(*got[:count], written) - start) / 1e9),
        "lost": count - refused - heard(),
        "refused": refused,
        "twice": got[count],
    }
    print(json.dumps(figures))


def clients(core: int, count: int, size: int, port: str) -> None:
    """The broker's own programs, each fed or read by a pipe."""
    words = ["-h", "127.0.0.1", "-p", port, "-t", "bench/hop", "-q", "0"]
    with (
        subprocess.Popen(
            ["taskset", "-c", str(core), "mosquitto_sub", *words], stdout=subprocess.PIPE
        ) as sub,
        subprocess.Popen(["mosquitto_pub", *words, "-l"], stdin=subprocess.PIPE) as pub,
    ):
        assert sub.stdout is not None
        assert pub.stdin is not None
        times = []
        try:
            time.sleep(0.5)  # until it has subscribed
            for number in range(WARM_UP + count):
                start = time.monotonic_ns()
                os.write(pub.stdin.fileno(), b"%d" % number + b"x" * (size - 8) + b"\n")
                if not select.select([sub.stdout], [], [], PATIENCE)[0]:
                    sys.exit(f"message {number} was lost")
                os.read(sub.stdout.fileno(), 4096)
                times.append(time.monotonic_ns() - start)
        finally:
            sub.kill()
            pub.kill()
    report(times[WARM_UP:])


async def serve(address: str, ready: str) -> None:
    sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    await sock.bind((address, PORT))
    Path(ready).touch()
    while True:
        data, source = await sock.recvfrom(65536)
        await sock.sendto(data, source)


async def echo(count: int, size: int, address: str) -> None:
    sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    times = []
    with trio.fail_after(PATIENCE + count / 100):
        for _ in range(WARM_UP + count):
            start = time.monotonic_ns()
            await sock.sendto(NUMBER.pack(start).ljust(size, b"\0"), (address, PORT))
            await sock.recvfrom(65536)
            times.append(time.monotonic_ns() - start)
    report(times[WARM_UP:])


def main() -> None:
    match sys.argv[1:]:
        case ["latency", core, count, size, pause, target, *slots]:
            latency(int(core), int(count), int(size), float(pause), target, *slots)
        case ["flood", core, count, rate, size, target, slot]:
            flood(int(core), int(count), int(rate), int(size), target, slot)
        case ["clients", core, count, size, port]:
            clients(int(core), int(count), int(size), port)
        case ["serve", address, ready]:
            trio.run(serve, address, ready)
        case ["echo", count, size, address]:
            trio.run(echo, int(count), int(size), address)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
