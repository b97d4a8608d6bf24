"""A real mount: names, a slot's life, what read and write do."""

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.conftest import Mount, MountFactory
from tests.support.processes import (
    SERVER,
    Popen,
    opened,
    output_of,
    refused,
    run,
    started,
    wait_until,
)

# ---- names ----


def test_directories_nest_and_stay_until_rmdir(mount: Mount) -> None:
    os.makedirs(mount / "a/b")
    with opened(mount / "a/b/slot", SERVER):
        assert os.listdir(mount / "a/b") == ["slot"]
        with refused(errno.ENOTEMPTY):
            os.rmdir(mount / "a/b")
    os.rmdir(mount / "a/b")
    assert os.listdir(mount / "a") == []


def test_names_differ_by_case(mount: Mount) -> None:
    with opened(mount / "Slot", SERVER), opened(mount / "slot", SERVER):
        assert {"Slot", "slot"} <= set(os.listdir(mount.path))


def test_a_backslash_is_refused_in_a_local_name(mount: Mount) -> None:
    with refused(errno.EINVAL):
        os.open(mount / r"a\b", SERVER)
    with refused(errno.EINVAL):
        os.mkdir(mount / r"a\b")


def test_names_have_at_most_255_bytes(mount: Mount) -> None:
    with opened(mount / ("n" * 255), SERVER):
        pass
    for name in ("n" * 256, "ä" * 128):
        with refused(errno.ENAMETOOLONG):
            os.open(mount / name, SERVER)


@pytest.mark.parametrize("name", [".msfsx", ".msfs-1"])
def test_reserved_names_are_refused(mount: Mount, name: str) -> None:
    with refused(errno.EPERM):
        os.open(mount / name, SERVER)
    with refused(errno.EPERM):
        os.mkdir(mount / name)


def test_the_control_directory_is_read_only(mount: Mount) -> None:
    assert sorted(os.listdir(mount / ".msfs")) == ["metrics", "peers", "status"]
    with refused(errno.EACCES):
        os.open(mount / ".msfs/new", SERVER)
    with refused(errno.EACCES):
        os.mkdir(mount / ".msfs/new")
    with refused(errno.EACCES):
        os.open(mount / ".msfs/status", os.O_WRONLY)
    with refused(errno.EACCES):
        os.unlink(mount / ".msfs/status")
    with refused(errno.EPERM):
        os.rmdir(mount / ".msfs")
    assert "msfs_messages_written_total 0.0" in (mount / ".msfs/metrics").read_text()


def test_any_remote_name_is_a_file_that_can_only_be_written(mount: Mount) -> None:
    for name in ("@elsewhere/x", r"@elsewhere/53cb31a0\UnimodemNotifyTSP", "@*/x"):
        assert stat.filemode(os.stat(mount / name).st_mode) == "--w--w--w-"
        with refused(errno.EHOSTUNREACH):
            os.open(mount / name, os.O_WRONLY)
        with refused(errno.EACCES):
            os.open(mount / name, os.O_RDONLY)
        with refused(errno.EEXIST):
            os.open(mount / name, SERVER | os.O_EXCL)
    with refused(errno.EISDIR):
        os.open(mount / "@elsewhere", os.O_WRONLY | os.O_CREAT)
    assert "@elsewhere" not in os.listdir(mount.path)


def test_a_remote_directory_is_a_prefix(mount: Mount) -> None:
    os.mkdir(mount / "@far/53cb31a0")
    assert os.listdir(mount / "@far") == ["53cb31a0"]
    with refused(errno.EHOSTUNREACH):
        os.open(mount / "@far/53cb31a0/UnimodemNotifyTSP", os.O_WRONLY)
    with refused(errno.EEXIST):
        os.mkdir(mount / "@far/53cb31a0")
    os.rmdir(mount / "@far/53cb31a0")
    assert os.listdir(mount / "@far") == []


def test_this_hosts_name_is_the_local_slot(mount: Mount) -> None:
    host = mount.status()["host"]
    os.mkdir(mount / "deep")
    with opened(mount / "deep/slot", SERVER) as server:
        for path in (f"@{host}/deep/slot", rf"@{host.upper()}/deep\slot"):
            with opened(mount / path, os.O_WRONLY) as client:
                os.write(client, path.encode())
            assert os.read(server, 100) == path.encode()
        with refused(errno.ENOENT):
            os.open(mount / f"@{host}/nobody", os.O_WRONLY)


# ---- a slot's life ----


