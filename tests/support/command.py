"""The `msfs` commands as users run them: as processes of their own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from subprocess import DEVNULL
from typing import IO, Any

from tests.conftest import Mount
from tests.support.processes import wait_until

MSFS = (sys.executable, "-m", "msfs_fuse")
TIMEOUT = 60.0

Result = subprocess.CompletedProcess[str]


def msfs(mount: Mount, *arguments: object, **named: Any) -> Result:
    """Run an `msfs` command that uses `mount` to its end."""
    return subprocess.run(
        [*MSFS, *map(str, arguments)],
        env={**os.environ, "MSFS_MOUNT": str(mount.path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        **named,
    )


def refusal(result: Result) -> str:
    """What a command that failed has to say: one line on stderr, nothing else."""
    assert result.returncode != 0
    assert result.stdout == ""
    assert result.stderr.startswith("msfs")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removesuffix("\n")


def listening(
    mount: Mount, *arguments: object, slots: tuple[str, ...] = ("a",), **named: Any
) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
    """`msfs listen` at work on `slots`, with what else it is told. Killed at the end."""
    return serving(mount, slots, "listen", *slots, *arguments, **named)


@contextlib.contextmanager
def serving(
    mount: Mount, slots: tuple[str, ...], *words: object, **named: Any
) -> Iterator["subprocess.Popen[Any]"]:
    """An `msfs` command that serves slots, at work. Killed at the end.

    Args:
        slots: those that it serves.
        words: its name, and what else it is told.
        named: for Popen.
    """
    environment = {**os.environ, "MSFS_MOUNT": str(mount.path), **named.pop("env", {})}
    process = subprocess.Popen(
        [*MSFS, *map(str, words)],
        env=environment,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **named},
    )
    with process:
        try:
            wait_until(lambda: process.poll() is not None or serves(mount, process.pid, slots))
            yield process
        finally:
            process.kill()


def in_background(mount: Mount, *words: object, stdout: int | IO[bytes] = DEVNULL) -> None:
    """Run an `msfs` command with -b: it has no pipe, which what goes on would keep open."""
    environment = {**os.environ, "MSFS_MOUNT": str(mount.path)}
    command = [*MSFS, *map(str, words), "-b"]
    subprocess.run(command, env=environment, stdout=stdout, check=True, timeout=TIMEOUT)


def serves(mount: Mount, pid: int, slots: tuple[str, ...]) -> bool:
    """Whether a process has all the slots open."""
    directory = f"/proc/{pid}/fd"
    targets = set()
    for descriptor in os.listdir(directory):
        with contextlib.suppress(OSError):
            targets.add(os.readlink(f"{directory}/{descriptor}"))
    return {str(mount / slot) for slot in slots} <= targets


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, str, str]:
    """Wait for a process to end by itself: exit code, output, complaints."""
    output, complaints = process.communicate(timeout=TIMEOUT)
    return process.returncode, (output or b"").decode(), (complaints or b"").decode()


def write(mount: Mount, slot: str, *messages: bytes) -> int:
    """Write messages from here; returns the handle, which keeps the slot alive."""
    handle = os.open(mount / slot, os.O_WRONLY | os.O_CREAT)
    for message in messages:
        os.write(handle, message)
    return handle


def take(mount: Mount, slot: str) -> list[bytes]:
    """Serve a slot from here for a moment: what was queued in it."""
    server = os.open(mount / slot, os.O_RDONLY | os.O_NONBLOCK)
    messages = []
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(os.read(server, 1 << 20))
    os.close(server)
    return messages


def only_with_mounts(*mounts: Mount) -> tuple[str, ...]:
    """A prefix that runs a command where no other mailslots are mounted. Root only."""
    script = """
    findmnt -rno TARGET -t fuse.msfs | while read -r path; do
        case " $KEEP " in *" $path "*) ;; *) umount -i -l "$path" ;; esac
    done
    exec "$@"
    """
    keep = " ".join(str(mount.path) for mount in mounts)
    return ("unshare", "--mount", "env", f"KEEP={keep}", "sh", "-c", script, "sh")
