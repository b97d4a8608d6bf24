"""Bad luck: signals, floods, crashes, and what nobody should ever have to reboot for."""

import errno
import os
import random
import re
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Mount, MountFactory, force_unmount, is_mounted
from tests.support.processes import (
    TIMEOUT,
    line_of,
    msfs,
    output_of,
    run,
    started,
    state_of,
    wait_until,
)

SERVER = os.O_RDWR | os.O_CREAT


# Writes from memory that never comes, and so holds the slot's lock in the kernel. A page of a file
# whose file system does not answer is such memory, too.
LOCK_HOLDER = """
import fcntl, ctypes, mmap, struct
memory = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
faults = fcntl.ioctl(os.open("/dev/userfaultfd", os.O_RDWR), 0xAA00)  # USERFAULTFD_IOC_NEW
fcntl.ioctl(faults, 0xC018AA3F, struct.pack("3Q", 0xAA, 0, 0))  # UFFDIO_API
fcntl.ioctl(faults, 0xC020AA00, struct.pack("4Q", address, 4096, 1, 0))  # UFFDIO_REGISTER
client = os.open(sys.argv[1], os.O_WRONLY)
print("ready", flush=True)
os.write(client, memory)
"""


@pytest.mark.skipif(not os.access("/dev/userfaultfd", os.W_OK), reason="needs userfaultfd")
def test_a_lock_that_a_writer_holds_is_not_of_this_hosts_other_name(mount: Mount) -> None:
    other_name = mount / f"@{mount.status()['host']}" / "slot"
    echo = "os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC), b'hi')"
    server = os.open(mount / "slot", SERVER)
    with started(LOCK_HOLDER, mount / "slot") as holder:
        assert line_of(holder) == "ready"
        wait_until(lambda: "userfault" in Path(f"/proc/{holder.pid}/wchan").read_text())
        with started(echo, mount / "slot") as neighbour:
            wait_until(lambda: state_of(neighbour.pid) == "D")
            run(echo, other_name)
            assert os.read(server, 100) == b"hi"
            assert neighbour.poll() is None
            holder.kill()
            assert neighbour.wait(TIMEOUT) == 0
    assert os.read(server, 100) == b"hi"
    os.close(server)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_frees_a_waiting_reader_at_once(mount: Mount, number: signal.Signals) -> None:
    server = os.open(mount / "slot", SERVER)
    code = "import signal; signal.signal(2, signal.SIG_DFL); os.read(int(sys.argv[1]), 100)"
    with started(code, server, pass_fds=[server]) as reader:
        wait_until(lambda: mount.status()["waiting"] == "1")
        reader.send_signal(number)
        assert reader.wait(TIMEOUT) == -number
    assert mount.status()["waiting"] == "0"
    os.write(server, b"for the living")
    assert os.read(server, 100) == b"for the living"
    os.close(server)


def test_an_interrupted_read_is_eintr_and_takes_nothing(mount: Mount) -> None:
    code = """
    import signal
    def raise_(*unused):
        raise TimeoutError
    signal.signal(signal.SIGALRM, raise_)
    server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    for _ in range(20):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        try:
            os.read(server, 100)
        except TimeoutError:
            pass
    os.write(server, b"whole")
    print(os.read(server, 100))
    """
    assert run(code, mount / "slot") == "b'whole'"


# Reads for its life on an inherited handle, and notes each number that it got.
READER = """
server, notes = int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
while True:
    os.write(notes, os.read(server, 100) + b"\\n")
"""


