"""Files with secrets: read only if nobody else can have read them."""

import errno
import os
import stat
from typing import BinaryIO

# What is longer is no key, certificate or password. In bytes.
_MAX_SIZE = 64 * 1024


class SecretError(Exception):
    """A key, password or certificate that cannot be used; the message names it and says why."""


class PrivateFileError(Exception):
    """A file that cannot be used, and why; the message does not name it."""


def open_file(path: str) -> BinaryIO:
    """Open a file to read, and nothing else: a FIFO would have the daemon wait for its writer.

    Raises:
        OSError: it cannot be opened, or is not a file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file")
    return open(descriptor, "rb")


def read_private_file(path: str) -> bytes:
    """Read a file of ours, or of root's, that neither group nor others may use.

    Raises:
        PrivateFileError: it is not that, or cannot be read.
    """
    try:
        with open_file(path) as file:
            facts = os.fstat(file.fileno())
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
