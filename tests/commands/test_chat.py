"""`msfs chat` on one host: by a pipe, and in a terminal."""

import contextlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msfs_fuse import Mailslot, send
from msfs_fuse.errors import Exit
from tests.conftest import Mount
from tests.support.command import MSFS, TIMEOUT, msfs, refusal
from tests.support.processes import ALICE, is_root, wait_until
from tests.support.terminal import Terminal


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may walk into; pytest's own is for one user."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


class Chatter:
    """`msfs chat` with pipes; what it printed is in `output`."""

    def __init__(self, mount: Mount, path: Path, *arguments: str, uid: int | None = None) -> None:
        self.path = path
        command = [*MSFS, "--mount", str(mount.path), "chat", *arguments]
        who: dict[str, Any] = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
        with path.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, **who
            )

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()

    @property
    def output(self) -> str:
        return self.path.read_text()

    def sees(self, text: str) -> None:
        wait_until(lambda: text in self.output or self.process.poll() is not None)
        assert text in self.output


@contextlib.contextmanager
def chatting(
    mount: Mount, tmp_path: Path, *nicks: str, room: str = "lobby"
) -> Iterator[list[Chatter]]:
    """Some who chat, and know of each other."""
    chatters: list[Chatter] = []
    try:
        for nick in nicks:
            new = Chatter(mount, tmp_path / f"{nick}.out", room, "--nick", nick)
            chatters.append(new)
            for before, other in zip(nicks, chatters[:-1], strict=False):
                other.sees(f"{nick}@")
                new.sees(f"{before}@")
            if len(chatters) == 1:
                wait_until(lambda: slots(mount, room) != [])
        yield chatters
    finally:
        for each in chatters:
            each.process.kill()
            each.process.communicate()


def slots(mount: Mount, room: str = "lobby") -> list[str]:
    return [each for each in os.listdir(mount.path) if each.startswith(f"chat.{room}.")]


def test_three_by_pipe(mount: Mount, tmp_path: Path) -> None:
    with chatting(mount, tmp_path, "anna", "ben", "cleo") as (anna, ben, cleo):
        assert len(slots(mount)) == 3
        assert {stat.S_IMODE((mount / each).stat().st_mode) for each in slots(mount)} == {0o622}
        assert {mount.attribute(each, "network") for each in slots(mount)} == {"off"}
        host = mount.status()["host"]
        long = "ä☃" * 700
        anna.say(long)
        for each in (ben, cleo):
            each.sees(f"anna@{host}: {long}\n")
        ben.say("/msg anna psst")
        anna.sees(f"ben@{host} to you: psst\n")
        anna.say(f"/msg BEN@{host} what?")
        ben.sees(f"anna@{host} to you: what?\n")
        cleo.say("/nick dora")
        anna.sees(f"cleo@{host} is now dora@{host}\n")
        anna.say("/who")
        anna.sees(f"anna@{host} (you)\nben@{host} (user {os.geteuid()})\ndora@{host}")
        anna.say("/msg nobody x")
        anna.sees("nobody here is called nobody")
        cleo.say("/quit")
        assert cleo.process.wait(TIMEOUT) == Exit.OK
        anna.sees(f"dora@{host} has left\n")
        assert "psst" not in cleo.output
        assert len(slots(mount)) == 2


def test_lines_of_a_pipe_and_its_end(mount: Mount, tmp_path: Path) -> None:
    with chatting(mount, tmp_path, "anna") as (anna,):
        result = msfs(mount, "chat", "--nick", "ben", input="one\n\ntwo\nno newline")
        assert (result.returncode, result.stderr) == (Exit.OK, "")
        anna.sees("has left\n")
        said = [each.partition(": ")[2] for each in anna.output.splitlines()]
        assert [each for each in said if each] == ["one", "two", "no newline"]
    assert msfs(mount, "chat", "-t", 0.2, stdin=subprocess.DEVNULL).returncode == Exit.OK


def test_nothing_reaches_a_terminal_that_it_would_obey(mount: Mount, tmp_path: Path) -> None:
    with chatting(mount, tmp_path, "anna") as (anna,):
        [slot] = slots(mount)
        for data in (b"\x1b[2J", b"say 00000000 1/1 eve\n\x1b[2Jred\x07\r\xe2\x80\xaex\ny"):
            send(slot, data, mount=str(mount.path))
        anna.sees("eve@")
        anna.sees(r": \x1b[2Jred\x07\r\u202ex\ny" + "\n")
        assert "\x1b" not in anna.output


def test_many_lines_of_a_pipe_are_not_shown_to_who_says_them(mount: Mount) -> None:
    result = msfs(mount, "chat", "-t", 0.3, input="y\n" * 3000)
    assert (result.returncode, result.stdout, result.stderr) == (Exit.OK, "", "")


def test_other_rooms_hear_nothing(mount: Mount, tmp_path: Path) -> None:
    with chatting(mount, tmp_path, "anna") as (anna,), chatting(mount, tmp_path, "ben", room="b"):
        msfs(mount, "chat", "b", "--nick", "cleo", input="secret\n")
        msfs(mount, "chat", "--nick", "dora", input="hello\n")
        anna.sees(": hello\n")
        assert "secret" not in anna.output