def test_only_one_handle_reads(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        for flags in (os.O_RDONLY, os.O_RDWR, SERVER):
            with refused(errno.EACCES):
                os.open(mount / "slot", flags)
        with refused(errno.EEXIST):
            os.open(mount / "slot", SERVER | os.O_EXCL)
        with opened(mount / "slot", os.O_WRONLY) as client:
            os.write(client, b"one")
            with refused(errno.EBADF):
                os.read(client, 10)
        os.write(server, b"two")
        copy = os.dup(server)
        assert (os.read(copy, 10), os.read(server, 10)) == (b"one", b"two")
        os.close(copy)


def test_the_slot_dies_with_its_last_handle(mount: Mount) -> None:
    server = os.open(mount / "slot", SERVER)
    copy = os.dup(server)
    os.close(server)
    assert os.path.exists(mount / "slot")
    os.close(copy)
    assert not os.path.exists(mount / "slot")
    with refused(errno.ENOENT):
        os.open(mount / "slot", os.O_WRONLY)


def test_what_dies_unread_is_counted_and_logged(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        for _ in range(3):
            os.write(server, b"x")
    wait_until(lambda: mount.status()["messages_unread"] == "3")
    wait_until(lambda: "slot slot died with 3 messages unread" in mount.log.read_text())
    assert mount.status()["bytes"] == "0"


def test_a_writer_may_come_first(mount: Mount) -> None:
    os.umask(0o027)
    with opened(mount / "slot", os.O_WRONLY | os.O_CREAT) as client:
        assert stat.S_IMODE(os.stat(mount / "slot").st_mode) == 0o666
        os.write(client, b"early")
        with opened(mount / "slot", os.O_RDONLY) as server:
            assert stat.S_IMODE(os.stat(mount / "slot").st_mode) == 0o640
            assert os.read(server, 10) == b"early"


def test_strict_is_as_on_windows(mount_with: MountFactory) -> None:
    mount = mount_with("strict")
    with refused(errno.ENOENT):
        os.open(mount / "slot", os.O_WRONLY | os.O_CREAT)
    with opened(mount / "slot", SERVER), opened(mount / "slot", os.O_WRONLY | os.O_CREAT):
        pass


def test_a_restarted_server_carries_on(mount: Mount) -> None:
    server = os.open(mount / "slot", SERVER)
    with opened(mount / "slot", os.O_WRONLY) as client:
        os.write(client, b"first half, ")
        assert os.read(server, 6) == b"first "
        assert mount.attribute("slot", "next_size") == "6"
        os.close(server)
        assert mount.attribute("slot", "next_size") == "12"
        os.write(client, b"second")
        with opened(mount / "slot", os.O_RDONLY) as server:
            assert os.read(server, 100) == b"first half, "
            assert os.read(server, 100) == b"second"


def test_a_slot_cannot_be_removed(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        with refused(errno.EBUSY):
            os.unlink(mount / "slot")
        os.write(server, b"still there")
        assert os.read(server, 100) == b"still there"
    assert os.listdir(mount.path) == [".msfs"]


def test_a_client_does_not_create_with_o_excl(mount: Mount) -> None:
    exclusive = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with refused(errno.EPERM):
        os.open(mount / "slot", exclusive)
    with opened(mount / "slot", SERVER | os.O_EXCL), refused(errno.EEXIST):
        os.open(mount / "slot", exclusive)


def test_what_makes_no_sense_for_a_slot_is_refused(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        attempts: list[Callable[[], object]] = [
            lambda: os.rename(mount / "slot", mount / "other"),
            lambda: os.link(mount / "slot", mount / "other"),
            lambda: os.symlink("slot", mount / "other"),
            lambda: os.mknod(mount / "other"),
            lambda: os.mkfifo(mount / "other"),
        ]
        for attempt in attempts:
            with refused(errno.EPERM):
                attempt()
        with refused(errno.ESPIPE):
            os.lseek(server, 0, os.SEEK_SET)
        with refused(errno.ESPIPE):
            os.pwrite(server, b"x", 5)


def test_what_shells_send_changes_nothing(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        before = os.stat(mount / "slot")
        os.write(server, b"kept")
        os.close(os.open(mount / "slot", os.O_WRONLY | os.O_TRUNC | os.O_APPEND))
        os.ftruncate(server, 0)
        os.truncate(mount / "slot", 10)
        os.utime(mount / "slot", (1, 1))
        after = os.stat(mount / "slot")
        assert (after.st_size, after.st_atime_ns) == (4096, before.st_atime_ns)
        assert after.st_mtime_ns > before.st_mtime_ns
        assert os.read(server, 10) == b"kept"
        assert os.stat(mount / "slot").st_atime_ns > before.st_atime_ns


def test_chmod_and_chown(mount: Mount) -> None:
    with opened(mount / "slot", SERVER):
        os.chmod(mount / "slot", 0o620)
        assert stat.S_IMODE(os.stat(mount / "slot").st_mode) == 0o620
        os.chown(mount / "slot", os.getuid(), os.getgid())


# ---- read, write, wait ----


def test_one_read_one_message(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        os.write(server, b"one")
        os.writev(server, [b"t", b"wo"])
        assert [os.read(server, 100), os.read(server, 100)] == [b"one", b"two"]


def test_a_short_read_goes_on_in_the_same_message(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        os.write(server, b"abcdef")
        os.write(server, b"next")
        pieces = [os.read(server, 4) for _ in range(3)]
        assert pieces == [b"abcd", b"ef", b"next"]


def test_a_short_read_may_be_an_error(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        mount.set_attribute("slot", "short_read", "error")
        os.write(server, b"abcdef")
        with refused(errno.EMSGSIZE):
            os.read(server, 5)
        assert mount.attribute("slot", "next_size") == "6"
        assert os.read(server, 6) == b"abcdef"


def test_nonblocking_is_asked_at_each_read(mount: Mount) -> None:
    with opened(mount / "slot", SERVER | os.O_NONBLOCK) as server:
        with refused(errno.EAGAIN):
            os.read(server, 10)
        os.set_blocking(server, True)
        mount.set_attribute("slot", "read_timeout", "50")
        with refused(errno.ETIMEDOUT):
            os.read(server, 10)
        os.set_blocking(server, False)
        with refused(errno.EAGAIN):
            os.read(server, 10)


@pytest.mark.parametrize(("milliseconds", "least"), [("0", 0.0), ("200", 0.2)])
def test_a_read_times_out(mount: Mount, milliseconds: str, least: float) -> None:
    with opened(mount / "slot", SERVER) as server:
        mount.set_attribute("slot", "read_timeout", milliseconds)
        began = time.monotonic()
        with refused(errno.ETIMEDOUT):
            os.read(server, 10)
        assert time.monotonic() - began >= least


def test_waiting_reads_are_served_in_turn(mount: Mount) -> None:
    code = "print(os.read(int(sys.argv[1]), 100).decode())"
    with opened(mount / "slot", SERVER) as server, ExitStack() as stack:
        readers: list[Popen] = []
        while len(readers) < 5:
            readers.append(stack.enter_context(started(code, server, pass_fds=[server])))
            wait_until(lambda: mount.status()["waiting"] == str(len(readers)))
        for number in range(5):
            os.write(server, f"message {number}".encode())
        assert [output_of(each) for each in readers] == [f"message {n}" for n in range(5)]


def test_a_message_over_the_limit_is_refused_whole(mount: Mount) -> None:
    limit = 65536
    with opened(mount / "slot", SERVER) as server, opened(mount / "slot", os.O_WRONLY) as client:
        for size in (limit + 1, 1 << 20, (1 << 20) + 1, 3 << 20):
            with refused(errno.EMSGSIZE):
                os.write(client, b"x" * size)
        assert os.write(client, b"y" * limit) == limit
        assert mount.attribute("slot", "message_count") == "1"
        assert os.read(server, 1 << 20) == b"y" * limit


@pytest.mark.parametrize("append", [0, os.O_APPEND])
def test_a_piece_of_a_split_write_is_no_message(mount_with: MountFactory, append: int) -> None:
    """The kernel splits a writev of more than 256 pages, and each segment takes one or two."""
    mount = mount_with("max_pages=256")
    with (
        opened(mount / "slot", SERVER) as server,
        opened(mount / "slot", os.O_WRONLY | append) as client,
    ):
        for segments in (256, 257, 300, 1024):
            with refused(errno.EMSGSIZE):
                os.writev(client, [b"x"] * segments)
        assert mount.attribute("slot", "message_count") == "0"
        for segments, segment in ((1, b"ab"), (128, b"ab"), (255, b"x")):
            assert os.writev(client, [segment] * segments) == len(segment) * segments
            assert os.read(server, 10_000) == segment * segments


def test_a_full_slot_and_a_full_mount_refuse(mount_with: MountFactory) -> None:
    mount = mount_with("max_messages=3", "max_slot_bytes=100", "max_bytes=150")
    with opened(mount / "a", SERVER) as a, opened(mount / "b", SERVER) as b:
        for _ in range(3):
            os.write(a, b"x")
        with refused(errno.ENOSPC):
            os.write(a, b"x")
        os.write(b, b"y" * 99)
        with refused(errno.ENOSPC):
            os.write(b, b"yy")
        os.read(a, 10)
        with refused(errno.ENOSPC):
            os.write(a, b"z" * 50)
        assert mount.attribute("a", "message_count") == "2"
        os.read(b, 100)
        os.write(a, b"z" * 50)


def test_splice_neither_wedges_nor_takes_a_message(mount: Mount) -> None:
    """After a write the kernel believes in a size, and splices through its page cache."""
    code = """
    server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    os.write(server, b"kept")
    _, pipe = os.pipe()
    try:
        print(os.splice(server, pipe, 4096))
    except OSError as error:
        print(errno.errorcode[error.errno])
    print(os.read(server, 4096))
    os.write(server, b"next")
    """
    assert run(code, mount / "slot").splitlines() == ["EIO", "b'kept'"]


def test_df_shows_what_is_queued(mount_with: MountFactory) -> None:
    mount = mount_with("max_bytes=1m")
    with opened(mount / "slot", SERVER) as server:
        os.write(server, b"x" * 1000)
        stats = os.statvfs(mount.path)
        assert stats.f_blocks * stats.f_frsize == 1024 * 1024
        assert (stats.f_blocks - stats.f_bfree) * stats.f_frsize == 1000
        assert stats.f_namemax == 255
