"""A daemon under a service manager: what it tells it, and what it reads again."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import force_unmount, is_mounted
from tests.support.processes import SERVER, opened, wait_until

TIMEOUT = 15.0


@dataclass
class Service:
    """A daemon and the socket that it talks to."""

    path: Path
    config: Path
    daemon: "subprocess.Popen[bytes]"
    manager: socket.socket

    def hear(self) -> dict[str, str]:
        """The next notification, by name."""
        lines = self.manager.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def status(self) -> dict[str, str]:
        lines = (self.path / ".msfs/status").read_text().splitlines()
        return dict(line.split(": ", 1) for line in lines)

    def reload(self, text: str) -> None:
        """Change the configuration, and have the daemon read it: it says when it has."""
        self.config.write_text(text)
        before = time.monotonic_ns() // 1000
        self.daemon.send_signal(signal.SIGHUP)
        heard = self.hear()
        assert heard["RELOADING"] == "1"
        assert before <= int(heard["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert self.hear()["READY"] == "1"


@contextlib.contextmanager
def serving(tmp_path: Path, *, abstract: bool = False, **environment: str) -> Iterator[Service]:
    path, config, log = tmp_path / "mail", tmp_path / "msfs.toml", tmp_path / "log"
    path.mkdir()
    config.write_text('[mount]\noptions = ["max_waiting=7"]\n')
    name = f"@msfs-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        log.open("wb") as output,
    ):
        manager.bind(name.replace("@", "\0", 1) if abstract else name)
        manager.settimeout(TIMEOUT)
        daemon = subprocess.Popen(
            [sys.executable, "-m", "msfs_fuse", "mount", "-f", "--config", config, path],
            env={**os.environ, "NOTIFY_SOCKET": name, **environment},
            stdout=output,
            stderr=output,
        )
        try:
            yield Service(path, config, daemon, manager)
        finally:
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(TIMEOUT)
                raise
            finally:
                force_unmount(path)


@pytest.mark.parametrize("abstract", [False, True])
def test_it_is_ready_when_the_mount_answers(tmp_path: Path, abstract: bool) -> None:
    with serving(tmp_path, abstract=abstract) as service:
        heard = service.hear()
        assert heard["READY"] == "1"
        assert heard["STATUS"] == f"{service.path}: 0 slots, 0 messages queued, 0 reads waiting"
        assert is_mounted(service.path)
        assert service.status()["pid"] == str(service.daemon.pid)


def test_it_is_never_ready_if_it_cannot_mount(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.hear()
        again = subprocess.run(
            [sys.executable, "-m", "msfs_fuse", "mount", "-f", service.path],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert again.returncode == 1
        service.manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            service.hear()


def test_signals_at_any_time_leave_no_dead_mount(tmp_path: Path) -> None:
    """From when there is a mount until there is none, and more than one signal."""
    for number in range(8):
        directory = tmp_path / str(number)
        directory.mkdir()
        with serving(directory) as service:
            while not is_mounted(service.path):
                assert service.daemon.poll() is None
            time.sleep(0.01 * number)
            while service.daemon.poll() is None:
                service.daemon.send_signal(signal.SIGTERM)
                time.sleep(0.0003)
            assert not is_mounted(service.path), number


def test_it_says_that_it_stops(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.hear()
        service.daemon.send_signal(signal.SIGTERM)
        assert service.hear() == {"STOPPING": "1", "STATUS": "stopping: SIGTERM"}
        assert service.daemon.wait(TIMEOUT) == 0
        assert not is_mounted(service.path)


def test_changed_limits_take_effect_at_sighup(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.hear()
        assert service.status()["max_waiting"] == "7"
        slot = os.open(service.path / "slot", os.O_RDWR | os.O_CREAT)
        service.reload('[mount]\noptions = ["max_waiting=8", "strict"]\n')
        assert service.status()["max_waiting"] == "8"
        with pytest.raises(FileNotFoundError):  # strict
            os.open(service.path / "other", os.O_WRONLY | os.O_CREAT)
        os.write(slot, b"still here")
        assert os.read(slot, 100) == b"still here"
        os.close(slot)


def test_a_broken_configuration_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.hear()
        service.reload('[mount]\noptions = ["nonsense"]\n')
        assert service.status()["max_waiting"] == "7"
        complaint = f"the configuration stays as it was: {service.config}:2: unknown option"
        wait_until(lambda: complaint in (tmp_path / "log").read_text())
        service.reload('[mount]\noptions = ["max_waiting=9"]\n')
        assert service.status()["max_waiting"] == "9"


def test_messages_get_no_longer_than_the_kernel_was_told(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.hear()
        service.reload('[mount]\noptions = ["max_message_size=100k", "max_waiting=9"]\n')
        status = service.status()
        assert (status["max_message_size"], status["max_waiting"]) == (str(64 << 10), "9")
        complaint = "takes effect when mounted anew: max_message_size"
        wait_until(lambda: complaint in (tmp_path / "log").read_text())
        service.reload('[mount]\noptions = ["max_message_size=1k"]\n')
        assert service.status()["max_message_size"] == "1024"


def test_the_watchdog_is_fed(tmp_path: Path) -> None:
    with serving(tmp_path, WATCHDOG_USEC="400000") as service:
        heard = [service.hear() for _ in range(2)]
        assert [each for each in heard if "READY" in each]
        for _ in range(4):
            assert service.hear()["WATCHDOG"] == "1"


def test_the_watchdog_of_another_process_is_not_fed(tmp_path: Path) -> None:
    with serving(tmp_path, WATCHDOG_USEC="100000", WATCHDOG_PID="1") as service:
        assert service.hear()["READY"] == "1"
        service.manager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            service.hear()


def test_a_reload_that_makes_room_wakes_who_waits_for_it(tmp_path: Path) -> None:
    """Whether a slot takes something changes with the limits, and nothing else tells."""
    with serving(tmp_path) as service:
        assert service.hear()["READY"] == "1"
        service.reload('[mount]\noptions = ["max_messages=1"]\n')
        with opened(service.path / "slot", SERVER) as server:
            os.write(server, b"x")
            writable = select.poll()
            writable.register(server, select.POLLOUT)
            assert writable.poll(0) == []
            with ThreadPoolExecutor() as pool:
                waiter = pool.submit(writable.poll, 10_000)
                time.sleep(0.2)  # it waits by now; if not, the test proves less
                service.reload('[mount]\noptions = ["max_messages=2"]\n')
                assert waiter.result() == [(server, select.POLLOUT)]
