"""`msfs mount`: mount mailslots at a directory."""

import argparse
import functools
import os

from msfs_fuse.commands.command import Command
from msfs_fuse.config.file import read_settings
from msfs_fuse.config.options import split_options
from msfs_fuse.daemon import start as daemon
from msfs_fuse.errors import Exit

OPTIONS = """\
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
  busy_poll=N             microseconds to look for the next request before sleeping (50);
                          0 never; only while requests follow each other, and not on one core
  domain=NAME,keyring=FILE  be a member of this domain, beside those of the configuration
  host=NAME               what other hosts call this one (its host name)
  config=FILE             the configuration, as --config
  X-mount.mkdir[=MODE]    make DIR if there is none
  nosuid,nodev,noexec,…   as for any mount

The configuration is /etc/msfs/msfs.toml and /etc/msfs/msfs.toml.d/*.toml, for users who are not
root ~/.config/msfs/msfs.toml and ~/.config/msfs/msfs.toml.d/*.toml, or FILE and FILE.d/*.toml.
SIGHUP has the daemon read it again: limits, strict, keys, passwords and certificates may change.
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("-f", dest="foreground", action="store_true", help="stay in the foreground")
    parser.add_argument("-d", dest="debug", action="store_true", help="show requests; implies -f")
    parser.add_argument(
        "-o", dest="options", action="append", default=[], metavar="OPTS", help="mount options"
    )
    parser.add_argument("--config", metavar="FILE", help="instead of the one in /etc or ~/.config")


def _run(args: argparse.Namespace) -> int:
    read = functools.partial(
        read_settings,
        os.path.realpath(args.directory),
        split_options(args.options),
        args.config and os.path.abspath(args.config),
        debug=args.debug,
    )
    settings = read()
    daemon.prepare(settings)
    if args.foreground or args.debug:
        daemon.run_in_foreground(settings, read)
        return Exit.OK
    return daemon.run_in_background(settings, read)


COMMAND = Command(_run, _add_arguments, OPTIONS)
