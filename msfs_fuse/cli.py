"""`msfs`: words to calls, and errors to one line and an exit code."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from msfs_fuse import __version__
from msfs_fuse.errors import CommandError, Exit

_EXIT_CODES = """\
exit codes:
  0  done
  1  failed
  2  the command line makes no sense
  3  no mailslots are mounted, or more than one mount to choose from
  4  there is no such slot: nobody listens
  5  time is over (listen -t)
"""

_MOUNT_OPTIONS = """\
options for -o, separated by commas:
  allow_other             let other users in; not for a private mount
  strict                  opening a missing slot to write fails, as on Windows
  max_message_size=N      bytes in one message (64k)
  max_messages=N          messages queued in a slot (65536)
  max_slot_bytes=N        bytes queued in a slot (64m)
  max_total_messages=N    messages queued in the mount (2000000)
  max_bytes=N             bytes queued in the mount (256m)
  max_slots_per_user=N    slots and directories a user may own (4096); root is exempt
  max_waiting=N           reads that may wait in the mount (16384)
  nosuid,nodev,noexec,…   as for any mount
"""


def _mount(args: argparse.Namespace) -> Exit:
    from msfs_fuse import daemon
    from msfs_fuse.config import parse_options

    settings = parse_options(os.path.realpath(args.directory), args.options, debug=args.debug)
    daemon.prepare(settings)
    if args.foreground or args.debug:
        daemon.run_in_foreground(settings)
        return Exit.OK
    return daemon.run_in_background(settings)


def _umount(args: argparse.Namespace) -> Exit:
    from msfs_fuse import mounts
    from msfs_fuse.config import FILESYSTEM_TYPE

    path = os.path.realpath(os.path.dirname(os.path.abspath(args.directory)))
    path = os.path.join(path, os.path.basename(os.path.abspath(args.directory)))
    mount = mounts.mount_at(path)
    if mount is None or mount.fstype != FILESYSTEM_TYPE:
        raise CommandError(f"no mailslots are mounted at {path}", Exit.NO_MOUNT)
    pid = mounts.daemon_of(path) if mounts.is_alive(path) else None
    mounts.detach(path, lazy=args.lazy)
    if args.lazy:
        mounts.abort(mount)
    if pid is not None:
        mounts.wait_gone(pid)
    return Exit.OK


class _Version(argparse.Action):
    def __call__(self, *unused: object, **named: object) -> NoReturn:
        from importlib.metadata import version

        from msfs_fuse.fuse.interpose import libfuse_version

        print(f"msfs {__version__} (pyfuse3 {version('pyfuse3')}, libfuse {libfuse_version()})")
        sys.exit(Exit.OK)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, for main() and for what is generated from it."""
    parser = argparse.ArgumentParser(
        prog="msfs",
        description="Mailslots as files: one write is one message, one read takes one.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="show versions")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], Exit], text: str, epilog: str = ""
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    mount = command("mount", _mount, "mount mailslots at a directory", _MOUNT_OPTIONS)
    mount.add_argument("directory", metavar="DIR")
    mount.add_argument("-f", dest="foreground", action="store_true", help="stay in the foreground")
    mount.add_argument("-d", dest="debug", action="store_true", help="show requests; implies -f")
    mount.add_argument(
        "-o", dest="options", action="append", default=[], metavar="OPTS", help="mount options"
    )

    umount = command("umount", _umount, "unmount, and wait for the daemon to end")
    umount.add_argument("directory", metavar="DIR")
    umount.add_argument("-l", dest="lazy", action="store_true", help="even if it is dead or in use")
    return parser


def main() -> NoReturn:
    """Run the command line of this process."""
    args = build_parser().parse_args()
    try:
        code = args.run(args)
    except CommandError as error:
        print(f"msfs: {error}", file=sys.stderr)
        code = error.code
    except KeyboardInterrupt:
        code = 130  # as a shell reports SIGINT
    sys.exit(code)
