"""Rivals against each other, in turns: the sections write, pingpong, shell and idle."""

import contextlib
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from lab import HERE, Command, Lab, Missing, Mount
from report import Table, verdict
from rivals import Rivals, Server


class Stats(TypedDict):
    """What a client says about its samples, in microseconds."""

    n: int
    min: float
    median: float
    p99: float
    mean: float


Sample = dict[str, Stats]
Runner = Callable[[], Sample]
Contender = tuple[str, float | None, Callable[[], Runner]]  # name, goal, how to set it up

OURS = "msfs"
COLUMNS = ("rival", "median", "p99", "min", "mean", "msfs/it", "goal", "verdict")
SIZE = "64"


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def interleave(contenders: list[Contender], rounds: int) -> dict[str, list[Sample] | Missing]:
    """Set all up, then let them take turns. Who fails drops out, with the reason."""
    results: dict[str, list[Sample] | Missing] = {}
    runners: dict[str, Runner] = {}
    for name, _, set_up in contenders:
        results[name] = []
        try:
            runners[name] = set_up()
        except Missing as error:
            results[name] = error
            tell(f"  {name}: {error}")
    for turn in range(rounds):
        tell(f"  round {turn + 1} of {rounds}")
        for name, run in runners.items():
            samples = results[name]
            if isinstance(samples, Missing):
                continue
            try:
                samples.append(run())
            except Missing as error:
                results[name] = error
                tell(f"  {name}: {error}")
    return results


def compare(
    name: str, title: str, key: str, contenders: list[Contender], rounds: int, extra: str = ""
) -> Table:
    """One table: medians over rounds, and each rival's ratio to ours round by round."""
    columns = COLUMNS if not extra else (*COLUMNS[:5], f"{extra}", f"{extra} p99", *COLUMNS[5:])
    table = Table(name, title, columns)
    results = interleave(contenders, rounds)
    table.raw = {n: r for n, r in results.items() if not isinstance(r, Missing)}
    ours = results[OURS]
    for rival, goal, _ in contenders:
        samples = results[rival]
        if isinstance(samples, Missing):
            table.add(rival, f"missing: {samples}")
            continue
        each = [sample[key] for sample in samples]
        middle = [statistics.median(s[k] for s in each) for k in ("median", "p99")]
        row = [*middle, min(s["min"] for s in each), statistics.median(s["mean"] for s in each)]
        if extra:
            more = [sample[extra] for sample in samples]
            row += [statistics.median(s[k] for s in more) for k in ("median", "p99")]
        ratio = None
        if not isinstance(ours, Missing):
            pairs = zip(ours, each, strict=True)
            ratio = statistics.median(own[key]["median"] / its["median"] for own, its in pairs)
        table.add(rival, *row, ratio, goal, verdict(ratio, goal))
    return table


