"""Other processes for tests: what they do to a mount can hang or be killed without us."""

import contextlib
import errno
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Two users that have nothing to do with each other or with root.
ALICE = 2001
BOB = 2002

TIMEOUT = 60.0

# How a server opens its slot.
SERVER = os.O_RDWR | os.O_CREAT


def _as_user(uid: int | None) -> dict[str, Any]:
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


Popen = subprocess.Popen[str]


@contextlib.contextmanager
def started(code: str, *arguments: object, uid: int | None = None, **named: Any) -> Iterator[Popen]:
    """Python code at work, perhaps as another user, with `arguments` in sys.argv[1:].

    `os`, `sys`, `time` and `errno` are imported. It is killed at the end if it still runs.
    """
    source = "import errno, os, sys, time\n" + textwrap.dedent(code)
    process = subprocess.Popen(
        ["/usr/bin/python3", "-c", source, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **_as_user(uid),
        **named,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def output_of(process: Popen) -> str:
    """Wait for the end of a process; what it printed, without the last newline."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    output = process.stdout.read()  # not communicate(): line_of() may have read ahead
    assert process.wait(TIMEOUT) == 0, output
    return output.rstrip("\n")


def line_of(process: Popen) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


# Writes and reads a slot of its own for ever.
MESSAGES = """
server = os.open(f"{sys.argv[1]}/flood{os.getpid()}", os.O_RDWR | os.O_CREAT)
print("ready", flush=True)
while True:
    os.write(server, b"x")
    os.read(server, 1)
"""


@contextlib.contextmanager
def busy(mount: Path, code: str = MESSAGES, processes: int = 4) -> Iterator[None]:
    """More requests at any time than the daemon can answer."""
    with contextlib.ExitStack() as stack:
        for _ in range(processes):
            assert line_of(stack.enter_context(started(code, mount))) == "ready"
        yield


def run(code: str, *arguments: object, uid: int | None = None, **named: Any) -> str:
    """Run Python code to its end and return what it printed, without the last newline."""
    with started(code, *arguments, uid=uid, **named) as process:
        return output_of(process)


def shell(
    script: str, *arguments: object, program: str = "bash", uid: int | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a shell script with `arguments` as $1, $2, …"""
    return subprocess.run(
        [program, "-c", script, program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        **_as_user(uid),
    )


def msfs(*arguments: object, uid: int | None = None) -> "subprocess.CompletedProcess[str]":
    """Run an `msfs` command."""
    return subprocess.run(
        [sys.executable, "-m", "msfs_fuse", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        **_as_user(uid),
    )


def wait_until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait for something that another process brings about."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


def state_of(pid: int) -> str:
    """The state of a process as in ps(1): R, S, D, Z."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or dead and waiting for a parent that may never ask for it.

    The first process of a container is often no init, and reaps no orphans.
    """
    try:
        return state_of(pid) == "Z"
    except OSError:
        return True


def is_root() -> bool:
    return os.geteuid() == 0


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor of this process."""
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def refused(code: int) -> Iterator[None]:
    """An error of exactly this code comes out."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  (the code is checked below)
        yield
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[code]
