"""The one exception of the core."""

import os


class SlotError(Exception):
    """A request that the rules refuse.

    Attributes:
        errno: the error code that the caller of the file system sees.
    """

    def __init__(self, errno: int) -> None:
        super().__init__(os.strerror(errno))
        self.errno = errno
