"""`msfs top`: driven in tmux as a person sees it, and as text and JSON for programs."""

import contextlib
import json
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.commands import picture
from msfs_fuse.commands.picture import Sample, SlotState
from tests.conftest import Mount
from tests.support.command import MSFS, msfs, write
from tests.support.processes import state_of, wait_until
from tests.support.terminal import Terminal

HOSTILE = "bad\x1b[2J\nname"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A shell in a terminal."""
    with Terminal(tmp_path, columns=80, lines=16) as terminal:
        yield terminal


def start(terminal: Terminal, mount: Mount, *options: str) -> None:
    command = shlex.join([*MSFS, "top", "--mount", str(mount.path), *options])
    terminal.press(f"clear; stty -a > before; {command}; echo ended $?", "Enter")
    terminal.shows("msfs top:")


def pid_of(mount: Mount) -> int:
    """The process of `msfs top`."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"top" in words and str(mount.path).encode() in words:
                return int(entry.name)
    raise AssertionError("no msfs top")


@pytest.fixture
def handles(mount: Mount) -> Iterator[list[int]]:
    """Slots: one without messages, one with two, and one with a name for the terminal to obey."""
    (mount / "dir").mkdir()
    handles = [
        write(mount, "idle"),
        write(mount, "queue", b"12345", b"x"),
        write(mount, "dir/日本", b"x"),
        write(mount, HOSTILE),
    ]
    yield handles
    for handle in handles:
        with contextlib.suppress(OSError):
            os.close(handle)


def test_in_a_terminal(
    mount: Mount, handles: list[int], terminal: Terminal, tmp_path: Path
) -> None:
    terminal.press(f"cd {tmp_path}", "Enter")
    start(terminal, mount, "-d", "0.2")
    terminal.shows("slots 4   messages 3   bytes 7 of", "written 0.0", "bad\\x1b[2J\\nname")
    rows = terminal.screen.splitlines()
    slots = [row.split()[-1] for row in rows[5:9]]
    assert slots[:2] == ["queue", "dir/日本"]
    assert rows[5].split()[:2] == ["2", "5"]

    os.write(handles[0], b"more")
    terminal.shows("messages 4   bytes 11 of")

    terminal.press("o")  # by the time of the last write
    wait_until(lambda: terminal.screen.splitlines()[5].endswith("idle"))
    terminal.press("o")  # by name
    wait_until(lambda: terminal.screen.splitlines()[5].endswith("name"))

    terminal.resize(30, 7)
    terminal.shows("and 3 more")
    assert all(len(line) <= 30 for line in terminal.screen.splitlines())
    terminal.resize(80, 16)
    terminal.shows("dir/日本")

    terminal.press("q")
    terminal.shows("ended 0")
    assert "msfs top:" not in terminal.screen
    check_restored(terminal, tmp_path)


TIMES = ("before", "after")


def check_restored(terminal: Terminal, directory: Path) -> None:
    """The terminal is as it was, with its cursor."""
    terminal.press("stty -a > after; echo compared", "Enter")
    wait_until(lambda: terminal.screen.count("compared") == 2)  # the command, and what it prints
    # The first line has the size of the window.
    before, after = ((directory / name).read_text().partition("\n")[2] for name in TIMES)
    assert before == after
    assert terminal.tmux("display-message", "-p", "#{cursor_flag} #{alternate_on}") == "1 0\n"


@pytest.mark.parametrize(("how", "code"), [("C-c", 130), (signal.SIGTERM, 143)])
def test_the_terminal_is_given_back(
    mount: Mount, terminal: Terminal, tmp_path: Path, how: str | signal.Signals, code: int
) -> None:
    terminal.press(f"cd {tmp_path}", "Enter")
    start(terminal, mount)
    if isinstance(how, str):
        terminal.press(how)
        # The shell ends a line of commands on ^C: so it does not tell the code.
        wait_until(lambda: "msfs top:" not in terminal.screen)
        terminal.press("echo ended $?", "Enter")
    else:
        os.kill(pid_of(mount), how)
    terminal.shows(f"ended {code}")
    check_restored(terminal, tmp_path)


