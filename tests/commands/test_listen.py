"""`msfs listen`: what it prints, in which order, and when it ends."""

import base64
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from msfs_fuse.errors import Exit
from tests.conftest import Mount
from tests.support.command import (
    MSFS,
    TIMEOUT,
    ended,
    listening,
    msfs,
    refusal,
    serves,
    take,
    write,
)
from tests.support.processes import started, wait_until


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ((), "plain\nwith newline\n\ntwo\nlines\n"),
        (("-0",), "plain\0with newline\n\0\n\0two\nlines\0"),
    ],
)
def test_messages_are_printed_whole_and_in_order(
    mount: Mount, options: tuple[str, ...], output: str
) -> None:
    client = write(mount, "a", b"plain", b"with newline\n", b"\n", b"two\nlines")
    result = msfs(mount, "listen", "a", "-n", 4, *options)
    assert (result.returncode, result.stdout, result.stderr) == (Exit.OK, output, "")
    os.close(client)


def test_each_message_is_printed_as_it_comes(mount: Mount) -> None:
    with listening(mount) as listener:
        assert listener.stdout is not None
        for number in range(20):
            assert msfs(mount, "send", "a", number).returncode == Exit.OK
            assert listener.stdout.readline() == b"%d\n" % number


def test_json_tells_who_wrote_what_when(mount: Mount) -> None:
    client = write(mount, "a", "grüße\n".encode(), b"\xff\x00\xfe")
    result = msfs(mount, "listen", "a", "-n", 2, "--json")
    text, binary = (json.loads(line) for line in result.stdout.splitlines())
    assert abs(text.pop("sent_at") - time.time()) < 10
    assert text == {
        "slot": "a",
        "message": "grüße\n",
        "size": len("grüße\n".encode()),
        "sender_host": mount.status()["host"],
        "sender_proof": "local",
        "sender_uid": os.geteuid(),
        "sender_pid": os.getpid(),
    }
    assert "message" not in binary
    assert base64.b64decode(binary["message_base64"]) == b"\xff\x00\xfe"
    assert binary["size"] == 3
    os.close(client)


def test_no_message_is_taken_beyond_the_last(mount: Mount) -> None:
    client = write(mount, "a", b"one", b"two", b"three", b"four")
    assert msfs(mount, "listen", "a", "-n", 2).stdout == "one\ntwo\n"
    assert mount.attribute("a", "message_count") == "2"
    assert msfs(mount, "listen", "a", "-n", 1).stdout == "three\n"
    assert take(mount, "a") == [b"four"]
    os.close(client)


def test_slots_take_turns(mount: Mount) -> None:
    (mount / "dir").mkdir()
    clients = [write(mount, "busy", *[b"x"] * 100), write(mount, "dir/quiet", b"y")]
    result = msfs(mount, "listen", "busy", "dir/quiet", r"\\.\mailslot\busy", "-n", 3, "--json")
    slots = [json.loads(line)["slot"] for line in result.stdout.splitlines()]
    assert slots == ["busy", "dir/quiet", "busy"]
    assert mount.attribute("busy", "message_count") == "98"
    for client in clients:
        os.close(client)


def test_two_slots_wake_one_listener(mount: Mount) -> None:
    with listening(mount, "-n", 4, slots=("a", "b")) as listener:
        assert listener.stdout is not None
        for slot in ("a", "b", "b", "a"):
            msfs(mount, "send", slot, f"to {slot}")
            assert listener.stdout.readline() == f"to {slot}\n".encode()
        assert listener.wait(TIMEOUT) == Exit.OK


def test_a_flood_is_printed_without_loss(mount: Mount) -> None:
    writers, messages = 5, 400

    def flood(writer: int) -> None:
        handle = os.open(mount / "a", os.O_WRONLY)
        for number in range(messages):
            os.write(handle, b"%d %d" % (writer, number))
        os.close(handle)

    with listening(mount, "-n", writers * messages) as listener:
        threads = [threading.Thread(target=flood, args=(each,)) for each in range(writers)]
        for thread in threads:
            thread.start()
        code, output, _ = ended(listener)
        for thread in threads:
            thread.join()
    assert code == Exit.OK
    lines = [tuple(map(int, line.split())) for line in output.splitlines()]
    for writer in range(writers):
        assert [number for who, number in lines if who == writer] == list(range(messages))


