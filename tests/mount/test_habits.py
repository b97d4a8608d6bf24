"""Programs that replace files do not destroy what they were given, nor the slot they find."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Mount, MountFactory
from tests.support.processes import SERVER, opened, shell

# $1 is the file, $2 the slot, $3 a directory to work in.
HABITS = {
    "mv": 'mv "$1" "$2"',
    "mv -f": 'mv -f "$1" "$2"',
    "mv -b": 'mv -b "$1" "$2"',
    "busybox mv": 'busybox mv -f "$1" "$2"',
    "install": 'install "$1" "$2"',
    "install -D": 'install -D "$1" "$2"',
    "busybox install": 'busybox install "$1" "$2"',
    "cp": 'cp "$1" "$2"',
    "cp -p": 'cp -p "$1" "$2" && rm "$1"',
    "cp -f": 'cp -f "$1" "$2" && rm "$1"',
    "cp --remove-destination": 'cp --remove-destination "$1" "$2" && rm "$1"',
    "cp -l": 'cp -fl "$1" "$2"',
    "busybox cp": 'busybox cp -f "$1" "$2"',
    "rsync": 'rsync --remove-source-files "$1" "$2"',
    "rsync --inplace": 'rsync -t --inplace --remove-source-files "$1" "$2"',
    "ln -f": 'ln -f "$1" "$2"',
    "ln -sf": 'ln -sf "$1" "$2"',
    "sed -i": 'sed -i s/the/a/ "$2"',
    "perl -i": 'perl -i -pe s/the/a/ "$2"',
    "vim": 'vim.tiny -es -c "0r $1" -c wq! "$2" </dev/null',
    "tar x": 'mkdir "$3"; mv "$1" "$3/slot"; tar c -C "$3" slot >"$3.tar"; mv "$3/slot" "$1"; '
    'tar x -C "$(dirname "$2")" -f "$3.tar" && rm "$1"',
    "tar x --unlink-first": 'mkdir "$3"; cp "$1" "$3/slot"; tar c -C "$3" slot >"$3.tar"; '
    'tar x --unlink-first -C "$(dirname "$2")" -f "$3.tar" && rm "$1"',
    "python's shutil.move": 'python3 -c "import shutil, sys; shutil.move(*sys.argv[1:])" "$1" "$2"',
    "perl's move": 'perl -MFile::Copy -e "move(@ARGV) or die" "$1" "$2"',
    "tar --remove-files": 'tar c --remove-files -C "$(dirname "$1")" -f "$2" source',
    "an atomic write": 'f=$(mktemp -p "$(dirname "$2")") && cp "$1" "$f" && mv "$f" "$2" && '
    'rm "$1"',
    "rm": 'rm -f "$2" && rm "$1"',
}

# These create what is missing as a shell does, write, close, and count that as success. Nothing
# tells them from a client that comes before its server; `strict` refuses both.
LIKE_A_SHELL = (
    "busybox mv",
    "rsync --inplace",
    "perl's move",
    "tar --remove-files",
)

CONTENT = b"the only copy\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("options", [(), ("strict",)])
@pytest.mark.parametrize("habit", HABITS)
def test_a_file_survives_or_is_sent(
    mount_with: MountFactory, tmp_path: Path, source: Path, habit: str, options: tuple[str, ...]
) -> None:
    """Where there is a server: it keeps its slot, and gets the file or the file stays."""
    mount = mount_with(*options)
    with opened(mount / "slot", SERVER | os.O_NONBLOCK) as server:
        shell("timeout 10 " + "bash -c '" + HABITS[habit].replace("'", "'\\''") + "' - \"$@\"",
              source, mount / "slot", tmp_path / "work")  # fmt: skip
        sent = []
        while True:
            try:
                sent.append(os.read(server, 65536))
            except BlockingIOError:
                break
        assert source.exists() or (len(sent) == 1 and CONTENT in sent[0])  # tar adds to it
        if source.exists():
            assert source.read_bytes() == CONTENT
        (mount / "slot").write_bytes(b"afterwards")
        assert os.read(server, 4096) == b"afterwards"


@pytest.mark.parametrize("options", [(), ("strict",)])
@pytest.mark.parametrize("habit", HABITS)
def test_a_file_survives_where_nobody_listens(
    mount_with: MountFactory, tmp_path: Path, source: Path, habit: str, options: tuple[str, ...]
) -> None:
    if habit == "rm":
        pytest.skip("there is nothing to remove")
    if habit in LIKE_A_SHELL and not options:
        pytest.skip("indistinguishable from `echo hi > slot` (docs/surprises.md)")
    mount = mount_with(*options)
    shell("timeout 10 " + "bash -c '" + HABITS[habit].replace("'", "'\\''") + "' - \"$@\"",
          source, mount / "slot", tmp_path / "work")  # fmt: skip
    assert source.read_bytes() == CONTENT
    assert os.listdir(mount.path) == [".msfs"]


@pytest.mark.parametrize("program", ["mv", "install"])
def test_the_message_is_clear(mount: Mount, source: Path, program: str) -> None:
    missing = shell(f'{program} "$1" "$2"', source, mount / "slot")
    assert missing.returncode
    assert "Operation not permitted" in missing.stderr
    with opened(mount / "slot", SERVER):
        served = shell(f'{program} "$1" "$2"', source, mount / "slot")
    assert served.returncode
    assert "busy" in served.stderr


def test_cp_and_cat_to_a_served_slot_send(mount: Mount, source: Path) -> None:
    with opened(mount / "slot", SERVER) as server:
        for program in ('cp "$1" "$2"', 'cat "$1" > "$2"'):
            assert shell(program, source, mount / "slot").returncode == 0
            assert os.read(server, 4096) == CONTENT
    assert shutil.which("rsync")
