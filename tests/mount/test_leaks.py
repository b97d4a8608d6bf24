"""Messages leave nothing behind in the daemon."""

import os
from pathlib import Path

import pytest

from tests.conftest import Mount
from tests.support.processes import SERVER, opened, run

# The writer goes on in a process of its own for so many messages.
MESSAGES = """
slot, count = sys.argv[1], int(sys.argv[2])
server = os.open(slot, os.O_RDWR | os.O_CREAT)
client = os.open(slot, os.O_WRONLY)
sizes = [1, 64, 400, 5000]
for number in range(count):
    os.write(client, bytes(sizes[number % 4]))
    os.read(server, 5000)
"""


def resident(mount: Mount) -> int:
    """Bytes of memory that the daemon has."""
    pages = int(Path(f"/proc/{mount.daemon.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_million_messages_leave_nothing(mount: Mount) -> None:
    run(MESSAGES, mount / "slot", 50_000)
    before = resident(mount)
    # A reference that is lost with each message would be 32 MB at the least.
    run(MESSAGES, mount / "slot", 1_000_000)
    assert resident(mount) < before + 4_000_000


def test_reads_that_fail_leave_nothing(mount: Mount) -> None:
    with opened(mount / "slot", SERVER | os.O_NONBLOCK) as server:

        def fail(count: int) -> None:
            for _ in range(count):
                with pytest.raises(BlockingIOError):
                    os.read(server, 10)

        fail(20_000)
        before = resident(mount)
        # 40 bytes lost with each would be 8 MB.
        fail(200_000)
        assert resident(mount) < before + 4_000_000
