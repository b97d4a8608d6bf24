"""The place where everything runs: two cores, a temporary directory, and what must end with it."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "gcc": ("gcc", "libc6-dev"),
    "pkg-config": ("pkg-config",),
    "x86_64-w64-mingw32-gcc": ("gcc-mingw-w64-x86-64",),
    "wine": ("wine", "wine64"),
    "redis-server": ("redis-server",),
    "redis-cli": ("redis-tools",),
    "mosquitto": ("mosquitto",),
    "mosquitto_pub": ("mosquitto-clients",),
    "mosquitto_sub": ("mosquitto-clients",),
    "ip": ("iproute2",),
    "nsenter": ("util-linux",),
    "nmbd": ("samba",),
    "nmblookup": ("samba-common-bin",),
}
# High enough that no limit is what growth measures.
LIMITS = {
    "max_message_size": 65536,
    "max_messages": 2_000_000,
    "max_total_messages": 2_000_000,
    "max_slot_bytes": 4 << 30,
    "max_bytes": 4 << 30,
    "max_slots_per_user": 200_000,
    "max_waiting": 20_000,
}


Command = Sequence[str | Path]


class Missing(Exception):
    """Something that cannot be had or did not work; the message says why."""


@dataclass(frozen=True)
class Mount:
    """A mounted file system and the process that serves it."""

    path: Path
    process: subprocess.Popen[bytes]
    log: Path

    def memory(self) -> int:
        """Resident bytes of the process that serves."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise Missing("the server has died")


@dataclass(frozen=True)
class Dialogue:
    """A process that talks in lines."""

    process: subprocess.Popen[str]
    timeout: float

    def hear(self) -> str:
        """The next line; it must be the only one that has been printed."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], self.timeout)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise Missing(f"no answer within {self.timeout:.0f} s" if not ready else "it has ended")
        return line

    def say(self) -> None:
        """Go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


def abandon(process: subprocess.Popen[Any]) -> None:
    """Kill with all children, and do not wait long: a broken mount may hold it in D state."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2)


def mounted(path: Path, kind: str | None = None) -> bool:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return any(m[1] == str(path) and kind in (None, m[2]) for m in lines)


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server by its pid; patience first, because a file system has to unmount."""
    for end in (process.terminate, process.kill):
        if process.poll() is not None:
            return
        end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