def test_readers_killed_under_a_flood_lose_nothing(mount: Mount, tmp_path: Path) -> None:
    """Twenty readers on one handle are killed while a writer floods.

    A message may be missing only if its reader died with the kernel's reply in its hands: at
    most one for each reader killed.
    """
    chance = random.Random(4711)
    notes = tmp_path / "notes"
    notes.touch()
    total, kills = 4000, 12
    server = os.open(mount / "slot", SERVER)
    write = """
    client = os.open(sys.argv[1], os.O_WRONLY)
    for number in range(int(sys.argv[2])):
        os.write(client, b"%d" % number)
        if number % 20 == 0:
            time.sleep(0.001)
    """
    with ExitStack() as stack:
        readers = [
            stack.enter_context(started(READER, server, notes, pass_fds=[server]))
            for _ in range(20)
        ]
        wait_until(lambda: mount.status()["waiting"] == "20")
        writer = stack.enter_context(started(write, mount / "slot", total))
        for reader in chance.sample(readers, kills):
            time.sleep(chance.uniform(0.0, 0.05))
            reader.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
        output_of(writer)
        wait_until(lambda: mount.attribute("slot", "message_count") == "0")
        wait_until(lambda: mount.status()["waiting"] == str(20 - kills))
    read = [int(line) for line in notes.read_text().split()]
    lost = set(range(total)) - set(read)
    print(f"{len(lost)} messages went with {kills} killed readers")
    assert len(read) == len(set(read)), "a message was read twice"
    assert len(lost) <= kills
    os.close(server)


@pytest.mark.parametrize("relation", ["threads", "parent and child"])
def test_read_and_write_on_one_handle(mount: Mount, relation: str) -> None:
    code = """
    import threading
    server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    if sys.argv[2] == "threads":
        got = []
        reader = threading.Thread(target=lambda: got.append(os.read(server, 100)))
        reader.start()
        time.sleep(0.2)
        os.write(server, b"through the same handle")
        reader.join()
        print(got[0].decode())
    elif os.fork():
        time.sleep(0.2)
        os.write(server, b"through the same handle")
        os.wait()
    else:
        print(os.read(server, 100).decode())
    """
    assert run(code, mount / "slot", relation) == "through the same handle"


WAITERS = """
import threading
threading.stack_size(65536)
server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
outcomes = []
def wait():
    try:
        outcomes.append(len(os.read(server, 100)))
    except OSError as error:
        outcomes.append(errno.errorcode[error.errno])
threads = [threading.Thread(target=wait) for _ in range(int(sys.argv[2]))]
for thread in threads:
    thread.start()
print("ready", flush=True)
for thread in threads:
    thread.join()
print(sorted(set(map(str, outcomes))), len(outcomes))
"""


def test_thousands_of_waiting_readers_are_in_nobodys_way(mount: Mount) -> None:
    count = 3000
    with started(WAITERS, mount / "slot", count) as waiters:
        assert line_of(waiters) == "ready"
        wait_until(lambda: mount.status()["waiting"] == str(count))
        slowest = 0.0
        for attempt in range(50):
            began = time.monotonic()
            os.stat(mount / "slot")
            os.listdir(mount.path)
            other = os.open(mount / f"other{attempt}", SERVER)
            os.write(other, b"x")
            os.close(other)
            slowest = max(slowest, time.monotonic() - began)
        print(f"stat, ls, open, write, close: {slowest * 1e3:.1f} ms at worst")
        client = os.open(mount / "slot", os.O_WRONLY)
        for _ in range(count):
            os.write(client, b"x")
        os.close(client)
        assert output_of(waiters) == f"['1'] {count}"


def devices_of(mount: Mount) -> int:
    """How often the daemon has /dev/fuse open."""
    with os.scandir(f"/proc/{mount.daemon.pid}/fd") as found:
        return sum(os.readlink(each.path) == "/dev/fuse" for each in found)


