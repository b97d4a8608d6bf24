"""A terminal that a test types into and looks at: tmux, with a server of its own."""

import contextlib
import os
import shlex
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import wait_until


class Terminal:
    """One screen with a shell in it, in a server of its own."""

    def __init__(
        self, directory: Path, name: str = "terminal", *, columns: int = 100, lines: int = 24
    ) -> None:
        self._socket = directory / f"{name}.tmux"
        size = ("-x", str(columns), "-y", str(lines))
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, "PS1='> ' exec sh")
        self.shows(">")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):  # its shell may have ended
            self.tmux("kill-server")

    def run(self, *command: str) -> None:
        """Have a shell there run a command, and say its exit code."""
        self.type(f"clear; {shlex.join(command)}; echo exit=$?")
        self.press("Enter")

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names, Enter, C-c, Up; what is no name is typed."""
        self.tmux("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        self.tmux("resize-window", "-x", str(columns), "-y", str(lines))

    @property
    def screen(self) -> str:
        """What is on the screen."""
        return self.tmux("capture-pane", "-p")

    def shows(self, *texts: str) -> None:
        """Wait until the screen shows all these texts."""
        try:
            wait_until(lambda: all(text in self.screen for text in texts))
        except AssertionError:
            raise AssertionError(f"{texts} are not on the screen:\n{self.screen}") from None

    def ends(self, code: int) -> None:
        """Wait until the command has ended, with that exit code."""
        self.shows(f"exit={code}")

    def tmux(self, *words: str) -> str:
        """What tmux prints when it is told so."""
        return subprocess.run(
            ["tmux", "-S", str(self._socket), *words],
            env={**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
