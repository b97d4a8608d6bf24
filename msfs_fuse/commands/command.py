"""What the module of a command offers: its arguments, its help and its work."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


@dataclass(frozen=True)
class Command:
    """A command of `msfs`. Its module has it as `COMMAND`; its name and summary are in `main`.

    Attributes:
        run: does the work with the parsed arguments, and returns the exit code.
        add_arguments: declares the command's own arguments.
        epilog: what the help says below the arguments.
        uses_mount: it takes `--mount DIR`, and finds None or DIR in `args.mount`.
        json: it takes `--json`, and finds a bool in `args.json`.
    """

    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    epilog: str = ""
    uses_mount: bool = False
    json: bool = False


# What `msfs complete` knows words of.
KINDS = ("slots", "targets", "hosts", "rooms", "options")

_BASH = """
_msfs_complete_{kind}() {{
    msfs complete {kind} -- "$1" 2>/dev/null
}}
"""

_ZSH = """
_msfs_complete_{kind}() {{
    local -a found
    found=(${{(f)"$(msfs complete {kind} -- "$PREFIX" 2>/dev/null)"}})
    compadd -S '' -a found
}}
"""


def completed(action: argparse.Action, kind: str) -> None:
    """Have the shells complete an argument by `msfs complete KIND`.

    shtab, which makes the completions, looks for this attribute of an argument.
    """
    vars(action)["complete"] = {
        "bash": f"_msfs_complete_{kind}",
        "zsh": f"_msfs_complete_{kind}",
        "fish": f"(msfs complete {kind} -- (commandline -ct) 2>/dev/null)",
        "preamble": {"bash": _BASH.format(kind=kind), "zsh": _ZSH.format(kind=kind)},
    }


def directory(action: argparse.Action) -> None:
    """Have the shells complete an argument by directories."""
    vars(action)["complete"] = {
        "bash": "_shtab_compgen_dirs",
        "zsh": "_files -/",
        "fish": "(__fish_complete_directories)",
    }
