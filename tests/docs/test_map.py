"""The map in ARCHITECTURE.md shows the rooms as they are."""

import re

import pytest

from tests.support.examples import CHECKOUT

ROOMS = ("core", "fuse", "net", "config", "daemon", "programs", "commands")


def told(room: str) -> str:
    """Where the map names the modules of a room: the first cells of its table, or its row."""
    text = (CHECKOUT / "ARCHITECTURE.md").read_text().partition("## Words")[0]
    table = re.search(rf"^\| `{room}/` \|.*\n\|---\|---\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    row = re.search(rf"^\| `{room}/` \| .*", text, re.MULTILINE)
    assert row is not None, room
    return "".join(re.findall(r"^\| (.*?) \|", table[1], re.MULTILINE)) if table else row[0]


@pytest.mark.parametrize("room", ROOMS)
def test_the_map_has_each_module_of_a_room(room: str) -> None:
    directory = CHECKOUT / "msfs_fuse" / room
    modules = {path.stem for path in directory.glob("*.py")} - {"__init__"}
    modules |= {f"{path.parent.name}/" for path in directory.glob("*/__init__.py")}
    named = set(re.findall(r"`([a-z][a-z_]*/?)`", told(room))) - {f"{room}/"}
    if room != "commands":  # whose files are the commands, and what they share
        assert modules <= named, modules - named
    assert named <= modules, named - modules