def test_the_largest_message_is_one_message(mount: Mount) -> None:
    client = write(mount, "a", b"x" * 65536, b"y")
    assert msfs(mount, "listen", "a", "-n", 2).stdout == "x" * 65536 + "\ny\n"
    os.close(client)


# ---- when its slots are there ----


def test_it_returns_when_the_slots_are_there(mount: Mount, tmp_path: Path) -> None:
    """Each time: a script that goes on finds them."""
    for number in range(5):
        output = tmp_path / f"output{number}"
        with output.open("wb") as file:
            listen = [*MSFS, "listen", "--mount", str(mount.path), "-b", "-n", "1", "a", "b"]
            subprocess.run(listen, stdout=file, check=True, timeout=TIMEOUT)
        for slot in ("a", "b"):
            os.close(os.open(mount / slot, os.O_WRONLY))
        (mount / "a").write_bytes(b"hello")
        wait_until(lambda output=output: output.read_bytes() == b"hello\n")  # type: ignore[misc]
        wait_until(lambda: mount.status()["slots"] == "0")


def test_a_slot_that_cannot_be_served_is_told_before_it_returns(mount: Mount) -> None:
    with listening(mount):
        assert "has a server already" in refusal(msfs(mount, "listen", "-b", "a"))


def test_a_person_is_told(mount: Mount) -> None:
    listen = [*MSFS, "listen", "--mount", str(mount.path), "a", "-t", "0.2"]
    terminal = f"import pty; pty.spawn({listen!r})"
    done = subprocess.run(
        [sys.executable, "-c", terminal], capture_output=True, timeout=TIMEOUT, check=True
    )
    assert done.stdout == b"msfs: listening at a (Ctrl-C ends)\r\n"


def test_a_message_gives_no_orders_to_a_terminal(mount: Mount) -> None:
    screen, keyboard = pty.openpty()
    command = [*MSFS, "listen", "--mount", str(mount.path), "-n", "1", "a"]
    with subprocess.Popen(command, stdin=keyboard, stdout=keyboard, stderr=keyboard) as listener:
        os.close(keyboard)
        said = b""
        while not said.endswith(b"ends)\r\n"):
            said += os.read(screen, 1000)
        (mount / "a").write_bytes("ä\tb\n\x1b]0;title\x07\r".encode() + b"\xff")
        said = b""
        while said.count(b"\n") < 2:
            said += os.read(screen, 1000)
        assert said.decode() == "ä\tb\r\n\\x1b]0;title\\x07\\r\\xff\r\n"
        os.close(screen)
        assert listener.wait(TIMEOUT) == 0


# ---- when it ends ----


def test_time_is_over_without_a_message(mount: Mount) -> None:
    start = time.monotonic()
    result = msfs(mount, "listen", "a", "-t", 0.3)
    assert time.monotonic() - start >= 0.3
    assert (result.returncode, result.stdout, result.stderr) == (Exit.TIMEOUT, "", "")


def test_time_is_over_before_all_messages(mount: Mount) -> None:
    client = write(mount, "a", b"one", b"two")
    result = msfs(mount, "listen", "a", "-t", 2, "-n", 3)
    assert (result.returncode, result.stdout) == (Exit.TIMEOUT, "one\ntwo\n")
    os.close(client)


def test_time_is_over_after_some_messages(mount: Mount) -> None:
    client = write(mount, "a", b"one")
    result = msfs(mount, "listen", "a", "-t", 2)
    assert (result.returncode, result.stdout) == (Exit.OK, "one\n")
    os.close(client)


def test_the_time_is_over_even_under_a_flood(mount: Mount) -> None:
    code = """
    slot = os.open(sys.argv[1], os.O_WRONLY)
    while True:
        try:
            os.write(slot, b"x")
        except OSError:
            pass  # it is full
    """
    with (
        listening(mount, "-t", 3, stdout=subprocess.DEVNULL) as listener,
        started(code, mount / "a"),
    ):
        assert listener.wait(TIMEOUT) == Exit.OK


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_quietly(mount: Mount, number: signal.Signals) -> None:
    with listening(mount) as listener:
        listener.send_signal(number)
        assert ended(listener) == (-number, "", "")
    wait_until(lambda: mount.status()["slots"] == "0")


