"""Feeds everything in turn, for as long as asked, and says what it has seen."""

import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio
from cryptography.utils import CryptographyDeprecationWarning

from tests.support.fuzz.members import Members
from tests.support.fuzz.parsers import all_parsers

# What the tables of a domain may take until they are full, and the allocator besides, in bytes.
MAX_GROWTH = 64 << 20
# How many at a time; datagrams come from everywhere, and have many states to meet.
_BATCH, _DATAGRAMS = 50, 500


class Target(Protocol):
    """Something that takes bytes."""

    @property
    def name(self) -> str: ...

    def make(self) -> bytes:
        """Something nearly right."""

    def feed(self, data: bytes) -> None:
        """Take it; whatever is raised is a failure."""


@dataclass
class Figures:
    """Of one target. Times in seconds of the processor: others use this machine too."""

    fed: int = 0
    slowest: float = 0.0
    slowest_data: bytes = b""
    total: float = 0.0


@dataclass
class Report:
    """Of one run.

    Attributes:
        failures: what was raised, each kind once, with the bytes that did it.
        refused: why datagrams were, and how many.
        full: how full each table was at most, and how full it may be.
        memory: resident, in bytes: after a third of the time, and at the end.
    """

    figures: dict[str, Figures] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    full: dict[str, tuple[int, int]] = field(default_factory=dict)
    memory: tuple[int, int] = (0, 0)

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            f"{name:18} {each.fed:9} fed, {each.total / max(1, each.fed) * 1e6:7.0f} µs each, "
            f"the slowest {each.slowest * 1000:.1f} ms"
            for name, each in self.figures.items()
        ]
        lines += [f"table {name}: {most} of {room}" for name, (most, room) in self.full.items()]
        lines.append("refused: " + ", ".join(f"{n} {why}" for why, n in self.refused.items() if n))
        before, after = (each >> 10 for each in self.memory)
        lines.append(f"memory: {before} KiB after a third, {after} KiB at the end")
        return lines + [f"FAILED {each}" for each in self.failures.values()]


def resident() -> int:
    """Memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def fuzz(seconds: float, seed: int, only: str = "", say: Callable[[str], None] = print) -> Report:
    """Feed all targets for so long.

    Args:
        only: a part of the names of the targets that are wanted.
        say: told each new failure.
    """

    async def run() -> Report:
        rng = random.Random(seed)
        with tempfile.TemporaryDirectory() as directory:
            members = Members(rng)
            targets: list[Target] = [members, *all_parsers(rng, Path(directory))]
            targets = [each for each in targets if only in each.name]
            return _run(targets, members, seconds, say)

    with warnings.catch_warnings():
        # Of serial numbers that a later version will refuse.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return trio.run(run)


def _run(
    targets: list[Target], members: Members, seconds: float, say: Callable[[str], None]
) -> Report:
    report = Report({each.name: Figures() for each in targets})
    start = time.monotonic()
    before = 0
    while (passed := time.monotonic() - start) < seconds:
        if not before and passed > seconds / 3:
            before = resident()
        for target in targets:
            for _ in range(_DATAGRAMS if target is members else _BATCH):
                _feed(target, report, say)
        for name, (size, room) in members.sizes().items():
            report.full[name] = max(size, report.full.get(name, (0, 0))[0]), room
    report.refused = members.refused()
    report.memory = (before, resident())
    for name, (most, room) in report.full.items():
        if most > room:
            report.failures[name] = f"table {name} has {most} of {room}"
    if before and report.memory[1] - before > MAX_GROWTH:
        report.failures["memory"] = "memory grows"
    return report


def _feed(target: Target, report: Report, say: Callable[[str], None]) -> None:
    figures = report.figures[target.name]
    data = b""
    try:
        data = target.make()
        start = time.thread_time()
        target.feed(data)
        took = time.thread_time() - start
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # pyo3's PanicException is no Exception
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{target.name}: {type(error).__name__} at {place.filename}:{place.lineno}"
        if kind not in report.failures:
            trace = "".join(traceback.format_exception(error)[-8:])
            report.failures[kind] = f"{kind}\n{data!r}\n{trace}"
            say(report.failures[kind])
        return
    figures.fed += 1
    figures.total += took
    if took > figures.slowest:
        figures.slowest, figures.slowest_data = took, data


def main(seconds: float, seed: int, only: str) -> int:
    """For scripts/fuzz: 0 if it held."""
    report = fuzz(seconds, seed, only, lambda text: print(text, file=sys.stderr, flush=True))
    print("\n".join(report.lines()))
    print("failed" if report.failures else "held")
    return 1 if report.failures else 0
