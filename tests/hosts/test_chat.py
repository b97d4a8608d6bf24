"""`msfs chat` of three hosts, driven in terminals."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mount
from tests.support.command import msfs
from tests.support.network import Lan, mounted
from tests.support.processes import is_root
from tests.support.terminal import Terminal

pytestmark = pytest.mark.skipif(not is_root(), reason="needs network namespaces")


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[list[Mount]]:
    lan = Lan(tmp_path)
    try:
        with mounted([lan.add(name) for name in ("ada", "bob", "cyd")], "") as mounts:
            yield mounts
    finally:
        lan.close()


def test_four_on_three_hosts(mounts: list[Mount], tmp_path: Path) -> None:
    """Two of them on one host: a line reaches each once, a private one its receiver alone."""
    people = {"anna": 0, "ben": 1, "cleo": 2, "carl": 2}
    hosts = ("ada", "bob", "cyd")
    with contextlib.ExitStack() as stack:
        screens: dict[str, Terminal] = {}
        for nick, number in people.items():
            new = screens[nick] = stack.enter_context(Terminal(tmp_path, nick))
            mount = str(mounts[number].path)
            new.run(sys.executable, "-m", "msfs_fuse", "--mount", mount, "chat", "--nick", nick)
            new.shows(f"{nick}, you are in lobby")
            for other in list(screens)[:-1]:
                screens[other].shows(f"{nick}@{hosts[number]} has joined")
                new.shows(f"{other}@{hosts[people[other]]} is here")
        screens["ben"].type("half a li")
        screens["anna"].type("hello " + "wide " * 100)
        screens["anna"].press("Enter")
        for nick in people:
            screens[nick].shows("anna@ada: hello wide wide")
        for nick in ("cleo", "carl"):
            screens["anna"].type(f"/msg {nick}@cyd for {nick} alone")
            screens["anna"].press("Enter")
            screens[nick].shows(f"anna@ada to you: for {nick} alone")
        result = msfs(mounts[2], "chat", "--nick", "pipe", input="the end\n")
        assert (result.returncode, result.stderr) == (0, "")
        for terminal in screens.values():
            terminal.shows("pipe@cyd has left")
        for nick, terminal in screens.items():
            screen = terminal.screen
            assert screen.count("anna@ada: hello") == 1
            assert screen.replace("\n", "").count("wide") == 100
            assert screen.count("pipe@cyd: the end") == 1
            assert ("for cleo alone" in screen) == (nick in ("anna", "cleo"))
            assert screen.rstrip().splitlines()[-1] == ("> half a li" if nick == "ben" else ">")
        screens["cleo"].type("/quit")
        screens["cleo"].press("Enter")
        screens["cleo"].ends(0)
        screens["ben"].shows("cleo@cyd has left")
