"""`mount.msfs SRC DIR -o OPTS`: what mount(8) runs for fstab and `mount -t msfs`.

The command line and the exit codes are those that mount(8) expects of a helper, "External helpers"
and "Exit status" there. It returns when the mount is live.
"""

import argparse
import functools
import os
import sys
from enum import IntEnum
from typing import NoReturn

from msfs_fuse.commands.output import complain
from msfs_fuse.config.file import read_settings
from msfs_fuse.config.options import split_options
from msfs_fuse.daemon import start as daemon
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import FILESYSTEM_TYPE, is_alive, mount_at

_PROGRAM = "mount.msfs"


class MountExit(IntEnum):
    """Exit codes of mount(8)."""

    OK = 0
    USAGE = 1
    SYSTEM = 2
    INTERNAL = 4
    INTERRUPTED = 8
    FAILED = 32


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(message, Exit.USAGE)


def build_parser() -> argparse.ArgumentParser:
    """The command line of the helper."""
    parser = _Parser(
        prog=_PROGRAM,
        description="Mount mailslots; for mount(8) and fstab(5).",
        epilog="Exit codes are those of mount(8). OPTS are those of `msfs mount`.",
    )
    parser.add_argument("source", metavar="SRC", help="shown in mount tables, else of no meaning")
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="OPTS")
    parser.add_argument("-s", dest="sloppy", action="store_true", help="let unknown options pass")
    parser.add_argument("-f", dest="fake", action="store_true", help="check, and do not mount")
    parser.add_argument("-n", action="store_true", help="accepted: there is no mtab to write")
    parser.add_argument("-v", action="store_true", help="accepted")
    parser.add_argument("-t", metavar="TYPE", help="accepted: there is one type only")
    return parser


def _as_written(source: str) -> str:
    """The source as it was written: mount(8) makes a path of it where a file has that name."""
    directory, name = os.path.split(source)
    return name if name and directory == os.getcwd() else source


def _mount() -> int:
    args = build_parser().parse_args()
    source = _as_written(args.source)
    read = functools.partial(
        read_settings,
        os.path.realpath(args.directory),
        split_options(args.options),
        source=source,
        sloppy=args.sloppy,
    )
    settings = read()
    if args.fake:
        return MountExit.OK
    there = mount_at(settings.mountpoint)
    if (
        source != args.source
        and there is not None
        and there.fstype == FILESYSTEM_TYPE
        and is_alive(there.path)
    ):
        # `mount -a`, which took the path for another source than the one that is mounted.
        complain(f"mailslots are mounted at {settings.mountpoint} already", _PROGRAM)
        return MountExit.OK
    daemon.prepare(settings)
    return daemon.run_in_background(settings, read)


def main() -> NoReturn:
    """Run the helper's command line of this process."""
    try:
        code = _mount()
    except CommandError as error:
        complain(str(error), _PROGRAM)
        code = MountExit.USAGE if error.code is Exit.USAGE else MountExit.FAILED
    except KeyboardInterrupt:
        code = MountExit.INTERRUPTED
    except OSError as error:
        complain(f"{error.filename or 'system'}: {error.strerror}", _PROGRAM)
        code = MountExit.SYSTEM
    except Exception as error:  # mount(8) has a code for it, and its users no use for a traceback
        complain(f"internal error: {error!r}", _PROGRAM)
        code = MountExit.INTERNAL
    sys.exit(code)
