"""What /proc tells of a thread that asks, also before it has gone to sleep."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from msfs_fuse.fuse import interpose
from msfs_fuse.fuse.procfs import SystemCalls

# Busy for so many seconds, then in read(2).
BUSY = """
import os, sys, time
end = time.monotonic() + float(sys.argv[1])
print(flush=True)
while time.monotonic() < end:
    pass
os.read(0, 1)
"""


@contextlib.contextmanager
def busy(seconds: float) -> Iterator[int]:
    """A process that is busy for that long. Gives its pid."""
    command = [sys.executable, "-c", BUSY, str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


def test_a_thread_that_runs_is_waited_for() -> None:
    """A writer can be preempted between its request and its sleep: it is asked again."""

    def is_seen() -> bool:
        calls = SystemCalls()
        with busy(0.002) as pid:
            return len(calls.of(pid)) > 6

    assert any(is_seen() for _ in range(100))  # on a busy machine it may not run in time


def test_a_thread_that_goes_on_running_costs_little() -> None:
    """Nobody stops the daemon by running while it looks: its patience comes back slowly."""
    calls = SystemCalls()
    with busy(60) as pid:
        for _ in range(200):
            assert calls.of(pid) == [b"running"]
    assert calls.waited < 0.1


def test_nothing_is_seen_of_a_thread_that_has_ended() -> None:
    """Its file is still open, and shows no other thread. Nor is there a thread 0."""
    calls = SystemCalls()
    with busy(0) as pid:
        while calls.of(pid) == [b"running"]:
            pass
        assert interpose.system_call(pid)
    assert interpose.system_call(pid) == interpose.system_call(0) == b""


def test_as_many_threads_as_there_are_can_be_looked_at() -> None:
    """Of those that share a place in the table each is seen, and few files stay open."""
    with contextlib.ExitStack() as stack:
        command = ["sleep", "60"]
        sleepers = [stack.enter_context(subprocess.Popen(command)) for _ in range(80)]
        for process in sleepers:
            stack.callback(process.kill)
        calls = SystemCalls()
        for _ in range(2):
            for process in sleepers:
                while (call := calls.of(process.pid)) == [b"running"]:
                    pass
                assert len(call) > 6, call
        assert len(os.listdir("/proc/self/fd")) < 64 + 40
