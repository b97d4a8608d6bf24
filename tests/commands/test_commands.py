"""`msfs send`, `ls`, `info` and `status`, and how every command finds its mount."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from msfs_fuse.errors import Exit
from tests.conftest import Mount, MountFactory
from tests.support.command import MSFS, TIMEOUT, msfs, only_with_mounts, refusal, take, write
from tests.support.processes import is_root, opened, wait_until
from tests.support.terminal import Terminal

needs_root = pytest.mark.skipif(not is_root(), reason="needs a mount namespace")


# ---- send ----


@pytest.fixture
def slot(mount: Mount) -> Iterator[Mount]:
    """A mount with the slot `a`, kept alive by a client."""
    client = write(mount, "a")
    yield mount
    os.close(client)


@pytest.mark.parametrize("message", ["hello", "no newline is added\n", " ", "ü€", "-x"])
def test_text_is_sent_as_it_is(slot: Mount, message: str) -> None:
    assert msfs(slot, "send", "a", "--", message).returncode == Exit.OK
    assert take(slot, "a") == [message.encode()]


def test_stdin_is_one_message_whatever_is_in_it(slot: Mount) -> None:
    result = subprocess.run(
        [*MSFS, "send", "--mount", slot.path, "a"],
        input=b"one\n\0two\n\xff" * 1000,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.returncode == Exit.OK
    assert take(slot, "a") == [b"one\n\0two\n\xff" * 1000]


def test_whoever_types_the_message_is_told_how_to_send_it(slot: Mount, tmp_path: Path) -> None:
    with Terminal(tmp_path) as terminal:
        terminal.run("env", f"MSFS_MOUNT={slot.path}", *MSFS, "send", "a")
        terminal.shows("type the message; Ctrl-D")
        terminal.type("hello")
        terminal.press("Enter", "C-d")
        terminal.ends(Exit.OK)
    assert take(slot, "a") == [b"hello\n"]


def test_stdin_that_comes_in_pieces_is_one_message(slot: Mount) -> None:
    with subprocess.Popen(
        [*MSFS, "send", "--mount", slot.path, "a"], stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        for piece in (b"one ", b"two ", b"three"):
            process.stdin.write(piece)
            process.stdin.flush()
            time.sleep(0.05)
        process.communicate(timeout=TIMEOUT)
    assert take(slot, "a") == [b"one two three"]


def test_every_way_to_name_a_slot(mount: Mount) -> None:
    host = mount.status()["host"]
    (mount / "dir").mkdir()
    (mount / "dir/sub").mkdir()
    handles = [write(mount, name) for name in ("a", "dir/b", "dir/sub/c")]
    for target in (
        "a",
        f"@{host}/a",
        f"{host}/a",
        rf"\\{host.upper()}\mailslot\a",
        r"\\.\mailslot\a",
        r"\\.\MAILSLOT\a",
    ):
        assert msfs(mount, "send", target, target).returncode == Exit.OK, target
        assert take(mount, "a") == [target.encode()]
    for target in ("dir/b", r"\\.\mailslot\dir\b", rf"\\{host}\mailslot\dir\b", f"@{host}/dir\\b"):
        assert msfs(mount, "send", target, target).returncode == Exit.OK, target
        assert take(mount, "dir/b") == [target.encode()]
    assert msfs(mount, "send", rf"\\{host}\mailslot\dir\sub\c", "deep").returncode == Exit.OK
    assert take(mount, "dir/sub/c") == [b"deep"]
    for handle in handles:
        os.close(handle)


def test_a_directory_goes_before_a_host_of_its_name(mount: Mount) -> None:
    host = mount.status()["host"]
    handles = [write(mount, "a")]
    (mount / host).mkdir()
    handles.append(write(mount, f"{host}/a"))
    assert msfs(mount, "send", f"{host}/a", "to the directory").returncode == Exit.OK
    assert msfs(mount, "send", f"@{host}/a", "to the host").returncode == Exit.OK
    assert take(mount, f"{host}/a") == [b"to the directory"]
    assert take(mount, "a") == [b"to the host"]
    for handle in handles:
        os.close(handle)


@pytest.mark.parametrize("target", ["nobody", "dir/nobody", r"\\.\mailslot\nobody"])
def test_nobody_listens(mount: Mount, target: str) -> None:
    (mount / "dir").mkdir()
    result = msfs(mount, "send", target, "x")
    assert "nobody listens at" in refusal(result)
    assert "msfs listen" in result.stderr
    assert result.returncode == Exit.NO_SLOT
    assert mount.status()["slots_created"] == "0"


@pytest.mark.parametrize(
    "target",
    ["", "/", "a/../b", "a\\b", "@", "@h", "@/a", r"\\h", r"\\h\mailslot", r"\\h\slot\a", ".msfs"],
)
def test_what_names_no_slot(mount: Mount, target: str) -> None:
    result = msfs(mount, "send", target, "x")
    assert "names no slot" in refusal(result)
    assert result.returncode == Exit.USAGE


def test_why_it_names_none_is_told_without_the_name_once_more(mount: Mount) -> None:
    told = refusal(msfs(mount, "send", ".msfs", "x"))
    assert told == "msfs: .msfs names no slot: a reserved name"


@pytest.mark.parametrize("command", ["send", "listen", "info"])
def test_a_path_is_no_name(mount: Mount, command: str) -> None:
    result = msfs(mount, command, mount / "dir/a")
    told = f"{mount.path}/dir/a is a path: leave out that of the mount (NAME, or DIR/NAME)"
    assert told in refusal(result)
    assert result.returncode == Exit.USAGE


@pytest.mark.parametrize("target", ["@far/a", "far/a", r"\\far\mailslot\a\b"])
def test_a_host_out_of_reach(mount: Mount, target: str) -> None:
    result = msfs(mount, "send", target, "x")
    assert "no host or domain far can be reached" in refusal(result)
    assert result.returncode == Exit.FAILED


def test_a_message_over_the_limit_names_the_limit(slot: Mount) -> None:
    result = msfs(slot, "send", "a", input="x" * 70_000)
    assert "takes up to 65536 bytes, the message has 70000" in refusal(result)
    assert take(slot, "a") == []  # what can be set is its server's
    slot.set_attribute("a", "max_message_size", "10")
    assert "takes up to 10 bytes, the message has 11" in refusal(msfs(slot, "send", "a", "x" * 11))
    assert "takes up to 10 bytes" in refusal(
        msfs(slot, "send", f"@{slot.status()['host']}/a", "x" * 11)
    )
    assert take(slot, "a") == []


def test_endless_stdin_is_not_read_to_its_end(slot: Mount) -> None:
    with open("/dev/zero", "rb") as zeros:
        result = msfs(slot, "send", "a", stdin=zeros)
    assert "the message is longer than" in refusal(result)
    assert take(slot, "a") == []


def test_an_empty_message(slot: Mount) -> None:
    assert "there is no empty message" in refusal(msfs(slot, "send", "a", ""))
    assert "there is no empty message" in refusal(msfs(slot, "send", "a", input=""))


def test_a_full_slot(mount_with: MountFactory) -> None:
    mount = mount_with("max_messages=1")
    handle = write(mount, "a", b"first")
    told = refusal(msfs(mount, "send", "a", "second"))
    assert "the slot is full" in told
    assert "max_messages 1)" in told
    os.close(handle)


def test_a_full_mount(mount_with: MountFactory) -> None:
    mount = mount_with("max_bytes=100", "max_user_share=100")
    handle = write(mount, "a", b"x" * 97)
    told = refusal(msfs(mount, "send", "a", "more"))
    assert "the mount is full: 97 bytes wait to be read, of 100 (max_bytes)" in told
    os.close(handle)


def test_one_word_too_many_is_told_by_the_command(mount: Mount) -> None:
    result = msfs(mount, "config", "--check", "msfs.toml")
    assert result.returncode == Exit.USAGE
    told = "msfs config: unrecognized arguments: msfs.toml (see msfs config --help)\n"
    assert result.stderr == told


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("lisen", "msfs: no such command: 'lisen'; did you mean listen? (see msfs --help)\n"),
        ("\x1b[2J", "msfs: no such command: '\\x1b[2J' (see msfs --help)\n"),
    ],
)
def test_a_command_that_there_is_not(word: str, told: str) -> None:
    result = subprocess.run([*MSFS, word], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (Exit.USAGE, told)


# Sends SIGINT while the modules of the command line are loaded.
_EARLY = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "msfs_fuse.commands.command":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from msfs_fuse.__main__ import main
main()
"""


