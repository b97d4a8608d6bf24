"""The examples in README.md do what they say.

A fenced block in one of the languages below is run, `sh` as if typed line by line into bash. If
a block ```output follows, that is exactly what it prints, stdout and stderr, where `...` stands
for anything. Blocks ```console, ```fstab and ```toml are for the reader alone.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from msfs_fuse.core.limits import Limits
from tests.conftest import Mount, MountFactory
from tests.support.processes import is_root, wait_until

README = Path(__file__).parent.parent.parent / "README.md"
MOUNT_POINT = "/mnt/mailslot"
TIMEOUT = 15.0
PAUSE = 0.1

SHELLS = ("sh", "busybox")
FOR_THE_READER = ("console", "fstab", "toml")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """A block that can be run. `output` is None where the README shows none."""

    language: str
    line: int
    source: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.language}-line{self.line}"


def blocks() -> list[tuple[str, int, str]]:
    """The fenced blocks: language, line, text."""
    text = README.read_text()
    return [
        (each[1], text.count("\n", 0, each.start()) + 1, each[2]) for each in _FENCE.finditer(text)
    ]


def examples() -> Iterator[Example]:
    found = blocks()
    followers = [*found[1:], ("", 0, "")]
    for (language, line, source), (next_language, _, output) in zip(found, followers, strict=True):
        if language not in (*FOR_THE_READER, "output"):
            yield Example(language, line, source, output if next_language == "output" else None)


def _command(example: Example, source: str, directory: Path) -> list[str]:
    """What runs an example; shells read it from standard input."""
    match example.language:
        case "sh":
            return ["bash"]
        case "busybox":
            return ["busybox", "sh"]
        case "python":
            return ["/usr/bin/python3", "-c", source]
        case "js":
            return ["node", "-e", source]
        case "c":
            program, code = directory / "program", directory / "program.c"
            code.write_text(source)
            command = ["cc", "-Wall", "-Werror", "-o", str(program), str(code)]
            subprocess.run(command, check=True, timeout=TIMEOUT)
            return [str(program)]
    raise AssertionError(f"README.md:{example.line}: cannot run {example.language}")


def _type(source: str, keyboard: IO[bytes], mount: Mount) -> None:
    """Type lines into a shell, at the pace of somebody who sees that the last one has worked."""

    def slots() -> int:
        return int(mount.status()["slots_created"])

    for line in source.splitlines():
        before = slots()
        keyboard.write(line.encode() + b"\n")
        keyboard.flush()
        if line.partition(" #")[0].rstrip().endswith("&"):  # a server, which makes its slots
            deadline = time.monotonic() + TIMEOUT
            while slots() == before and time.monotonic() < deadline:
                time.sleep(0.01)
        time.sleep(PAUSE)


def _run(example: Example, mount: Mount, directory: Path, matches: Callable[[], bool]) -> None:
    """Run an example until it has ended and has printed what it should, and end what it left."""
    source = example.source.replace(MOUNT_POINT, str(mount.path))
    command = _command(example, source, directory)
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (directory / "printed").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "PATH": programs, "MSFS_MOUNT": str(mount.path), "LC_ALL": "C"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o022,
        )
    try:
        assert process.stdin is not None
        with process.stdin as keyboard:
            if example.language in SHELLS:
                _type(source, keyboard, mount)
        process.wait(TIMEOUT)
        with contextlib.suppress(AssertionError):  # the caller compares, and shows both
            wait_until(matches, timeout=5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)


def test_every_block_is_run_or_plainly_cannot_be() -> None:
    languages = {language for language, _, _ in blocks()}
    assert languages == {"sh", "busybox", "python", "c", "js", "output", *FOR_THE_READER}
    for language, line, text in blocks():
        if language == "console":
            assert all(each.startswith("$ ") for each in text.splitlines()), line


@pytest.mark.skipif(not is_root(), reason="it shows what root sees")
@pytest.mark.parametrize("example", [*examples()], ids=str)
def test_example(mount: Mount, example: Example, tmp_path: Path) -> None:
    expected = ".*".join(map(re.escape, (example.output or "").split("...")))

    def printed() -> str:
        return (tmp_path / "printed").read_text().replace(str(mount.path), MOUNT_POINT)

    _run(example, mount, tmp_path, lambda: re.fullmatch(expected, printed()) is not None)
    assert re.fullmatch(expected, printed()), printed()


def test_every_limit_and_its_default_is_there() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", README.read_text(), re.MULTILINE))
    for name, value in vars(Limits()).items():
        number, suffix = re.fullmatch(r"(\d+)([km]?)", rows[name]).groups()  # type: ignore[union-attr]
        assert int(number) * {"": 1, "k": 1024, "m": 1024**2}[suffix] == value, name


def test_every_exit_code_is_there() -> None:
    from msfs_fuse.errors import Exit

    codes = re.findall(r"^\| (\d) \|", README.read_text(), re.MULTILINE)
    assert [int(code) for code in codes] == [*Exit]


# ---- what the tables say, as far as no other test does ----


def test_the_largest_message_is_as_told(mount_with: MountFactory) -> None:
    mount = mount_with("max_message_size=1044480", "max_slot_bytes=2m")
    server = os.open(mount / "slot", os.O_RDWR | os.O_CREAT)
    assert os.write(server, b"x" * 1044480) == 1044480
    assert len(os.read(server, 1 << 20)) == 1044480
    os.close(server)
