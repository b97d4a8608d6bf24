"""A pyfuse3 file system that does nothing: one file `null`, every write answered at once.

nullfs.py DIR    the Python twin of nullfs.c, in the way pyfuse3's own examples are written
"""

import errno
import os
import signal
import stat
import sys

import pyfuse3
import trio

FILE_INODE = pyfuse3.InodeT(2)


class NullFs(pyfuse3.Operations):
    """What a file system needs so that a shell can open `null` and write to it."""

    async def getattr(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = pyfuse3.ModeT(
            stat.S_IFREG | 0o600 if inode == FILE_INODE else stat.S_IFDIR | 0o700
        )
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.attr_timeout = entry.entry_timeout = 0
        return entry

    async def lookup(
        self,
        parent_inode: pyfuse3.InodeT,
        name: pyfuse3.FileNameT,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        if name != b"null":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(FILE_INODE, ctx)

    async def open(
        self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), direct_io=True, keep_cache=False)

    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        return len(buf)


async def serve() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                pyfuse3.terminate()
                return


def main() -> None:
    pyfuse3.init(NullFs(), sys.argv[1], {"fsname=nullfs", "subtype=nullfs_py"})
    try:
        trio.run(serve)
    finally:
        pyfuse3.close()


main()
