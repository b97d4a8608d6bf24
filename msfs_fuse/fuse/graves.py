"""Slots that died: forgotten here, and by the kernel, which keeps a name until it is told.

The kernel drops a name that nobody uses only when memory is short, and until then counts on its
number being known. So names that come and go would fill both its memory and ours.

- **Ours**: a dead slot stays known for as long as a client's open may bring it back. Then its
  number is gone, whether or not the kernel has let go of it; numbers are never used again.
- **The kernel's**: it is told of each death (FUSE_NOTIFY_INVAL_ENTRY). For that it takes the lock
  of the directory, which somebody may hold who waits for us. So a thread tells it, which nobody
  waits for. What that thread is slow to tell is kept to a bound; beyond it the kernel is not told.
"""

import os
import struct
import threading
import time
from collections import deque

from msfs_fuse.core.mailslots import REVIVAL
from msfs_fuse.core.slot import Slot
from msfs_fuse.fuse import interpose
from msfs_fuse.fuse.nodes import Inodes

# struct fuse_out_header and struct fuse_notify_inval_entry_out of <linux/fuse.h>: length, code,
# unique; inode of the directory, length of the name, flags. The name follows, and a zero byte.
_NOTIFICATION = struct.Struct("=IiQQII")
_INVALIDATE_ENTRY = 3

# How many deaths the kernel may be behind with.
_MOST_UNTOLD = 100_000

# Deaths are told together, some time after the first of them, in seconds: then the kernel forgets
# them together, too.
_PAUSE = 0.05

# How long the end of the session waits for the thread, in seconds. Somebody may have blocked a
# directory's lock for good, with memory that is a file of a file system of his own.
_PATIENCE = 1.0


class Graves:
    """Forgets what died, and has the kernel forget it."""

    def __init__(self, inodes: Inodes) -> None:
        self._inodes = inodes
        self._recent: deque[Slot] = deque()
        self._untold: deque[bytes] = deque()  # whose methods are atomic: two threads use it
        self._some = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def bury(self, slot: Slot, now: int) -> None:
        """A slot has died.

        Args:
            now: nanoseconds since the epoch.
        """
        recent = self._recent
        recent.append(slot)
        while recent and not 0 <= now - recent[0].died_at <= REVIVAL:  # clocks may step back
            dead = recent.popleft()
            if not dead.handles:
                self._inodes.drop(dead.id)
        if slot.grave is None or len(self._untold) >= _MOST_UNTOLD:
            return
        name = os.fsencode(slot.name)
        length = _NOTIFICATION.size + len(name) + 1
        self._untold.append(
            _NOTIFICATION.pack(length, _INVALIDATE_ENTRY, 0, slot.grave.id, len(name), 0)
            + name
            + b"\0"
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
            self._thread = threading.Thread(target=self._tell, name="graves", daemon=True)
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
