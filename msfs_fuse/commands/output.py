"""What commands print: tables and facts for people, JSON for programs, complaints on stderr."""

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from msfs_fuse.errors import CommandError

Fact = str | int | float | bool | None

ABSENT = "-"

# Facts that stay text even if they look like a number: host names may.
_TEXT_FACTS = frozenset({"domains", "host", "sender_host", "sender_proof", "version"})


_BOOLEANS = {"yes": True, "no": False, "on": True, "off": False}


def complain(text: str, program: str = "msfs") -> None:
    """Say one line on stderr, if there is one."""
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            print(f"{program}: {printable(text)}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """The text with what a terminal might obey, or cannot show, in escaped form.

    Slots are named by other users.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def quoted(word: str) -> str:
    """A word of a command that we propose, as the shell wants it."""
    import shlex

    return shlex.quote(word)


def emit(data: bytes) -> None:
    """Write to standard output: all of it, and now.

    Raises:
        CommandError: it is closed, or takes no more.
        BrokenPipeError: nobody reads it any more.
    """
    fd = standard_output()
    # Not through sys.stdout: with PYTHONUNBUFFERED that writes only a part if a signal comes.
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"standard output: {error.strerror}") from None


def standard_output() -> int:
    """The descriptor of standard output.

    Raises:
        CommandError: it is closed.
    """
    if sys.stdout is None:
        raise CommandError("standard output is closed")
    return sys.stdout.fileno()


def print_lines(lines: Iterable[str]) -> None:
    """Print lines for people."""
    text = "".join(f"{printable(line)}\n" for line in lines)
    emit(text.encode(sys.stdout.encoding if sys.stdout else "utf-8", "backslashreplace"))


def print_json(value: object) -> None:
    """Print one JSON document on a line."""
    import json

    emit(json.dumps(value).encode() + b"\n")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: set[str]) -> None:
    """Print columns as wide as they need to be.

    Args:
        right: the columns, by their header, that are aligned to the right.
    """
    table = [header, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(header, row, widths, strict=True)
        )
        return "  ".join(cells).rstrip()

    print_lines(map(line, table))


def print_facts(facts: Mapping[str, Fact]) -> None:
    """Print lines of `name: value`."""
    print_lines(f"{name}: {value}" for name, value in facts.items())


def typed(name: str, text: str) -> Fact:
    """A fact as JSON has it.

    Numbers are numbers, `none` is null, yes, no, on and off are booleans, all else is text.
    """
    if name in _TEXT_FACTS:
        return text
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if re.fullmatch(r"[0-9]+", text):
        return int(text)
    if re.fullmatch(r"[0-9]+\.[0-9]+", text):
        return float(text)
    return None if text == "none" else text


def local_time(seconds: float) -> str:
    """A time since the epoch in seconds, as people read it, in their time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
