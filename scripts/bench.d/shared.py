"""What a message costs everybody: one core for all, many pairs, and one user beside others."""

import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab import Lab, Missing, Mount
from report import Table, verdict
from rivals import Rivals
from sections import OURS, Contender, Sample, interleave, tell

PAIRS = 16
SIZES = (64, 255, 256, 4096, 16384, 65536)
WAITING = 16_000
# Others than who is measured, where that can be: another user, whose share is another.
NEIGHBOUR = (
    ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"] if os.geteuid() == 0 else []
)
LIST_LIMIT = 10.0
BESIDE_LIMIT = 3.0
ASLEEP = f"{OURS}, busy_poll=0"
NULL = "C null fs"


class Shared:
    """The sections in which clients and servers share their cores."""

    def __init__(self, lab: Lab, rivals: Rivals, rounds: int, quick: bool) -> None:
        self.lab, self.rivals, self.rounds = lab, rivals, rounds
        self.count = "5000" if quick else "20000"
        self.slots = 10_000 if quick else 100_000

    def _null(self) -> Mount:
        return self.lab.mount("fuse.nullfs", [self.rivals.nullfs()])

    def _write(self, mount: Mount, size: int | str, count: str) -> Sample:
        kind = ("file", mount.path / "null") if (mount.path / "null").exists() else None
        words = kind or ("write", "slot", mount.path)
        out = self.lab.client(self.rivals.client(), *words, str(size), count)
        sample: Sample = json.loads(out)
        return sample

    def core(self) -> list[Table]:
        """The headline."""
        with self.lab.placed(self.lab.client_core, self.lab.client_core):
            return [self._core()]

    def _core(self) -> Table:
        def against(set_up: Callable[[], Mount]) -> Callable[[], Callable[[], Sample]]:
            def contender() -> Callable[[], Sample]:
                mount = set_up()
                return lambda: self._write(mount, 64, self.count)

            return contender

        contenders: list[Contender] = [
            (NULL, None, against(self._null)),
            (OURS, 1.2, against(self.lab.mount_msfs)),
            (ASLEEP, 1.2, against(lambda: self.lab.mount_msfs(busy_poll=0))),
        ]
        title = "core: 64 bytes on an open handle, µs; all clients and servers on one core"
        columns = ("rival", "median", "p99", "min", "mean", "it/C null", "means", "goal", "verdict")
        table = Table("core", title, columns)
        results = interleave(contenders, self.rounds)
        null = results[NULL]
        for name, goal, _ in contenders:
            samples = results[name]
            if isinstance(samples, Missing) or isinstance(null, Missing):
                table.add(name, f"missing: {samples if isinstance(samples, Missing) else null}")
                continue
            each = [sample["write"] for sample in samples]
            row = [statistics.median(s[k] for s in each) for k in ("median", "p99", "min", "mean")]
            ratio, means = (
                statistics.median(s[k] / n["write"][k] for s, n in zip(each, null, strict=True))
                for k in ("median", "mean")
            )
            table.add(name, *row, ratio, means, goal, verdict(ratio, goal))
        return table

    def saturated(self) -> list[Table]:
        """More clients than cores: how many messages a daemon can carry.

        Unpinned, C null loses much by waking its writers on other cores, or not, as it comes. So
        the same is measured with all of them on one core, where its figure is steady.
        """
        core = self.lab.client_core
        return [
            self._saturated("saturated", "none is pinned", None),
            self._saturated("saturated on one core", "all on one core", core),
        ]

    def _saturated(self, name: str, where: str, core: int | None) -> Table:
        r, count = self.rivals, "500" if self.rounds < 4 else "2000"

        def crowded(*words: str | Path) -> Callable[[], Sample]:
            return lambda: json.loads(self.lab.client(r.crowded(), *words, timeout=120))

        def pairs(kind: str, where: str | Path) -> Callable[[], Sample]:
            return crowded("pairs", kind, where, "64", count, str(PAIRS))

        contenders: list[Contender] = [
            (OURS, None, lambda: pairs("slot", self.lab.mount_msfs().path)),
            (
                f"{NULL}, {PAIRS} writers",
                0.9,
                lambda: crowded("writes", self._null().path / "null", "64", count, str(PAIRS)),
            ),
            ("redis LPUSH, BRPOP", 2.5, lambda: pairs("redis", str(r.redis().port))),
        ]
        title = f"saturated: {PAIRS} slots, each a writer and a reader, 64 bytes; {where}"
        columns = ("rival", "µs a message", "messages/s", "msfs/it", "goal", "verdict")
        table = Table(name, title, columns)
        with self.lab.placed(core, core):
            results = interleave(contenders, self.rounds)
        ours = results[OURS]
        for rival, goal, _ in contenders:
            samples = results[rival]
            if isinstance(samples, Missing):
                table.add(rival, f"missing: {samples}")
                continue
            cost = statistics.median(s["message"]["median"] for s in samples)
            speed = None
            if not isinstance(ours, Missing):
                both = zip(ours, samples, strict=True)
                speed = statistics.median(
                    its["message"]["median"] / own["message"]["median"] for own, its in both
                )
            met = None if goal is None or speed is None else speed >= goal
            table.add(
                rival, cost, 1e6 / cost, speed, goal, {True: "met", False: "NOT MET"}.get(met)
            )
        table.notes.append("msfs/it: of the messages a second; more is better.")
        return table

    # One user beside others

    @contextlib.contextmanager
    def _others(self, mount: Mount, what: str, processes: int) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for _ in range(processes):
                command = ["timeout", "120", self.rivals.crowded(), what, mount.path]
                stack.enter_context(self.lab.background([*NEIGHBOUR, *command]))
            time.sleep(0.3)
            yield

    @contextlib.contextmanager
    def _held(self, *words: str | Path) -> Iterator[None]:
        """With something that is made once and held."""
        with self.lab.dialogue([*words], 120) as holder:
            holder.hear()
            yield
            holder.say()

    def fairness(self) -> list[Table]:
        """What one user's write and read takes while another uses the same mount."""
        title = "fairness: one user's write and read, µs; none is pinned"
        columns = ("beside", "median", "p99", "times idle", "p99, times", "goal", "verdict")
        table = Table("fairness", title, columns)
        found: dict[str, list[tuple[float, float]]] = {}
        # As it is mounted for all: with the limits that a mount has unless told otherwise.
        ours = self.lab.fresh("fuse.msfs", [self.lab.msfs, "mount", "-f", "-o", "allow_other"])
        with self.lab.placed(None, None), ours as mount:
            program = self.rivals.crowded()
            with self.lab.dialogue([program, "beside", mount.path, "300"], 60) as user:

                def ask(name: str, what: str = "", processes: int = 0) -> None:
                    with self._others(mount, what, processes):
                        user.say()
                        sample: Sample = json.loads(user.hear())
                    both = sample["both"]
                    found.setdefault(name, []).append((both["median"], both["p99"]))

                waiting = [*NEIGHBOUR, program, "wait", mount.path, str(WAITING)]
                for turn in range(self.rounds):
                    tell(f"  round {turn + 1} of {self.rounds}")
                    ask("nobody")
                    ask("1 flood", "flood", 1)
                    ask("8 floods", "flood", 8)
                    with self._held(*waiting):
                        ask(f"{WAITING:,} waiting reads")
                    with self._held(*NEIGHBOUR, program, "bytes", mount.path):
                        ask("as many bytes as one may have")
                with self._held(program, "fill", mount.path, str(self.slots)):
                    for _ in range(self.rounds):
                        ask(f"{self.slots:,} slots")
                        ask(f"{self.slots:,} slots, 1 long list", "long", 1)
                        ask(f"{self.slots:,} slots, 4 opendir loops", "list", 4)
        idle = found["nobody"]
        for name, samples in found.items():
            middle = [statistics.median(s[k] for s in samples) for k in (0, 1)]
            ratio, tail = (
                statistics.median(s[k] / i[k] for s, i in zip(samples, idle, strict=True))
                for k in (0, 1)
            )
            goal = BESIDE_LIMIT if name != "nobody" else None
            table.add(name, *middle, ratio, tail, goal, verdict(ratio, goal))
        return [table]

    def sizes(self) -> list[Table]:
        """What a message costs by its size."""
        title = "sizes: a write by the message's size in bytes, µs; all on one core"
        table = Table("sizes", title, ("size", OURS, NULL, "ratio", "goal", "verdict"))
        with self.lab.placed(self.lab.client_core, self.lab.client_core):
            try:
                mounts = [self.lab.mount_msfs(), self._null()]
                rounds = [
                    {
                        size: [self._write(m, size, "3000")["write"]["median"] for m in mounts]
                        for size in SIZES
                    }
                    for _ in range(self.rounds)
                ]
            except Missing as error:
                table.add("all", f"missing: {error}")
                return [table]
        for size in SIZES:
            own, null = (statistics.median(turn[size][k] for turn in rounds) for k in (0, 1))
            ratio = statistics.median(turn[size][0] / turn[size][1] for turn in rounds)
            table.add(size, own, null, ratio, 1.2, verdict(ratio, 1.2))
        table.notes.append(
            "From 256 bytes on, msfs looks in /proc whether the kernel has split a long writev."
        )
        return [table]

    def listing(self) -> list[Table]:
        """A long list of a full directory."""
        title = f"listing: `ls -l` of {self.slots:,} names, ms; none is pinned"
        table = Table("listing", title, ("where", "median", "msfs/it", "goal", "verdict"))
        rounds: list[tuple[float, float]] = []
        memory = Path("/dev/shm") / f"msfs-bench-{time.time_ns()}"
        memory.mkdir()
        try:
            with self.lab.placed(None, None), self.lab.fresh_msfs() as mount:
                fill = [self.rivals.crowded(), "fill"]
                with (
                    self.lab.dialogue([*fill, mount.path, str(self.slots)], 120) as slots,
                    self.lab.dialogue([*fill, memory, str(self.slots)], 120) as files,
                ):
                    slots.hear()
                    files.hear()
                    rounds = [
                        (self._list(mount.path), self._list(memory)) for _ in range(self.rounds)
                    ]
                    slots.say()
                    files.say()
        finally:
            self.lab.run(["rm", "-r", memory])
        own, other = (statistics.median(turn[k] for turn in rounds) for k in (0, 1))
        ratio = statistics.median(a / b for a, b in rounds)
        table.add(OURS, own)
        table.add("tmpfs", other, ratio, LIST_LIMIT, verdict(ratio, LIST_LIMIT))
        return [table]

    def _list(self, path: Path) -> float:
        began = time.perf_counter()
        self.lab.client("ls", "-l", path, timeout=120)
        return (time.perf_counter() - began) * 1e3
