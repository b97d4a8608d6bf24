"""`msfs ask` and `msfs answer` on one host: what they print, and what they refuse."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from msfs_fuse import Mailslot, send
from msfs_fuse.commands.ask import reply_slot
from msfs_fuse.errors import Exit
from tests.conftest import Mount
from tests.support.command import MSFS, TIMEOUT, in_background, msfs, refusal, serving
from tests.support.processes import (
    ALICE,
    BOB,
    is_root,
    line_of,
    output_of,
    started,
    wait_until,
)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may walk into; pytest's own is for one user."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


def answering(
    mount: Mount, slot: str, *arguments: str, **named: Any
) -> contextlib.AbstractContextManager[Any]:
    """`msfs answer` at work. Killed at the end."""
    return serving(mount, (slot,), "answer", slot, *arguments, **named)


def test_in_the_background(mount: Mount) -> None:
    in_background(mount, "answer", "-n", 1, "q", "yes")
    assert msfs(mount, "ask", "q", "-t", 10).stdout == "yes\n"
    wait_until(lambda: not (mount / "q").exists())
    assert "(msfs answer q TEXT)" in refusal(msfs(mount, "ask", "q"))


def test_the_first_answer(mount: Mount) -> None:
    with answering(mount, "q", "forty-two"):
        for form in ("q", r"\\.\mailslot\q"):
            result = msfs(mount, "ask", form, "what?", "-t", 10)
            assert (result.returncode, result.stdout, result.stderr) == (0, "forty-two\n", "")


def test_a_command_answers_what_was_asked_and_knows_who_asks(mount: Mount) -> None:
    command = 'echo "$MSFS_SLOT $MSFS_SENDER_UID $(tr a-z A-Z)"'
    with answering(mount, "q", "--exec", command):
        result = msfs(mount, "ask", "q", "what?", "-t", 10)
        assert result.stdout == f"q {os.geteuid()} WHAT?\n"


@pytest.mark.parametrize("which", ["--all", "--random"])
def test_no_answer(mount: Mount, which: str) -> None:
    with answering(mount, "q", "--exec", "exit 3") as server:
        for options in ((), (which,)):
            result = msfs(mount, "ask", "q", "what?", "-t", 0.3, *options)
            assert result.returncode == Exit.TIMEOUT
            assert refusal(result) == "msfs: q: no answer in 0.3 s"
        server.terminate()
        assert "q: the command ended with exit code 3" in server.stderr.read().decode()


def test_a_command_that_takes_too_long_is_killed_with_what_it_has_started(
    mount: Mount, tmp_path: Path
) -> None:
    """The next question has its answer, though the first would have taken for ever."""
    ids = tmp_path / "ids"
    command = f'[ "$(cat)" = quick ] && echo yes && exit; sleep 1000 & echo $! $$ >{ids}; wait'
    with answering(mount, "q", "--exec", command, "--timeout", "3", "-n", "2") as server:
        assert msfs(mount, "ask", "q", "slow", "-t", 0.1).returncode == Exit.TIMEOUT
        assert msfs(mount, "ask", "q", "quick", "-t", TIMEOUT).stdout == "yes\n"
        assert (
            "q: the command took more than 3 s" in server.communicate(timeout=TIMEOUT)[1].decode()
        )
        assert server.returncode == Exit.FAILED
    assert len(ids.read_text().split()) == 2
    for pid in ids.read_text().split():
        wait_until(partial(is_dead, pid))


def is_dead(pid: str) -> bool:
    """Whether a process has ended; an orphan may wait for whoever adopted it."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_command_that_hides_from_its_end_holds_nobody_up(mount: Mount, tmp_path: Path) -> None:
    """What it started left its process group, and has its output still open."""
    hidden = tmp_path / "hidden"
    hides = f'setsid sh -c "echo \\$\\$ >{hidden}; exec sleep 1000" &'
    command = f'[ "$(cat)" = quick ] && echo yes && exit; {hides}'
    with answering(mount, "q", "--exec", command, "--timeout", "3") as server:
        try:
            assert msfs(mount, "ask", "q", "slow", "-t", 0.1).returncode == Exit.TIMEOUT
            assert msfs(mount, "ask", "q", "quick", "-t", TIMEOUT).stdout == "yes\n"
            assert server.poll() is None
        finally:
            wait_until(lambda: hidden.exists() and hidden.read_text().endswith("\n"))
            os.kill(int(hidden.read_text()), signal.SIGKILL)


def test_nothing_is_answered_with_nothing(mount: Mount) -> None:
    with answering(mount, "q", "--exec", "true"):
        assert msfs(mount, "ask", "q", "what?", "-t", 0.3).returncode == Exit.TIMEOUT


def test_nobody_listens(mount: Mount) -> None:
    result = msfs(mount, "ask", "q", "what?")
    assert result.returncode == Exit.NO_SLOT
    assert "nobody listens" in refusal(result)


