"""The file side without a mount: requests are calls, and what the kernel hears is written down."""

import errno
import os
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pyfuse3
import pytest

from msfs_fuse.core.limits import Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.metrics import Metric
from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE
from msfs_fuse.core.network import Route, Routers
from msfs_fuse.core.slot import Sender
from msfs_fuse.fuse.operations import Operations

ROOT_INODE = pyfuse3.ROOT_INODE

R = TypeVar("R")


@dataclass
class Context:
    """Who asks, as pyfuse3.RequestContext tells it; the process is this one."""

    uid: int = 1000
    gid: int = 100
    pid: int = field(default_factory=os.getpid)
    umask: int = 0o022


ALICE = Context()
BOB = Context(uid=1001)
ROOT = Context(uid=0, gid=0)


class Read:
    """A read that the kernel waits for: its one answer."""

    def __init__(self) -> None:
        self.answer: bytes | int | None = None

    def reply(self, data: bytes, /) -> bool:
        assert self.answer is None
        self.answer = data
        return True

    def error(self, errno: int, /) -> bool:
        assert self.answer is None
        self.answer = errno
        return True


class Poll:
    """Somebody in poll(2)."""

    def __init__(self) -> None:
        self.notified = 0

    def notify(self) -> None:
        self.notified += 1


@dataclass
class RecordedRoute:
    """A way to another host that notes what is sent."""

    includes_this_host: bool = False
    sent: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)

    def capacity(self, path: tuple[str, ...]) -> int:
        assert path
        return REMOTE_MESSAGE_SIZE

    def send(self, path: tuple[str, ...], data: bytes, sender: Sender, now: int) -> None:
        self.sent.append((path, data))


class OtherHosts(Routers):
    """A router that knows the hosts it is given."""

    def __init__(self, **routes: RecordedRoute) -> None:
        super().__init__()
        self.routes = routes
        self.numbers: list[Metric] = []

    def route(self, name: str, uid: int = 0) -> Route | None:
        return self.routes.get(name)

    def names(self) -> list[str]:
        return list(self.routes)

    def metrics(self) -> list[Metric]:
        return self.numbers


@contextmanager
def refused(code: int) -> Iterator[None]:
    """What is asked in here is answered with this error code."""
    with pytest.raises(pyfuse3.FUSEError) as caught:
        yield
    assert errno.errorcode[caught.value.errno] == errno.errorcode[code]


class Kernel:
    """Sends requests to the handlers, as the kernel would."""

    def __init__(self, *, router: OtherHosts | None = None, **limits: int) -> None:
        self.mail = Mailslots(Limits(**{"max_user_share": 100, **limits}), host="here")
        self.router = router or OtherHosts()
        self.operations = Operations(self.mail, "/mnt", self.router)

    async def lookup(self, path: str, by: Context = ALICE) -> int:
        """The inode at a path."""
        inode = ROOT_INODE
        for name in path.split("/"):
            entry = await self._ask("lookup", inode, name.encode(), by)
            inode = entry.st_ino
        return inode

    async def stat(self, path: str) -> Any:
        return await self._ask("getattr", await self.lookup(path), ALICE)

    async def create(
        self, name: str, flags: int = os.O_RDWR, by: Context = ALICE, mode: int = 0o640
    ) -> int:
        """Make a slot in the root; the file handle."""
        info, _ = await self._ask("create", ROOT_INODE, name.encode(), mode, flags, by)
        return cast(int, info.fh)

    async def open(self, path: str, flags: int = os.O_WRONLY, by: Context = ALICE) -> int:
        info = await self._ask("open", await self.lookup(path, by), flags, by)
        return cast(int, info.fh)

    def release(self, fh: int) -> None:
        self.operations.on_release(fh)

    async def poll(self, fh: int, handle: Poll | None = None) -> int:
        return cast(int, await self._ask("poll", 0, fh, handle, ALICE))

    async def contents(self, path: str) -> str:
        """What a control file holds."""
        fh = await self.open(path, os.O_RDONLY)
        data = self.operations.on_read(Read(), fh, 0, 1 << 20, os.O_RDONLY, False, 1)
        self.release(fh)
        assert data is not None
        return data.decode()

    def read(self, fh: int, size: int = 4096, flags: int = os.O_RDWR, tid: int = 1) -> Read:
        """Ask for a message; the answer, now or later."""
        read = Read()
        data = self.operations.on_read(read, fh, 0, size, flags, False, tid)
        if data is not None:
            read.reply(data)
        return read

    def write(self, fh: int, data: bytes) -> int:
        """The error code, 0 for none."""
        return self.operations.on_write(fh, data, None)

    async def ask(self, method: str, *arguments: object) -> Any:
        """Any other request."""
        return await self._ask(method, *arguments)

    async def _ask(self, method: str, *arguments: object) -> Any:
        handler = cast(Awaitable[Any], getattr(self.operations, method)(*arguments))
        return await handler
