"""A terminal that a test types into and looks at: tmux, with a server of its own."""

import os
import shlex
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import wait_until


class Terminal:
    """One screen of 100 columns and 24 lines."""

    def __init__(self, directory: Path, name: str = "terminal") -> None:
        self._socket = directory / f"{name}.tmux"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "24", "sh")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tmux("kill-server")

    def run(self, *command: str) -> None:
        """Have a shell there run a command, and say its exit code."""
        self.type(f"clear; {shlex.join(command)}; echo exit=$?")
        self.press("Enter")

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def press(self, key: str) -> None:
        """Press a key by tmux's name: Enter, C-c, Up."""
        self._tmux("send-keys", key)

    def screen(self) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p")

    def shows(self, text: str) -> None:
        """Wait until the screen shows a text."""
        try:
            wait_until(lambda: text in self.screen())
        except AssertionError:
            raise AssertionError(f"{text!r} is not on the screen:\n{self.screen()}") from None

    def ends(self, code: int) -> None:
        """Wait until the command has ended, with that exit code."""
        self.shows(f"exit={code}")

    def _tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self._socket), *words],
            env={**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"},
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
