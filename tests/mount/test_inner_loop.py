"""The daemon answers messages in a loop of its own: nobody else may suffer for it.

All of it once with trio's descriptor known, and once as with a trio that has none to be known.
"""

import contextlib
import errno
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from msfs_fuse.fuse import inner_loop
from msfs_fuse.fuse.inner_loop import InnerLoop, find_descriptor
from tests.conftest import Mount, MountFactory
from tests.support.processes import MESSAGES, SERVER, TIMEOUT, busy, started, wait_until

# Runs `msfs` after other code.
_AFTER = "{}\nimport runpy; runpy.run_module('msfs_fuse', run_name='__main__', alter_sys=True)"

_UNKNOWN = """
import msfs_fuse.fuse.inner_loop as loop
loop._is_epoll = lambda number: False
"""

# Each request takes 2 ms, so that with several clients there is always a next one.
_SLOW = """
import time
from msfs_fuse.fuse import interpose
import pyfuse3

def slow(handler):
    return lambda *request: (time.sleep(0.002), handler(*request))[1]

set_handlers, init = interpose.set_handlers, pyfuse3.init

def slow_init(operations, *rest):
    operations.statfs = slow(operations.statfs)
    init(operations, *rest)

interpose.set_handlers = lambda on_read, on_write, *rest: set_handlers(
    slow(on_read), slow(on_write), *rest
)
pyfuse3.init = slow_init
"""

OTHERS = """
print("ready", flush=True)
while True:
    os.statvfs(sys.argv[1])
"""

STATUS = """
print("ready", flush=True)
while True:
    with open(f"{sys.argv[1]}/.msfs/status") as file:
        file.read()
    time.sleep(0.005)
"""


@pytest.fixture(params=["descriptor known", "descriptor unknown"])
def mounted(request: pytest.FixtureRequest, mount_with: MountFactory) -> Callable[..., Mount]:
    before = _UNKNOWN if "unknown" in request.param else ""

    def mount(*options: str, code: str = "") -> Mount:
        return mount_with(*options, program=("-c", _AFTER.format(before + code)))

    return mount


def activity(mount: Mount) -> tuple[float, int]:
    """CPU seconds, and how often the daemon was switched to."""
    fields = Path(f"/proc/{mount.daemon.pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{mount.daemon.pid}/status").read_text()
    ticks = int(fields[11]) + int(fields[12])
    switches = sum(map(int, re.findall(r"ctxt_switches:\t(\d+)", status)))
    return ticks / os.sysconf("SC_CLK_TCK"), switches


# ---- other tasks have their turn ----


@pytest.mark.parametrize("code", [MESSAGES, OTHERS], ids=["messages", "others"])
def test_a_flood_keeps_no_timeout_waiting(mounted: Callable[..., Mount], code: str) -> None:
    mount = mounted(code=_SLOW)
    server = os.open(mount / "slot", SERVER)
    mount.set_attribute("slot", "read_timeout", "100")
    with busy(mount.path, code):
        for _ in range(5):
            with pytest.raises(TimeoutError):
                os.read(server, 10)
    os.close(server)


@pytest.mark.parametrize("code", [MESSAGES, OTHERS], ids=["messages", "others"])
def test_a_flood_does_not_keep_the_daemon_from_stopping(
    mounted: Callable[..., Mount], code: str
) -> None:
    mount = mounted(code=_SLOW)
    with busy(mount.path, code):
        mount.daemon.send_signal(signal.SIGTERM)
        assert mount.daemon.wait(TIMEOUT) == 0


def test_an_earlier_deadline_is_never_missed(mounted: Callable[..., Mount]) -> None:
    """A read makes the timeouts' task runnable; whether it runs before the daemon sleeps is chance.

    trio shuffles the tasks of a turn: with every read it may be either way.
    """
    mount = mounted()
    server = os.open(mount / "slot", SERVER)
    for milliseconds in range(30, 10, -1):
        mount.set_attribute("slot", "read_timeout", str(milliseconds))
        with pytest.raises(TimeoutError):
            os.read(server, 10)
    os.close(server)


def test_other_requests_do_not_put_timeouts_off(mounted: Callable[..., Mount]) -> None:
    mount = mounted()
    server = os.open(mount / "slot", SERVER)
    mount.set_attribute("slot", "read_timeout", "300")
    with busy(mount.path, STATUS, processes=1), pytest.raises(TimeoutError):
        os.read(server, 10)
    os.close(server)


