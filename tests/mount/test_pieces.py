"""The kernel splits long reads and writes. One read is one message; a piece of a write is none."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from msfs_fuse.fuse import pages
from tests.conftest import Mount, MountFactory
from tests.support.processes import SERVER, TIMEOUT, opened, output_of, run, started

X86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of system calls")

LIMIT = Path("/proc/sys/fs/fuse/max_pages_limit")
CAN_RAISE = LIMIT.exists() and os.access(LIMIT, os.W_OK)


@pytest.fixture
def split(mount_with: MountFactory) -> Mount:
    """A mount where a request has 256 pages at most."""
    return mount_with("max_pages=256")


@pytest.fixture
def unsplit(mount_with: MountFactory) -> Mount:
    """A mount where one request has room for any message."""
    if not CAN_RAISE:
        pytest.skip("fs.fuse.max_pages_limit cannot be raised here")
    return mount_with()


@pytest.fixture(params=["split", "unsplit"])
def either(request: pytest.FixtureRequest) -> Mount:
    mount: Mount = request.getfixturevalue(request.param)
    return mount


@pytest.mark.parametrize("size", [1, 100, 255, 256, 257, 300, 512, 513])
@pytest.mark.parametrize("call", ["readv", "preadv"])
def test_one_read_is_one_message(either: Mount, size: int, call: str) -> None:
    """The kernel may pass 256 of 1000 segments in a request, and ask again if they are filled."""
    code = """
    server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    size = int(sys.argv[2])
    for letter in b"ab":
        os.write(server, bytes([letter]) * size)
    for letter in b"ab":
        segments = [bytearray(1) for _ in range(1000)]
        read = os.readv(server, segments) if sys.argv[3] == "readv" else (
            os.preadv(server, segments, -1, 0))
        print(read, b"".join(segments)[:read] == bytes([letter]) * size)
    """
    assert run(code, either / "slot", size, call).splitlines() == [f"{size} True"] * 2


@pytest.mark.parametrize("size", [256, 512])
def test_a_read_does_not_wait_with_a_message(either: Mount, size: int) -> None:
    code = """
    server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    os.write(server, b"a" * int(sys.argv[2]))
    print(os.readv(server, [bytearray(1) for _ in range(1000)]))
    """
    with started(code, either / "slot", size) as reader:
        assert output_of(reader) == str(size)


def test_the_limit_of_pages_is_as_it_was(mount_with: MountFactory) -> None:
    if not CAN_RAISE:
        pytest.skip("fs.fuse.max_pages_limit cannot be raised here")

    def limit() -> str:
        """What it is while no mount is being made, here or in another process."""
        with open(pages._LOCK, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return LIMIT.read_text()

    before = limit()
    with opened(mount_with() / "slot", SERVER):
        assert limit() == before


@pytest.mark.parametrize("length", [1, 50])
@pytest.mark.parametrize("call", ["os.writev(client, data)", "os.pwritev(client, data, -1, 0)"])
def test_a_writev_of_any_segments_is_one_message(unsplit: Mount, length: int, call: str) -> None:
    """Each segment lies in two pages."""
    code = f"""
    import mmap
    client = os.open(sys.argv[1], os.O_WRONLY)
    length = int(sys.argv[2])
    memory = memoryview(mmap.mmap(-1, 4096 * 1025))
    data = [memory[end - length // 2:][:length] for end in range(4096, 4096 * 1025, 4096)]
    print(len(data), {call})
    """
    with opened(unsplit / "slot", SERVER) as server:
        assert run(code, unsplit / "slot", length) == f"1024 {1024 * length}"
        assert len(os.read(server, 1 << 20)) == 1024 * length
        assert unsplit.status()["messages"] == "0"


def test_a_write_of_more_than_a_request_is_refused(mount_with: MountFactory) -> None:
    mount = mount_with("max_message_size=1044480")
    code = """
    client = os.open(sys.argv[1], os.O_WRONLY)
    for data in ([bytes(1 << 20)], [bytes(2 << 20)], [bytes(1025)] * 1024, [bytes(2040)] * 1024):
        try:
            print(os.writev(client, data))
        except OSError as error:
            print(errno.errorcode[error.errno])
    """
    with opened(mount / "slot", SERVER):
        assert run(code, mount / "slot").split() == ["EMSGSIZE"] * 4
        assert mount.status()["messages"] == "0"


@pytest.mark.parametrize("size", [1000, 70_000, 1_044_480])
@pytest.mark.parametrize("call", ["write", "writev", "pwritev2", "appended"])
def test_a_whole_write_of_any_size_is_taken(mount_with: MountFactory, size: int, call: str) -> None:
    mount = mount_with("max_message_size=1044480")
    calls = {
        "write": "os.write(client, data)",
        "writev": "os.writev(client, [data])",
        "pwritev2": "os.pwritev(client, [data], -1, getattr(os, 'RWF_APPEND', 0x10))",
        "appended": "os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND), data)",
    }
    code = f"""
    client = os.open(sys.argv[1], os.O_WRONLY)
    data = bytes(int(sys.argv[2]))
    os.stat(sys.argv[1])
    for _ in range(3):
        print({calls[call]})
    """
    with opened(mount / "slot", SERVER):
        assert run(code, mount / "slot", size).split() == [str(size)] * 3


# A system call of i386 by a process of x86_64: int 0x80, with all that it points to below 4 GiB.
I386 = r"""
import ctypes, mmap
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
low = libc.mmap(None, ctypes.c_size_t(1 << 20), 7, 0x62, -1, ctypes.c_long(0))
def call(number, fd, address, length):
    code = (b"\x53\xb8" + number.to_bytes(4, "little") + b"\xbb" + fd.to_bytes(4, "little")
            + b"\xb9" + address.to_bytes(4, "little") + b"\xba" + length.to_bytes(4, "little")
            + b"\xcd\x80\x5b\xc3")
    ctypes.memmove(low, code, len(code))
    return ctypes.CFUNCTYPE(ctypes.c_int)(low)()
client = os.open(sys.argv[1], os.O_WRONLY)
data, segments = low + 4096, low + (512 << 10)
for number in range(300):
    words = (data + number).to_bytes(4, "little") + (1).to_bytes(4, "little")
    ctypes.memmove(segments + 8 * number, words, 8)
print(call(4, client, data, 5000))  # write
print(call(146, client, segments, 100))  # writev
print(call(146, client, segments, 300))
"""


def i386(mount: Mount) -> list[str]:
    with opened(mount / "slot", SERVER):
        probe = run(I386, mount / "slot").split()
        if probe[0] != "5000":
            pytest.skip("this kernel has no system calls of i386")
        return [*probe, mount.status()["messages"]]


@X86
def test_i386(split: Mount) -> None:
    assert i386(split) == ["5000", "100", "-90", "2"]  # EMSGSIZE


@X86
def test_i386_unsplit(unsplit: Mount) -> None:
    assert i386(unsplit) == ["5000", "100", "300", "3"]


# struct iocb: pwrite or pwritev, of one buffer or of 300 segments.
AIO = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
class Control(ctypes.Structure):
    _fields_ = [(name, kind) for name, kind in zip(
        ("data", "key", "flags", "code", "priority", "fd", "buffer", "bytes", "offset", "rest"),
        (ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int32, ctypes.c_uint16, ctypes.c_int16,
         ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64, ctypes.c_uint64 * 2))]
class Segment(ctypes.Structure):
    _fields_ = [("base", ctypes.c_uint64), ("length", ctypes.c_uint64)]
client = os.open(sys.argv[1], os.O_WRONLY)
buffer = ctypes.create_string_buffer(b"x" * 65_000)
start = ctypes.addressof(buffer)
segments = (Segment * 300)(*((start + number, 1) for number in range(300)))
context = ctypes.c_ulong()
assert libc.syscall(206, 4, ctypes.byref(context)) == 0  # io_setup
def submit(code, address, size, offset):
    control = Control(fd=client, code=code, buffer=address, bytes=size, offset=offset)
    assert libc.syscall(209, context, 1, ctypes.byref(ctypes.pointer(control))) == 1  # io_submit
    event = (ctypes.c_int64 * 4)()
    assert libc.syscall(208, context, 1, 1, event, None) == 1  # io_getevents
    print(event[2])
submit(1, start, 200, 0)
submit(1, start, 200, 77)
submit(8, ctypes.addressof(segments), 100, 5)
submit(8, ctypes.addressof(segments), 300, 0)
submit(1, start, 65_000, 0)
"""


@X86
def test_libaio(split: Mount) -> None:
    """An offset means nothing; a piece of 300 segments is refused."""
    with opened(split / "slot", SERVER):
        assert run(AIO, split / "slot").split() == ["200", "200", "100", "-90", "-90"]
        assert split.status()["messages"] == "3"


@X86
def test_libaio_unsplit(unsplit: Mount) -> None:
    with opened(unsplit / "slot", SERVER):
        assert run(AIO, unsplit / "slot").split() == ["200", "200", "100", "300", "65000"]
        assert unsplit.status()["messages"] == "5"


@pytest.fixture(scope="module")
def uring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("uring") / "uring"
    source = Path(__file__).parents[1] / "support/uring.c"
    subprocess.run([shutil.which("cc") or "gcc", "-o", program, source], check=True)
    return program


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (("w", 200, 1, 0), "200"),
        (("w", 200, 1, 77), "200"),
        (("w", 200, 1, -1), "200"),
        (("W", 200, 200, 0), "200"),
        (("W", 300, 300, 0), "-90"),  # EMSGSIZE: it may be a piece
        (("W", 300, 300, 5), "-90"),
        (("w", 300, 1, 0), "-90"),  # it is none, but nothing tells
    ],
)
def test_io_uring_writes(
    split: Mount, uring: Path, arguments: tuple[object, ...], result: str
) -> None:
    assert uring_write(uring, split, *arguments) == result


