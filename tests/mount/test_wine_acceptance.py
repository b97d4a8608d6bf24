r"""Wine's conformance test for mailslots, row by row, at a real mount.

Windows does not create on a client's open, so the mount is `strict`. A server opens read-only,
as CreateMailslot's handle has no write access. What Windows calls MAILSLOT_NO_MESSAGE is `none`
here, ERROR_SEM_TIMEOUT is ETIMEDOUT, a refused access EBADF on the wrong handle.

`TABLE` and the tests of `EXTRA` assert rows, in the order of the table. `DIFFERENT` says why some
of them expect another answer than Windows gives, `NO_FILE` why some cannot be asked of a file.
Together they hold every row, which the last test makes sure of.
"""

import errno
import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Mount, MountFactory
from tests.support.processes import output_of, started, wait_until

INVALID = 1 << 30  # the number of no handle
SIZE_LIMIT = "65536"  # the mount's, where a slot asks for any size

_ANY_SIZE = "a slot of any size (0 or -1) reports the mount's limit, the size that will be taken"
_CLIENT_READS = "a handle that reads is the server's, so a client cannot ask for both: EACCES"
_NO_EMPTY = "read(2) = 0 means the end to every program, so an empty message does not exist"

DIFFERENT = {
    "9": _ANY_SIZE,
    "19-20": "the kernel answers a read of no bytes by itself, with none",
    "33": _CLIENT_READS,
    "56": _ANY_SIZE,
    "69": "the kernel answers a write of no bytes by itself; " + _NO_EMPTY,
    "72": _NO_EMPTY,
    "78": _NO_EMPTY,
    "83-86": _NO_EMPTY,
    "100": _ANY_SIZE,
    "108": _ANY_SIZE,
    "122": "a server that was opened to read and write may do both",
    "129": _CLIENT_READS,
}

_STATUS_BLOCK = "a system call has no I/O status block that a failure could leave alone"
_BLOCK = "a system call has no I/O status block"
_NO_QUOTA = "there is no quota to reserve at creation; limits are the mount's"

NO_FILE = {
    "13": "a caller asks for one attribute at a time, so there is nothing to leave out",
    "18": "a failed read(2) returns -1; there is no count besides",
    "21": "a read of no bytes has no count besides what row 19 asserts",
    "27-28": _STATUS_BLOCK,
    "30-31": _STATUS_BLOCK,
    "44-45": _STATUS_BLOCK,
    "95-96": _STATUS_BLOCK,
    "98-99": _BLOCK,
    "101": _NO_QUOTA,
    "106-107": _BLOCK,
    "109": _NO_QUOTA,
    "123-124": _STATUS_BLOCK,
    "126-127": _STATUS_BLOCK,
    "A3": _NO_EMPTY,
}


class Stage:
    """A slot's name and the handles that the rows of the table open and close."""

    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        self.path: Path = mount / "wine_mailslot_test"
        self.handles: dict[str, int] = {}
        self.began = 0.0

    def create(self, timeout: str, access: int = os.O_RDONLY) -> None:
        """CreateMailslot: the server handle."""
        self.handles["server"] = os.open(self.path, access | os.O_CREAT | os.O_EXCL)
        self.mount.set_attribute(self.path.name, "read_timeout", timeout)
        self.mount.set_attribute(self.path.name, "short_read", "error")

    def open(self, name: str, access: int = os.O_WRONLY) -> None:
        """CreateFile: a client handle."""
        self.handles[name] = os.open(self.path, access)

    def close(self, name: str) -> None:
        os.close(self.handles.pop(name))

    def close_all(self) -> None:
        for name in list(self.handles):
            self.close(name)

    def read(self, size: int = 16, name: str = "server") -> bytes:
        return os.read(self.handles[name], size)

    def readv(self, name: str = "server") -> int:
        return os.readv(self.handles[name], [bytearray(16)])

    def write(self, data: bytes, name: str = "client") -> int:
        return os.write(self.handles[name], data)

    def info(self, *names: str, handle: str = "server") -> list[str]:
        """GetMailslotInfo, through a handle."""
        return [
            os.getxattr(self.handles[handle], f"user.mailslot.{name}").decode() for name in names
        ]

    def timed_read(self) -> bytes:
        self.began = time.monotonic()
        return self.read()

    def poll(self) -> int:
        poll = select.poll()
        poll.register(self.handles["server"], select.POLLIN)
        return len(poll.poll(0))

    def wait_for(self, act: Callable[[], object]) -> str:
        """What a process reads that waited before `act`."""
        server = self.handles["server"]
        code = "print(os.read(int(sys.argv[1]), 16))"
        with started(code, server, pass_fds=[server]) as reader:
            wait_until(lambda: self.mount.status()["waiting"] == "1")
            act()
            return output_of(reader)

    def waits(self, seconds: float) -> bool:
        """Whether a read still waits after that time."""
        server = self.handles["server"]
        with started("os.read(int(sys.argv[1]), 16)", server, pass_fds=[server]) as reader:
            wait_until(lambda: self.mount.status()["waiting"] == "1")
            time.sleep(seconds)
            return reader.poll() is None


