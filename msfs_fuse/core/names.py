r"""Names: what a slot may be called, and `\\HOST\mailslot\a\b` to and from `@HOST/a/b`.

The UNC form is that of CreateMailslot and CreateFile on Windows: `\\.\mailslot\[path]name` for
this host, `\\HOST\mailslot\…`, `\\DOMAIN\mailslot\…` and `\\*\mailslot\…` for others.
"""

import errno
import os
import re
import string
from dataclasses import dataclass

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.limits import NAME_MAX

# What a write to another host may hold, in bytes (Windows: "between computers").
REMOTE_MESSAGE_SIZE = 424

REMOTE_MARK = "@"
CONTROL_DIRECTORY = ".msfs"

_UNC = re.compile(
    r"\\\\(?P<host>[^\\/]+)\\mailslot\\(?P<path>.+)", re.IGNORECASE | re.ASCII | re.DOTALL
)


# As long as HOST_NAME_MAX of Linux.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def fold(name: str) -> str:
    """A name in lower case, ASCII only: two names that fold to the same are one to the network."""
    return name.translate(_LOWER)


def is_host_name(text: str) -> bool:
    """Whether a host or a domain may be called so: letters, digits and `_.-`, 64 at most."""
    return _HOST.fullmatch(text) is not None


def is_reserved(name: str) -> bool:
    """Whether a name in the root of the mount is not for slots and directories of users."""
    return name.startswith((REMOTE_MARK, CONTROL_DIRECTORY))


def check_length(name: str) -> None:
    """Refuse a path component over NAME_MAX bytes.

    Raises:
        SlotError: ENAMETOOLONG.
    """
    if len(os.fsencode(name)) > NAME_MAX:
        raise SlotError(errno.ENAMETOOLONG)


def check_new_name(name: str, *, in_root: bool) -> None:
    """Refuse what no local slot or directory may be called.

    Raises:
        SlotError: ENAMETOOLONG; EINVAL for a backslash, the separator of mailslot names;
            EPERM for a reserved name in the root.
    """
    check_length(name)
    if "\\" in name:
        raise SlotError(errno.EINVAL)
    if in_root and is_reserved(name):
        raise SlotError(errno.EPERM)


@dataclass(frozen=True)
class Address:
    """Where a message goes.

    Attributes:
        host: host or domain, `*` for the primary domain, or None for this host (`\\\\.`).
        path: the components of the slot's name; at least one.
    """

    host: str | None
    path: tuple[str, ...]

    def __post_init__(self) -> None:
        # A host called "." would read as this host in UNC.
        if self.host in ("", ".") or (self.host and set(self.host) & set("/\\\0")):
            raise ValueError(f"not a host or domain: {self.host!r}")
        if not self.path or any(
            not part or part in (".", "..") or set(part) & set("/\\\0") for part in self.path
        ):
            raise ValueError(f"not NAME or DIR/NAME: {'/'.join(self.path)!r}")
        # No local slot is called so, and as a path `@x/y` would mean another host.
        if self.host is None and is_reserved(self.path[0]):
            raise ValueError(f"a reserved name: {'/'.join(self.path)!r}")

    @classmethod
    def from_unc(cls, text: str) -> "Address":
        r"""Parse `\\HOST\mailslot\a\b`.

        Raises:
            ValueError: it is not of that form.
        """
        match = _UNC.fullmatch(text)
        if match is None:
            raise ValueError(rf"not of the form \\HOST\mailslot\NAME: {text}")
        host = match["host"]
        return cls(None if host == "." else host, tuple(match["path"].split("\\")))

    def to_unc(self) -> str:
        r"""The name on Windows and on the wire, `\\HOST\mailslot\a\b`."""
        return "\\\\{}\\mailslot\\{}".format(self.host or ".", "\\".join(self.path))

    @classmethod
    def from_path(cls, text: str) -> "Address":
        r"""Parse a path below the mount: `a/b`, or `@HOST/a/b`, where a `\` separates as well.

        Raises:
            ValueError: the path names no slot.
        """
        if not text.startswith(REMOTE_MARK):
            if "\\" in text:
                raise ValueError(f"a local name cannot hold a backslash: {text}")
            return cls(None, tuple(text.split("/")))
        host, _, path = text[len(REMOTE_MARK) :].partition("/")
        return cls(host, tuple(path.replace("\\", "/").split("/")))

    def to_path(self) -> str:
        """The path below the mount."""
        path = "/".join(self.path)
        return path if self.host is None else f"{REMOTE_MARK}{self.host}/{path}"
