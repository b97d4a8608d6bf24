"""`msfs`: words to calls, and errors to one line and an exit code."""

import argparse
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from msfs_fuse import __version__
from msfs_fuse.errors import CommandError, Exit, Stopped

_EXIT_CODES = """\
exit codes:
  0  done
  1  failed; one line on stderr says why, and what to do
  2  the command line makes no sense
  3  no mailslots are mounted, or more than one mount to choose from
  4  there is no such slot: nobody listens
  5  time is over (listen -t)
A signal ends a command as it ends any: 130 in a shell after ^C.

The mount is that of --mount, or of $MSFS_MOUNT, or the only one there is.
"""

_MOUNT_OPTIONS = """\
options for -o, separated by commas:
{options}

The configuration is /etc/msfs/msfs.toml and /etc/msfs/msfs.toml.d/*.toml, for users who are not
root ~/.config/msfs/msfs.toml and ~/.config/msfs/msfs.toml.d/*.toml, or FILE and FILE.d/*.toml.
SIGHUP has the daemon read it again: limits, strict, keys, passwords and certificates may change.
"""


# Beyond this poll(2) would wait for ever, in seconds: 24 days.
_LONGEST_TIME = 2_000_000.0

_LISTEN = """\
Each NAME is NAME, DIR/NAME or \\\\.\\mailslot\\NAME. The slots are made, and go when msfs listen
ends and nobody else has them open. Who may write is up to the umask, as for any file: after
`umask 0` all users may.

Messages are printed one after the other, a newline added to those that do not end in one.
Several slots take turns. With --json each message is one line with the keys slot, message (or
message_base64, if it is not UTF-8), size, sender_host, sender_uid, sender_pid, sent_at (seconds
since 1970).

With --exec the next message is read when the command for the last one has ended. It has the
message on standard input, and in the environment MSFS_SLOT, MSFS_SENDER_HOST, MSFS_SENDER_UID,
MSFS_SENDER_PID, MSFS_SENT_AT and MSFS_MOUNT. One that fails is reported on stderr, and the next
message has its turn; one that cannot be started for want of memory, processes or files is tried
again. It runs in a process group of its own: ^C or SIGTERM lets it finish and ends msfs listen
then; a second one is passed on to the command.

exit codes:
  0  -n messages came; or the time was over and there was no -n, but a message
  1  failed; or with --exec a command did
  2  the command line makes no sense
  3  no mailslots are mounted, more than one mount to choose from, or the mount is gone
  5  the time was over before -n messages, or without -n before any, had come
"""

_SEND = """\
TARGET is one of
  NAME, DIR/NAME             a slot on this host
  HOST/NAME, @HOST/NAME      one on another host; with the @ even if there is a directory HOST
  DOMAIN/NAME, @DOMAIN/NAME  one on each host of a domain
  \\\\HOST\\mailslot\\NAME      the same as Windows writes it, in quotes; HOST is . for this host

TEXT is sent as it is, without a newline. Put -- in front of one that begins with a dash. Without
TEXT all of standard input is one message. Nothing confirms that a message is read.

exit codes:
  0  the slot has the message
  1  it has not: it is full, not ours to write, out of reach, or the message too long or empty
  2  the command line makes no sense
  3  no mailslots are mounted, or more than one mount to choose from
  4  nobody listens there
"""

_LS = """\
Columns: permissions, owner, messages queued, size of the next one in bytes, time of the last write.
A dash stands for what there is not, or what you may not read.
"""

_INFO = """\
The lines below read_at are the attributes user.mailslot.* of the slot, see getfattr(1). Those of
the sender are about the message read last. read_timeout is in milliseconds. The owner can set
max_message_size, read_timeout, short_read and network, with setfattr(1).
With --json numbers are numbers, times are seconds since 1970, and null is what there is not or
what you may not read.
"""

_KEYGEN = """\
A keyring has the keys of a domain, one in each line. The first one sends, all of them receive.
Without an option a new keyring with one key is made: copy it to each host of the domain.

To change keys without a gap, wait after each step until all hosts have it, and have taken it
(kill -HUP the daemon, its pid is in .msfs/status):

  msfs keygen --add FILE         then copy FILE to all hosts
  msfs keygen --use KEY FILE     on each host
  msfs keygen --remove OLD FILE  on each host

KEY and OLD are what msfs keygen and msfs config --check call a key, never the key itself.
"""

