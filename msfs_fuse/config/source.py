"""A configuration file as text: where in it something stands, for the messages about mistakes."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msfs_fuse.core.names import is_host_name
from msfs_fuse.errors import CommandError, Exit

_TABLE = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[^=\s]+)*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

Path = tuple[str, ...]


def _parts(text: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(text))


@dataclass(frozen=True)
class Source:
    """A file, and where in it something stands.

    Attributes:
        name: its absolute path.
    """

    name: str
    text: str

    def beside(self, path: str) -> str:
        """A path in this file: a relative one is below the file's directory."""
        return os.path.join(os.path.dirname(self.name), path)

    def error(self, path: Path, message: str, near: str = "") -> CommandError:
        """A mistake.

        Args:
            near: what stands in its line, if it is in an array over several lines.
        """
        return CommandError(f"{self.name}:{self._line_of(path, near)}: {message}", Exit.USAGE)

    def _line_of(self, path: Path, near: str) -> int:
        """The line that sets this key, or begins this table. tomllib does not tell.

        Tables of an array are told by their numbers, from 0 on.
        """
        table: Path = ()
        arrays: Counter[Path] = Counter()
        best, best_length = 1, 0
        lines = self.text.splitlines()
        for number, line in enumerate(lines, 1):
            header, key = _TABLE.fullmatch(line), _KEY.match(line)
            if header is not None:
                table = _parts(header[2])
                if header[1] == "[[":
                    table += (str(arrays[table]),)
                    arrays[table[:-1]] += 1
                found = table
            elif key is not None:
                found = table + _parts(key[1])
            else:
                continue
            if found[: len(path)] == path:
                return number
            if len(found) > best_length and path[: len(found)] == found:
                best, best_length = number, len(found)
        if near:
            return next((n for n in range(best, len(lines) + 1) if near in lines[n - 1]), best)
        return best


def check_name(source: Source, path: Path, value: object) -> str:
    """The name of a host or domain.

    Raises:
        CommandError: it is none.
    """
    if not isinstance(value, str) or not is_host_name(value):
        raise source.error(path, f"{value!r} is not a name of letters, digits and _.-, 64 at most")
    return value


def check_table(source: Source, path: Path, value: object) -> dict[str, Any]:
    """A table.

    Raises:
        CommandError: it is something else.
    """
    if not isinstance(value, dict):
        raise source.error(path, f"{'.'.join(path)} has to be a table")
    return value


def refuse_unknown(
    source: Source, path: Path, table: dict[str, Any], known: Iterable[str], near: str = ""
) -> None:
    """See that a table has no other keys than these.

    Raises:
        CommandError: it has one.
    """
    for key in table:
        if key not in known:
            choice = ", ".join(sorted(known))
            raise source.error((*path, key), f"unknown key {key!r} (known here: {choice})", near)