def test_the_answer_slot_is_for_those_who_know_its_name(mount: Mount) -> None:
    asked = Mailslot("q", mount=str(mount.path))
    process = subprocess.Popen(
        [*MSFS, "ask", "q", "what?", "--all", "-t", "60", "--mount", str(mount.path)],
        stdout=subprocess.PIPE,
        umask=0o077,
    )
    with process, asked:
        line, _, body = asked.receive(TIMEOUT).text.partition("\n")
        assert body == "what?"
        assert line.startswith(rf"\\.\mailslot\ask.{os.geteuid()}" + "\\")
        directory, name = line.split("\\")[-2:]
        assert stat.S_IMODE((mount / directory).stat().st_mode) == 0o711
        assert stat.S_IMODE((mount / directory / name).stat().st_mode) == 0o622
        assert mount.attribute(f"{directory}/{name}", "network") == "off"
        send(line, "one", mount=str(mount.path))
        send(line, "two", mount=str(mount.path))
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"one\n", b"two\n"]
        process.terminate()
        assert process.wait(TIMEOUT) == -signal.SIGTERM
    wait_until(lambda: os.listdir(mount / directory) == [])


def test_one_at_random(mount: Mount) -> None:
    asked = Mailslot("q", mount=str(mount.path))
    command = [*MSFS, "ask", "q", "--random", "--json", "-t", "5", "--mount", str(mount.path)]
    with asked, subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        line = asked.receive(TIMEOUT).text.partition("\n")[0]
        for answer in ("a", "b", "c"):
            send(line, answer, mount=str(mount.path))
        answer = json.loads(process.communicate(timeout=TIMEOUT)[0])
    assert answer["message"] in ("a", "b", "c")
    assert answer["sender_pid"] == os.getpid()


HOLD_THE_SLOT_FOR_ANSWERS = """
with os.scandir(sys.argv[1]) as entries:
    (directory,) = [e.path for e in entries if e.name.startswith("ask.") and "." in e.name[4:]]
(name,) = os.listdir(directory)
fd = os.open(f"{directory}/{name}", os.O_WRONLY)
print("open", flush=True)
sys.stdin.readline()
time.sleep(0.2)
os.close(fd)
"""


@pytest.mark.skipif(not is_root(), reason="needs another user")
def test_a_directory_for_one_question_goes_when_who_answered_has_closed(mount: Mount) -> None:
    taken = mount / f"ask.{os.geteuid()}"
    taken.mkdir()
    os.chown(taken, ALICE, ALICE)
    with contextlib.ExitStack() as stack:
        with reply_slot(str(mount.path)):
            holder = stack.enter_context(started(HOLD_THE_SLOT_FOR_ANSWERS, mount.path))
            assert line_of(holder) == "open"
            assert holder.stdin is not None
            holder.stdin.write("\n")
            holder.stdin.flush()
        assert [each for each in os.listdir(mount.path) if each.startswith("ask.")] == [taken.name]
        assert output_of(holder) == ""


@pytest.mark.skipif(not is_root(), reason="needs another user")
def test_somebody_else_took_the_name_of_the_directory(mount: Mount) -> None:
    taken = mount / f"ask.{os.geteuid()}"
    taken.mkdir()
    os.chown(taken, ALICE, ALICE)
    with answering(mount, "q", "yes"):
        assert msfs(mount, "ask", "q", "-t", 10).stdout == "yes\n"
    assert os.listdir(taken) == []
    assert [each for each in os.listdir(mount.path) if each.startswith("ask.")] == [taken.name]


@pytest.mark.skipif(not is_root(), reason="needs another user")
def test_a_user_cannot_have_an_answer_written_to_a_slot_of_another(mount: Mount) -> None:
    """Root answers, and could write there: the user who asks could not."""
    (mount / "ask.x").mkdir()
    with Mailslot("ask.x/secret", mount=str(mount.path), mode=0o600) as secret:
        os.chown(secret.path, BOB, BOB)
        os.chmod(mount / "ask.x", 0o755)
        with answering(mount, "q", "yes") as server:
            os.chmod(mount / "q", 0o622)
            script = f"printf '%s\\n?' '\\\\.\\mailslot\\ask.x\\secret' > {mount / 'q'}"
            subprocess.run(["sh", "-c", script], user=ALICE, group=ALICE, check=True, timeout=20)
            assert b"not a slot of the user who asks" in server.stderr.readline()
        assert secret.message_count == 0


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("what?", "first line"),
        ("\\\\.\\mailslot\\secret\nwhat?", "answers go to"),
        ("\\\\far\\mailslot\\ask.0\\x\nwhat?", "which did not ask"),
    ],
)
def test_what_is_not_answered(mount: Mount, query: str, complaint: str) -> None:
    with answering(mount, "q", "yes", "-n", "1") as server:
        send("q", query, mount=str(mount.path))
        assert complaint in server.communicate(timeout=TIMEOUT)[1].decode()
        assert server.returncode == 0


def test_complaints_about_others_do_not_fill_the_log(mount: Mount) -> None:
    with answering(mount, "q", "yes", "-n", "300") as server:
        for _ in range(300):
            send("q", "what?", mount=str(mount.path))
        lines = server.communicate(timeout=TIMEOUT)[1].decode().splitlines()
        assert 20 <= len(lines) <= 40  # a minute may end between them


def test_a_question_too_long_for_its_slot(mount: Mount) -> None:
    with Mailslot("q", mount=str(mount.path)) as slot:
        slot.max_message_size = 60
        assert "the question is too long" in refusal(msfs(mount, "ask", "q", "x" * 60))


@pytest.mark.parametrize("words", [["q"], ["q", "text", "--exec", "true"], ["@far/q", "text"]])
def test_command_lines_that_make_no_sense(mount: Mount, words: list[str]) -> None:
    assert msfs(mount, "answer", *words, "-t", 1).returncode == Exit.USAGE