@pytest.mark.skipif(not is_root(), reason="needs another user")
def test_users_of_one_host(mount: Mount, tmp_path: Path) -> None:
    with chatting(mount, tmp_path, "anna") as (anna,):
        alice = Chatter(mount, tmp_path / "alice.out", "--nick", "anna", uid=ALICE)
        try:
            anna.sees("anna@")
            alice.sees("is here")
            alice.say("/msg anna hello root")
            anna.sees(" to you: hello root\n")
            anna.say("/who")
            anna.sees(f"(user {ALICE})")
            anna.say("hello alice")
            alice.sees(": hello alice\n")
        finally:
            alice.process.kill()
            alice.process.communicate()


@pytest.mark.skipif(not is_root(), reason="needs another user")
def test_a_private_line_is_not_written_where_its_receiver_could_not_write(
    mount: Mount, tmp_path: Path
) -> None:
    name = f"ask.0/{'a' * 32}"
    with (
        chatting(mount, tmp_path, "anna") as (anna,),
        Mailslot(name, mount=str(mount.path), mode=0o600) as victim,
    ):
        [slot] = slots(mount)
        script = f"printf 'join 00000000 1/1 eve\\n{name}' > {mount / slot}"
        subprocess.run(["sh", "-c", script], user=ALICE, group=ALICE, check=True, timeout=10)
        anna.sees("eve@")
        anna.say("/msg eve x")
        anna.sees("another user's")
        assert victim.message_count == 0


@pytest.mark.parametrize("words", [["a b"], ["/x"], ["--nick", "a b"]])
def test_command_lines_that_make_no_sense(mount: Mount, words: list[str]) -> None:
    result = msfs(mount, "chat", *words)
    assert result.returncode == Exit.USAGE
    refusal(result)


def test_a_domain_that_is_none(mount: Mount) -> None:
    result = msfs(mount, "chat", "nowhere/lobby", input="x\n")
    assert result.returncode == Exit.FAILED
    assert "is in no domain nowhere" in refusal(result)
    assert slots(mount) == []


def test_the_mount_goes(mount: Mount, tmp_path: Path) -> None:
    with chatting(mount, tmp_path, "anna") as (anna,):
        mount.daemon.kill()
        assert anna.process.wait(TIMEOUT) == Exit.NO_MOUNT
        assert anna.output.count("\n") == 1


@contextlib.contextmanager
def at_the_screen(mount: Mount, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in which anna chats."""
    with Terminal(tmp_path) as terminal:
        terminal.run(*MSFS, "--mount", str(mount.path), "chat", "--nick", "anna")
        terminal.shows("anna, you are in lobby of this host")
        # What is pressed before the prompt is there may be lost.
        wait_until(lambda: terminal.screen.rstrip().splitlines()[-1:] == [">"])
        yield terminal


def test_in_a_terminal(mount: Mount, tmp_path: Path) -> None:
    with at_the_screen(mount, tmp_path) as terminal:
        terminal.type("half a li")
        msfs(mount, "chat", "--nick", "ben", input="\x1b[2Jhello\n")
        terminal.shows("has left")
        screen = terminal.screen
        assert r": \x1b[2Jhello" in screen
        assert screen.rstrip().splitlines()[-1] == "> half a li"
        terminal.type("ne")
        terminal.press("Enter")
        terminal.shows(": half a line")
        terminal.type("/quit")
        terminal.press("Enter")
        terminal.ends(Exit.OK)
    assert slots(mount) == []


def test_what_is_pasted_may_be_anything(mount: Mount, tmp_path: Path) -> None:
    with at_the_screen(mount, tmp_path) as terminal:
        terminal.type("one\x1b[31m two\x1b[<0;0 three")
        terminal.press("Enter")
        terminal.shows("anna@", "one")
        terminal.type("still here")
        terminal.press("Enter")
        terminal.shows(": still here")
        assert "xception" not in terminal.screen


def test_suspended_and_continued(mount: Mount, tmp_path: Path) -> None:
    with at_the_screen(mount, tmp_path) as terminal:
        terminal.press("C-z")
        terminal.shows("Stopped")
        msfs(mount, "chat", "--nick", "ben", input="meanwhile\n")
        terminal.press("fg", "Enter")
        terminal.shows(": meanwhile")
        terminal.resize(40, 10)
        terminal.type("hello")
        terminal.press("Enter")
        terminal.shows(": hello")


@pytest.mark.parametrize("key", ["C-c", "C-d"])
def test_keys_that_end_it(mount: Mount, tmp_path: Path, key: str) -> None:
    with at_the_screen(mount, tmp_path) as terminal:
        terminal.press(key)
        if key == "C-d":
            terminal.ends(Exit.OK)
        wait_until(lambda: slots(mount) == [])
        assert "Traceback" not in terminal.screen


def test_the_mount_goes_under_a_terminal(mount: Mount, tmp_path: Path) -> None:
    with at_the_screen(mount, tmp_path) as terminal:
        mount.daemon.kill()
        terminal.ends(Exit.NO_MOUNT)
        assert "has died or is gone" in terminal.screen.replace("\n", "")
        assert "Traceback" not in terminal.screen
