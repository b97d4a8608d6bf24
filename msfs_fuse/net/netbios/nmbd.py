"""The connection to an nmbd on this host."""

import logging
import os
import socket
import struct
from collections.abc import Callable

import trio

from msfs_fuse.core.network import CONNECTED
from msfs_fuse.net.netbios import unexpected
from msfs_fuse.net.netbios.port import Place

log = logging.getLogger(__name__)

# nmbd may be started later, and again; in seconds.
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0

# What to take before others have their turn, in bytes.
_BATCH = 8192

_CREDENTIALS = struct.Struct("3i")


class NmbdClient:
    """Gets what nmbd hands over, whenever there is one.

    Attributes:
        state: CONNECTED, `connecting`, or `away: ` and why.

    Args:
        path: of nmbd's socket.
        take: gets each datagram.
    """

    def __init__(self, path: str, take: Callable[[bytes, Place], object]) -> None:
        self.state = "connecting"
        self.path = path
        self._take = take

    async def run(self) -> None:
        """Until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._listen()
                reason = "nmbd has ended the connection"
            except OSError as error:
                reason = error.strerror or str(error)
            except (trio.BrokenResourceError, unexpected.NotNmbd) as error:
                reason = str(error)
            if self.state == CONNECTED:
                pause = _FIRST_PAUSE
            if self.state != (state := f"away: {reason}"):
                log.info("%s: %s", self.path, reason)
                self.state = state
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _listen(self) -> None:
        async with await trio.open_unix_socket(self.path) as stream:
            _check_owner(stream)
            await stream.send_all(unexpected.GREETING)
            parser = unexpected.Stream()
            while data := await stream.receive_some(_BATCH):
                if self.state != CONNECTED:
                    self.state = CONNECTED
                    log.info("%s: connected", self.path)
                for record in parser.feed(data):
                    self._take(record.packet, Place(record.address, record.port))


def _check_owner(stream: trio.SocketStream) -> None:
    """Make sure that nobody but root, or we, says what comes from the network.

    Raises:
        NotNmbd: somebody else does.
    """
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid = _CREDENTIALS.unpack(raw)[1]
    if uid not in (0, os.geteuid()):
        raise unexpected.NotNmbd(f"user {uid} listens there, not root")
