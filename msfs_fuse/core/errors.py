"""The one exception of the core."""

import os


class SlotError(Exception):
    """A request that the rules refuse.

    Attributes:
        errno: the error code that the caller of the file system sees.
        reason: what the log should say of it, where there is something.
    """

    def __init__(self, errno: int, reason: str = "") -> None:
        super().__init__(reason or os.strerror(errno))
        self.errno = errno
        self.reason = reason