_DOCTOR = """\
One line for each check: ok, warn or fail, what was found and what to do about it. Looked at are
FUSE, the configuration and the files it names, the UDP port, the clock, /etc/fstab and the mounts.

exit codes:
  0  nothing failed; there may be warnings
  1  something failed
"""


def _mount(args: argparse.Namespace) -> int:
    from msfs_fuse.config.file import read_settings
    from msfs_fuse.config.options import split_options
    from msfs_fuse.daemon import start as daemon

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


def _umount(args: argparse.Namespace) -> Exit:
    from msfs_fuse import mounts

    path = os.path.realpath(os.path.dirname(os.path.abspath(args.directory)))
    path = os.path.join(path, os.path.basename(os.path.abspath(args.directory)))
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


def _listen(args: argparse.Namespace) -> Exit:
    from msfs_fuse.commands import listen
    from msfs_fuse.commands.stop import StopSignals

    mount = _find_mount(args)
    with StopSignals() as signals:
        if args.command is not None:
            from msfs_fuse.commands.execute import Executor

            output = Executor(args.command, mount, signals).output()
        else:
            output = listen.to_stdout(
                listen.print_json
                if args.json
                else listen.print_terminated
                if args.terminate
                else listen.print_line
            )
        return listen.listen(
            mount, args.names, output, signals, count=args.count, seconds=args.seconds
        )


def _send(args: argparse.Namespace) -> Exit:
    from msfs_fuse.commands.send import send

    send(_find_mount(args), args.target, args.text)
    return Exit.OK


def _ls(args: argparse.Namespace) -> Exit:
    from msfs_fuse.commands import show

    show.ls(_find_mount(args), args.directory, as_json=args.json)
    return Exit.OK


def _info(args: argparse.Namespace) -> Exit:
    from msfs_fuse.commands import show

    show.info(_find_mount(args), args.name, as_json=args.json)
    return Exit.OK


def _status(args: argparse.Namespace) -> Exit:
    from msfs_fuse.commands import show

    show.status(_find_mount(args), as_json=args.json)
    return Exit.OK


def _peers(args: argparse.Namespace) -> Exit:
    from msfs_fuse.commands import show

    show.peers(_find_mount(args), as_json=args.json)
    return Exit.OK


def _config(args: argparse.Namespace) -> Exit:
    from msfs_fuse.commands.keys import check_configuration

    check_configuration(args.config)
    return Exit.OK


def _keygen(args: argparse.Namespace) -> Exit:
    from msfs_fuse.commands import keys

    keys.change(args.keyring, add=args.add, use=args.use, remove=args.remove)
    return Exit.OK


def _doctor(args: argparse.Namespace) -> Exit:
    from msfs_fuse.commands.doctor import diagnose

    return diagnose(args.config, as_json=args.json)


def _find_mount(args: argparse.Namespace) -> str:
    from msfs_fuse.mounts import find_mount

    return find_mount(args.mount)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"not a number of messages: {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= _LONGEST_TIME:
        raise argparse.ArgumentTypeError(f"not a number of seconds: {text!r}")
    return seconds


class _Version(argparse.Action):
    def __call__(self, *unused: object, **named: object) -> NoReturn:
        from importlib.metadata import version

        from msfs_fuse.fuse.interpose import libfuse_version

        print(f"msfs {__version__} (pyfuse3 {version('pyfuse3')}, libfuse {libfuse_version()})")
        sys.exit(Exit.OK)


