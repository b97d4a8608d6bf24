"""The rivals: how each is set up, and how a client reaches it."""

import contextlib
import functools
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lab import HERE, Lab, Missing, Mount, last_line

T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """A broker on a loopback port of its own."""

    port: int
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Wine:
    """A Wine of our own and the mailslot program for it.

    Its server sleeps for good between its turns: Wine's services keep it busy in bursts, which
    would be measured with whatever else has the server core.
    """

    env: dict[str, str]
    program: Path
    process: subprocess.Popen[bytes]

    def client(self, lab: Lab, *words: str) -> str:
        self.process.send_signal(signal.SIGCONT)
        try:
            return lab.client("wine", self.program, *words, env=self.env)
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def end(self, lab: Lab) -> None:
        """SIGTERM to the server would leave Wine's services behind."""
        self.process.send_signal(signal.SIGCONT)
        lab.run(["wineserver", "-k"], env=self.env)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def once(set_up: Callable[["Rivals"], T]) -> Callable[["Rivals"], T]:
    """Set up at the first call. What failed once is not tried again, and fails the same way."""

    @functools.wraps(set_up)
    def cached(self: "Rivals") -> T:
        if set_up.__name__ not in self.had:
            try:
                self.had[set_up.__name__] = set_up(self)
            except Missing as error:
                self.had[set_up.__name__] = error
        had = self.had[set_up.__name__]
        if isinstance(had, Missing):
            raise had
        result: T = had
        return result

    return cached


class Rivals:
    """Everything that the sections run against each other, each set up when first asked for."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.had: dict[str, Any] = {}

    @once
    def client(self) -> Path:
        return self.lab.build("client", "gcc", "-std=gnu11", "client.c", "channel.c", "-lrt")

    @once
    def crowded(self) -> Path:
        flags = ("-std=gnu11", "crowded.c", "channel.c", "-lrt")
        return self.lab.build("crowded", "gcc", *flags)

    @once
    def grow(self) -> Path:
        return self.lab.build("grow", "gcc", "-std=gnu11", "-pthread", "grow.c")

    @once
    def ours(self) -> Mount:
        return self.lab.mount_msfs()

    @once
    def nullfs(self) -> Path:
        self.lab.need("gcc", "pkg-config")
        try:
            self.lab.run(["pkg-config", "--exists", "fuse3"])
        except Missing:
            self.lab.apt("libfuse3-dev")
        flags = self.lab.run(["pkg-config", "--cflags", "--libs", "fuse3"]).split()
        return self.lab.build("nullfs", "gcc", "-std=gnu11", "nullfs.c", *flags)

    @once
    def c_null(self) -> Mount:
        return self.lab.mount("fuse.nullfs", [self.nullfs()])

    @once
    def c_null_busy(self) -> Mount:
        return self.lab.mount("fuse.nullfs", [self.nullfs(), "-b", "50"])

    @once
    def pyfuse3_null(self) -> Mount:
        return self.lab.mount("fuse.nullfs_py", [sys.executable, HERE / "nullfs.py"])

    @once
    def redis(self) -> Server:
        self.lab.need("redis-server", "redis-cli")
        port = free_port()
        settings = {"bind": "127.0.0.1", "port": str(port), "save": "", "appendonly": "no"}
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        directory = self.lab.directory("redis")
        process, _ = self.lab.serve(
            ["redis-server", *words, "--dir", directory], lambda: listening(port)
        )
        return Server(port, process)

    @once
    def mosquitto(self) -> Server:
        self.lab.need("mosquitto", "mosquitto_pub")
        port = free_port()
        config = self.lab.directory("mosquitto") / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "set_tcp_nodelay true\n"
        )
        process, _ = self.lab.serve(["mosquitto", "-c", config], lambda: listening(port))
        return Server(port, process)

    @once
    def wine(self) -> Wine:
        self.lab.need("wine")
        program = self.lab.build("mailslot.exe", "x86_64-w64-mingw32-gcc", "-static", "mailslot.c")
        home = self.lab.directory("wine")
        prefix = home / "prefix"
        prefix.mkdir()
        env = {
            "HOME": str(home),
            "TMPDIR": str(home),
            "WINEPREFIX": str(prefix),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree=;mshtml=;winemenubuilder.exe=;explorer.exe=",
            "DISPLAY": "",
        }
        # Started by hand, because it would else inherit the core of the first client. Where its
        # socket is differs between versions: it is taken to be up when it has lived for a second.
        up = time.monotonic() + 1
        process, log = self.lab.serve(
            ["wineserver", "-f", "-p"], lambda: time.monotonic() > up, env
        )
        wine = Wine(env, program, process)
        self.lab.at_end(lambda: wine.end(self.lab))
        self.lab.run(["wine", "wineboot", "-i"], timeout=180, env=env, core=self.lab.client_core)
        if process.poll() is not None:
            raise Missing(last_line(log.read_text(errors="replace")) or "wineserver has ended")
        process.send_signal(signal.SIGSTOP)
        return wine