class Lab:
    """Runs clients on one core and servers on another, and ends them all on exit."""

    def __init__(self, msfs: Path, install: bool) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.client_core: int | None = cores[0]
        self.server_core: int | None = cores[min(1, len(cores) - 1)]
        self.install = install
        self.msfs = msfs
        os.environ["PATH"] += ":/usr/sbin:/sbin"  # mosquitto's place, not on every user's path
        self._ends = contextlib.ExitStack()
        self._updated = False
        self._numbers = iter(range(1_000_000))
        self._servers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.tmp = Path(tempfile.mkdtemp(prefix="msfs-bench-"))
        self.tmp.chmod(0o711)  # other users have to reach the mounts
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends.close()
        if str(self.tmp) not in Path("/proc/self/mounts").read_text():
            shutil.rmtree(self.tmp, ignore_errors=True)

    def directory(self, name: str) -> Path:
        path = self.tmp / f"{name}-{next(self._numbers)}"
        path.mkdir()
        return path

    def at_end(self, call: Callable[[], object]) -> None:
        """Before what was started earlier is stopped."""

        def quietly() -> None:
            with contextlib.suppress(Missing):
                call()

        self._ends.callback(quietly)

    @contextlib.contextmanager
    def placed(self, clients: int | None, servers: int | None) -> Iterator[None]:
        """Run clients and servers on these cores for a while; None is any.

        Servers that run already move there.
        """
        before = self.client_core, self.server_core
        self.client_core = clients
        self._move_servers(servers)
        try:
            yield
        finally:
            self.client_core = before[0]
            self._move_servers(before[1])

    def _move_servers(self, core: int | None) -> None:
        self.server_core = core
        cores = os.sched_getaffinity(0) if core is None else {core}
        self._servers = [server for server in self._servers if server.poll() is None]
        for server in self._servers:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ends just now
                for thread in os.listdir(f"/proc/{server.pid}/task"):
                    os.sched_setaffinity(int(thread), cores)

    # What rivals need

    def need(self, *programs: str) -> None:
        """Have these programs, by apt-get if they are not here yet."""
        for program in programs:
            if not shutil.which(program):
                self.apt(*PACKAGES[program])
            if not shutil.which(program):
                raise Missing(f"{program} is not installed")

    def apt(self, *packages: str) -> None:
        if not self.install:
            raise Missing(f"not installed: {' '.join(packages)}")
        apt = ["apt-get", "-qq", "-o=DPkg::Lock::Timeout=60"]
        if os.geteuid() != 0:
            apt = ["sudo", "-n", *apt]
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        with contextlib.suppress(Missing):
            if not self._updated:
                self.run([*apt, "update"], timeout=180, env=env)
        self._updated = True
        command = [*apt, "install", "-y", "--no-install-recommends", *packages]
        try:
            self.run(command, timeout=600, env=env)
        except Missing as error:
            raise Missing(f"apt-get install {' '.join(packages)}: {error}") from None

    def build(self, name: str, *command: str) -> Path:
        """Compile once; `command` is the compiler, its flags and sources, without -o."""
        built = self.tmp / name
        if not built.exists():
            self.need(command[0])
            flags = ("-O2", "-Wall", "-Wextra", "-o", str(built))
            self.run([command[0], *flags, *command[1:]], cwd=HERE)
        return built

    # Processes

    def run(
        self,
        command: Command,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        core: int | None = None,
    ) -> str:
        """Run to the end and return stdout. A failure, or no end in time, is Missing."""
        # Files, not pipes: Wine's services inherit them and stay, and a pipe would never end.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            try:
                process = subprocess.Popen(
                    self._pinned(command, core),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env={**os.environ, **(env or {})},
                    cwd=cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise Missing(str(error)) from None
            self._wait(process, timeout, Path(command[0]).name)
            for file in (out, err):
                file.seek(0)
            text = out.read()
            if process.returncode != 0:
                said = last_line(err.read()) or last_line(text)
                raise Missing(said or f"{command[0]}: exit {process.returncode}")
            return text

    def client(
        self, *command: str | Path, timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> str:
        return self.run(command, timeout, env, core=self.client_core)

    @contextlib.contextmanager
    def dialogue(self, command: Command, timeout: float) -> Iterator["Dialogue"]:
        """A client that is told by a line on stdin to go on; it gets `timeout` to end."""
        with tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                self._pinned(command, self.client_core),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                start_new_session=True,
            )
            try:
                yield Dialogue(process, timeout)
                assert process.stdin is not None
                process.stdin.close()
                self._wait(process, timeout, Path(command[0]).name)
            except Missing as error:
                err.seek(0)
                raise Missing(last_line(err.read()) or str(error)) from None
            finally:
                if process.poll() is None:
                    abandon(process)

    @contextlib.contextmanager
    def background(self, command: Command) -> Iterator[None]:
        """A client that goes on until it is ended."""
        process = subprocess.Popen(
            self._pinned(command, self.client_core),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            abandon(process)

    def _wait(self, process: subprocess.Popen[Any], timeout: float, name: str) -> None:
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Missing(f"{name}: no end within {timeout:.0f} s") from None
        finally:
            if process.returncode is None:
                abandon(process)

    def serve(
        self,
        command: Command,
        ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
        clean: Callable[[], None] = lambda: None,
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a server on the server core, wait until it is ready, stop it on exit."""
        log = self.tmp / f"log-{next(self._numbers)}"
        with log.open("wb") as out:
            try:
                process = subprocess.Popen(
                    self._pinned(command, self.server_core),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**os.environ, **(env or {})},
                    start_new_session=True,  # Ctrl-C is for us: clients end before servers
                )
            except OSError as error:
                raise Missing(str(error)) from None
        self._servers.append(process)
        self.at_end(clean)
        self._ends.callback(stop, process)
        for _ in range(200):
            if process.poll() is not None:
                break
            if ready():
                return process, log
            time.sleep(0.1)
        stop(process)
        raise Missing(last_line(log.read_text(errors="replace")) or "the server did not start")

    def _pinned(self, command: Command, core: int | None) -> list[str]:
        words = [str(word) for word in command]
        return words if core is None else ["taskset", "-c", str(core), *words]

    # Mounts

    def mount(self, kind: str, command: Command) -> Mount:
        """Run `command DIR`, which serves a file system in the foreground."""
        path = self.directory("mnt")

        def ready() -> bool:
            if not mounted(path, kind):
                return False
            self.run(["stat", path], timeout=5)
            return True

        def clean() -> None:
            if mounted(path):
                self.run(["fusermount3", "-uz", path], timeout=10)

        process, log = self.serve([*command, path], ready, clean=clean)
        return Mount(path, process, log)

    def msfs_command(self, *flags: str, **settings: int) -> list[str | Path]:
        named = {**LIMITS, **settings}
        options = ",".join(f"{name}={value}" for name, value in named.items())
        return [self.msfs, "mount", "-f", *flags, "-o", options]

    def mount_msfs(self, **settings: int) -> Mount:
        return self.mount("fuse.msfs", self.msfs_command(**settings))

    @contextlib.contextmanager
    def fresh(self, kind: str, command: Command) -> Iterator[Mount]:
        """A mount of its own, for as long as one measurement takes."""
        mount = self.mount(kind, command)
        try:
            yield mount
        finally:
            stop(mount.process)
            if mounted(mount.path):
                self.run(["fusermount3", "-uz", mount.path], timeout=10)

    def fresh_msfs(self, *flags: str) -> contextlib.AbstractContextManager[Mount]:
        return self.fresh("fuse.msfs", self.msfs_command(*flags))