class _Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        if self.epilog is not None and "{options}" in self.epilog:
            from msfs_fuse.config.options import help_text

            self.epilog = self.epilog.replace("{options}\n", help_text())
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, for main() and for what is generated from it."""
    parser = _Parser(
        prog="msfs",
        description="Mailslots as files: one write is one message, one read takes one.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="show versions")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
        epilog: str = "",
        *,
        uses_mount: bool = False,
        json: bool = False,
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        if uses_mount:
            sub.add_argument(
                "--mount", metavar="DIR", help="the mount, if not $MSFS_MOUNT or the only one"
            )
        if json:
            sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    mount = command("mount", _mount, "mount mailslots at a directory", _MOUNT_OPTIONS)
    mount.add_argument("directory", metavar="DIR")
    mount.add_argument("-f", dest="foreground", action="store_true", help="stay in the foreground")
    mount.add_argument("-d", dest="debug", action="store_true", help="show requests; implies -f")
    mount.add_argument(
        "-o", dest="options", action="append", default=[], metavar="OPTS", help="mount options"
    )

    mount.add_argument("--config", metavar="FILE", help="instead of the one in /etc or ~/.config")

    umount = command("umount", _umount, "unmount, and wait for the daemon to end")
    umount.add_argument("directory", metavar="DIR")
    umount.add_argument("-l", dest="lazy", action="store_true", help="even if it is dead or in use")
    umount.add_argument("--dead", action="store_true", help="only if it is dead")

    listen = command(
        "listen",
        _listen,
        "serve slots, and print each message as it comes",
        _LISTEN,
        uses_mount=True,
    )
    listen.add_argument("names", metavar="NAME", nargs="+", help="a slot on this host")
    listen.add_argument("-n", dest="count", type=_count, metavar="N", help="end after N messages")
    listen.add_argument(
        "-t", dest="seconds", type=_seconds, metavar="SECONDS", help="end after this time in all"
    )
    form = listen.add_mutually_exclusive_group()
    form.add_argument(
        "-0", dest="terminate", action="store_true", help="print a NUL after each message"
    )
    form.add_argument("--json", action="store_true", help="print JSON, with the sender")
    form.add_argument(
        "--exec", dest="command", metavar="CMD", help="run `sh -c CMD` for each message"
    )

    send = command("send", _send, "send one message to a slot", _SEND, uses_mount=True)
    send.add_argument("target", metavar="TARGET", help="the slot, see below")
    send.add_argument("text", metavar="TEXT", nargs="?", help="the message, if not stdin")

    ls = command("ls", _ls, "list slots and directories", _LS, uses_mount=True, json=True)
    ls.add_argument("directory", metavar="DIR", nargs="?", default=".", help="below the mount")

    info = command(
        "info", _info, "show all that is known of a slot", _INFO, uses_mount=True, json=True
    )
    info.add_argument("name", metavar="NAME", help="a slot on this host")

    command("status", _status, "show the state of the mount", uses_mount=True, json=True)
    command("peers", _peers, "list the hosts that were heard of late", uses_mount=True, json=True)

    keygen = command("keygen", _keygen, "make a keyring, or change its keys", _KEYGEN)
    change = keygen.add_mutually_exclusive_group()
    change.add_argument("--add", action="store_true", help="add a new key, to receive with")
    change.add_argument("--use", metavar="KEY", help="send with this key")
    change.add_argument("--remove", metavar="KEY", help="accept this key no more")
    keygen.add_argument("keyring", metavar="FILE", help="the keyring, 0600")

    config = command("config", _config, "look at the configuration")
    config.add_argument(
        "--check", action="store_true", required=True, help="say whether it and its keys are good"
    )
    config.add_argument("--config", metavar="FILE", help="instead of the one in /etc or ~/.config")

    doctor = command(
        "doctor", _doctor, "look for what is wrong, and say what to do about it", _DOCTOR, json=True
    )
    doctor.add_argument("--config", metavar="FILE", help="instead of the one in /etc or ~/.config")
    return parser


def _die_of(number: int) -> NoReturn:
    """End as that signal ends a process, so that a shell ends its script or loop on ^C."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)  # unless it is blocked


def _discard_output() -> None:
    """Have the interpreter not fail again, as it ends, on what could not be written."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def main() -> NoReturn:
    """Run the command line of this process."""
    try:
        try:
            args = build_parser().parse_args()
            code = args.run(args)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except CommandError as error:
        code = _fail(str(error), error.code)
    except Stopped as error:
        _die_of(error.signal)
    except KeyboardInterrupt:
        _die_of(signal.SIGINT)
    except BrokenPipeError:
        _die_of(signal.SIGPIPE)  # `| head` is no error to talk about
    except OSError as error:
        _discard_output()
        what = f"{error.filename}: " if error.filename else ""
        code = _fail(f"{what}{error.strerror}", Exit.FAILED)
    sys.exit(code)


def _fail(text: str, code: Exit) -> Exit:
    from msfs_fuse.commands.output import complain

    complain(text)
    return code
