"""What /proc tells of a thread that asks, also before it has gone to sleep."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

from msfs_fuse.fuse import interpose
from msfs_fuse.fuse.procfs import SystemCalls, groups_of, process_of, umask_of

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


def test_the_process_of_a_thread() -> None:
    read_end, write_end = os.pipe()
    thread = threading.Thread(target=os.read, args=(read_end, 1))
    thread.start()
    try:
        assert thread.native_id is not None
        assert thread.native_id != os.getpid()
        assert process_of(thread.native_id) == process_of(os.getpid()) == os.getpid()
    finally:
        os.write(write_end, b"x")
        thread.join()
        os.close(read_end)
        os.close(write_end)
    assert process_of(0) == 0


def test_groups_and_umask_of_a_process() -> None:
    before = os.umask(0o027)
    try:
        assert umask_of(os.getpid()) == 0o027
    finally:
        os.umask(before)
    assert groups_of(os.getpid()) == set(os.getgroups())
    assert (umask_of(0), groups_of(0)) == (0o077, set())
