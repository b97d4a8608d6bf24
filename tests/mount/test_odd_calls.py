"""System calls that nobody makes on a mailslot but by mistake or ill will.

Whatever they answer: no process hangs or becomes unkillable, no message is lost or made up, and
the mount goes on.
"""

import os
import signal
from contextlib import suppress

import pytest

from tests.conftest import Mount, MountFactory
from tests.support.processes import line_of, run, started, state_of, wait_until

SERVER = os.O_RDWR | os.O_CREAT

# The slot of each call below: open to read and write, one message in it. `tried` gives what a
# call returns, or the name of its error.
PRELUDE = """
import ctypes, fcntl, mmap, socket, subprocess
path = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
server = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)
os.write(server, b"kept")

def tried(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]

def file(content):
    made = os.memfd_create("file")
    os.write(made, content)
    return made

def called(name, *arguments):
    result = getattr(libc, name)(*arguments)
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]
"""

# What is called, and what it answers. The message is there afterwards, and no other.
HARMLESS = {
    "O_PATH": (
        "handle = os.open(path, os.O_PATH); print(tried(os.read, handle, 1), "
        "tried(os.open, f'/proc/self/fd/{handle}', os.O_RDONLY))",
        "EBADF EACCES",
    ),
    "O_TMPFILE": ("print(tried(os.open, os.path.dirname(path), os.O_TMPFILE | 2))", "ENOTSUP"),
    "O_DIRECTORY": ("print(tried(os.open, path, os.O_DIRECTORY))", "ENOTDIR"),
    "access mode 3": ("print(tried(os.open, path, 3))", "EACCES"),
    "flock": (
        "print(tried(fcntl.flock, server, fcntl.LOCK_EX), "
        "tried(fcntl.flock, os.open(path, os.O_WRONLY), fcntl.LOCK_EX | fcntl.LOCK_NB))",
        "None EAGAIN",
    ),
    "lockf": ("print(tried(fcntl.lockf, server, fcntl.LOCK_EX))", "None"),
    "mmap": ("print(called('mmap', None, 4096, 1, 1, server, 0))", "ENODEV"),
    "ioctl": ("print(tried(fcntl.ioctl, server, 0x5401, bytearray(99)))", "ENOTTY"),
    "fallocate": ("print(tried(os.posix_fallocate, server, 0, 100))", "ESPIPE"),
    "readahead": ("print(tried(os.posix_fadvise, server, 0, 9, os.POSIX_FADV_WILLNEED))", "None"),
    "fsync": ("print(tried(os.fsync, server), called('syncfs', server))", "None 0"),
    "pread": ("print(tried(os.pread, server, 9, 0))", "ESPIPE"),
    "copy_file_range": (
        "other = file(b'other'); print(tried(os.copy_file_range, other, server, 5, 0), "
        "tried(os.copy_file_range, server, other, 5))",
        "EXDEV EXDEV",
    ),
    "sendfile from": ("print(tried(os.sendfile, file(b''), server, 0, 9))", "ESPIPE"),
    "splice from": ("print(tried(os.splice, server, os.pipe()[1], 9))", "EIO"),
    "execve": ("os.chmod(path, 0o777); print(tried(os.execv, path, [path]))", "EACCES"),
    "exchange": (
        "print(called('renameat2', -100, path.encode(), -100, path.encode() + b'2', 2), "
        "called('renameat2', -100, path.encode(), -100, path.encode() + b'2', 4))",
        "ENOENT EPERM",
    ),
    "bad buffers": (
        "bad = ctypes.c_void_p(1); print(called('write', server, bad, 9))",
        "EFAULT",
    ),
    "unshare": (
        "print(called('unshare', 0x10020000) in (0, 'EPERM', 'EINVAL', 'ENOSPC'))",
        "True",
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_call_that_does_nothing(mount: Mount, name: str) -> None:
    call, answer = HARMLESS[name]
    check = "print(os.read(server, 9), tried(os.read, server, 9))"
    output = run(f"{PRELUDE}\n{call}\n{check}", mount / "slot").splitlines()
    assert output == [answer, "b'kept' EAGAIN"]
    assert os.listdir(mount.path) == [".msfs"]


@pytest.mark.parametrize(
    "call",
    [
        "os.sendfile(server, file(b'message'), 0, 7)",
        "ours, theirs = os.pipe(); os.write(theirs, b'message'); os.splice(ours, server, 99)",
        "os.pwritev(server, [b'mes', b'sage'], -1, os.RWF_DSYNC)",
    ],
)
def test_other_ways_to_write(mount: Mount, call: str) -> None:
    check = "print(os.read(server, 9), os.read(server, 9), tried(os.read, server, 9))"
    code = f"{PRELUDE}\n{call}\n{check}"
    assert run(code, mount / "slot") == "b'kept' b'message' EAGAIN"


@pytest.mark.parametrize(
    "flag",
    ["O_NOFOLLOW", "O_DIRECT", "O_SYNC", "O_ASYNC", "O_NOATIME", "O_NOCTTY", "O_EXCL", "O_APPEND"],
)
def test_flags_that_mean_nothing_here(mount: Mount, flag: str) -> None:
    server = os.open(mount / "slot", SERVER | getattr(os, flag))
    os.write(server, b"message")
    assert os.read(server, 9) == b"message"
    os.close(server)


# Linux' own asynchronous reads: the kernel waits for them at the end of the process, whatever
# signal came, so they must not be left with us.
AIO = """
import ctypes
server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | int(sys.argv[2]))
os.write(server, b"until it is read, the kernel believes in a size")
os.read(server, 99)
libc = ctypes.CDLL(None)
class Control(ctypes.Structure):
    _fields_ = [(name, kind) for name, kind in zip(
        ("data", "key", "flags", "code", "priority", "fd", "buffer", "bytes", "offset", "rest"),
        (ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int32, ctypes.c_uint16, ctypes.c_int16,
         ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64, ctypes.c_uint64 * 2))]
buffer = ctypes.create_string_buffer(100)
control = Control(fd=server, buffer=ctypes.addressof(buffer), bytes=100)
context = ctypes.c_ulong()
assert libc.syscall(206, 1, ctypes.byref(context)) == 0  # io_setup
print("ready", flush=True)
libc.syscall(209, context, 1, ctypes.byref(ctypes.pointer(control)))  # io_submit
time.sleep(60)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of system calls")
@pytest.mark.parametrize("flag", [0, os.O_DIRECT])
def test_an_asynchronous_read_does_not_outlive_its_process(mount: Mount, flag: int) -> None:
    with started(AIO, mount / "slot", flag) as reader:
        assert line_of(reader) == "ready"
        wait_until(lambda: mount.status()["waiting"] == "1")
        reader.kill()
        try:
            wait_until(lambda: state_of(reader.pid) == "Z")
        finally:  # or it could not be killed at all
            with suppress(FileNotFoundError), open(mount / "slot", "r+b", 0) as client:
                client.write(b"x")
    assert os.listdir(mount.path) == [".msfs"]


def test_a_stopped_reader_is_in_nobodys_way(mount: Mount) -> None:
    server = os.open(mount / "slot", SERVER)
    with started("print(os.read(int(sys.argv[1]), 9))", server, pass_fds=[server]) as reader:
        wait_until(lambda: mount.status()["waiting"] == "1")
        reader.send_signal(signal.SIGSTOP)
        wait_until(lambda: state_of(reader.pid) in "TDS")
        os.write(server, b"first")
        os.write(server, b"second")
        assert mount.attribute("slot", "message_count") in ("1", "2")
        reader.send_signal(signal.SIGCONT)
        first = line_of(reader)
    rest = [os.read(server, 9) for _ in range(int(mount.attribute("slot", "message_count")))]
    assert (first, rest) == ("b'first'", [b"second"])
    os.close(server)


def test_a_process_in_a_directory_that_is_gone(mount: Mount) -> None:
    code = """
    os.mkdir(sys.argv[1])
    os.chdir(sys.argv[1])
    handle = os.open(".", os.O_RDONLY)
    os.rmdir(sys.argv[1])
    print(os.listdir("."), os.listdir(handle))
    for call in (
        lambda: os.open("slot", os.O_RDWR | os.O_CREAT),
        lambda: os.open("slot", os.O_RDWR | os.O_CREAT, dir_fd=handle),
        lambda: os.mkdir("dir"),
    ):
        try:
            call()
        except FileNotFoundError:
            print("gone")
    """
    assert run(code, mount / "dir").splitlines() == ["[] []", "gone", "gone", "gone"]
    assert mount.status()["slots"] == "0"


@pytest.mark.parametrize("name", [b"a\nb", b"\x1b[2J", b"\xff\xfe", b"-rf", b"%s%n", b"*"])
def test_names_that_are_no_text(mount: Mount, name: bytes) -> None:
    path = os.fsencode(mount.path) + b"/" + name
    server = os.open(path, SERVER)
    os.write(server, b"x")
    assert name in os.listdir(os.fsencode(mount.path))
    os.close(server)
    wait_until(lambda: mount.status()["messages_unread"] == "1")
    wait_until(lambda: "unread\n" in mount.log.read_text())
    *_, line = mount.log.read_text().splitlines()
    assert line.isprintable()
    assert "INFO slot " in line
    assert line.endswith(" died with 1 messages unread")


def test_a_write_from_memory_that_ends_is_one_message(mount: Mount) -> None:
    """The kernel sends what it could copy, and tells the writer so."""
    code = """
    import ctypes
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    start = libc.mmap(None, ctypes.c_size_t(8192), 3, 0x22, -1, ctypes.c_long(0))
    libc.munmap(ctypes.c_void_p(start + 4096), ctypes.c_size_t(4096))
    print(libc.write(server, ctypes.c_void_p(start + 4000), ctypes.c_size_t(1000)))
    print(len(os.read(server, 1000)))
    """
    assert run(code, mount / "slot").splitlines() == ["96", "96"]


def test_many_lookups_of_names_that_are_not_there(mount: Mount) -> None:
    code = """
    for number in range(20_000):
        os.stat(f"{sys.argv[1]}/@host{number}")
        os.stat(f"{sys.argv[1]}/@host/{number}")
    """
    run(code, mount.path)
    assert os.listdir(mount.path) == [".msfs"]


def test_open_control_files_and_listings(mount_with: MountFactory) -> None:
    mount = mount_with()
    code = """
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3000), hard))
    for number in range(1000):
        os.mkdir(f"{sys.argv[1]}/{number}")
    for _ in range(900):
        os.open(sys.argv[1], os.O_RDONLY)
        os.open(sys.argv[1] + "/.msfs/status", os.O_RDONLY)
        os.open(sys.argv[1] + "/.msfs/metrics", os.O_RDONLY)
    print("open")
    """

    def memory() -> int:
        with open(f"/proc/{mount.daemon.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = memory()
    assert run(code, mount.path) == "open"
    assert memory() - before < 50_000_000


def test_a_limit_of_the_size_of_files_cuts_a_message(mount: Mount) -> None:
    """The kernel passes no more of it, and write(2) says so."""
    code = """
    import resource, signal
    slot = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    client = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
    print(os.write(slot, b"x" * 3000), len(os.read(slot, 5000)))
    try:
        os.write(client, b"x")
    except OSError as error:
        print(errno.errorcode[error.errno])
    """
    assert run(code, mount / "slot").split("\n") == ["1024 1024", "EFBIG"]
