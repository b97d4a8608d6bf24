"""`msfs listen --exec`: a command for each message, one after the other."""

import errno
import os
import signal
import subprocess

from msfs_fuse.commands.listen import SENDER_FACTS, Output, Server
from msfs_fuse.commands.output import complain
from msfs_fuse.commands.stop import StopSignals
from msfs_fuse.errors import CommandError, Stopped
from msfs_fuse.mounts import ENVIRONMENT

_SLOT = "MSFS_SLOT"

# What a fork(2) or pipe(2) lacks may be there again in a moment.
_SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_FIRST_DELAY = 0.1  # seconds
_LONGEST_DELAY = 10.0


class Executor:
    """Runs `sh -c COMMAND` for each message, with the message on its standard input.

    The command gets a process group of its own, so that ^C at the terminal, meant for us, does
    not end it with its message half done.
    """

    def __init__(self, command: str, mount: str, signals: StopSignals) -> None:
        self._command = command
        self._signals = signals
        self._signals.announce = (
            b"msfs: ending when the command has ended (once more: end the command)\n"
        )
        ours = {_SLOT, *map(_variable, SENDER_FACTS)}
        self._environment = {k: v for k, v in os.environ.items() if k not in ours}
        self._environment[ENVIRONMENT] = mount  # for an `msfs send` in the command
        self._failures = 0

    def output(self) -> Output:
        """Messages go to the command."""
        return Output(self.deliver, failures=lambda: self._failures)

    def deliver(self, server: Server, message: bytes) -> None:
        """Run the command to its end. If it fails, say so.

        Raises:
            CommandError: it cannot be run at all.
            Stopped: by a signal, while it could not be started.
        """
        sender = {_variable(name): value for name, value in server.sender().items()}
        environment = {**self._environment, _SLOT: server.name, **sender}
        process = self._start(server, environment)
        self._signals.command = process.pid
        try:
            process.communicate(message)  # not to read it is the command's good right
        finally:
            self._signals.command = None
        if process.returncode:
            self._failures += 1
            complain(f"{server.name}: the command {_describe(process.returncode)}")

    def _start(self, server: Server, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        delay = _FIRST_DELAY
        while True:
            try:
                return subprocess.Popen(
                    ["/bin/sh", "-c", self._command],
                    stdin=subprocess.PIPE,
                    env=environment,
                    process_group=0,
                )
            except OSError as error:
                problem = f"{server.name}: cannot start the command: {error.strerror}"
                if error.errno not in _SHORTAGES:
                    raise CommandError(problem) from None
            complain(f"{problem}; trying again in {delay:g} s")
            self._signals.sleep(delay)
            if self._signals.caught is not None:
                complain(f"{server.name}: one message is lost, its command was never started")
                raise Stopped(self._signals.caught)
            delay = min(2 * delay, _LONGEST_DELAY)


def _variable(fact: str) -> str:
    return f"MSFS_{fact.upper()}"


def _describe(code: int) -> str:
    return f"ended with exit code {code}" if code > 0 else f"died of {signal.Signals(-code).name}"