def test_when_the_mount_goes(mount: Mount, terminal: Terminal, tmp_path: Path) -> None:
    terminal.press(f"cd {tmp_path}", "Enter")
    start(terminal, mount, "-d", "0.2")
    mount.daemon.terminate()
    terminal.shows("ended 3", "has died or is gone")
    check_restored(terminal, tmp_path)


def test_suspended_and_continued(mount: Mount, terminal: Terminal, tmp_path: Path) -> None:
    terminal.press(f"cd {tmp_path}", "Enter")
    start(terminal, mount)
    pid = pid_of(mount)
    terminal.press("C-z")
    wait_until(lambda: state_of(pid) == "T")
    terminal.shows(">")
    assert "msfs top:" not in terminal.screen
    terminal.press("fg", "Enter")
    terminal.shows("msfs top:")
    terminal.press("q")
    wait_until(lambda: "msfs top:" not in terminal.screen)
    check_restored(terminal, tmp_path)


def test_for_programs(mount: Mount, handles: list[int]) -> None:
    result = msfs(mount, "top", "--json", "-n", 2, "-d", 0.2)
    assert (result.returncode, result.stderr) == (0, "")
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["totals"] == {"slots": 4, "messages": 3, "bytes": 7, "waiting": 0}
    assert {each["name"]: each["messages"] for each in second["slots"]} == {
        "idle": 0,
        "queue": 2,
        "dir/日本": 1,
        HOSTILE: 0,
    }
    assert second["time"] > first["time"]
    assert second["rates"]["messages_written"] == 0
    assert (second["hosts"], second["links"]) == ([], [])


def test_as_text(mount: Mount, handles: list[int]) -> None:
    result = msfs(mount, "top", "--once", "-d", 0.1)
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    assert "bad\\x1b[2J\\nname\n" in result.stdout
    assert result.stdout.startswith(f"msfs top: {mount.path} on ")
    assert msfs(mount, "top", "-n", 2, "-d", 0.1).stdout.count("msfs top:") == 2


# ---- the picture itself ----

STATUS = dict.fromkeys(("host", "uptime_seconds", "slots", "messages", "bytes", "waiting"), "1")
STATUS["max_bytes"] = "1000"


def sample_of(at: float, written: float, slots: int = 0) -> Sample:
    states = [SlotState(f"s{n}", "0644", "ann", True, n, 1, 0.0) for n in range(slots)]
    return Sample(at, 100.0, STATUS, {"messages_written": written}, states, None)


def test_rates() -> None:
    before = sample_of(1.0, 100)
    assert picture.rates(None, before) == {}
    assert picture.rates(before, sample_of(1.5, 150)) == {"messages_written": 100}
    # The daemon was started again: its counters too.
    assert picture.rates(before, sample_of(2.0, 3)) == {"messages_written": 0}


@given(st.integers(0, 30), st.integers(1, 30))
def test_a_picture_fits_and_tells_what_it_leaves_out(slots: int, room: int) -> None:
    lines = picture.lines(None, sample_of(1.0, 0, slots), "/m", "messages", room)
    assert len(lines) <= room
    rows = lines[5:]
    if room > 6 and slots:
        left = [int(row.split()[1]) for row in rows if row.startswith("and")]
        assert len(rows) - len(left) + sum(left) == slots


@given(st.text(), st.integers(0, 20))
def test_a_line_is_clipped_at_its_columns(text: str, width: int) -> None:
    assert text.startswith(picture.clipped(text, width))
    assert len(picture.clipped("日" * 30, width)) == width // 2
    assert picture.clipped("e\u0301" * 30, width) == "e\u0301" * width


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (1023, "1023"), (1536, "1.5k"), (64 << 20, "64M"), (1 << 60, "1048576T")],
)
def test_sizes(number: int, text: str) -> None:
    assert picture._size(number) == text
