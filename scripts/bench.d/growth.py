"""What operations and memory cost on a mount that holds much, against one that holds one."""

import json
import statistics

from lab import Command, Lab, Missing
from report import LIMIT, Table, verdict
from rivals import Rivals
from sections import OURS, Sample, Stats, tell

Operations = dict[str, dict[str, Stats]]
SIZES = (64, 1024, 8192, 65536)
ONES = {"depth": "queued messages", "slots": "slots", "readers": "waiting readers"}


class Growth:
    """Growth of ours alone; only the message's size is held against a null file system."""

    def __init__(self, lab: Lab, rivals: Rivals, rounds: int, quick: bool) -> None:
        self.lab, self.rivals, self.rounds = lab, rivals, rounds
        self.ops = 500 if quick else 2000
        self.sizes = {
            "readers": (100, 10_000),
            "slots": (1000, 10_000) if quick else (1000, 10_000, 100_000),
            "depth": (1000, 50_000) if quick else (1000, 100_000, 1_000_000),
        }

    def tables(self) -> list[Table]:
        columns = ("what", "of", "operation", "with 1", "with all", "p99", "ratio", "verdict")
        growth = Table("growth", "growth: µs an operation, with 1 and with all there", columns)
        growth.notes.append(
            f"Goal: at most {LIMIT} x. Two mounts take turns in batches, one full and one not. A "
            "list's cost is a slot's share, and 1,000 slots are its yardstick."
        )
        memory = Table(
            "memory", "memory of the daemon", ("what", "of", "bytes each", "fill µs each")
        )
        memory.notes.append("Messages are of 64 bytes. The kernel's own share is not counted.")
        for what, sizes in self.sizes.items():
            yardstick: float | None = None  # a list of one slot is all overhead
            for n in sizes:
                tell(f"  {n:,} {ONES[what]}")
                try:
                    fill, each, operations = self._filled(what, n)
                except Missing as error:
                    growth.add(ONES[what], n, f"missing: {error}")
                    continue
                if n == sizes[-1]:  # few would drown in the pages that the daemon holds anyway
                    memory.add(ONES[what], n, each, fill if what != "readers" else None)
                for name, sides in operations.items():
                    big, small = sides["big"], sides["small"]["median"]
                    if name.startswith("list"):
                        small = yardstick = yardstick or big["median"]
                    ratio = big["median"] / small
                    cells = (name, small, big["median"], big["p99"], ratio, verdict(ratio, LIMIT))
                    growth.add(ONES[what], n, *cells)
        return [growth, self.message_sizes(), memory]

    def _filled(self, what: str, n: int) -> tuple[float, float, Operations]:
        """Microseconds and bytes that each thing took to fill in, and the operations' costs."""
        with self.lab.fresh_msfs() as big, self.lab.fresh_msfs() as small:
            empty = big.memory()
            command: Command = [
                self.rivals.grow(),
                what,
                big.path,
                small.path,
                str(n),
                str(self.ops),
            ]
            with self.lab.dialogue(command, 60 + n / 2000) as client:
                fill: float = json.loads(client.hear().removeprefix("ready "))["fill"]
                each = (big.memory() - empty) / n
                client.say()
                operations: Operations = json.loads(client.hear())
            return fill, each, operations

    def message_sizes(self) -> Table:
        """A larger message costs its copying anywhere: ours may grow as a null file system does."""
        title = "growth: µs a write, by the message's size in bytes; ratio: ours to C in growth"
        names = (OURS, "C null fs, busy poll", "pyfuse3 null fs")
        columns = ("size", *names, f"{OURS}/64", "C/64", "pyfuse3/64", "ratio", "verdict")
        table = Table("size", title, columns)
        rounds: list[dict[int, list[float]]] = []
        try:
            ways: list[Command] = [
                ("write", "slot", self.rivals.ours().path),
                ("file", self.rivals.c_null_busy().path / "null"),
                ("file", self.rivals.pyfuse3_null().path / "null"),
            ]
            for _ in range(self.rounds):
                rounds.append({size: [self._write(way, size) for way in ways] for size in SIZES})
        except Missing as error:
            table.add("all", f"missing: {error}")
            return table
        for size in SIZES:
            costs = [statistics.median(turn[size][k] for turn in rounds) for k in range(3)]
            own, c, python = (
                statistics.median(turn[size][k] / turn[SIZES[0]][k] for turn in rounds)
                for k in range(3)
            )
            table.add(size, *costs, own, c, python, own / c, verdict(own / c, LIMIT))
        return table

    def _write(self, way: Command, size: int) -> float:
        out = self.lab.client(self.rivals.client(), *way, str(size), str(self.ops))
        sample: Sample = json.loads(out)
        return sample["write"]["median"]
