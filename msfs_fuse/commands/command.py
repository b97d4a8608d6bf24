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
