"""The kernel is told to let go of a name, which else it keeps until memory is short.

FUSE_NOTIFY_INVAL_ENTRY: if nobody uses what had the name, the kernel forgets it and says so
(FUSE_FORGET). For that it takes the lock of the directory, which somebody may hold who waits for
us. So a thread tells it, which nobody waits for. What that thread is slow to tell is kept to a
bound; beyond it the kernel is not told.
"""

import struct
import threading
import time
from collections import deque

from msfs_fuse.fuse import interpose

# struct fuse_out_header and struct fuse_notify_inval_entry_out of <linux/fuse.h>: length, code,
# unique; inode of the directory, length of the name, flags. The name follows, and a zero byte.
_NOTIFICATION = struct.Struct("=IiQQII")
_INVALIDATE_ENTRY = 3

# How many names the kernel may be behind with.
_MOST_UNTOLD = 100_000

# Names are told together, some time after the first of them, in seconds: then the kernel forgets
# them together, too.
_PAUSE = 0.05

# How long the end of the session waits for the thread, in seconds. Somebody may have blocked a
# directory's lock for good, with memory that is a file of a file system of his own.
_PATIENCE = 1.0


class Invalidations:
    """Tells the kernel, from a thread of its own that begins with the first name."""

    def __init__(self) -> None:
        self._untold: deque[bytes] = deque()  # whose methods are atomic: two threads use it
        self._some = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, directory: int, name: bytes) -> None:
        """Have the kernel let go of a name.

        Args:
            directory: its inode.
        """
        if len(self._untold) >= _MOST_UNTOLD:
            return
        length = _NOTIFICATION.size + len(name) + 1
        self._untold.append(
            _NOTIFICATION.pack(length, _INVALIDATE_ENTRY, 0, directory, len(name), 0) + name + b"\0"
        )
        if not self._some.is_set():
            self._wake()

    def close(self) -> None:
        """The session ends: tell the kernel no more."""
        self._closed = True
        if self._thread is not None:
            self._some.set()
            self._thread.join(_PATIENCE)

    def _wake(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._tell, name="invalidations", daemon=True)
            self._thread.start()
        self._some.set()

    def _tell(self) -> None:
        while True:
            self._some.wait()
            if not self._closed:
                time.sleep(_PAUSE)
            if self._closed:
                return
            self._some.clear()
            untold = [self._untold.popleft() for _ in range(len(self._untold))]
            interpose.tell(b"".join(untold))