class Sections:
    """The sections that put rivals side by side."""

    def __init__(self, lab: Lab, rivals: Rivals, rounds: int, quick: bool) -> None:
        self.lab, self.rivals, self.rounds, self.quick = lab, rivals, rounds, quick
        self.count = "2000" if quick else "5000"

    def _client(self, *words: str | Path) -> Sample:
        result: Sample = json.loads(self.lab.client(self.rivals.client(), *words))
        return result

    def _channel(self, what: str, kind: str, where: Callable[[], str | Path]) -> Runner:
        place = where()
        return lambda: self._client(what, kind, place, SIZE, self.count)

    def _directory(self) -> Path:
        return self.lab.directory("channel")

    def _null(self, mount: Mount) -> Runner:
        return lambda: self._client("file", mount.path / "null", SIZE, self.count)

    def _wine(self, what: str) -> Runner:
        wine = self.rivals.wine()

        def run() -> Sample:
            result: Sample = json.loads(wine.client(self.lab, what, SIZE, self.count))
            return result

        return run

    def _channels(self, what: str, wine_goal: float | None) -> list[Contender]:
        """Ours, and all that carry messages between two processes."""
        r = self.rivals
        return [
            (OURS, None, lambda: self._channel(what, "slot", lambda: r.ours().path)),
            ("Wine mailslot", wine_goal, lambda: self._wine(what)),
            ("POSIX mqueue", None, lambda: self._channel(what, "mqueue", self._directory)),
            ("FIFO", None, lambda: self._channel(what, "fifo", self._directory)),
            ("Unix datagram", None, lambda: self._channel(what, "dgram", self._directory)),
            ("packet pipe", None, lambda: self._channel(what, "pipe", self._directory)),
            ("redis", None, lambda: self._channel(what, "redis", lambda: str(r.redis().port))),
            (
                "mosquitto, QoS 0",
                None,
                lambda: self._channel(what, "mqtt", lambda: str(r.mosquitto().port)),
            ),
        ]

    def write(self) -> list[Table]:
        r = self.rivals
        ours, *others = self._channels("write", None)
        contenders: list[Contender] = [
            ours,
            ("C null fs", 0.35, lambda: self._null(r.c_null())),
            ("C null fs, busy poll", 0.95, lambda: self._null(r.c_null_busy())),
            ("pyfuse3 null fs", 0.4, lambda: self._null(r.pyfuse3_null())),
            *others,
        ]
        title = "write: 64 bytes on an open handle, µs; nobody waits at the other end"
        table = compare("write", title, "write", contenders, self.rounds)
        table.notes.append(
            "Wine's and mosquitto's writes end when a socket has taken them; redis's is an LPUSH"
            " with its answer."
        )
        return [table]

    def pingpong(self) -> list[Table]:
        apart = self.lab.client_core, self.lab.server_core
        return [
            *self._pingpong("", "", *apart),
            *self._pingpong(" unpinned", "; none is pinned", None, None),
        ]

    def _pingpong(
        self, kind: str, where: str, clients: int | None, servers: int | None
    ) -> list[Table]:
        pair = (
            "pair: one writer process, one waiting reader process, 64 bytes, "
            f"µs a message (from one write to the next){where}"
        )
        pingpong = (
            "pingpong: two processes, both wait for the other's 64-byte message, "
            f"µs a message (half a round trip){where}"
        )
        tell(f"  one way, then two ways{where}")
        with self.lab.placed(clients, servers):
            return [
                compare(name + kind, title, "message", contenders, self.rounds, extra="latency")
                for name, title, contenders in (
                    ("pair", pair, self._channels("pair", 0.6)),
                    ("pingpong", pingpong, self._channels("pingpong", 0.9)),
                )
            ]

    # From a shell

    def _shell(self, command: str, runs: str, setting: str = ":") -> Runner:
        def run() -> Sample:
            script = HERE / "shell.bash"
            times = self.lab.client("bash", script, runs, setting, command).split()
            us = sorted(float(t) for t in times)
            return {
                "run": {
                    "n": len(us),
                    "min": us[0],
                    "median": statistics.median(us),
                    "p99": us[int((len(us) - 1) * 0.99)],
                    "mean": statistics.fmean(us),
                }
            }

        return run

    def shell(self) -> list[Table]:
        few, many = ("100", "500") if self.quick else ("200", "2000")

        def slot() -> Runner:
            path = self.rivals.ours().path / "shell"
            return self._shell(f"echo hi > {path}", many, f"exec 3<>{path}")

        def null() -> Runner:
            return self._shell(f"echo hi > {self.rivals.c_null().path / 'null'}", many)

        def fifo() -> Runner:
            path = self._directory() / "fifo"
            setting = f"rm -f {path} && mkfifo {path} && exec 3<>{path}"
            return self._shell(f"echo hi > {path}", many, setting)

        def mosquitto() -> Runner:
            port = self.rivals.mosquitto().port
            return self._shell(f"mosquitto_pub -h 127.0.0.1 -p {port} -t bench -m hi", few)

        def redis() -> Runner:
            port = self.rivals.redis().port
            return self._shell(f"redis-cli -p {port} lpush bench hi > /dev/null", few)

        contenders: list[Contender] = [
            (OURS, None, slot),
            ("mosquitto_pub", 0.04, mosquitto),
            ("redis-cli lpush", 0.04, redis),
            ("FIFO", None, fifo),
            ("C null fs", None, null),
        ]
        title = "shell: `echo hi > slot` in bash, and what a shell says to the others, µs"
        table = compare("shell", title, "run", contenders, self.rounds)
        table.notes += self._requests()
        return [table]

    def _requests(self) -> list[str]:
        def null() -> contextlib.AbstractContextManager[Mount]:
            return self.lab.fresh("fuse.nullfs", [self.rivals.nullfs(), "-d"])

        def slot() -> contextlib.AbstractContextManager[Mount]:
            return self.lab.fresh_msfs("-d")

        notes = []
        for name, file, set_up in ((OURS, "slot", slot), ("C null fs", "null", null)):
            try:
                with set_up() as mount:
                    found = requests_of_echo(self.lab, mount, file)
                count = f"{len(found)} FUSE requests"
                notes.append(f"one `echo hi > {file}` on {name}: {count}: {' '.join(found)}")
            except Missing as error:
                notes.append(f"FUSE requests on {name}: missing: {error}")
        return notes

    # Idle

    def idle(self) -> list[Table]:
        seconds = 5 if self.quick else 20
        title = f"idle: nothing happens for {seconds} s"
        table = Table("idle", title, ("server", "wake-ups/s", "CPU µs/s", "goal", "verdict"))
        pids: dict[str, int] = {}
        r = self.rivals
        others: dict[str, Callable[[], Server]] = {"redis": r.redis, "mosquitto": r.mosquitto}
        with contextlib.ExitStack() as stack:
            ours = "msfs, 1,000 slots, 100 waiting readers"
            try:
                mount = stack.enter_context(self.lab.fresh_msfs())
                words: Command = [r.grow(), "idle", mount.path, "1000", "100"]
                filled = stack.enter_context(self.lab.dialogue(words, 60))
                filled.hear()
                pids[ours] = mount.process.pid
            except Missing as error:
                table.add(ours, f"missing: {error}")
            for name, server in others.items():
                try:
                    pids[name] = server().process.pid
                except Missing as error:
                    table.add(name, f"missing: {error}")
            time.sleep(3)
            before = {name: activity(pid) for name, pid in pids.items()}
            time.sleep(seconds)
            for name, pid in pids.items():
                wakes, cpu = (b - a for a, b in zip(before[name], activity(pid), strict=True))
                goal = ("0", "met" if wakes == 0 else "NOT MET") if name == ours else ()
                table.add(name, wakes / seconds, cpu / 1000 / seconds, *goal)
            if ours in pids:
                filled.say()
        return [table]


def requests_of_echo(lab: Lab, mount: Mount, file: str) -> list[str]:
    """The FUSE requests of one `echo`, as libfuse prints them in debug mode."""
    # The first echo is not counted: it teaches the kernel what is not implemented.
    script = 'exec 3<>"$1"; echo hi > "$1"; echo; read -r _; echo hi > "$1"; echo; read -r _'
    if file == "null":
        script = script.replace("3<>", "3>>")  # it cannot be read
    with lab.dialogue(["bash", "-c", script, "bash", mount.path / file], 10) as shell:
        shell.hear()
        time.sleep(0.5)  # RELEASE comes after close has returned
        before = mount.log.stat().st_size
        shell.say()
        shell.hear()
        time.sleep(0.5)
        with mount.log.open("rb") as log:
            log.seek(before)
            found = re.findall(r"opcode: (\w+) \(", log.read().decode(errors="replace"))
        shell.say()
    if not found:
        raise Missing("no requests in the debug output")
    return found


def activity(pid: int) -> tuple[int, int]:
    """How often all threads of a process have been switched to, and their CPU nanoseconds."""
    switches = nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = (task / "status").read_text()
        switches += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", status))
        nanoseconds += int((task / "schedstat").read_text().split()[0])
    return switches, nanoseconds
