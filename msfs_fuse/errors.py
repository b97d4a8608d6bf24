"""How a command ends when it cannot do what was asked."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every `msfs` command; listed in the help and the man page."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_MOUNT = 3
    NO_SLOT = 4
    TIMEOUT = 5


class CommandError(Exception):
    """One line for the person at the terminal: what is wrong, with which path, and the remedy."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.code = code


class Stopped(Exception):
    """A signal asked the command to end, and it has put down what it had in hand."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
