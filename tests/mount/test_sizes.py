"""A slot with a server shows a size. What believes in it gets an error, and wedges nothing."""

import os
import time

import pytest

from tests.conftest import Mount, MountFactory
from tests.support.processes import opened, output_of, shell, started, wait_until


def test_a_slot_with_a_server_has_a_size(mount: Mount) -> None:
    """`[ -s slot ]` asks whether somebody listens."""
    with opened(mount / "slot", os.O_WRONLY | os.O_CREAT):
        assert os.stat(mount / "slot").st_size == 0
        with opened(mount / "slot", os.O_RDONLY):
            assert os.stat(mount / "slot").st_size == 4096
            assert shell('[ -s "$1" ]', mount / "slot").returncode == 0
        time.sleep(0.01)  # for so long the kernel believes what it was told
        assert os.stat(mount / "slot").st_size == 0


WEDGES = """
import ctypes, mmap, select
server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
libc = ctypes.CDLL(None, use_errno=True)
pipe_out, pipe_in = os.pipe()
target = os.open("/dev/null", os.O_WRONLY)
kind = sys.argv[2]
while not select.select([0], [], [], 0)[0]:  # until there is enough
    try:
        if kind == "splice":
            os.splice(server, pipe_in, 4096)
        elif kind == "sendfile":
            os.sendfile(pipe_in, server, None, 4096)
        elif kind == "mmap":
            mmap.mmap(server, 4096, prot=mmap.PROT_READ)[0]
        elif kind == "readahead":
            assert libc.readahead(server, ctypes.c_long(0), ctypes.c_size_t(4096)) == 0
        elif kind == "fadvise":
            os.posix_fadvise(server, 0, 4096, os.POSIX_FADV_WILLNEED)
        else:
            os.copy_file_range(server, target, 4096)
    except (OSError, ValueError, AssertionError):
        pass
os.set_blocking(server, False)
while True:
    try:
        print(os.read(server, 100).decode(), end="")
    except BlockingIOError:
        break
"""


@pytest.mark.parametrize(
    "kind", ["splice", "sendfile", "mmap", "readahead", "fadvise", "copy_file_range"]
)
def test_what_believes_in_the_size_wedges_nothing(mount_with: MountFactory, kind: str) -> None:
    """While a slot is empty, waited for, and full: opens, writes and other reads go on."""
    mount = mount_with("max_messages=5")
    with started(WEDGES, mount / "slot", kind) as server:
        wait_until(lambda: (mount / "slot").exists())
        for number in range(20):
            done = shell('echo "$2" > "$1"', mount / "slot", number)
            assert done.returncode == (0 if number < 5 else 1), number
            assert (mount / "slot").exists()
            os.stat(mount / "slot")
        assert output_of(server).split() == [str(number) for number in range(5)]


READS_BESIDE = """
import threading
reader = threading.Thread(target=lambda: print(os.read(server, 100)), daemon=True)
reader.start()
"""


@pytest.mark.parametrize("kind", ["splice", "sendfile", "mmap", "readahead", "copy_file_range"])
def test_what_believes_in_the_size_beside_a_waiting_read(mount: Mount, kind: str) -> None:
    code = WEDGES.replace("kind = sys", READS_BESIDE + "kind = sys", 1).split("os.set_blocking")[0]
    with started(code + "reader.join()\nprint('done')", mount / "slot", kind) as server:
        wait_until(lambda: (mount / "slot").exists() and mount.status()["waiting"] == "1")
        (mount / "slot").write_bytes(b"message")
        assert output_of(server).split() == ["b'message'", "done"]
