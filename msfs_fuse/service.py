"""A mount while it lives: one nursery that starts and stops everything."""

import faulthandler
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable

import trio

from msfs_fuse.config import Settings
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.errors import CommandError
from msfs_fuse.fuse.interpose import InterposeError
from msfs_fuse.fuse.operations import Operations
from msfs_fuse.fuse.session import MountError, Session

log = logging.getLogger(__name__)

# Not sticky, though it works as if it were: with the sysctl fs.protected_regular, which systemd
# sets, `echo > slot` on another user's slot in a sticky directory is refused by the kernel.
_SHARED_ROOT_MODE = 0o777
_PRIVATE_ROOT_MODE = 0o700

# Handling a request leaves no reference cycles, so the collector has next to nothing to find, and
# with a million messages queued each look at all of them would hold everybody up.
_GC_THRESHOLDS = (50_000, 20, 100)

# How long the session may take to notice that it has to stop, in seconds.
_STOP_TIMEOUT = 1.0


async def _serve(session: Session, operations: Operations, ready: Callable[[], None]) -> None:
    async def stop_on_signal(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            log.info("stopping: %s", signal.Signals(await anext(signals)).name)
            session.stop()
            with trio.move_on_after(_STOP_TIMEOUT):
                await anext(signals)  # a second one does not wait
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signal)
        await nursery.start(operations.reads.run_timeouts)
        ready()
        await session.serve()
        nursery.cancel_scope.cancel()


def run(settings: Settings, ready: Callable[[], None]) -> None:
    """Mount and serve until a signal comes or the mount is taken away.

    Args:
        ready: called once the mount is live.

    Raises:
        CommandError: it could not be mounted.
    """
    faulthandler.register(signal.SIGUSR1)
    mail = Mailslots(
        settings.limits,
        host=socket.gethostname().partition(".")[0],
        owner=(os.geteuid(), os.getegid()),
        root_mode=_SHARED_ROOT_MODE if settings.allow_other else _PRIVATE_ROOT_MODE,
        strict=settings.strict,
        now=time.time_ns(),
    )
    operations = Operations(mail, settings.mountpoint)
    try:
        session = Session(
            operations, settings.mountpoint, settings.fuse_options(), settings.busy_poll
        )
    except (MountError, InterposeError) as error:
        raise CommandError(f"cannot mount {settings.mountpoint}: {error}") from None
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        log.info("mounted at %s", settings.mountpoint)
        trio.run(_serve, session, operations, ready)
    finally:
        session.close()
        log.info("unmounted %s", settings.mountpoint)
