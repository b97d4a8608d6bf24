"""The examples in the documents, and a small world of their own to run them in.

An example is a fenced block in one of `RUNNABLE`. If a block ```output follows, that is exactly
what it prints, stdout and stderr together, where `...` stands for anything. If none follows, it
prints nothing. Shells get the whole block at once, as when a reader pastes it: nothing waits
between its lines but what the block itself says. A block below the line `<!-- continues -->` is
pasted after the last one that is not.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import wait_until

CHECKOUT = Path(__file__).parent.parent.parent
DOCUMENTS = ("README.md", *sorted(f"docs/{path.name}" for path in CHECKOUT.glob("docs/*.md")))
RUNNABLE = ("sh", "busybox", "python", "js", "c")

TIMEOUT = 30.0  # for a whole example
PATIENCE = 20.0  # for what its background processes still have to print

_FENCE = re.compile(r"^(<!-- continues -->\n)?( *)```(\w*)\n(.*?)^\2```$", re.MULTILINE | re.DOTALL)

# Namespaces for mounts, processes, the network and the host name. All of it ends with the process
# that is first in it: mounts, daemons, and what an example has left in the background.
_WORLD = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--uts")

# The first process there. It lets go of this machine's mailslots, makes the places that examples
# use, mounts mailslots of its own, runs the example, and then stays, for background processes to go
# on. The file $1 gets the exit status.
_FIRST = """
set -e
status=$1; shift
findmnt -rno TARGET -t fuse.msfs | while read -r path; do umount -i -l "$path"; done
mount -t tmpfs none /mnt
mkdir /mnt/mailslot
[ ! -d /etc/msfs ] || mount -t tmpfs none /etc/msfs
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip link set lo up
hostname build1
msfs mount -o allow_other /mnt/mailslot
code=0
"$@" || code=$?
echo $code >"$status.new"
mv "$status.new" "$status"
exec sleep infinity
"""


class Block(NamedTuple):
    """A fenced block of a document."""

    document: str
    line: int
    language: str
    text: str
    continues: bool = False


class Example(NamedTuple):
    """A block that is run, and what it prints."""

    document: str
    line: int
    language: str
    source: str
    output: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}-{self.language}"

    def is_printed(self, text: str) -> bool:
        """Whether `text` is the output that the document shows."""
        expected = ".*".join(map(re.escape, self.output.split("...")))
        return re.fullmatch(expected, text, re.DOTALL) is not None


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document, in their order."""
    text = (CHECKOUT / document).read_text()
    return [
        Block(
            document,
            text.count("\n", 0, match.start(2)) + 1,
            match[3],
            match[4],
            match[1] is not None,
        )
        for match in _FENCE.finditer(text)
    ]


def all_blocks() -> list[Block]:
    """The fenced blocks of all documents."""
    return [block for document in DOCUMENTS for block in blocks(document)]


def examples() -> Iterator[Example]:
    """All blocks that are run."""
    found = all_blocks()
    source = output = ""  # of the last that does not continue
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.language in RUNNABLE:
            is_shown = following is not None and following.language == "output"
            printed = following.text if following and is_shown else ""
            if block.continues:
                text, printed = f"{source}\n{block.text}", output + printed
            else:
                text, source, output = block.text, block.text, printed
            yield Example(block.document, block.line, block.language, text, printed)


def _command(example: Example, directory: Path) -> list[str]:
    """What runs an example. Shells read it from standard input."""
    match example.language:
        case "sh":
            return ["bash"]
        case "busybox":
            return ["busybox", "sh"]
        case "python":
            return [sys.executable, "-c", example.source]
        case "js":
            return ["node", "-e", example.source]
        case "c":
            program, code = directory / "program", directory / "program.c"
            code.write_text(example.source)
            command = ["cc", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(code)]
            subprocess.run(command, check=True, timeout=TIMEOUT)
            return [str(program)]
    raise AssertionError(f"{example}: nothing runs {example.language}")


def run(example: Example, directory: Path) -> str:
    """Run an example as root; what it printed.

    Args:
        directory: an empty directory, which is its working directory and its home.
    """
    pasted, printed = directory / ".pasted", directory / ".printed"
    status = directory / ".status"
    pasted.write_text(example.source)
    environment = {
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "LC_ALL": "C",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    first = ["sh", "-c", _FIRST, "sh", str(status), *_command(example, directory)]
    with pasted.open("rb") as keyboard, printed.open("wb") as screen:
        process = subprocess.Popen(
            [*_WORLD, *first],
            cwd=directory,
            env=environment,
            stdin=keyboard,
            stdout=screen,
            stderr=subprocess.STDOUT,
            umask=0o022,
        )
    try:
        with contextlib.suppress(AssertionError):  # the caller compares, and shows both
            wait_until(lambda: status.exists() or process.poll() is not None, TIMEOUT)
            wait_until(lambda: example.is_printed(printed.read_text()), PATIENCE)
        assert process.poll() is None, printed.read_text()
        assert status.exists(), f"it did not end, and printed\n{printed.read_text()}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(TIMEOUT)
    return printed.read_text()