def test_threads_run_while_the_daemon_waits(mount_with: MountFactory, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    thread = f"""
import threading, time
def beat():
    while True:
        time.sleep(0.001)
        with open({str(beats)!r}, "a") as file:
            file.write(".")
threading.Thread(target=beat, daemon=True).start()"""
    mount = mount_with("busy_poll=1000", program=("-c", _AFTER.format(thread)))
    before = beats.stat().st_size
    wait_until(lambda: beats.stat().st_size > before + 20)
    with busy(mount.path, MESSAGES, processes=1):
        before = beats.stat().st_size
        wait_until(lambda: beats.stat().st_size > before + 20)


def test_signals_reach_a_daemon_that_waits(mounted: Callable[..., Mount]) -> None:
    mount = mounted()
    time.sleep(0.2)
    for count in range(1, 4):
        mount.daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: mount.log.read_text().count("read the configuration again") >= count)  # noqa: B023  (called at once)
    mount.daemon.send_signal(signal.SIGTERM)
    assert mount.daemon.wait(TIMEOUT) == 0


# ---- interrupts ----


def test_every_reader_that_is_killed_in_a_flood_is_let_go(mounted: Callable[..., Mount]) -> None:
    mount = mounted()
    read = 'print("ready", flush=True)\nos.read(int(sys.argv[1]), 10)'
    server = os.open(mount / "slot", SERVER)
    with busy(mount.path, MESSAGES, processes=2), contextlib.ExitStack() as stack:
        readers: list[subprocess.Popen[str]] = [
            stack.enter_context(started(read, server, pass_fds=[server])) for _ in range(10)
        ]
        wait_until(lambda: int(mount.status()["waiting"]) == 10)
        for reader in readers:
            reader.kill()
            assert reader.wait(TIMEOUT) == -signal.SIGKILL
        os.write(server, b"not lost")
        assert os.read(server, 10) == b"not lost"
    assert mount.status()["reads_interrupted"] == "10"
    os.close(server)


# ---- what waiting costs ----


@pytest.mark.parametrize("option", ["busy_poll=0", "busy_poll=500"])
def test_an_idle_daemon_uses_no_cpu(mounted: Callable[..., Mount], option: str) -> None:
    mount = mounted(option)
    server = os.open(mount / "slot", SERVER)
    for _ in range(1000):
        os.write(server, b"x")
        os.read(server, 1)

    def has_come_to_rest() -> bool:
        before = activity(mount)
        time.sleep(0.2)
        return activity(mount) == before

    wait_until(has_come_to_rest)
    before = activity(mount)
    time.sleep(2)
    assert activity(mount) == before
    os.close(server)


def test_looking_in_vain_is_soon_given_up(mounted: Callable[..., Mount]) -> None:
    """A client that computes for longer than the daemon would look, between any two writes."""
    never, often = mounted("busy_poll=0"), mounted("busy_poll=2000")
    seconds = []
    for mount in (never, often):
        server = os.open(mount / "slot", SERVER)
        before, _ = activity(mount)
        for _ in range(400):
            os.write(server, b"x")
            os.read(server, 1)
            time.sleep(0.005)
        seconds.append(activity(mount)[0] - before)
        os.close(server)
    assert seconds[1] - seconds[0] < 0.4  # looking every time would take 0.8 more


def test_nonsense_is_refused(mount_with: MountFactory) -> None:
    with pytest.raises(AssertionError, match="option busy_poll: not a number"):
        mount_with("busy_poll=much")


# ---- trio's side ----


async def set_it(event: trio.Event) -> None:
    event.set()


async def test_whoever_was_to_run_before_is_not_overlooked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inner_loop, "_is_epoll", lambda number: False)  # takes turns of its own
    for _ in range(20):
        ran = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(set_it, ran)
            async with InnerLoop(0).running():
                assert ran.is_set()


def trios_own() -> Any:
    """What trio does not tell, for this version of it."""
    return trio._core._run.GLOBAL_RUN_CONTEXT.runner.io_manager._epoll


async def test_trios_descriptor_is_found_among_others() -> None:
    quiet, ready = select.epoll(), select.epoll()
    reader, writer = os.pipe()
    os.write(writer, b"x")
    ready.register(reader, select.EPOLLIN)
    with quiet, ready, os.fdopen(reader), os.fdopen(writer, "w"):
        assert await find_descriptor() == trios_own().fileno()


async def test_what_cannot_be_told_from_trios_descriptor_is_not_taken() -> None:
    with select.epoll() as outer:
        outer.register(trios_own().fileno(), select.EPOLLIN)
        assert await find_descriptor() is None


def test_the_old_way_is_said_in_the_log(mounted: Callable[..., Mount], request: Any) -> None:
    unknown = "unknown" in request.node.name
    mount = mounted()
    mount.status()  # it serves
    words = "trio's descriptor was not found"
    if unknown:
        wait_until(lambda: words in mount.log.read_text())  # the log is written by a thread
    else:
        assert words not in mount.log.read_text()


def test_codes_are_those_of_the_kernel(mounted: Callable[..., Mount]) -> None:
    mount = mounted()
    server = os.open(mount / "slot", SERVER | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        os.read(server, 10)
    with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
        os.write(server, b"x" * 500_000)
    os.close(server)
