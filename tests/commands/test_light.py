"""The commands that scripts run often load little, and the help loads no command."""

import os
import subprocess
import sys

import pytest

from msfs_fuse.commands.main import COMMANDS
from msfs_fuse.errors import Exit
from tests.conftest import Mount
from tests.support.command import TIMEOUT, write

HEAVY = (
    "pyfuse3",
    "trio",
    "cryptography",
    "prompt_toolkit",
    "msfs_fuse.net",
    "msfs_fuse.config",
    "msfs_fuse.daemon",
)


# What a command uses of others: it serves a slot and writes to one, as they do.
BUILDS_ON = {"ask": {"listen", "send"}, "chat": {"ask", "listen", "send"}}

PROGRAM = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from msfs_fuse.commands.main import main
main()
"""


def loaded_by(*arguments: str, mount: Mount) -> set[str]:
    """The modules that a command has loaded by the time it has done its work."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, "MSFS_MOUNT": str(mount.path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.returncode in (Exit.OK, Exit.TIMEOUT), result.stderr
    return set(result.stderr.split())


@pytest.mark.parametrize(
    "command",
    [
        "send a text",
        "listen a -n 1",
        "listen a -n 1 --json",
        "ls",
        "ask a who -t 0.2",
        "chat -t 0.2",
    ],
)
def test_light_commands(mount: Mount, command: str) -> None:
    client = write(mount, "a", b"hello")
    name, *arguments = command.split()
    loaded = loaded_by(name, *arguments, mount=mount)
    os.close(client)
    assert f"msfs_fuse.commands.{name}" in loaded
    assert not [each for each in loaded if f"{each}.".startswith(tuple(f"{h}." for h in HEAVY))]
    others = COMMANDS.keys() - {name} - BUILDS_ON.get(name, set())
    assert not loaded & {f"msfs_fuse.commands.{other}" for other in others}


def test_the_help_loads_no_command(mount: Mount) -> None:
    loaded = loaded_by("--help", mount=mount)
    assert "msfs_fuse.commands.main" in loaded
    assert not loaded & {f"msfs_fuse.commands.{name}" for name in COMMANDS}