def outcome(act: Callable[[], object]) -> object:
    """What it returns, or the name of its error."""
    try:
        return act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


INFO = ("max_message_size", "next_size", "message_count", "read_timeout")
QUEUE = ("next_size", "message_count")

Row = tuple[str, str, Callable[[Stage], object], object]

TABLE: list[Row] = [
    ("1", "query an invalid handle", lambda s: os.getxattr(INVALID, "user.x"), "EBADF"),
    ("2", "open a missing slot", lambda s: s.open("client", os.O_RDWR), "ENOENT"),
    ("2", "… to write, creating", lambda s: s.open("client", os.O_WRONLY | os.O_CREAT), "ENOENT"),
    ("3-4", "no mailslot's name", lambda s: os.open(s.mount / "a\\b", os.O_CREAT), "EINVAL"),
    ("5-6", "no name", lambda s: os.open("", os.O_CREAT), "ENOENT"),
    ("7", "create, waiting for ever", lambda s: s.create("forever"), None),
    ("8-12", "query", lambda s: s.info(*INFO), [SIZE_LIMIT, "none", "0", "forever"]),
    ("14", "close it", lambda s: s.close("server"), None),
    ("15", "create it again, not waiting", lambda s: s.create("0"), None),
    ("16-17", "read an invalid handle", lambda s: os.read(INVALID, 0), "EBADF"),
    ("19-20", "read 0 bytes", lambda s: s.read(0), b""),
    ("22-23", "read with nothing there", lambda s: s.read(), "ETIMEDOUT"),
    ("24-25", "the server writes", lambda s: s.write(b"x" * 16, "server"), "EBADF"),
    ("26", "read, natively", lambda s: s.readv(), "ETIMEDOUT"),
    ("29", "write, natively", lambda s: os.writev(s.handles["server"], [b"x"]), "EBADF"),
    ("32", "a client that shares nothing", lambda s: s.open("client"), None),
    ("33", "a client that reads and writes", lambda s: s.open("other", os.O_RDWR), "EACCES"),
    ("34-35", "read with a client there", lambda s: s.read(8), "ETIMEDOUT"),
    ("36-37", "the server writes to it", lambda s: s.write(b"x" * 8, "server"), "EBADF"),
    ("38-39", "the client reads", lambda s: s.read(8, "client"), "EBADF"),
    ("40", "the client writes", lambda s: s.write(b"\0" * 8), 8),
    ("41-42", "the client reads what is there", lambda s: s.read(8, "client"), "EBADF"),
    ("43", "… natively", lambda s: s.readv("client"), "EBADF"),
    ("46-47", "the server reads", lambda s: s.read(), b"\0" * 8),
    ("48-49", "there was only one", lambda s: s.read(), "ETIMEDOUT"),
    ("50", "create a live slot", lambda s: s.create("0"), "EEXIST"),
    ("51", "close the client", lambda s: s.close("client"), None),
    ("52", "a client", lambda s: s.open("client"), None),
    ("53", "a second client", lambda s: s.open("client2"), None),
    ("54-58", "query", lambda s: s.info(*INFO), [SIZE_LIMIT, "none", "0", "0"]),
    ("59-60", "read", lambda s: s.read(), "ETIMEDOUT"),
    ("61", "client 1 writes", lambda s: s.write(b"a"), 1),
    ("62-64", "query", lambda s: s.info(*QUEUE), ["1", "1"]),
    ("65", "client 2 writes", lambda s: s.write(b"bc", "client2"), 2),
    ("66-68", "query", lambda s: s.info(*QUEUE), ["1", "2"]),
    ("69", "client 2 writes 0 bytes", lambda s: s.write(b"", "client2"), 0),
    ("70-72", "query", lambda s: s.info(*QUEUE), ["1", "2"]),
    ("73-75", "read the first", lambda s: s.read(), b"a"),
    ("76-78", "query", lambda s: s.info(*QUEUE), ["2", "1"]),
    ("79-81", "read the second", lambda s: s.read(), b"bc"),
    ("82-84", "query", lambda s: s.info(*QUEUE), ["none", "0"]),
    ("85-86", "read what is not there", lambda s: s.read(), "ETIMEDOUT"),
    ("87-89", "query", lambda s: s.info(*QUEUE), ["none", "0"]),
    ("90-91", "read", lambda s: s.read(), "ETIMEDOUT"),
    ("92-93", "client 1 writes", lambda s: s.write(b"de"), 2),
    ("94", "read it into 1 byte", lambda s: s.read(1), "EMSGSIZE"),
    ("97", "query natively", lambda s: s.info("next_size"), ["2"]),
    ("100", "… size", lambda s: s.info("max_message_size"), [SIZE_LIMIT]),
    ("102-104", "it is still there", lambda s: s.info(*INFO[1:]), ["2", "1", "0"]),
    ("105", "query the client", lambda s: s.info("next_size", handle="client"), ["2"]),
    ("108", "… size", lambda s: s.info("max_message_size", handle="client"), [SIZE_LIMIT]),
    ("110-112", "… the rest", lambda s: s.info(*INFO[1:], handle="client"), ["2", "1", "0"]),
    ("113", "close client 2", lambda s: s.close("client2"), None),
    ("114", "close client 1", lambda s: s.close("client"), None),
    ("115", "close the server, one unread", lambda s: s.close("server"), None),
    ("116", "create it again, 1 s", lambda s: s.create("1000"), None),
    ("117-118", "read", lambda s: s.timed_read(), "ETIMEDOUT"),
    ("119", "… it took its time", lambda s: time.monotonic() - s.began >= 0.9, True),
    ("120", "close", lambda s: s.close("server"), None),
    ("121", "create it to read and write", lambda s: s.create("forever", os.O_RDWR), None),
    ("122", "write to it", lambda s: s.write(b"x", "server"), 1),
    ("122", "… and read that", lambda s: s.read(), b"x"),
    ("125", "a read waits", lambda s: s.waits(0.1), True),
    ("128", "the server is not ready", lambda s: s.poll(), 0),
    ("129", "a client that reads and writes", lambda s: s.open("client", os.O_RDWR), "EACCES"),
    ("129", "a client that writes", lambda s: s.open("client"), None),
    ("130-133", "it writes", lambda s: s.wait_for(lambda: s.write(b"data")), "b'data'"),
]


