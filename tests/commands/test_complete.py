"""What shells complete: slots, hosts, directories and mount options."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mount
from tests.support.command import TIMEOUT, msfs, write


@pytest.fixture
def filled(mount: Mount) -> Iterator[Mount]:
    """A mount with some slots and a directory."""
    (mount / "dir").mkdir()
    names = ("alerts", "answers", "dir/below", "$(touch harm)", "two words", "a*")
    handles = [write(mount, name) for name in names]
    yield mount
    for handle in handles:
        os.close(handle)


def words(mount: Mount, kind: str, word: str) -> list[str]:
    result = msfs(mount, "complete", kind, "--", word)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.split()


def test_slots(filled: Mount) -> None:
    assert words(filled, "slots", "") == ["alerts", "answers", "dir/"]
    assert words(filled, "slots", "al") == ["alerts"]
    assert words(filled, "slots", "dir/") == ["dir/below"]
    assert words(filled, "slots", "../") == []
    assert words(filled, "slots", "/etc/pass") == []
    assert words(filled, "slots", "missing/") == []


def test_rooms_of_a_chat(mount: Mount) -> None:
    names = ("chat.lobby.eveRYbODyiNthISroOm", "chat.dev.everybodyinthisroom", "chat.x.other")
    handles = [write(mount, name) for name in names]
    assert words(mount, "rooms", "") == ["dev", "lobby"]
    assert words(mount, "rooms", "corp/l") == ["corp/lobby"]
    for handle in handles:
        os.close(handle)


def test_options(mount: Mount) -> None:
    assert words(mount, "options", "max_s") == ["max_slot_bytes=", "max_slots_per_user="]
    assert words(mount, "options", "strict,allow") == ["strict,allow_other"]


def test_without_a_mount(mount: Mount, tmp_path: Path) -> None:
    mount.path = tmp_path
    assert words(mount, "slots", "") == []


def test_in_bash(filled: Mount, tmp_path: Path) -> None:
    """The generated completion, in a shell: names of others are proposed, never run."""
    pytest.importorskip("shtab")
    shtab = [sys.executable, "-m", "shtab", "--shell", "bash", "--prog", "msfs"]
    made = subprocess.run(
        [*shtab, "msfs_fuse.commands.main.build_parser"], capture_output=True, text=True, check=True
    )
    (tmp_path / "completion").write_text(made.stdout)
    script = """
    msfs() { "$PYTHON" -m msfs_fuse "$@"; }
    source "$1/completion"
    cd "$1"
    complete_line() {
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        COMPREPLY=()
        $(complete -p msfs | sed 's/.*-F \\([^ ]*\\).*/\\1/') msfs "${@: -1}" ""
        echo "${COMPREPLY[*]}"
    }
    complete_line msfs send al
    complete_line msfs listen a
    complete_line msfs info dir/
    complete_line msfs mount -o max_t
    complete_line msfs listen ''
    """
    environment = {**os.environ, "MSFS_MOUNT": str(filled.path), "PYTHON": sys.executable}
    environment["PYTHONPATH"] = os.getcwd()
    done = subprocess.run(
        ["bash", "-c", script, "bash", tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.stdout.splitlines()[:4] == [
        "alerts",
        "alerts answers",
        "dir/below",
        "max_total_messages=",
    ], done.stderr
    assert not (tmp_path / "harm").exists()