@pytest.mark.parametrize("size", [300, 900, 45_000])
@pytest.mark.parametrize(("kind", "segments"), [("w", 1), ("W", 300)])
def test_io_uring_writes_unsplit(
    unsplit: Mount, uring: Path, size: int, kind: str, segments: int
) -> None:
    assert uring_write(uring, unsplit, kind, size, segments, 0) == str(size)


def uring_write(program: Path, mount: Mount, *arguments: object) -> str:
    with opened(mount / "slot", SERVER):
        done = subprocess.run(
            [program, mount / "slot", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode == 77:
            pytest.skip("no io_uring here")
        result = done.stdout.strip()
        assert mount.status()["messages"] == ("0" if result == "-90" else "1")
        return result


@contextmanager
def uring_reads(
    program: Path,
    server: int,
    size: int,
    how: str = "plain",
    count: int = 1,
    offset: int = 0,
    segments: int = 1,
) -> Iterator[subprocess.Popen[str]]:
    """So many reads at once by io_uring; a line for each that is done."""
    kind = "r" if segments == 1 else "R"
    arguments = ["-", kind, size, segments, offset, server, how, count]
    with subprocess.Popen(
        [program, *map(str, arguments)], stdout=subprocess.PIPE, text=True, pass_fds=[server]
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    lines = process.communicate(timeout=TIMEOUT)[0].splitlines()
    if process.returncode == 77:
        pytest.skip("no io_uring here")
    assert process.returncode == 0
    return lines


HOW = pytest.mark.parametrize("how", ["plain", "async", "sqpoll", "fixed"])


@HOW
def test_an_io_uring_read_is_one_message(mount: Mount, uring: Path, how: str) -> None:
    """The kernel asks again after a short read, and the second message is for another read."""
    with opened(mount / "slot", SERVER) as server, opened(mount / "slot", os.O_WRONLY) as client:
        for message in (b"abc", b"defgh", b"ijk"):
            os.write(client, message)
        for line in ("3 abc", "5 defgh", "3 ijk"):
            with uring_reads(uring, server, 8, how) as process:
                assert lines_of(process) == [line]


@pytest.mark.parametrize("how", ["plain", "async", "sqpoll"])
@pytest.mark.parametrize(("room", "segments"), [("split", 256), ("unsplit", 1000)])
def test_a_vectored_io_uring_read_is_one_message(
    request: pytest.FixtureRequest, uring: Path, how: str, room: str, segments: int
) -> None:
    """Of as many segments as one request has room for."""
    slot = request.getfixturevalue(room) / "slot"
    with opened(slot, SERVER) as server, opened(slot, os.O_WRONLY) as client:
        messages = ["abc", "d" * segments, "efghi"]
        for message in messages:
            os.write(client, message.encode())
        for message in messages:
            with uring_reads(uring, server, segments, how, segments=segments) as process:
                assert lines_of(process) == [f"{len(message)} {message}"]


@HOW
def test_io_uring_reads_at_once(mount: Mount, uring: Path, how: str) -> None:
    """Two wait for their messages; what one has room for after its own is not for the other."""
    with opened(mount / "slot", SERVER) as server, opened(mount / "slot", os.O_WRONLY) as client:
        with uring_reads(uring, server, 100, how, 2) as process:
            assert process.stdout is not None
            os.write(client, b"first")
            assert process.stdout.readline() == "5 first\n"
            os.write(client, b"second")
            assert lines_of(process) == ["6 second"]
        for message in (b"abc", b"def", b"ghi"):
            os.write(client, message)
        with uring_reads(uring, server, 100, how, 3) as process:
            assert sorted(lines_of(process)) == ["3 abc", "3 def", "3 ghi"]


@HOW
def test_two_io_uring_threads_share_a_handle(mount: Mount, uring: Path, how: str) -> None:
    with opened(mount / "slot", SERVER) as server, opened(mount / "slot", os.O_WRONLY) as client:
        messages = [f"{number:03}" for number in range(100, 112)]
        with (
            uring_reads(uring, server, 64, how, 6) as one,
            uring_reads(uring, server, 64, how, 6) as other,
        ):
            for message in messages:
                os.write(client, message.encode())
            lines = lines_of(one) + lines_of(other)
        assert sorted(lines) == [f"3 {message}" for message in messages]


def test_the_offset_of_an_io_uring_read_means_nothing(mount: Mount, uring: Path) -> None:
    with opened(mount / "slot", SERVER) as server, opened(mount / "slot", os.O_WRONLY) as client:
        for offset in (0, 300, 4000, -1):
            os.write(client, b"abc")
            with uring_reads(uring, server, 8, offset=offset) as process:
                assert lines_of(process) == ["3 abc"]


def test_io_uring_where_short_reads_fail(mount: Mount, uring: Path) -> None:
    with opened(mount / "slot", SERVER) as server, opened(mount / "slot", os.O_WRONLY) as client:
        os.setxattr(server, "user.mailslot.short_read", b"error")
        for message in (b"abcde", b"fgh"):
            os.write(client, message)
        for size, line in ((4, "-90"), (5, "5 abcde"), (4, "3 fgh")):  # EMSGSIZE
            with uring_reads(uring, server, size) as process:
                assert lines_of(process) == [line]


def test_an_io_uring_read_leaves_no_trace_for_others(mount: Mount, uring: Path) -> None:
    """A loop of read(2) that asks for the rest gets the next message, also after io_uring."""
    with opened(mount / "slot", SERVER) as server, opened(mount / "slot", os.O_WRONLY) as client:
        for message in (b"abc", b"def", b"ghi"):
            os.write(client, message)
        with uring_reads(uring, server, 8) as process:
            assert lines_of(process) == ["3 abc"]
        code = "print(os.read(int(sys.argv[1]), 8), os.read(int(sys.argv[1]), 5))"
        assert run(code, server, pass_fds=[server]) == "b'def' b'ghi'"
        assert output_of_poll(server) == "[]"


def output_of_poll(descriptor: int) -> str:
    code = """
    import select
    poller = select.poll()
    poller.register(int(sys.argv[1]), select.POLLIN)
    print(poller.poll(0))
    """
    return run(code, descriptor, pass_fds=[descriptor])


@pytest.mark.parametrize(
    ("size", "result"), [(256, "256"), (257, "EMSGSIZE"), (1000, "EMSGSIZE"), (1001, "EMSGSIZE")]
)
def test_a_long_readv_counts_as_one_of_256_segments_where_short_reads_fail(
    split: Mount, size: int, result: str
) -> None:
    """The kernel tells only of the first 256. What does not fit them stays whole."""
    assert long_readv(split, size) == (result if result == str(size) else f"{result} True")


@pytest.mark.parametrize(
    ("size", "result"), [(256, "256"), (257, "257"), (1000, "1000"), (1001, "EMSGSIZE True")]
)
def test_a_long_readv_where_short_reads_fail(unsplit: Mount, size: int, result: str) -> None:
    assert long_readv(unsplit, size) == result


def long_readv(mount: Mount, size: int) -> str:
    """What a readv of 1000 bytes in as many segments gives of a message of that size."""
    code = """
    server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    os.setxattr(server, "user.mailslot.short_read", b"error")
    message = b"a" * int(sys.argv[2])
    os.write(server, message)
    try:
        print(os.readv(server, [bytearray(1) for _ in range(1000)]))
    except OSError as error:
        print(errno.errorcode[error.errno], os.read(server, 2000) == message)
    """
    return run(code, mount / "slot", size)


def test_a_daemon_without_descriptors_takes_no_piece(split: Mount) -> None:
    """It cannot look at the system call of the writer then."""
    import resource

    with opened(split / "slot", SERVER), opened(split / "slot", os.O_WRONLY) as client:
        used = max(map(int, os.listdir(f"/proc/{split.daemon.pid}/fd"))) + 1
        resource.prlimit(split.daemon.pid, resource.RLIMIT_NOFILE, (used, used))
        code = """
        try:
            print(os.writev(int(sys.argv[1]), [b"x"] * 300))
        except OSError as error:
            print(errno.errorcode[error.errno])
        """
        assert run(code, client, pass_fds=[client]) == "EMSGSIZE"
        assert os.write(client, b"short") == 5
