"""What a check of `msfs doctor` found."""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        check: what, for programs.
        message: what was found, and the remedy.
    """

    check: str
    state: State
    message: str