def test_reads_that_wait_are_spread_over_devices(mount: Mount) -> None:
    """Each gets its message, or its signal, wherever it waits; a second crowd takes no more."""
    code = """
    import collections, threading
    server, count = int(sys.argv[1]), int(sys.argv[2])
    threading.stack_size(65536)
    read = collections.deque()
    def receive():
        try:
            read.append(os.read(server, 9))
        except OSError as error:
            read.append(-error.errno)
    threads = [threading.Thread(target=receive) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sorted(map(int, read)) == list(range(count)) or set(read))
    """
    count = 1500
    server = os.open(mount / "slot", SERVER)
    devices = []
    for _ in range(3):
        with started(code, server, count, pass_fds=[server]) as crowd:
            wait_until(lambda: mount.status()["waiting"] == str(count))
            devices.append(devices_of(mount))
            for number in range(count):
                os.write(server, b"%d" % number)
            assert output_of(crowd) == "True"
        with started(code, server, count, pass_fds=[server]) as crowd:
            wait_until(lambda: mount.status()["waiting"] == str(count))
            crowd.kill()
            assert crowd.wait(TIMEOUT) == -signal.SIGKILL
        assert mount.status()["waiting"] == "0"
    assert devices[0] > 4
    assert devices[2] <= devices[0] + 1
    with started(code, server, count, pass_fds=[server]) as crowd:
        wait_until(lambda: mount.status()["waiting"] == str(count))
        os.close(server)
        mount.daemon.terminate()
        assert mount.daemon.wait(TIMEOUT) == 0
        assert output_of(crowd) == f"{{{-errno.ESHUTDOWN}}}"


def test_reads_over_the_limit_do_not_wait(mount_with: MountFactory) -> None:
    mount = mount_with("max_waiting=10")
    with started(WAITERS, mount / "slot", 15) as waiters:
        assert line_of(waiters) == "ready"
        wait_until(lambda: mount.status()["reads_over_limit"] == "5")
        for _ in range(10):
            client = os.open(mount / "slot", os.O_WRONLY)
            os.write(client, b"x")
            os.close(client)
        assert output_of(waiters) == "['1', 'EAGAIN'] 15"


def test_a_handler_that_raises_is_eio_and_no_more(mount_with: MountFactory, tmp_path: Path) -> None:
    program = tmp_path / "faulty.py"
    program.write_text(
        "from msfs_fuse.core.mailslots import Mailslots\n"
        "from msfs_fuse.core.tree import Tree\n"
        "from msfs_fuse.commands.main import main\n"
        "def faulty(*unused, **named):\n"
        "    raise RuntimeError('injected')\n"
        "Tree.mkdir = faulty\n"
        "Mailslots.add_reader = faulty\n"
        "main()\n"
    )
    mount = mount_with(program=(str(program),), allow_log="injected")
    server = os.open(mount / "slot", SERVER)
    for attempt in (lambda: os.mkdir(mount / "directory"), lambda: os.read(server, 10)):
        with pytest.raises(OSError, match="Input/output error"):
            attempt()
    wait_until(lambda: mount.log.read_text().count("RuntimeError: injected") == 2)
    assert mount.log.read_text().count("Traceback") == 2
    assert os.write(server, b"the mount lives") == 15
    os.close(server)


def test_sigterm_ends_a_busy_mount_cleanly(mount: Mount) -> None:
    with started(WAITERS, mount / "slot", 50) as waiters:
        assert line_of(waiters) == "ready"
        wait_until(lambda: mount.status()["waiting"] == "50")
        client = os.open(mount / "slot", os.O_WRONLY)
        mount.daemon.send_signal(signal.SIGTERM)
        assert mount.daemon.wait(TIMEOUT) == 0
        assert not is_mounted(mount.path)
        assert output_of(waiters) == "['ESHUTDOWN'] 50"
        with pytest.raises(OSError, match="not connected"):
            os.write(client, b"x")
        os.close(client)


def test_umount_from_outside_ends_the_daemon(mount: Mount) -> None:
    assert msfs("umount", mount.path).returncode == 0
    assert mount.daemon.wait(TIMEOUT) == 0


def test_a_dead_mount_is_repaired(mount: Mount) -> None:
    server = os.open(mount / "slot", SERVER)
    os.stat(mount.path)  # for a second the kernel answers that by itself, whoever is dead
    mount.daemon.kill()
    mount.daemon.wait(TIMEOUT)
    try:
        done = msfs("mount", mount.path)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"msfs: took away the dead mount at {mount.path}\n"
        fresh = os.open(mount / "slot", SERVER)
        os.write(fresh, b"as new")
        assert os.read(fresh, 10) == b"as new"
        os.close(fresh)
        os.close(server)
        assert msfs("umount", mount.path).returncode == 0
    finally:
        force_unmount(mount.path)


