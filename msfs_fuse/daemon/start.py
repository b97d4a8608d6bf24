"""How a daemon starts: what is checked before, and the step into the background."""

import errno
import logging
import os
import stat
import sys
from collections.abc import Callable

from msfs_fuse.config.settings import Settings
from msfs_fuse.daemon.log import Log
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.hostinfo import FUSE_CONF, mount_problem, request_timeouts, user_allows_other
from msfs_fuse.mounts import FILESYSTEM_TYPE, detach, is_alive, mount_at

log = logging.getLogger(__name__)


def prepare(settings: Settings) -> None:
    """Make sure that the mount can work, and take a dead one of ours off the mount point.

    Raises:
        CommandError: it cannot.
    """
    path = settings.mountpoint
    problem = mount_problem()
    if problem is not None:
        raise CommandError(f"cannot mount {path}: {problem}")
    if settings.allow_other and os.geteuid() != 0 and not user_allows_other():
        raise CommandError(
            f"allow_other needs the line user_allow_other in {FUSE_CONF}; "
            "ask the administrator, or mount without it"
        )
    _repair(path)
    if settings.make_directory is not None and not os.path.lexists(path):
        try:
            os.makedirs(path, settings.make_directory)
        except OSError as error:
            raise CommandError(f"cannot make {path}: {error.strerror}") from None
    try:
        if not os.path.isdir(path):
            os.stat(path)
            raise CommandError(f"not a directory: {path}", Exit.USAGE)
    except OSError as error:
        hint = f" (mkdir -p {path})" if error.errno == errno.ENOENT else ""
        raise CommandError(f"{path}: {error.strerror}{hint}", Exit.USAGE) from None
    if not _may_mount_at(path):
        raise CommandError(
            f"cannot mount {path}: it is not your directory "
            "(mount at one of yours, such as ~/mail, or as root)"
        )


def _may_mount_at(path: str) -> bool:
    """Whether fusermount3 lets this user: who may write there, and if it is sticky, owns it."""
    found = os.stat(path)
    is_sticky = bool(found.st_mode & stat.S_ISVTX)
    return os.geteuid() == 0 or (
        os.access(path, os.W_OK) and (found.st_uid == os.geteuid() or not is_sticky)
    )


def _repair(path: str) -> None:
    mount = mount_at(path)
    if mount is None or mount.fstype != FILESYSTEM_TYPE:
        return
    if is_alive(path):
        raise CommandError(f"mailslots are mounted at {path} already (msfs umount {path})")
    detach(path, lazy=True)
    print(f"msfs: took away the dead mount at {path}", file=sys.stderr, flush=True)


Reread = Callable[[], Settings]


def run_in_foreground(settings: Settings, reread: Reread) -> None:
    """Mount and serve until the mount ends.

    Args:
        reread: gives the settings of the same mount anew, when it is told to reload.

    Raises:
        CommandError: it could not be mounted.
    """
    _open_standard_streams()
    _serve(settings, reread, lambda: None, background=False)


def _serve(
    settings: Settings, reread: Reread, ready: Callable[[], None], *, background: bool
) -> None:
    # Imported here: the other commands, and the process that waits for a background mount to
    # get ready, do without FUSE.
    from msfs_fuse.daemon import service

    with Log(background=background, debug=settings.debug) as opened:
        for name, seconds in request_timeouts().items():
            log.warning(
                "fs.fuse.%s is %d: the kernel will end this mount when a read has waited that "
                "long; set it to 0 or give the slots a shorter read_timeout",
                name,
                seconds,
            )
        service.run(settings, opened.counts, reread, ready)


def _open_standard_streams() -> None:
    """Make sure that 0, 1 and 2 are open: who started us may have closed them.

    Otherwise the next file that is opened, such as /dev/fuse, would be taken for one of them.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)


def run_in_background(settings: Settings, reread: Reread) -> int:
    """Mount, and return when the mount is live.

    The daemon keeps the terminal's stderr until then, so that what goes wrong is seen.

    Args:
        reread: as for run_in_foreground.

    Returns:
        The exit code: in the daemon when it ends, elsewhere when the mount is live or has failed.
    """
    _open_standard_streams()
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with open(reader, "rb") as pipe:
            if pipe.read():
                return Exit.OK
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code > 0 else Exit.FAILED

    os.close(reader)
    os.chdir("/")

    def ready() -> None:
        # Not before: autofs lets nobody pass to a mount point but the process group that mounts.
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        os.write(writer, b"ready")
        os.close(writer)

    _serve(settings, reread, ready, background=True)
    return Exit.OK
