"""The map in ARCHITECTURE.md shows the rooms as they are."""

import re

import pytest

from tests.support.examples import CHECKOUT

ROOMS = ("core", "fuse", "net", "config", "daemon", "commands")


def told(room: str) -> str:
    """What the map says of a room: its table, or its row."""
    text = (CHECKOUT / "ARCHITECTURE.md").read_text().partition("## Words")[0]
    table = re.search(rf"^\| `{room}/` \|.*\n\|---\|---\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    row = re.search(rf"^\| `{room}/` \| .*", text, re.MULTILINE)
    assert row is not None, room
    return (table or row)[0]


@pytest.mark.parametrize("room", ROOMS)
def test_the_map_has_each_module_of_a_room(room: str) -> None:
    directory = CHECKOUT / "msfs_fuse" / room
    modules = {path.stem for path in directory.glob("*.py")} - {"__init__"}
    modules |= {f"{path.parent.name}/" for path in directory.glob("*/__init__.py")}
    named = set(re.findall(r"`([a-z][a-z_]*/?)`", told(room))) - {f"{room}/"}
    if room != "commands":  # whose files are the commands, and what they share
        assert modules <= named, modules - named
    assert named <= modules | known_words(room), named - modules


def known_words(room: str) -> set[str]:
    """Words in the tables that are no modules of the room."""
    below = {path.stem for path in (CHECKOUT / "msfs_fuse" / room).glob("*/*.py")}
    return below | {"fold"}
