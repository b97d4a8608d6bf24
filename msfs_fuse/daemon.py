"""`msfs mount`: checks before, the step into the background, the log."""

import contextlib
import errno
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable

from msfs_fuse.config import FILESYSTEM_TYPE, Settings
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import detach, is_alive, mount_at

log = logging.getLogger(__name__)

_SYSLOG_SOCKET = "/dev/log"
_FUSE_CONF = "/etc/fuse.conf"
_REQUEST_TIMEOUTS = ("default_request_timeout", "max_request_timeout")

# sd-daemon(3): the priority in front of a line that goes to the journal.
_JOURNAL_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


def user_allows_other() -> bool:
    """Whether a user who is not root may mount with allow_other."""
    try:
        with open(_FUSE_CONF) as file:
            return any(line.strip() == "user_allow_other" for line in file)
    except OSError:
        return False


def request_timeouts() -> dict[str, int]:
    """The kernel's limits in seconds on how old a FUSE request may get, where there are any."""
    found = {}
    for name in _REQUEST_TIMEOUTS:
        with contextlib.suppress(OSError, ValueError), open(f"/proc/sys/fs/fuse/{name}") as file:
            seconds = int(file.read())
            if seconds:
                found[name] = seconds
    return found


def prepare(settings: Settings) -> None:
    """Make sure that the mount can work, and take a dead one of ours off the mount point.

    Raises:
        CommandError: it cannot.
    """
    path = settings.mountpoint
    if not os.path.exists("/dev/fuse"):
        raise CommandError("there is no /dev/fuse: load the kernel's fuse module (modprobe fuse)")
    if settings.allow_other and os.geteuid() != 0 and not user_allows_other():
        raise CommandError(
            f"allow_other needs the line user_allow_other in {_FUSE_CONF}; "
            "ask the administrator, or mount without it"
        )
    _repair(path)
    try:
        if not os.path.isdir(path):
            os.stat(path)
            raise CommandError(f"not a directory: {path}", Exit.USAGE)
    except OSError as error:
        hint = f" (mkdir -p {path})" if error.errno == errno.ENOENT else ""
        raise CommandError(f"{path}: {error.strerror}{hint}", Exit.USAGE) from None


def _repair(path: str) -> None:
    mount = mount_at(path)
    if mount is None or mount.fstype != FILESYSTEM_TYPE:
        return
    if is_alive(path):
        raise CommandError(f"mailslots are mounted at {path} already (msfs umount {path})")
    detach(path, lazy=True)
    print(f"msfs: took away the dead mount at {path}", file=sys.stderr, flush=True)


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        priority = _JOURNAL_PRIORITIES[record.levelname]
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def _configure_log(*, background: bool, debug: bool) -> None:
    """Log to stderr, with priorities if that is the journal; in the background to syslog."""
    handler: logging.Handler
    if background:
        if not os.path.exists(_SYSLOG_SOCKET):
            handler = logging.NullHandler()
        else:
            handler = logging.handlers.SysLogHandler(_SYSLOG_SOCKET)
            handler.ident = "msfs: "
    else:
        handler = logging.StreamHandler()
        in_journal = "JOURNAL_STREAM" in os.environ
        form = "%(name)s: %(message)s" if in_journal else "%(asctime)s %(levelname)s %(message)s"
        handler.setFormatter(_JournalFormatter(form) if in_journal else logging.Formatter(form))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    for name, seconds in request_timeouts().items():
        log.warning(
            "fs.fuse.%s is %d: the kernel will end this mount when a read has waited that long; "
            "set it to 0 or give the slots a shorter read_timeout",
            name,
            seconds,
        )


def run_in_foreground(settings: Settings, ready: Callable[[], None] = lambda: None) -> None:
    """Mount and serve until the mount ends.

    Raises:
        CommandError: it could not be mounted.
    """
    # Imported here: the other commands, and the process that waits for a background mount to
    # get ready, do without FUSE.
    from msfs_fuse import service

    _configure_log(background=False, debug=settings.debug)
    service.run(settings, ready)


def run_in_background(settings: Settings) -> Exit:
    """Mount, and return when the mount is live.

    The daemon keeps the terminal's stderr until then, so that what goes wrong is seen.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with open(reader, "rb") as pipe:
            if pipe.read():
                return Exit.OK
        _, status = os.waitpid(child, 0)
        return Exit(os.waitstatus_to_exitcode(status) or Exit.FAILED)

    from msfs_fuse import service

    os.close(reader)
    os.setsid()
    os.chdir("/")

    def ready() -> None:
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        os.write(writer, b"ready")
        os.close(writer)

    _configure_log(background=True, debug=settings.debug)
    service.run(settings, ready)
    return Exit.OK
