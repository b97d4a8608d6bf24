"""Processes with hosts that are simulated, crowd.py, as the sections talk with them."""

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

from hosts import Members
from lab import HERE, Command, Lab, Missing


class Crowd:
    """One process, until the end of the stack.

    Args:
        inside: what to put before a command to run it in another network namespace.
        first, count: host FIRST and those after it.
        url, presence: see crowd.py.
    """

    def __init__(
        self,
        lab: Lab,
        stack: contextlib.ExitStack,
        inside: Command,
        first: int,
        count: int,
        url: str,
        members: Members,
        presence: str,
    ) -> None:
        command = [*inside, sys.executable, HERE / "crowd.py", "host", str(first), str(count)]
        command += [url, members.made, presence]
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        )
        stack.enter_context(self._process)
        stack.callback(self._process.kill)

    def tell(self, words: str) -> None:
        """One command."""
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """One answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Missing("a process with hosts has ended")
        facts: dict[str, Any] = json.loads(line)
        return facts

    def ask(self, words: str) -> dict[str, Any]:
        """A command, and its answer."""
        self.tell(words)
        return self.hear()
