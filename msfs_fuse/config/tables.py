"""Tables of a configuration file to settings: msgspec checks them, and mistakes get their line.

A class of settings is a msgspec.Struct. The `description` of a field says what it has to be, and is
what a message about it says. msgspec itself names a field and not where it stands in the file, nor
the keys of a table that are settings' names, so that each table is converted by itself.
"""

import re
import typing
from typing import Any, TypeVar

import msgspec

from msfs_fuse.config.source import Path, Source, refuse_unknown
from msfs_fuse.errors import CommandError
from msfs_fuse.net.fields import FieldError, FilePath

_FIELD = re.compile(r"at `\$\.(\w+)")

Table = TypeVar("Table", bound=msgspec.Struct)


def convert(
    source: Source, path: Path, table: dict[str, Any], kind: type[Table], near: str = ""
) -> Table:
    """A table as settings of that class.

    Args:
        path: of the table in the file.
        near: as for Source.error().

    Raises:
        CommandError: a key that the class does not have, or a value that is wrong.
    """
    refuse_unknown(source, path, table, kind.__struct_fields__, near)

    def custom(type: Any, value: Any) -> Any:
        if type is FilePath and isinstance(value, str) and value:
            return FilePath(source.beside(value))
        raise TypeError

    try:
        return msgspec.convert(table, kind, dec_hook=custom)
    except msgspec.ValidationError as error:
        raise _mistake(source, path, kind, error, near) from None


def _mistake(
    source: Source,
    path: Path,
    kind: type[msgspec.Struct],
    error: msgspec.ValidationError,
    near: str,
) -> CommandError:
    if isinstance(error.__cause__, FieldError):
        name = error.__cause__.field
        return source.error((*path, name), str(error.__cause__), near)
    match = _FIELD.search(str(error))
    if match is None:  # a required field is missing, or a new msgspec has other words
        return source.error(path, str(error), near)
    hint = typing.get_type_hints(kind, include_extras=True)[match[1]]
    what = hint.__metadata__[0].description
    return source.error((*path, match[1]), f"{match[1]} has to be {what}", near)
