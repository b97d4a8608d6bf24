"""The one FUSE session of this process: pyfuse3's module-level functions with our rules."""

import contextlib
import errno
import os
import signal
import tempfile

import pyfuse3

from msfs_fuse.fuse import inner_loop, interpose, pages
from msfs_fuse.fuse.operations import Operations


class MountError(Exception):
    """The kernel or fusermount3 refused; the message is its reason."""


class Session:
    """A mount from here to close().

    Args:
        options: for libfuse.
        max_message_size: no message will be longer, in bytes.
        max_pages: how many the kernel may pass in one request, if it can be had.
        busy_poll: microseconds to look for the next request before sleeping.

    Raises:
        MountError: it could not be mounted.
        InterposeError: the C extension did not take.
    """

    def __init__(
        self,
        operations: Operations,
        mountpoint: str,
        options: set[str],
        *,
        max_message_size: int,
        max_pages: int,
        busy_poll: int,
    ) -> None:
        self._operations = operations
        self._loop = inner_loop.install(busy_poll)
        interpose.check_loaded()
        interpose.set_handlers(
            operations.on_read,
            operations.on_write,
            operations.on_uring_poll,
            operations.on_release,
            operations.replies.interrupt,
            "debug" in options,
        )
        longest = pages.longest_write(max_message_size)
        interpose.set_request_size(max_pages, longest)
        got = pages.mounted_with(max_pages, lambda: _init(operations, mountpoint, options))
        operations.pieces.use(got, longest)
        try:
            interpose.check_session()
        except interpose.InterposeError:
            pyfuse3.close()
            raise

    async def serve(self) -> None:
        """Answer requests until stop(), or until the mount is taken away."""
        # One task: no handler ever waits, so there is nothing for a second one to do.
        async with self._loop.running():
            await pyfuse3.main(min_tasks=1, max_tasks=1)

    def stop(self) -> None:
        """Answer every read that waits with an error, and have serve() return."""
        self._operations.close(errno.ESHUTDOWN)
        self._loop.close()
        pyfuse3.terminate()

    def close(self) -> None:
        """Unmount, whoever has files open."""
        self._operations.close(errno.ESHUTDOWN)
        # libfuse may run umount(8) or fusermount3 for it. With a signal it would not wait for that,
        # and a service manager's is for that program as well, which has this mask, too.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pyfuse3.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _init(operations: Operations, mountpoint: str, options: set[str]) -> None:
    """Call pyfuse3.init(); what libfuse and fusermount3 say on stderr is the reason if it fails."""
    with tempfile.TemporaryFile() as file:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        failure = None
        try:
            pyfuse3.init(operations, mountpoint, options)
        except RuntimeError as error:
            failure = error
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        file.seek(0)
        said = file.read()
    if failure is not None:
        lines = said.decode(errors="replace").splitlines()
        raise MountError(next((each for each in lines if each), str(failure)))
    # A warning, or what SIGUSR1 asked for: libfuse can be busy here after the mount is to be seen.
    with contextlib.suppress(OSError):  # nobody reads it
        os.write(2, said)
