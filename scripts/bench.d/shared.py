"""What a message costs where all share their cores: one core, many pairs; and long lists."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from lab import Lab, Missing, Mount
from report import Table, verdict
from rivals import Rivals
from sections import OURS, Contender, Sample, interleave

PAIRS = 16
SIZES = (64, 255, 256, 4096, 16384, 65536)
LIST_LIMIT = 10.0
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

        def null(kind: str) -> Callable[[], Sample]:
            return crowded(kind, self._null().path / "null", "64", count, str(PAIRS))

        contenders: list[Contender] = [
            (OURS, None, lambda: pairs("slot", self.lab.mount_msfs().path)),
            (f"{NULL}, {PAIRS} writers", 0.9, lambda: null("writes")),
            (f"{NULL}, as many readers too", None, lambda: null("both")),
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
        table.notes.append(
            "A message is a write and a read: two requests, as where C null has readers."
        )
        return table

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
            "From 61,440 bytes on, msfs looks in /proc whether it is a piece; from 256 on where "
            "fs.fuse.max_pages_limit cannot be raised."
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
