"""A mount while it lives: one nursery that starts and stops everything."""

import dataclasses
import faulthandler
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable

import trio

from msfs_fuse.config.options import changed_but_not_reloadable
from msfs_fuse.config.settings import Settings
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.metrics import metrics_of
from msfs_fuse.core.network import Router, Routers
from msfs_fuse.daemon.log import LogCounts
from msfs_fuse.daemon.notify import notify, watchdog_interval
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
# while it looks everybody waits. It looks at what is new and at what is not so new, a thousand
# objects and ten thousand, a millisecond at most; and next to never at all, which with a million
# messages queued takes a quarter of a second.
_GC_THRESHOLDS = (1_000, 10, 10_000)

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# How long the session may take to notice that it has to stop, in seconds.
_STOP_TIMEOUT = 1.0


class _Service:
    """A mount and what runs beside it, until it ends."""

    def __init__(
        self,
        settings: Settings,
        reread: Callable[[], Settings],
        mail: Mailslots,
        router: Router,
        log_counts: LogCounts,
    ) -> None:
        self._settings = settings
        self._reread = reread
        self._mail = mail
        self._operations = Operations(
            mail, settings.mountpoint, router, lambda: metrics_of(log_counts)
        )
        self._router = router

    async def run(self, ready: Callable[[], None]) -> None:
        """Mount, and serve until a signal comes or the mount is taken away.

        Raises:
            CommandError: it could not be mounted.
        """
        path, settings = self._settings.mountpoint, self._settings
        # From before there is a mount until there is none: what signals do by themselves would
        # leave a dead one.
        with trio.open_signal_receiver(*_STOP_SIGNALS, signal.SIGHUP) as signals:
            try:
                session = Session(
                    self._operations,
                    path,
                    settings.fuse_options(),
                    max_message_size=settings.limits.max_message_size,
                    max_pages=settings.max_pages,
                    busy_poll=settings.busy_poll,
                )
            except (MountError, InterposeError) as error:
                raise CommandError(f"cannot mount {path}: {error} (see msfs doctor)") from None
            try:
                log.info("mounted at %s", path)
                await self._serve(session, signals, ready)
            finally:
                session.close()
                log.info("unmounted %s", path)

    async def _serve(
        self, session: Session, signals: AsyncIterator[int], ready: Callable[[], None]
    ) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey, signals, session, nursery.cancel_scope)
            await nursery.start(self._operations.replies.run_timeouts)
            await nursery.start(self._operations.replies.polls.run)
            await self._router.start(
                nursery, self._operations.exchange.deliver, self._operations.exchange.has_slot
            )
            interval = watchdog_interval()
            if interval is not None:
                nursery.start_soon(self._feed_watchdog, interval)
            ready()
            notify("READY=1", self._status())
            await session.serve()
            self._router.close()
            nursery.cancel_scope.cancel()

    def _status(self) -> str:
        mail = self._mail
        return (
            f"STATUS={self._settings.mountpoint}: {mail.slots} slots, "
            f"{mail.messages} messages queued, {mail.waiting} reads waiting"
        )

    async def _feed_watchdog(self, interval: float) -> None:
        """Show that this loop, which also answers the kernel, goes round."""
        while True:
            notify("WATCHDOG=1", self._status())
            await trio.sleep(interval)

    async def _obey(
        self, signals: AsyncIterator[int], session: Session, scope: trio.CancelScope
    ) -> None:
        """Read the configuration and the secrets again at SIGHUP; stop at the other signals."""
        async for number in signals:
            if number in _STOP_SIGNALS:
                name = signal.Signals(number).name
                break
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._reload()
            notify("READY=1", self._status())
        log.info("stopping: %s", name)
        notify("STOPPING=1", f"STATUS=stopping: {name}")
        session.stop()
        with trio.move_on_after(_STOP_TIMEOUT):
            async for number in signals:
                if number in _STOP_SIGNALS:
                    break  # a second one does not wait
        scope.cancel()

    def _reload(self) -> None:
        """Take what can change while mounted; what cannot be used leaves things as they are."""
        try:
            settings = self._reread()
        except CommandError as error:
            log.error("the configuration stays as it was: %s", error)
            return
        later = changed_but_not_reloadable(self._settings, settings)
        limits, longest = settings.limits, self._settings.limits.max_message_size
        if limits.max_message_size > longest:  # the kernel was told it for as long as this mounts
            limits = dataclasses.replace(limits, max_message_size=longest)
            later.append("max_message_size")
        self._operations.use_limits(limits, strict=settings.strict)
        self._router.reload(settings.network)
        log.info("read the configuration again")
        if later:
            log.warning("takes effect when mounted anew: %s", ", ".join(later))


def _make_router(settings: Settings) -> tuple[Router, str]:
    """The way to other hosts, and this one's name. Without other hosts nothing of it is loaded."""
    own_name = settings.host or socket.gethostname().partition(".")[0]
    if settings.network is None:
        return Routers(), own_name
    from msfs_fuse.net.assembly import NetworkError, make_router

    try:
        router, name = make_router(settings.network, settings.host)
    except NetworkError as error:
        raise CommandError(str(error)) from None
    return router, name or own_name


def run(
    settings: Settings,
    log_counts: LogCounts,
    reread: Callable[[], Settings],
    ready: Callable[[], None],
) -> None:
    """Mount and serve until a signal comes or the mount is taken away.

    Args:
        log_counts: shown with the other numbers.
        reread: gives the settings anew, at SIGHUP.
        ready: called once the mount is live.

    Raises:
        CommandError: it could not be mounted, or the network not be used.
    """
    faulthandler.register(signal.SIGUSR1, file=2)
    router, host = _make_router(settings)
    mail = Mailslots(
        settings.limits,
        host=host,
        owner=(os.geteuid(), os.getegid()),
        root_mode=_SHARED_ROOT_MODE if settings.allow_other else _PRIVATE_ROOT_MODE,
        strict=settings.strict,
        now=time.time_ns(),
    )
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        trio.run(_Service(settings, reread, mail, router, log_counts).run, ready)
    except ExceptionGroup as group:
        if group.split(OSError)[1] is not None:
            raise
        raise CommandError(f"cannot use the network: {_first(group).strerror}") from None


def _first(group: ExceptionGroup[Exception]) -> OSError:
    """The first error of a group that holds nothing but these."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, OSError)
    return error