@pytest.fixture
def stage(mount_with: MountFactory) -> Iterator[Stage]:
    stage = Stage(mount_with("strict"))
    yield stage
    stage.close_all()


def test_the_table(stage: Stage) -> None:
    for rows, what, act, expected in TABLE:
        assert outcome(partial(act, stage)) == expected, f"row {rows}: {what}"


# ---- rows from other suites ----


def a1_peeking_takes_nothing(s: Stage) -> None:
    s.create("0")
    s.open("client")
    s.write(b"sixsix")
    assert s.info(*QUEUE) == ["6", "1"]
    assert s.read() == b"sixsix"


def a2_a_small_buffer_takes_nothing(s: Stage) -> None:
    s.create("0")
    s.open("client")
    s.write(b"seven77")
    assert outcome(lambda: s.read(3)) == "EMSGSIZE"
    assert s.read(64) == b"seven77"


def a4_the_size_is_reported(s: Stage) -> None:
    s.create("0")
    s.mount.set_attribute(s.path.name, "max_message_size", "1024")
    assert s.info("max_message_size") == ["1024"]


def a5_a_finite_timeout(s: Stage) -> None:
    s.create("100")
    assert outcome(s.timed_read) == "ETIMEDOUT"
    assert time.monotonic() - s.began >= 0.1


