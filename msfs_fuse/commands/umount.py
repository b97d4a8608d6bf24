"""`msfs umount`: unmount, and wait for the daemon to end."""

import argparse
import os
import signal

from msfs_fuse import mounts
from msfs_fuse.commands.command import Command, directory
from msfs_fuse.errors import CommandError, Exit


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    directory(parser.add_argument("directory", metavar="DIR"))
    parser.add_argument("-l", dest="lazy", action="store_true", help="even if it is dead or in use")
    parser.add_argument("--dead", action="store_true", help="only if it is dead")


def _run(args: argparse.Namespace) -> Exit:
    # Not realpath() of the whole: that would touch a mount that may hang.
    parent, name = os.path.split(os.path.abspath(args.directory))
    path = os.path.join(os.path.realpath(parent), name)
    mount = mounts.mount_at(path)
    if mount is None or mount.fstype != mounts.FILESYSTEM_TYPE:
        if args.dead:
            return Exit.OK
        raise CommandError(f"no mailslots are mounted at {path}", Exit.NO_MOUNT)
    is_alive = mounts.is_alive(path)
    if args.dead and is_alive:
        return Exit.OK
    pid = mounts.daemon_of(mount) if is_alive else None
    mounts.detach(path, lazy=args.lazy or args.dead)
    if pid is None:
        mounts.abort(mount)
        return Exit.OK
    if args.lazy:  # or it would live on for those who have files open
        os.kill(pid, signal.SIGTERM)
    mounts.wait_gone(pid)
    return Exit.OK


COMMAND = Command(_run, _add_arguments)
