"""Nothing that a daemon writes to can make it wait: it drops, counts, and goes on."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import force_unmount, is_mounted
from tests.support.processes import is_root, run, wait_until

TIMEOUT = 15.0

# More lines than any pipe or socket on the way holds, each from a slot that dies unread.
UNREAD = """
for number in range(int(sys.argv[2])):
    slot = os.open(f"{sys.argv[1]}/{number:0200}", os.O_RDWR | os.O_CREAT)
    os.write(slot, b"x")
    os.close(slot)
"""

ONE_MESSAGE = """
slot = os.open(sys.argv[1] + "/slot", os.O_RDWR | os.O_CREAT)
for number in range(100):
    os.write(slot, b"%d" % number)
    assert os.read(slot, 100) == b"%d" % number
print("passed")
"""

# The daemon with many lines allowed for each cause, so that the log is what gets full.
CHATTY = """
from msfs_fuse.daemon import log
log._LINES_OF_A_CAUSE = 1_000_000
from msfs_fuse.commands.main import main
main()
"""


@contextlib.contextmanager
def daemon(
    path: Path, *, chatty: bool = True, background: bool = False, **named: object
) -> Iterator["subprocess.Popen[bytes]"]:
    """A daemon at `path`; ended by SIGTERM, which has to be enough."""
    path.mkdir()
    program = ["-c", CHATTY] if chatty else ["-m", "msfs_fuse"]
    command = [sys.executable, *program, "mount", "--config", "/dev/null", path]
    if not background:
        command.insert(-1, "-f")
    process = subprocess.Popen(command, **named)  # type: ignore[call-overload]
    try:
        wait_until(lambda: is_mounted(path))
        yield process
    finally:
        try:
            if background:
                status = (path / ".msfs/status").read_text()
                pid = int(status.split("\npid: ")[1].split()[0])
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda: not is_mounted(path))
            else:
                process.terminate()
            process.wait(TIMEOUT)
        finally:
            process.kill()
            process.wait(TIMEOUT)
            force_unmount(path)


def passes(path: Path) -> bool:
    """Whether messages go through the mount, and however many slots have died unread."""
    run(UNREAD, path, 1500)
    return run(ONE_MESSAGE, path) == "passed"


def number(path: Path, name: str) -> float:
    """One of the mount's metrics."""
    lines = (path / ".msfs/metrics").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(f"msfs_{name}_total ")).split()[1])


def test_a_full_stderr(tmp_path: Path) -> None:
    path = tmp_path / "mail"
    reader, writer = os.pipe()
    with daemon(path, stderr=writer) as process:
        os.close(writer)
        assert passes(path)
        assert number(path, "log_dropped") > 100
        process.terminate()  # it ends though nobody reads
        assert process.wait(TIMEOUT) == 0
    with open(reader, "rb") as said:
        assert b"died with 1 messages unread" in said.read()


def test_what_was_lost_is_told_when_it_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mail"
    reader, writer = os.pipe()
    with daemon(path, stderr=writer):
        os.close(writer)
        assert passes(path)
        with open(reader, "rb") as said:
            lines = iter(said.readline, b"")
            lost = next(each for each in lines if b"lines of the log were lost here" in each)
            assert int(lost.split()[0]) > 100
            run(UNREAD, path, 1)
            assert any(b"died with 1 messages unread" in each for each in lines)


def test_a_reader_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "mail"
    reader, writer = os.pipe()
    with daemon(path, stderr=writer) as process:
        os.close(writer)
        os.close(reader)
        assert passes(path)
        assert process.poll() is None


@pytest.mark.parametrize("foreground", ["-f", ""])
def test_no_stderr_at_all(tmp_path: Path, foreground: str) -> None:
    path = tmp_path / "mail"
    path.mkdir()
    script = f'exec "$@" mount {foreground} --config /dev/null {path} <&- >&- 2>&-'
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "msfs_fuse"]
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: is_mounted(path))
            assert run(ONE_MESSAGE, path) == "passed"
            subprocess.run(
                [sys.executable, "-m", "msfs_fuse", "umount", path], check=True, timeout=TIMEOUT
            )
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()
            force_unmount(path)


def test_a_stopped_syslog(tmp_path: Path) -> None:
    if not is_root():
        pytest.skip("/dev/log is root's")
    if os.path.lexists("/dev/log"):
        pytest.skip("there is a syslog here, and it is not ours to stop")
    path = tmp_path / "mail"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind("/dev/log")
        try:
            with daemon(path, background=True):
                assert passes(path)  # nobody reads the socket: as if its process were stopped
                syslog.settimeout(TIMEOUT)
                expected = b"<14>msfs: msfs_fuse.daemon.service: mounted"
                while not syslog.recv(4096).startswith(expected):
                    pass  # another mount has something to say
        finally:
            os.unlink("/dev/log")


def test_a_hung_service_manager(tmp_path: Path) -> None:
    path = tmp_path / "mail"
    address = str(tmp_path / "notify")
    environment = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    filler.sendto(b"X=1", address)
        with daemon(path, env=environment):
            assert passes(path)


def test_a_cause_that_repeats_is_told_as_a_number(tmp_path: Path) -> None:
    path, log = tmp_path / "mail", tmp_path / "log"
    with log.open("wb") as output, daemon(path, chatty=False, stderr=output):
        run(UNREAD, path, 500)
        wait_until(lambda: log.read_text().count("unread") == 50)
        wait_until(lambda: number(path, "log_repeated") == 450)
    *_, last = [line for line in log.read_text().splitlines() if "unread" in line]
    assert last.startswith("450 more like: ")
    assert last.endswith(f"slot {499:0200} died with 1 messages unread")


def test_what_libraries_write_to_stderr_is_logged(tmp_path: Path) -> None:
    """SIGUSR1 has Python write to stderr past the log: where all threads are."""
    path, log = tmp_path / "mail", tmp_path / "log"
    with log.open("wb") as output, daemon(path, chatty=False, stderr=output) as process:
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "most recent call first" in log.read_text())