def test_a_killed_daemon_frees_its_readers(mount: Mount) -> None:
    with started(WAITERS, mount / "slot", 5) as waiters:
        wait_until(lambda: mount.status()["waiting"] == "5")
        mount.daemon.kill()
        assert line_of(waiters) == "ready"
        assert output_of(waiters) == "['ECONNABORTED'] 5"


def test_a_lazy_umount_frees_everybody(mount: Mount) -> None:
    with started(WAITERS, mount / "slot", 5) as waiters:
        wait_until(lambda: mount.status()["waiting"] == "5")
        busy = msfs("umount", mount.path)
        assert busy.returncode == 1
        assert f"cannot unmount {mount.path}" in busy.stderr
        assert msfs("umount", "-l", mount.path).returncode == 0
        assert not is_mounted(mount.path)
        assert line_of(waiters) == "ready"
        assert output_of(waiters) == "['ESHUTDOWN'] 5"
        assert mount.daemon.wait(TIMEOUT) == 0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_closed_handles_leave_no_ghosts(mount: Mount) -> None:
    """RELEASE comes after close(2) has returned, but before anything else is asked."""
    code = """
    root = sys.argv[1]
    for number in range(1000):
        name = f"{root}/slot{number}"
        first = os.open(name, os.O_RDWR | os.O_CREAT)
        handles = [first] + [os.open(name, os.O_WRONLY) for _ in range(199)]
        os.closerange(first, handles[-1] + 1)
        assert not os.path.exists(name), number
    print("none")
    """
    assert run(code, mount.path) == "none"


def test_a_process_that_ends_leaves_no_ghosts(mount: Mount) -> None:
    code = """
    for number in range(200):
        os.open(f"{sys.argv[1]}/slot{number}", os.O_RDWR | os.O_CREAT)
    """
    for _ in range(10):
        run(code, mount.path)
        assert os.listdir(mount.path) == [".msfs"]


def test_opens_and_closes_in_a_storm(mount: Mount) -> None:
    """`echo > slot` where the slot comes and goes all the time never fails."""
    script = 'for i in $(seq 150); do echo "$i" > "$1" || exit 1; done'
    with ExitStack() as stack:
        storms = [
            stack.enter_context(
                subprocess.Popen(
                    ["bash", "-c", script, "bash", str(mount / "slot")], stderr=subprocess.PIPE
                )
            )
            for _ in range(4)
        ]
        assert [storm.communicate(timeout=30)[1] for storm in storms] == [b""] * 4
    assert os.listdir(mount.path) == [".msfs"]


def test_servers_in_a_storm(mount: Mount) -> None:
    """Where a slot comes and goes all the time, a server gets it, or there is another one."""
    code = """
    finish, outcomes = time.monotonic() + 2, set()
    while time.monotonic() < finish:
        try:
            os.close(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT))
            outcomes.add("served")
        except OSError as error:
            outcomes.add(errno.errorcode[error.errno])
    print(*sorted(outcomes))
    """
    with ExitStack() as stack:
        storms = [stack.enter_context(started(code, mount / "slot")) for _ in range(4)]
        assert {name for storm in storms for name in output_of(storm).split()} == {
            "EACCES",
            "served",
        }


def test_an_idle_mount_sleeps(mount: Mount) -> None:
    with started(WAITERS, mount / "slot", 20) as waiters:
        assert line_of(waiters) == "ready"
        wait_until(lambda: mount.status()["waiting"] == "20")

        def switches() -> int:
            text = Path(f"/proc/{mount.daemon.pid}/status").read_text()
            return sum(map(int, re.findall(r"ctxt_switches:\t(\d+)", text)))

        def has_come_to_rest() -> bool:
            before = switches()
            time.sleep(0.5)
            return switches() == before

        wait_until(has_come_to_rest)
        before = switches()
        time.sleep(5)
        assert switches() == before
        mount.daemon.send_signal(signal.SIGTERM)
        output_of(waiters)
