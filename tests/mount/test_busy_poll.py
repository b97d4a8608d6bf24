"""The daemon looks for the next request before it sleeps: nobody else may suffer for it."""

import errno
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Mount, MountFactory
from tests.support.processes import started, wait_until

SERVER = os.O_RDWR | os.O_CREAT

FLOOD = """
server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
print("ready", flush=True)
try:
    while True:
        os.write(server, b"x")
        os.read(server, 1)
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def cpu_seconds(mount: Mount) -> float:
    fields = Path(f"/proc/{mount.daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_flood_keeps_no_timeout_waiting(mount: Mount) -> None:
    server = os.open(mount / "slot", SERVER)
    mount.set_attribute("slot", "read_timeout", "100")
    with started(FLOOD, mount / "flood"):
        wait_until(lambda: (mount / "flood").exists())
        for _ in range(5):
            began = time.monotonic()
            with pytest.raises(OSError, match=os.strerror(errno.ETIMEDOUT)):
                os.read(server, 10)
            assert time.monotonic() - began < 2  # not "when the flood is over", which is never
    os.close(server)


def test_a_flood_does_not_keep_the_daemon_from_stopping(mount: Mount) -> None:
    with started(FLOOD, mount / "flood"):
        wait_until(lambda: (mount / "flood").exists())
        mount.daemon.send_signal(signal.SIGTERM)
        assert mount.daemon.wait(5) == 0


@pytest.mark.parametrize("options", [["busy_poll=0"], ["busy_poll=500"]])
def test_an_idle_daemon_uses_no_cpu(mount_with: MountFactory, options: list[str]) -> None:
    mount = mount_with(*options)
    server = os.open(mount / "slot", SERVER)
    for _ in range(1000):
        os.write(server, b"x")
        os.read(server, 1)
    time.sleep(0.2)

    def wakeups() -> int:
        text = Path(f"/proc/{mount.daemon.pid}/status").read_text()
        return sum(map(int, re.findall(r"ctxt_switches:\t(\d+)", text)))

    before = cpu_seconds(mount), wakeups()
    time.sleep(2)
    assert (cpu_seconds(mount), wakeups()) == before
    os.close(server)


def test_nonsense_is_refused(mount_with: MountFactory) -> None:
    with pytest.raises(AssertionError, match="option busy_poll: not a number"):
        mount_with("busy_poll=much")