def test_a_signal_takes_no_message_with_it(mount: Mount) -> None:
    """Whatever the moment: what was read has been printed."""
    client = write(mount, "a", *[b"%d" % number for number in range(3000)])
    printed = 0
    for delay in (0.0, 0.003, 0.01, 0.02):
        with listening(mount) as listener:
            time.sleep(delay)
            listener.terminate()
            code, output, _ = ended(listener)
            assert code == -signal.SIGTERM
            lines = output.splitlines()
            assert lines == [str(number) for number in range(printed, printed + len(lines))]
            printed += len(lines)
    assert take(mount, "a") == [b"%d" % number for number in range(printed, 3000)]
    os.close(client)


def test_an_ignored_signal_stays_ignored(mount: Mount) -> None:
    # As in `msfs listen a &` in a script, or under nohup(1).
    script = 'trap "" INT HUP; exec "$@"'
    command = [
        "sh",
        "-c",
        script,
        "sh",
        *MSFS,
        "listen",
        "--mount",
        str(mount.path),
        "a",
        "-n",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as listener:
        wait_until(lambda: serves(mount, listener.pid, ("a",)))
        listener.send_signal(signal.SIGINT)
        listener.send_signal(signal.SIGHUP)
        msfs(mount, "send", "a", "still here")
        assert ended(listener) == (Exit.OK, "still here\n", "")


def test_a_second_signal_ends_it_though_nobody_reads_the_output(mount: Mount) -> None:
    client = write(mount, "a", *[b"x" * 65536] * 4)
    with listening(mount) as listener:
        wait_until(lambda: mount.attribute("a", "message_count") == "3")
        time.sleep(0.2)  # it waits for room in the pipe by now
        listener.terminate()
        time.sleep(0.2)
        assert listener.poll() is None

        def has_ended() -> bool:
            listener.terminate()
            return listener.poll() is not None

        wait_until(has_ended)
        assert listener.returncode == -signal.SIGTERM
    os.close(client)


def test_it_ends_when_the_reader_of_its_output_goes_away(mount: Mount) -> None:
    """At once, not at the next message, which would be lost."""
    with listening(mount) as listener:
        assert listener.stdout is not None
        listener.stdout.close()
        assert listener.wait(TIMEOUT) == -signal.SIGPIPE
        assert listener.stderr is not None
        assert listener.stderr.read() == b""


def test_head_takes_one_and_no_more(mount: Mount) -> None:
    client = write(mount, "a")
    with subprocess.Popen(["head", "-n1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as head:
        assert head.stdin is not None
        with listening(mount, stdout=head.stdin) as listener:
            head.stdin.close()
            os.write(client, b"one")
            assert head.wait(TIMEOUT) == 0
            assert listener.wait(TIMEOUT) == -signal.SIGPIPE
        os.write(client, b"two")
        assert take(mount, "a") == [b"two"]
    os.close(client)


def test_the_mount_goes_away(mount: Mount) -> None:
    with listening(mount) as listener:
        mount.daemon.terminate()
        code, _, complaint = ended(listener)
    assert code == Exit.NO_MOUNT
    assert complaint.startswith(f"msfs: the mount at {mount.path} has died or is gone")


# ---- what cannot be served ----


def test_a_slot_has_one_server(mount: Mount) -> None:
    with listening(mount):
        result = msfs(mount, "listen", "b", "a")
        assert "has a server already" in refusal(result)
        assert result.returncode == Exit.FAILED


@pytest.mark.parametrize("name", ["dir", "missing/a", "@far/a", r"\\far\mailslot\a", ".msfs/a", ""])
def test_what_cannot_be_served(mount: Mount, name: str) -> None:
    (mount / "dir").mkdir()
    refusal(msfs(mount, "listen", name, "-t", 5))


def test_closed_output(mount: Mount) -> None:
    script = f'exec "$@" listen --mount {mount.path} a >&-'
    result = subprocess.run(
        ["sh", "-c", script, "sh", *MSFS],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert "standard output is closed" in refusal(result)


@pytest.mark.parametrize(
    "options", [("-t", "0"), ("-t", "nan"), ("-t", "inf"), ("-n", "x"), ("-0", "--json")]
)
def test_options_that_make_no_sense(mount: Mount, options: tuple[str, ...]) -> None:
    assert msfs(mount, "listen", "a", *options).returncode == Exit.USAGE