def test_an_early_interrupt_leaves_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EARLY, "ls"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize("words", [["help"], ["help", "listen"]])
def test_help_without_dashes(words: list[str]) -> None:
    def printed(*words: str) -> str:
        return subprocess.run([*MSFS, *words], capture_output=True, text=True, check=True).stdout

    assert printed(*words) == printed(*words[1:], "--help")


@pytest.mark.parametrize("command", ["send", "net-send", "ask"])
def test_a_text_without_quotes(mount: Mount, command: str) -> None:
    result = msfs(mount, command, "a", "disk", "is", "full")
    assert "unrecognized arguments: is full: a text of several words needs quotes" in result.stderr
    assert result.returncode == Exit.USAGE


def test_a_directory_takes_no_message(mount: Mount) -> None:
    (mount / "dir").mkdir()
    assert "is a directory" in refusal(msfs(mount, "send", "dir", "x"))


def test_stdin_that_cannot_be_read(slot: Mount) -> None:
    with open("/dev/null", "wb") as writable:
        assert "standard input: Bad file" in refusal(msfs(slot, "send", "a", stdin=writable))


def test_closed_stdin(slot: Mount) -> None:
    script = f'exec "$@" send --mount {slot.path} a <&-'
    result = subprocess.run(
        ["sh", "-c", script, "sh", *MSFS],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert "nothing to send" in refusal(result)


def test_a_server_that_goes_while_stdin_is_read_does_not_swallow_the_message(mount: Mount) -> None:
    server = os.open(mount / "a", os.O_RDONLY | os.O_CREAT)
    with subprocess.Popen(
        [*MSFS, "send", "--mount", mount.path, "a"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        time.sleep(0.3)
        os.close(server)
        _, complaint = process.communicate(b"too late", timeout=TIMEOUT)
    assert process.returncode == Exit.NO_SLOT, complaint


# ---- ls, info, status ----


def test_ls_as_a_table(mount: Mount) -> None:
    (mount / "dir").mkdir(0o750)
    handles = [write(mount, "a", b"12345", b"1"), write(mount, "bell\x07\x1b[2J")]
    header, *rows = msfs(mount, "ls").stdout.splitlines()
    assert header.split() == ["NAME", "MODE", "OWNER", "MESSAGES", "NEXT", "WRITTEN"]
    assert [row.split()[:5] for row in rows] == [
        ["a", "0666", "root" if is_root() else rows[0].split()[2], "2", "5"],
        ["bell\\x07\\x1b[2J", "0666", rows[1].split()[2], "0", "-"],
        ["dir/", "0750", rows[2].split()[2], "-", "-"],
    ]
    for handle in handles:
        os.close(handle)


def test_ls_of_a_directory_as_json(mount: Mount) -> None:
    (mount / "dir").mkdir()
    handles = [write(mount, "dir/a", b"12345"), write(mount, "dir/b")]
    before = time.time()
    a, b = json.loads(msfs(mount, "ls", "--json", "dir").stdout)
    assert before - 10 < a.pop("written_at") <= time.time()
    assert (a["name"], a["type"], a["mode"]) == ("a", "slot", "0666")
    assert (a["messages"], a["next_size"]) == (1, 5)
    assert (b["name"], b["messages"], b["next_size"]) == ("b", 0, None)
    (directory, *_) = json.loads(msfs(mount, "ls", "--json", "dir/..").stdout)
    assert (directory["type"], directory["messages"]) == ("directory", None)
    for handle in handles:
        os.close(handle)


def test_ls_of_what_is_no_directory(slot: Mount) -> None:
    assert "is not a directory (msfs info a)" in refusal(msfs(slot, "ls", "a"))
    assert "no such directory" in refusal(msfs(slot, "ls", "missing"))
    assert msfs(slot, "ls", "..").returncode == Exit.USAGE
    assert msfs(slot, "ls", "/etc").returncode == Exit.USAGE


def test_info_shows_every_attribute(mount: Mount) -> None:
    server = os.open(mount / "a", os.O_RDWR | os.O_CREAT, 0o640)
    os.write(server, b"first")
    facts = json.loads(msfs(mount, "info", "--json", "a").stdout)
    assert facts["next_size"] == 5
    assert facts["message_count"] == 1
    assert facts["read_timeout"] == "forever"
    assert facts["max_message_size"] == 65536
    assert facts["unc"] == r"\\.\mailslot\a"
    assert "sent_at" not in facts

    os.read(server, 10)
    os.setxattr(server, "user.mailslot.read_timeout", b"250")
    facts = json.loads(msfs(mount, "info", r"\\.\mailslot\a", "--json").stdout)
    assert facts["next_size"] is None
    assert facts["read_timeout"] == 250
    assert (facts["sender_uid"], facts["sender_pid"]) == (os.geteuid(), os.getpid())
    assert abs(facts["sent_at"] - time.time()) < 10
    assert facts["mode"] == f"{0o640 & ~_umask():04o}"

    lines = dict(line.split(": ", 1) for line in msfs(mount, "info", "a").stdout.splitlines())
    assert lines["next_size"] == "none"
    assert lines["sender_pid"] == str(os.getpid())
    assert lines["sent_at"].startswith(time.strftime("%Y-"))
    assert lines.keys() == facts.keys()
    os.close(server)


def _umask() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    raise AssertionError


def test_info_on_what_is_no_slot(mount: Mount) -> None:
    (mount / "dir").mkdir()
    assert msfs(mount, "info", "missing").returncode == Exit.NO_SLOT
    assert "is a directory" in refusal(msfs(mount, "info", "dir"))
    assert "another host" in refusal(msfs(mount, "info", "@far/a"))


def test_status(slot: Mount) -> None:
    lines = dict(line.split(": ", 1) for line in msfs(slot, "status").stdout.splitlines())
    assert lines.keys() == slot.status().keys()
    facts = json.loads(msfs(slot, "status", "--json").stdout)
    assert facts["slots"] == 1
    assert facts["pid"] == slot.daemon.pid
    assert facts["mountpoint"] == str(slot.path)
    assert facts["strict"] is False


def test_status_tells_who_holds_what(slot: Mount) -> None:
    slot_holder = json.loads(msfs(slot, "status", "--json").stdout)["users"][0]
    assert slot_holder["uid"] == os.getuid()
    assert (slot_holder["bytes"], slot_holder["messages"]) == (0, 0)
    with opened(slot / "a", os.O_WRONLY) as client:
        os.write(client, b"hello")
        assert f"user {os.getuid()}: bytes 5 messages 1 waiting 0" in msfs(slot, "status").stdout
        (user,) = json.loads(msfs(slot, "status", "--json").stdout)["users"]
    assert (user["bytes"], user["messages"], user["slots"]) == (5, 1, 1)
    assert user["handles"] == slot_holder["handles"] + 1


def test_switches_are_booleans_in_json(slot: Mount) -> None:
    facts = json.loads(msfs(slot, "info", "a", "--json").stdout)
    assert facts["network"] is True
    assert take(slot, "a") == []  # what can be set is its server's
    slot.set_attribute("a", "network", "off")
    assert json.loads(msfs(slot, "info", "a", "--json").stdout)["network"] is False


def test_peers_without_a_domain(mount: Mount) -> None:
    result = msfs(mount, "peers")
    assert (result.returncode, result.stdout) == (Exit.OK, "")
    assert "no domain is configured" in result.stderr
    result = msfs(mount, "peers", "--json")
    assert (result.returncode, result.stdout, result.stderr) == (Exit.OK, "[]\n", "")


# ---- the mount, and errors of every command ----

COMMANDS = (("listen", "x"), ("send", "x", "y"), ("ls",), ("info", "x"), ("status",))


@needs_root
@pytest.mark.parametrize("command", COMMANDS)
def test_no_mount(command: tuple[str, ...]) -> None:
    result = _bare([*only_with_mounts(), *MSFS, *command])
    assert "no mailslots are mounted" in refusal(result)
    assert result.returncode == Exit.NO_MOUNT


@needs_root
def test_the_only_mount_is_the_one(mount: Mount) -> None:
    result = _bare([*only_with_mounts(mount), *MSFS, "status"])
    assert f"mountpoint: {mount.path}\n" in result.stdout


@needs_root
@pytest.mark.parametrize("command", COMMANDS)
def test_two_mounts_to_choose_from(mount_with: MountFactory, command: tuple[str, ...]) -> None:
    first, second = mount_with(), mount_with()
    result = _bare([*only_with_mounts(first, second), *MSFS, *command])
    assert f"{first.path} and {second.path}" in refusal(result)
    assert result.returncode == Exit.NO_MOUNT


def test_the_option_goes_before_the_environment(mount_with: MountFactory) -> None:
    first, second = mount_with(), mount_with()
    assert f"{first.path}\n" in msfs(first, "status").stdout
    assert f"{second.path}\n" in msfs(first, "status", "--mount", second.path).stdout


def test_the_option_may_come_first(mount_with: MountFactory) -> None:
    first, second = mount_with(), mount_with()
    assert f"{second.path}\n" in msfs(first, "--mount", second.path, "status").stdout
    words = ("--mount", second.path, "status", "--mount", first.path)
    assert f"{first.path}\n" in msfs(second, *words).stdout
    result = msfs(first, "--mount", first.path, "doctor")
    assert "--mount is of no use to this command" in refusal(result)
    assert result.returncode == Exit.USAGE


def test_a_directory_that_is_no_mount(mount: Mount, tmp_path: Path) -> None:
    result = msfs(mount, "ls", "--mount", tmp_path)
    assert f"no mailslots are mounted at {tmp_path}" in refusal(result)
    assert result.returncode == Exit.NO_MOUNT


def test_every_command_on_a_dead_mount(mount: Mount) -> None:
    mount.daemon.kill()
    mount.daemon.wait(TIMEOUT)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        os.listdir(mount.path)
    for command in COMMANDS:
        result = msfs(mount, *command)
        assert "has died or is gone" in refusal(result)
        assert result.returncode == Exit.NO_MOUNT


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("send",), ("listen", "a", "-n", "0")])
def test_a_command_line_that_makes_no_sense(mount: Mount, arguments: tuple[str, ...]) -> None:
    result = msfs(mount, *arguments)
    assert "--help" in refusal(result)
    assert result.returncode == Exit.USAGE


def test_output_that_cannot_be_written(slot: Mount) -> None:
    with open("/dev/full", "wb") as full:
        environment = {**os.environ, "MSFS_MOUNT": str(slot.path), "PYTHONUNBUFFERED": ""}
        for command in (("status",), ("ls",), ("--help",), ("--version",)):
            result = subprocess.run(
                [*MSFS, *command],
                env=environment,
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=TIMEOUT,
                check=False,
            )
            assert result.stderr.endswith(b"No space left on device\n")
            assert result.stderr.count(b"\n") == 1
            assert result.returncode == Exit.FAILED


def test_a_reader_of_the_output_that_goes_away_is_no_error(slot: Mount) -> None:
    script = '("$@" status --mount "$MOUNT"; echo $? >&2) | true'
    result = subprocess.run(
        ["bash", "-c", script, "bash", *MSFS],
        env={**os.environ, "MOUNT": str(slot.path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.stderr in ("141\n", "0\n")  # 0: it was written before the reader went


def _bare(command: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "MSFS_MOUNT"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def test_commands_wait_for_nobody(slot: Mount) -> None:
    """A reader that waits for ever is in nobody's way."""
    with subprocess.Popen(["cat", slot / "a"], stdout=subprocess.DEVNULL) as reader:
        wait_until(lambda: slot.status()["waiting"] == "1")
        assert msfs(slot, "ls").returncode == Exit.OK
        assert msfs(slot, "info", "a").returncode == Exit.OK
        reader.kill()
