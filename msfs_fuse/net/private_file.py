"""Files with secrets: read only if nobody else can have read them."""

import os
import stat

# What is longer is no key, certificate or password. In bytes.
_MAX_SIZE = 64 * 1024


class SecretError(Exception):
    """A key, password or certificate that cannot be used; the message names it and says why."""


class PrivateFileError(Exception):
    """A file that cannot be used, and why; the message does not name it."""


def read_private_file(path: str) -> bytes:
    """Read a file of ours, or of root's, that neither group nor others may use.

    Raises:
        PrivateFileError: it is not that, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise PrivateFileError("not a file")
            if facts.st_mode & 0o077:
                raise PrivateFileError(
                    f"group or others may use it (chmod 600 {path}, "
                    "and if they may have read it, make a new one)"
                )
            if facts.st_uid not in (0, os.geteuid()):
                raise PrivateFileError("it belongs to another user")
            data = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise PrivateFileError(error.strerror) from None
    if len(data) > _MAX_SIZE:
        raise PrivateFileError("too long to be one")
    return data