def a6_a_live_slot_is_listed(s: Stage) -> None:
    s.create("0")
    assert s.path.name in os.listdir(s.mount.path)
    s.close("server")
    assert s.path.name not in os.listdir(s.mount.path)


def a7_permissions_can_be_asked(s: Stage) -> None:
    s.create("0")
    found = os.stat(s.path)
    assert stat.S_ISREG(found.st_mode)
    assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())


def a8_a_writer_releases_a_reader(s: Stage) -> None:
    s.create("forever")
    s.open("client")

    def write_later() -> None:
        time.sleep(1)
        s.write(b"intact")

    assert s.wait_for(write_later) == "b'intact'"


def a9_a_timeout_changed_to_forever(s: Stage) -> None:
    s.create("100")
    assert outcome(s.read) == "ETIMEDOUT"
    s.mount.set_attribute(s.path.name, "read_timeout", "forever")
    assert s.waits(1)


def a10_two_servers_of_one_name(s: Stage) -> None:
    def serve() -> str:
        for number in range(10):
            s.path = s.mount / f"x_{number}"
            with suppress(FileExistsError):
                s.create("0")
                s.handles[s.path.name] = s.handles.pop("server")
                return s.path.name
        raise AssertionError("no name is free")

    assert [serve(), serve()] == ["x_0", "x_1"]
    s.close("x_0")
    assert serve() == "x_0"
    s.open("client")
    for number in range(100):
        s.write(b"%d" % number)
    assert [int(s.read(16, "x_0")) for _ in range(100)] == list(range(100))


def a11_ten_writes_are_read_in_order(s: Stage) -> None:
    s.create("0")
    s.open("client")
    for number in range(10):
        s.write(b"message %d" % number)
    assert [s.read() for _ in range(10)] == [b"message %d" % number for number in range(10)]


def a12_names_and_their_lengths(s: Stage) -> None:
    for name, expected in (("n" * 255, None), ("n" * 256, "ENAMETOOLONG"), ("no/slot", "ENOENT")):
        s.path = s.mount / name
        assert outcome(lambda: s.create("0")) == expected


EXTRA: list[Callable[[Stage], None]] = [
    a1_peeking_takes_nothing,
    a2_a_small_buffer_takes_nothing,
    a4_the_size_is_reported,
    a5_a_finite_timeout,
    a6_a_live_slot_is_listed,
    a7_permissions_can_be_asked,
    a8_a_writer_releases_a_reader,
    a9_a_timeout_changed_to_forever,
    a10_two_servers_of_one_name,
    a11_ten_writes_are_read_in_order,
    a12_names_and_their_lengths,
]


@pytest.mark.parametrize("check", EXTRA, ids=lambda check: check.__name__)
def test_what_other_suites_add(stage: Stage, check: Callable[[Stage], None]) -> None:
    check(stage)


# ---- the bookkeeping ----


def numbers(rows: str) -> set[str]:
    """`22-23` as {"22", "23"}."""
    if rows.startswith("A"):
        return {rows}
    first, _, last = rows.partition("-")
    return {str(number) for number in range(int(first), int(last or first) + 1)}


def test_no_row_is_forgotten() -> None:
    asserted = set().union(*(numbers(rows) for rows, *_ in TABLE))
    asserted |= {check.__name__.partition("_")[0].upper() for check in EXTRA}
    unasked = set().union(*map(numbers, NO_FILE))
    every = {str(number) for number in range(1, 134)} | {f"A{number}" for number in range(1, 13)}
    assert asserted | unasked == every
    assert not asserted & unasked
    assert set().union(*map(numbers, DIFFERENT)) <= asserted
