"""What users hold costs no more than it must, and what is gone costs nothing."""

import contextlib
import os
import re
import textwrap
from pathlib import Path

import pytest

from tests.conftest import Mount, MountFactory
from tests.support.processes import (
    SERVER,
    is_root,
    line_of,
    opened,
    run,
    started,
    wait_until,
)

STORM = """
end = time.monotonic() + float(sys.argv[2])
number = 0
while time.monotonic() < end:
    number += 1
    os.close(os.open(f"{sys.argv[1]}/{os.getpid()}-{number}", os.O_WRONLY | os.O_CREAT))
"""


def resident_bytes(pid: int) -> int:
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) * 1024


def bytes_received(pid: int) -> int:
    match = re.search(r"^rchar: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    assert match
    return int(match[1])


def kernel_inodes() -> int:
    """How many inodes of all FUSE mounts the kernel remembers."""
    match = re.search(r"^fuse_inode +(\d+)", Path("/proc/slabinfo").read_text(), re.MULTILINE)
    assert match
    return int(match[1])


def test_names_that_are_gone_cost_nothing(mount: Mount) -> None:
    make = """
    for number in range(int(sys.argv[2])):
        os.close(os.open(f"{sys.argv[1]}/{number}", os.O_WRONLY | os.O_CREAT))
    """
    run(make, mount.path, 2000)
    before = resident_bytes(mount.daemon.pid)
    run(make, mount.path, 30_000)
    assert resident_bytes(mount.daemon.pid) - before < 10 * 1024 * 1024  # it was 45 MB


@pytest.mark.skipif(not is_root(), reason="slabinfo is root's")
def test_the_kernel_forgets_names_that_are_gone(mount: Mount) -> None:
    before = kernel_inodes()
    run(
        """
        for number in range(10_000):
            os.close(os.open(f"{sys.argv[1]}/{number}", os.O_WRONLY | os.O_CREAT))
        """,
        mount.path,
    )
    wait_until(lambda: kernel_inodes() - before < 2000)


TOO_LONG = """
client = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for size in (70_000, 1 << 20, 8 << 20):
    for call in (os.write, lambda handle, data: os.writev(handle, [data])):
        for _ in range(10):
            try:
                call(client, bytes(size))
            except OSError as error:
                assert error.errno == errno.EMSGSIZE
            else:
                print("taken")
"""


def test_what_is_too_long_is_not_fetched(mount: Mount) -> None:
    """All wait while the daemon fetches a megabyte, only to refuse it."""
    before = bytes_received(mount.daemon.pid)
    assert run(TOO_LONG, mount / "slot") == ""
    assert bytes_received(mount.daemon.pid) - before < 60 * 80_000
    assert mount.status()["messages_written"] == "0"


MADE_UP = """
for number in range(int(sys.argv[3])):
    os.stat(f"{sys.argv[1]}/{sys.argv[2]}".replace("#", str(number)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("names", ["@host/#", "@#", "@#/slot"])
def test_made_up_names_of_other_hosts_cost_nothing(mount: Mount, names: str) -> None:
    """Each of them is there as soon as it is looked up, and was known until the kernel forgot."""
    run(MADE_UP, mount.path, names, 3000)
    before, inodes_before = resident_bytes(mount.daemon.pid), kernel_inodes() if is_root() else 0
    run(MADE_UP, mount.path, names, 100_000)
    assert resident_bytes(mount.daemon.pid) - before < 20 * 1024 * 1024  # it was 84 to 190 MB
    if is_root():  # whose slabinfo is
        wait_until(lambda: kernel_inodes() - inodes_before < 20_000)


HOLD = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (10_100, 10_100))
make = sys.argv[2] == "make"
for number in range(10_000):
    name = f"{sys.argv[1]}/{os.getpid()}-{number}"
    if make:
        os.mkdir(name)
    os.open(name, os.O_PATH)
    if make:
        os.rmdir(name)
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("way", ["make", "look"])
def test_names_that_are_held_without_opening_them_cost_little(mount: Mount, way: str) -> None:
    """By O_PATH, which the mount does not hear of: directories that were removed, other hosts."""
    before = resident_bytes(mount.daemon.pid)
    directory = mount.path if way == "make" else mount / "@host"
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(started(HOLD, directory, way)) for _ in range(4)]
        for process in holders:
            assert line_of(process) == "held"
        assert resident_bytes(mount.daemon.pid) - before < 20 * 1024 * 1024  # it was 30 MB


def test_who_uses_a_name_goes_on_whatever_others_make_up(mount: Mount) -> None:
    code = """
    os.chdir(f"{sys.argv[1]}/@{sys.argv[2]}")
    slot = os.open("slot", os.O_WRONLY)
    print("in", flush=True)
    sys.stdin.readline()
    os.write(slot, b"still")
    os.stat("."), os.fstat(slot), os.stat("slot")
    os.close(os.open("slot", os.O_WRONLY))
    print("done", flush=True)
    """
    with opened(mount / "slot", SERVER) as server:
        with started(code, mount.path, mount.status()["host"]) as process:
            assert line_of(process) == "in"
            run(MADE_UP, mount.path, "@host/#", 10_000)
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
            assert line_of(process) == "done"
        assert os.read(server, 9) == b"still"


def test_forgetting_stands_in_nobodys_way(mount: Mount) -> None:
    """The kernel takes a directory's lock for it, which others hold who wait for us."""
    (mount / "d").mkdir()
    walk = """
    import subprocess
    end = time.monotonic() + 3
    while time.monotonic() < end:
        subprocess.run(sys.argv[1:], stdout=-3, stderr=-3)
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(opened(mount / "d/stays", SERVER))  # and so does its directory
        storms = [
            stack.enter_context(started(STORM, directory, 3))
            for directory in [mount.path, mount / "d"] * 8
        ]
        walks = [
            stack.enter_context(started(walk, *command, mount.path))
            for command in (["ls", "-lR"], ["rm", "-r"], ["find"])
        ]
        with opened(mount / "other", SERVER) as server:
            for _ in range(100):
                os.write(server, b"x")
                assert os.read(server, 9) == b"x"
        for process in (*storms, *walks):
            assert process.wait(40) == 0
    assert set(os.listdir(mount.path)) <= {".msfs", "d"}


def test_a_listing_is_new_after_rewinding(mount: Mount) -> None:
    """As POSIX has it for rewinddir(3)."""
    directory = os.open(mount.path, os.O_RDONLY)
    assert os.listdir(directory) == [".msfs"]
    with opened(mount / "slot", SERVER):
        assert os.listdir(directory) == [".msfs", "slot"]
    assert os.listdir(directory) == [".msfs"]
    os.close(directory)


def test_a_listing_shows_what_stays_once(mount: Mount) -> None:
    """While as many names come and go, and in more parts than one."""
    code = """
    held = [os.open(f"{sys.argv[1]}/stays-{n}", os.O_RDWR | os.O_CREAT) for n in range(500)]
    print("ready", flush=True)
    end = time.monotonic() + 30
    number = 0
    while time.monotonic() < end:
        number += 1
        os.close(os.open(f"{sys.argv[1]}/comes-{number}", os.O_WRONLY | os.O_CREAT))
    """
    with started(code, mount.path) as process:
        assert line_of(process) == "ready"
        for _ in range(10):
            names = os.listdir(mount.path)
            assert len(set(names)) == len(names)
            assert {f"stays-{number}" for number in range(500)} <= set(names)


def test_open_directories_cost_little(mount: Mount) -> None:
    """Each had a copy of the listing: 1,000 of them 40 MB."""
    code = """
    held = [os.open(f"{sys.argv[1]}/{n}", os.O_RDWR | os.O_CREAT) for n in range(900)]
    for fd in held:
        os.close(os.dup(fd))
    directories = []
    for _ in range(2):
        os.close(os.open(sys.argv[1], os.O_RDONLY))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(4000):
        directories.append(os.open(sys.argv[1], os.O_RDONLY))
        if number % 10 == 0:
            os.listdir(directories[-1])
    print("open", flush=True)
    sys.stdin.readline()
    """
    raised = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (6000, 6000))\n"
    with started(raised + textwrap.dedent(code), mount.path) as process:
        assert line_of(process) == "ready"
        before = resident_bytes(mount.daemon.pid)
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
        assert line_of(process) == "open"
        assert resident_bytes(mount.daemon.pid) - before < 5 * 1024 * 1024


def test_fsync_is_not_asked_again(mount_with: MountFactory) -> None:
    """The kernel holds the lock of a slot meanwhile, and any client could call it all the time."""
    debug = "import sys; from msfs_fuse.commands.main import main; sys.argv.insert(2, '-d'); main()"
    mount = mount_with(program=("-c", debug))
    code = """
    slot = os.open(sys.argv[1] + "/slot", os.O_RDWR | os.O_CREAT)
    directory = os.open(sys.argv[1], os.O_RDONLY)
    for _ in range(20):
        os.fsync(slot)
        os.fdatasync(slot)
        os.fsync(directory)
    """
    run(code, mount.path)
    wait_until(lambda: "opcode: RELEASE" in mount.log.read_text())
    assert mount.log.read_text().count("opcode: FSYNC") == 2  # of a file and of a directory
