"""`msfs mount`: mount mailslots at a directory."""

import argparse
import functools
import os

from msfs_fuse.commands.command import Command, completed, directory
from msfs_fuse.config.file import read_settings
from msfs_fuse.config.options import help_text, split_options
from msfs_fuse.daemon import start as daemon
from msfs_fuse.errors import Exit

_EPILOG = """\
options for -o, separated by commas:
{options}

The configuration is /etc/msfs/msfs.toml and /etc/msfs/msfs.toml.d/*.toml, for users who are not
root ~/.config/msfs/msfs.toml and ~/.config/msfs/msfs.toml.d/*.toml, or FILE and FILE.d/*.toml.
SIGHUP has the daemon read it again: limits, strict, keys, passwords and certificates may change.
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    directory(parser.add_argument("directory", metavar="DIR"))
    parser.add_argument("-f", dest="foreground", action="store_true", help="stay in the foreground")
    parser.add_argument("-d", dest="debug", action="store_true", help="show requests; implies -f")
    options = parser.add_argument(
        "-o", dest="options", action="append", default=[], metavar="OPTS", help="mount options"
    )
    completed(options, "options")
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


COMMAND = Command(_run, _add_arguments, _EPILOG.format(options=help_text()))
