"""`msfs`: words to calls, and errors to one line and an exit code."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Iterable
from typing import NoReturn

from msfs_fuse import __version__
from msfs_fuse.commands.command import Command, directory
from msfs_fuse.errors import CommandError, Exit, Stopped

_EXIT_CODES = """\
exit codes:
  0  done
  1  failed; one line on stderr says why, and what to do
  2  the command line or the configuration is wrong
  3  no mailslots are mounted, or more than one mount to choose from
  4  there is no such slot: nobody listens
  5  the time of -t passed before enough messages, or an answer, came
When a signal ends a command, the code is as for any command: 130 in a shell after ^C.

The mount is the one that --mount names, or $MSFS_MOUNT, or the only one there is.
"""

# Each command with its summary; the rest is in the module of that name, see `Command`. Summaries
# are here, so that `msfs --help` loads none of the modules.
COMMANDS = {
    "mount": "mount mailslots at a directory",
    "umount": "unmount, and wait for the daemon to end",
    "listen": "serve slots, and print each message as it comes",
    "send": "send one message to a slot",
    "ask": "ask whoever serves a slot, and print what they answer",
    "answer": "answer what others ask",
    "chat": "chat with everybody in a domain",
    "net-send": "send a message to people",
    "messenger": "show messages to people",
    "alerter": "tell people what programs of this host raise",
    "browse": "show the hosts of the network and what they say of themselves",
    "ls": "list slots and directories",
    "info": "show all that is known of a slot",
    "status": "show the state of the mount",
    "peers": "list the other hosts that are known to be there",
    "top": "show slots, rates, hosts and links, live",
    "domain": "the authority of a domain, and who is a member",
    "config": "look at the configuration",
    "doctor": "look for what is wrong, and say what to do about it",
}


class _Version(argparse.Action):
    def __call__(self, *unused: object, **named: object) -> NoReturn:
        from importlib.metadata import version

        from msfs_fuse.fuse.interpose import libfuse_version

        print(f"msfs {__version__} (pyfuse3 {version('pyfuse3')}, libfuse {libfuse_version()})")
        sys.exit(Exit.OK)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _load(name: str) -> Command:
    module = importlib.import_module(f"msfs_fuse.commands.{name.replace('-', '_')}")
    command = module.COMMAND
    assert isinstance(command, Command)
    return command


def build_parser(loaded: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """The command line.

    Args:
        loaded: the commands whose arguments are wanted; of the others there is only the name.
            `complete`, which is for shells and not for people, is there only if it is among them.
    """
    parser = _Parser(
        prog="msfs",
        description="Mailslots as files: one write is one message, one read takes one.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # so that _chosen() knows which options have a value
    )
    _add_mount(parser, default=None)
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="show versions")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in loaded:
            _fill(sub, _load(name))
    if "complete" in loaded:
        _fill(commands.add_parser("complete"), _load("complete"))
    return parser


def _add_mount(parser: argparse.ArgumentParser, default: object) -> None:
    mount = parser.add_argument(
        "--mount",
        metavar="DIR",
        default=default,
        help="the mount, if not $MSFS_MOUNT or the only one",
    )
    directory(mount)


def _fill(parser: argparse.ArgumentParser, command: Command) -> None:
    parser.epilog = command.epilog
    parser.set_defaults(chosen=command, parser=parser)
    if command.uses_mount:
        _add_mount(parser, default=argparse.SUPPRESS)  # that in front of the command counts, too
    if command.json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    command.add_arguments(parser)


def _chosen(words: Iterable[str]) -> list[str]:
    """The command that a command line names, if any."""
    rest = iter(words)
    for word in rest:
        if word == "--mount":
            next(rest, None)
        elif not word.startswith("-"):
            return [word]
    return []


def _proposal(word: str) -> str:
    import difflib

    alike = difflib.get_close_matches(word, COMMANDS, n=1)
    return f"; did you mean {alike[0]}?" if alike else ""


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
            words = sys.argv[1:]
            if words[:1] == ["help"]:  # `msfs help COMMAND` is `msfs COMMAND --help`
                words = [*words[1:2], "--help"]
            chosen = _chosen(words)
            parser = build_parser(chosen)
            for word in chosen:
                if word not in COMMANDS and word != "complete":
                    parser.error(f"no such command: {word!r}{_proposal(word)}")
            args, left = parser.parse_known_args(words)
            if left:  # told by the command's parser, which knows its --help
                takes_text = {"text", "query"} & vars(args).keys() and not left[0].startswith("-")
                hint = ": a text of several words needs quotes" if takes_text else ""
                args.parser.error(f"unrecognized arguments: {' '.join(left)}{hint}")
            if args.mount is not None and not args.chosen.uses_mount:
                parser.error("--mount is of no use to this command")
            code = args.chosen.run(args)
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
