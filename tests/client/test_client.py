"""The Python API on a real mount: `Mailslot`, `send`, `messages`."""

import errno
import os
import select
import subprocess
import sys
import textwrap
import threading
from itertools import islice
from pathlib import Path

import pytest

import msfs_fuse
from msfs_fuse import Mailslot, NoMountError, async_messages, client, messages, path_of, send
from tests.conftest import Mount, MountFactory, force_unmount
from tests.support.command import MSFS
from tests.support.processes import output_of, refused, run, started, wait_until


@pytest.fixture(autouse=True)
def chosen(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mount of this test is the one that the API finds."""
    monkeypatch.setenv("MSFS_MOUNT", str(mount.path))


def test_what_is_sent_is_received_with_who_sent_it(mount: Mount) -> None:
    with Mailslot("a") as slot:
        sender = run(
            "os.write(os.open(sys.argv[1], os.O_WRONLY), b'x'); print(os.getpid())", slot.path
        )
        message = slot.receive(timeout=20)
        assert (message.data, message.slot, message.text) == (b"x", "a", "x")
        assert message.sender.pid == int(sender)
        assert message.sender.uid == os.geteuid()
        assert message.sender.host == mount.status()["host"]
        assert message.sender.sent_at == pytest.approx(os.stat(slot.path).st_mtime, abs=0.001)


def test_any_length_that_fits_comes_whole(mount_with: MountFactory) -> None:
    large = mount_with(f"max_message_size={client.LONGEST_MESSAGE}")
    with Mailslot("a", mount=str(large.path)) as slot:
        for size in (1, 65536, client.LONGEST_MESSAGE, 2):
            data = os.urandom(size)
            send("a", data, mount=str(large.path))
            assert slot.read(0) == data


def test_text_is_utf8_and_bytes_are_bytes() -> None:
    with Mailslot("a") as slot:
        send("a", "grüße")
        send("a", b"\xff\0")
        assert [slot.receive(0).text, slot.read(0)] == ["grüße", b"\xff\0"]
        send("a", b"\xff!")
        assert slot.receive(0).text == "\N{REPLACEMENT CHARACTER}!"


def test_timeouts() -> None:
    with Mailslot("a") as slot:
        for seconds in (0, 0.01, -1):
            with pytest.raises(TimeoutError) as caught:
                slot.receive(seconds)
            assert caught.value.filename == slot.path
        assert slot.take() is None
        assert list(slot.messages(0.01)) == []


def test_waiting_ends_with_the_message() -> None:
    with (
        Mailslot("a") as slot,
        started("time.sleep(0.1); os.write(os.open(sys.argv[1], 1), b'x')", slot.path),
    ):
        assert slot.read() == b"x"


def test_iteration_takes_no_message_before_it_is_asked_for() -> None:
    with Mailslot("a") as slot:
        for number in range(5):
            send("a", str(number))
        for message in slot:
            if message.text == "2":
                break
        assert slot.message_count == 2
        assert [each.text for each in slot.messages(0)] == []
        assert [each.text for each in islice(slot.messages(20), 2)] == ["3", "4"]


def test_several_slots_take_turns() -> None:
    with Mailslot("a") as one, Mailslot("b") as other:
        for number in range(3):
            send("a", f"a{number}")
        send("b", "b0")
        got = [(each.slot, each.text) for each in islice(messages(one, other, seconds=20), 4)]
    assert got == [("a", "a0"), ("b", "b0"), ("a", "a1"), ("a", "a2")]


def test_several_slots_wake_the_same_wait() -> None:
    with Mailslot("a") as one, Mailslot("b") as other:
        code = "time.sleep(0.1); os.write(os.open(sys.argv[1], 1), b'x')"
        with started(code, other.path):
            assert next(messages(one, other)).slot == "b"


def test_the_descriptor_can_be_polled_with_others() -> None:
    with Mailslot("a") as slot:
        assert select.select([slot], [], [], 0)[0] == []
        send("a", "x")
        assert select.select([slot], [], [], 20)[0] == [slot]


def test_threads_share_a_slot() -> None:
    total = 200
    got: list[bytes] = []

    def serve() -> None:
        while (data := slot.read(10)) != b"end":
            got.append(data)

    with Mailslot("a") as slot:
        threads = [threading.Thread(target=serve) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(total):
            send("a", b"%d" % number * 50)
        for _ in threads:
            send("a", "end")
        for thread in threads:
            thread.join(10)
    assert sorted(got) == sorted(b"%d" % number * 50 for number in range(total))


def test_attributes() -> None:
    with Mailslot("a") as slot:
        assert (slot.message_count, slot.next_size, slot.network) == (0, None, True)
        send("a", "four")
        assert (slot.message_count, slot.next_size) == (1, 4)
        slot.max_message_size = 3
        slot.network = False
        assert (slot.max_message_size, slot.network) == (3, False)
        with refused(errno.EMSGSIZE):
            send("a", "four")
        with refused(errno.EINVAL):
            slot.max_message_size = 1 << 30


def test_mode_and_umask(mount: Mount) -> None:
    before = os.umask(0o027)
    try:
        with Mailslot("a") as slot:
            assert os.stat(slot.path).st_mode & 0o777 == 0o640
        with Mailslot("b", mode=0o600) as slot:
            assert os.stat(slot.path).st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_it_goes_when_it_is_closed(mount: Mount) -> None:
    slot = Mailslot("a")
    assert not slot.closed
    slot.close()
    slot.close()
    assert slot.closed
    wait_until(lambda: not (mount / "a").exists())
    for use in (slot.fileno, slot.take, slot.read, slot.sender, lambda: next(messages(slot))):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_it_goes_when_nobody_refers_to_it_any_more(mount: Mount) -> None:
    slot = Mailslot("a")
    del slot
    wait_until(lambda: not (mount / "a").exists())


def test_a_slot_has_one_server() -> None:
    with Mailslot("a") as slot:
        for exclusive, error in ((False, PermissionError), (True, FileExistsError)):
            with pytest.raises(error) as caught:
                Mailslot("a", exclusive=exclusive)
            assert caught.value.filename == slot.path


def test_a_server_takes_over_what_clients_left(mount: Mount) -> None:
    client_handle = os.open(mount / "a", os.O_WRONLY | os.O_CREAT)
    os.write(client_handle, b"x")
    with pytest.raises(FileExistsError):
        Mailslot("a", exclusive=True)
    with Mailslot("a") as slot:
        assert slot.read(0) == b"x"
    os.close(client_handle)


@pytest.mark.parametrize(
    "name", ["", "@far/a", r"\\far\mailslot\a", "a\\b", "../a", "/a", ".msfs/a", "a/./b", "a\0b"]
)
def test_names_that_no_slot_here_has(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Mailslot(name)


def test_names_in_directories_and_as_on_windows(mount: Mount) -> None:
    (mount / "dir").mkdir()
    with Mailslot(r"\\.\MAILSLOT\dir\a") as slot:
        assert slot.name == "dir/a"
        for target in ("dir/a", r"\\.\mailslot\dir\a"):
            send(target, "x")
            assert slot.read(0) == b"x"
    with pytest.raises(FileNotFoundError):
        Mailslot("missing/a")


def test_where_targets_lead(mount: Mount) -> None:
    (mount / "dir").mkdir()
    paths = {
        "a": "a",
        "dir/a": "dir/a",
        "host/a": "@host/a",
        "@dir/a": "@dir/a",
        "@*/a/b": "@*/a\\b",
        r"\\host\mailslot\a\b": "@host/a\\b",
    }
    for target, path in paths.items():
        assert path_of(target) == f"{mount.path}/{path}"


def test_nobody_listens(mount: Mount) -> None:
    with pytest.raises(FileNotFoundError, match="nobody listens") as caught:
        send("a", "x")
    assert caught.value.filename == str(mount / "a")
    with refused(errno.EHOSTUNREACH):
        send("@far/a", "x")
    assert not (mount / "a").exists()


def test_there_is_no_empty_message() -> None:
    with Mailslot("a"), pytest.raises(ValueError, match="empty"):
        send("a", b"")


def test_a_sender_waits_for_a_server(mount: Mount) -> None:
    code = """
    time.sleep(0.2)
    slot = os.open(sys.argv[1], os.O_RDONLY | os.O_CREAT)
    print(os.read(slot, 100).decode())
    """
    with started(code, mount / "a") as server:
        send("a", "x", wait=20)
        assert output_of(server) == "x"


def test_what_other_clients_alone_have_open_is_not_served(mount: Mount) -> None:
    handle = os.open(mount / "a", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(FileNotFoundError, match="nobody listens"):
        send("a", "x", wait=0.05)
    assert mount.attribute("a", "message_count") == "0"
    send("a", "kept for a server to come")
    assert mount.attribute("a", "message_count") == "1"
    with Mailslot("a") as slot:
        send("a", "x", wait=10)
        got = [each.text for each in islice(slot.messages(20), 2)]
        assert got == ["kept for a server to come", "x"]
    os.close(handle)


def test_waiting_in_vain() -> None:
    with pytest.raises(FileNotFoundError, match="nobody listens"):
        send("a", "x", wait=0.05)
    with refused(errno.EHOSTUNREACH):
        send("@far/a", "x", wait=0.05)


def test_no_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for call in (lambda m: Mailslot("a", mount=m), lambda m: send("a", "x", mount=m)):
        with pytest.raises(NoMountError, match="no mailslots are mounted at"):
            call(str(tmp_path))


def test_the_mount_goes_away(mount: Mount) -> None:
    slot = Mailslot("a")
    timer = threading.Timer(0.2, mount.daemon.terminate)
    timer.start()
    with pytest.raises(OSError, match=r".") as caught:
        slot.receive(20)
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ESHUTDOWN)
    assert caught.value.filename == slot.path
    slot.close()


def test_a_mount_comes_back(mount_with: MountFactory) -> None:
    first = mount_with()
    path = str(first.path)
    with Mailslot("a", mount=path) as slot:
        first.daemon.kill()
        with pytest.raises(OSError, match=path):
            slot.receive(20)
    subprocess.run([*MSFS, "mount", path], check=True, timeout=20)
    try:
        with Mailslot(slot.name, mount=path) as again:
            send("a", "back", mount=path, wait=5)
            assert again.receive(5).text == "back"
    finally:
        force_unmount(first.path)


def test_a_child_shares_the_slot() -> None:
    with Mailslot("a") as slot:
        child = os.fork()
        if child == 0:
            os._exit(0 if slot.receive(20).text == "for the child" else 1)
        send("a", "for the child")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        send("a", "for the parent")
        assert slot.receive(5).text == "for the parent"


@pytest.mark.parametrize(
    ("target", "told"),
    [("a", "nobody listens"), ("far/a", "no such host or domain"), ("full", "is full")],
)
def test_errors_say_what_they_mean(mount_with: MountFactory, target: str, told: str) -> None:
    small = str(mount_with("max_messages=1").path)
    with Mailslot("full", mount=small):
        send("full", "x", mount=small)
        with pytest.raises(OSError, match=told) as caught:
            send(target, "y", mount=small)
        assert caught.value.filename.startswith(small)


def test_the_names_can_be_completed() -> None:
    assert set(msfs_fuse.__all__) <= set(dir(msfs_fuse))


def test_no_slots_at_all() -> None:
    with pytest.raises(ValueError, match="no slots"):
        next(messages())
    with pytest.raises(ValueError, match="no slots"):
        async_messages()


def test_it_loads_nothing_of_the_daemon() -> None:
    code = """
    import sys
    from msfs_fuse import Mailslot, send
    with Mailslot("a") as slot:
        send("a", "x")
        slot.receive(1)
    print(*sorted(sys.modules))
    """
    source = textwrap.dedent(code)
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=20
    )
    loaded = set(result.stdout.split())
    heavy = {"trio", "anyio", "asyncio", "pyfuse3", "cryptography", "prometheus_client", "paho"}
    assert not loaded & heavy
    ours = {each for each in loaded if each.startswith("msfs_fuse")}
    assert not {
        each for each in ours if each.split(".")[1:2] in (["daemon"], ["config"], ["net"], ["fuse"])
    }


def test_the_import_costs_little() -> None:
    """What it loads, because how long that takes depends on the machine."""
    code = """
    import sys
    sys.path.insert(0, sys.argv[1])
    from msfs_fuse import Mailslot, send
    print(*sys.modules)
    """
    root = Path(client.__file__).parent.parent
    command = ["/usr/bin/python3", "-I", "-S", "-c", textwrap.dedent(code), str(root)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    loaded = set(result.stdout.split())
    assert "msfs_fuse.client" in loaded
    assert not loaded & {"dataclasses", "inspect", "subprocess", "socket", "json", "logging"}
