"""`msfs complete KIND WORD`: what a shell may put in place of a word; its completion asks for it.

It is for the functions in `command.completed`, not for people, so no help tells of it.
"""

import argparse
import os
import re
from collections.abc import Iterator

from msfs_fuse.commands.command import KINDS, Command
from msfs_fuse.commands.output import print_lines
from msfs_fuse.core.names import CONTROL_DIRECTORY, REMOTE_MARK
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import find_mount
from msfs_fuse.programs.room import room_of

# Slots are named by other users: no name is proposed that a shell could take for anything else.
_HARMLESS = re.compile(r"[\w./@+,:=%-]+", re.ASCII)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("word", nargs="?", default="")


def _run(args: argparse.Namespace) -> Exit:
    try:
        match args.kind:
            case "options":
                words = _options(args.word)
            case "hosts":
                words = _hosts(args.word)
            case "rooms":
                words = _rooms(args.word)
            case kind:
                words = _slots(args.word, with_hosts=kind == "targets")
        print_lines(sorted(each for each in set(words) if _HARMLESS.fullmatch(each)))
    except (CommandError, OSError):
        pass  # there is nothing to propose
    return Exit.OK


def _options(word: str) -> Iterator[str]:
    """Mount options, behind those that are there already."""
    from msfs_fuse.config.options import completions

    before, comma, last = word.rpartition(",")
    for each in completions():
        if each.startswith(last):
            yield before + comma + each


def _hosts(word: str) -> Iterator[str]:
    """Hosts and domains, behind the name of a user and an @ that are there already."""
    user, at, start = word.rpartition("@")
    for name in os.listdir(find_mount(None)):
        if name.startswith(REMOTE_MARK + start):
            yield user + at + name.removeprefix(REMOTE_MARK)


def _rooms(word: str) -> Iterator[str]:
    """Rooms of a chat in which somebody of this host is, behind a domain that is there already."""
    domain, slash, start = word.rpartition("/")
    for slot in os.listdir(find_mount(None)):
        room = room_of(slot)
        if room is not None and room.startswith(start):
            yield domain + slash + room


def _slots(word: str, *, with_hosts: bool) -> Iterator[str]:
    """Slots and directories of this host; hosts and domains as well, if wanted."""
    mount = find_mount(None)
    directory, slash, name = word.rpartition("/")
    if with_hosts and not slash:
        mark = REMOTE_MARK if name.startswith(REMOTE_MARK) else ""
        for host in os.listdir(mount):
            if host.startswith(REMOTE_MARK + name.removeprefix(mark)):
                yield f"{mark}{host.removeprefix(REMOTE_MARK)}/"
    if directory.startswith((REMOTE_MARK, "/")) or ".." in directory.split("/"):
        return
    with os.scandir(os.path.join(mount, directory)) as entries:
        for entry in entries:
            if entry.name.startswith(name) and not entry.name.startswith(
                (REMOTE_MARK, CONTROL_DIRECTORY)
            ):
                end = "/" if entry.is_dir(follow_symlinks=False) else ""
                yield f"{directory}{slash}{entry.name}{end}"


COMMAND = Command(_run, _add_arguments)
