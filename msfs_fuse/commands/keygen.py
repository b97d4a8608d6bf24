"""`msfs keygen`: make a keyring, or change its keys."""

import argparse
import os

from msfs_fuse.commands.command import Command
from msfs_fuse.commands.keys import show_keys
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.net.keyring import Key, Keyring, KeyringError, load_keyring, save_keyring

_EPILOG = """\
A keyring has the keys of a domain, one in each line. The first one sends, all of them receive.
Without an option a new keyring with one key is made: copy it to each host of the domain.

Keys change without a gap in three steps. After each step all hosts need the file, and their daemons
have to read it (kill -HUP the daemon, whose pid is in .msfs/status):

  msfs keygen --add FILE         then copy FILE to all hosts
  msfs keygen --use KEY FILE     on each host
  msfs keygen --remove OLD FILE  on each host

KEY and OLD are the names that msfs keygen and msfs config --check show, never the keys themselves.
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--add", action="store_true", help="add a new key, to receive with")
    change.add_argument("--use", metavar="KEY", help="send with this key")
    change.add_argument("--remove", metavar="KEY", help="do not accept this key any more")
    parser.add_argument("keyring", metavar="FILE", help="the keyring, 0600")


def _run(args: argparse.Namespace) -> Exit:
    """Make a keyring, or change the one there is, and show its keys."""
    path = os.path.abspath(args.keyring)
    is_new = not (args.add or args.use or args.remove)
    try:
        if is_new:
            keyring = Keyring((Key.generate(),))
        else:
            keyring = load_keyring(path)
            if args.add:
                keyring = keyring.add(Key.generate())
            elif args.use is not None:
                keyring = keyring.use(args.use)
            elif args.remove is not None:
                keyring = keyring.remove(args.remove)
        save_keyring(path, keyring, new=is_new)
    except KeyringError as error:
        text = str(error)
        raise CommandError(text if path in text else f"keyring {path}: {text}") from None
    show_keys(keyring)
    return Exit.OK


COMMAND = Command(_run, _add_arguments, _EPILOG)
