"""`--exec` of the commands that serve slots: a command for each message, one after the other."""

import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import Mapping

from msfs_fuse.client import Mailslot
from msfs_fuse.commands.output import complain
from msfs_fuse.commands.serving import SENDER_FACTS, sender_facts
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

    Attributes:
        failures: how many of them went wrong.
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
        self.failures = 0

    def deliver(self, slot: Mailslot, message: bytes, mount: str) -> None:
        """Run the command to its end. If it fails, say so.

        Raises:
            CommandError: it cannot be run at all.
            Stopped: by a signal, while it could not be started.
        """
        self.run(slot.name, message, sender_facts(slot, mount))

    def run(
        self,
        slot: str,
        message: bytes,
        facts: Mapping[str, str],
        *,
        capture: bool = False,
        timeout: float | None = None,
    ) -> bytes | None:
        """Run the command to its end. If it fails, say so.

        Args:
            facts: SENDER_FACTS and others, for its environment.
            capture: take its standard output.
            timeout: seconds, after which its process group is killed; None for no limit.

        Returns:
            What it has printed, if that is captured; None if it failed.

        Raises:
            CommandError: it cannot be run at all.
            Stopped: by a signal, while it could not be started.
        """
        variables = {_variable(name): value for name, value in facts.items()}
        process = self._start(slot, {**self._environment, _SLOT: slot, **variables}, capture)
        self._signals.command = process.pid
        try:
            # Not to read the message is the command's good right.
            printed, _ = process.communicate(message, timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):  # its shell may have ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            self._close(process)
            self.failures += 1
            complain(f"{slot}: the command took more than {timeout:g} s")
            return None
        finally:
            self._signals.command = None
        if process.returncode:
            self.failures += 1
            complain(f"{slot}: the command {describe_end(process.returncode)}")
            return None
        return printed or b""

    def _close(self, process: "subprocess.Popen[bytes]") -> None:
        """Take leave of a command that was killed: what left its group may hold its pipes open."""
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _start(
        self, slot: str, environment: dict[str, str], capture: bool
    ) -> "subprocess.Popen[bytes]":
        delay = _FIRST_DELAY
        while True:
            try:
                return subprocess.Popen(
                    ["/bin/sh", "-c", self._command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if capture else None,
                    env=environment,
                    process_group=0,
                )
            except OSError as error:
                problem = f"{slot}: cannot start the command: {error.strerror}"
                if error.errno not in _SHORTAGES:
                    raise CommandError(problem) from None
            complain(f"{problem}; trying again in {delay:g} s")
            self._signals.sleep(delay)
            if self._signals.caught is not None:
                complain(f"{slot}: one message is lost, its command was never started")
                raise Stopped(self._signals.caught)
            delay = min(2 * delay, _LONGEST_DELAY)


def _variable(fact: str) -> str:
    return f"MSFS_{fact.upper()}"


def describe_end(code: int) -> str:
    """How a command ended that did not end well, by what Popen has for its exit code."""
    return f"ended with exit code {code}" if code > 0 else f"died of {signal.Signals(-code).name}"
