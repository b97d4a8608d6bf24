"""Many hosts in one domain by one broker: simulated hosts in a few processes, without mounts."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab import HERE, Dialogue, Lab, Missing
from report import Table
from rivals import Rivals
from sections import activity, tell

PROCESSES = 2
STEP = 10  # so many join in one process, and then in the next
HANDSHAKE = 0.004  # seconds of both ends and the broker, for the estimate that is printed
PATIENCE = 900.0  # seconds, for thousands of hosts on a few cores


class Scale:
    """One of many hosts writes to all."""

    def __init__(self, lab: Lab, rivals: Rivals, quick: bool, hosts: int, presence: str) -> None:
        self.lab, self.rivals, self.presence = lab, rivals, presence
        # Each process has as many, a step at a time.
        self.hosts = 40 if quick else max(2, hosts // (STEP * PROCESSES)) * STEP * PROCESSES
        self.messages = 100 if quick else 500
        self.idle = 30.0 if quick else 60.0

    def tables(self) -> list[Table]:
        broker = self.rivals.mosquitto()
        domain = self.lab.directory("keys") / "bench"
        self.lab.run([self.lab.msfs, "domain", "create", domain])
        names = [f"host{number}" for number in range(self.hosts)]
        self.lab.run([self.lab.msfs, "domain", "admit", domain, *names])
        with contextlib.ExitStack() as stack:
            crowd = [
                self._start(stack, first, f"mqtt://127.0.0.1:{broker.port}", domain)
                for first in range(0, self.hosts, self.hosts // PROCESSES)
            ]
            start = time.monotonic()
            joined, met = self._join(crowd)
            took = time.monotonic() - start
            return [self._measure(crowd, joined, met, took, broker.process.pid)]

    def _start(self, stack: contextlib.ExitStack, first: int, url: str, domain: Path) -> Dialogue:
        command = [sys.executable, HERE / "crowd.py", "host", str(first)]
        command += [str(self.hosts // PROCESSES), url, domain, self.presence]
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        )
        stack.enter_context(process)
        stack.callback(process.kill)
        return Dialogue(process, PATIENCE)

    @staticmethod
    def _hear(member: Dialogue) -> dict[str, Any]:
        assert member.process.stdout is not None
        line = member.process.stdout.readline()  # not hear(): many lines may be there
        if not line:
            raise Missing("a process with hosts has ended")
        facts: dict[str, Any] = json.loads(line)
        return facts

    @staticmethod
    def _tell(member: Dialogue, words: str) -> None:
        assert member.process.stdin is not None
        member.process.stdin.write(words + "\n")
        member.process.stdin.flush()

    def _ask(self, crowd: list[Dialogue], words: str) -> list[dict[str, Any]]:
        for member in crowd:
            self._tell(member, words)
        return [self._hear(member) for member in crowd]

    def _join(self, crowd: list[Dialogue]) -> tuple[list[float], list[float]]:
        """How long each took to be subscribed, and to know all who were there, in seconds.

        One after the other: this machine does the work of all of them. Where all come at once,
        each waits here for what the others have to do, as it would not with a machine of its own.
        """
        joined, met = [], []
        if self.presence == "all":
            pairs = self.hosts * (self.hosts - 1) // 2
            tell(f"  {self.hosts} hosts join: {pairs} handshakes, some {pairs * HANDSHAKE:.0f} s")
        else:
            tell(f"  {self.hosts} hosts join")
        for number in range(0, self.hosts, STEP):
            member = crowd[number // STEP % PROCESSES]
            self._tell(member, f"join {STEP} {number + 1}")
            for _ in range(STEP):
                facts = self._hear(member)
                joined.append(facts["joined"])
                met.append(facts["met"])
            if (number + STEP) * 10 // self.hosts > number * 10 // self.hosts:
                tell(f"  {number + STEP} are there")
        return joined, met

    def _measure(
        self,
        crowd: list[Dialogue],
        joined: list[float],
        met: list[float],
        took: float,
        broker: int,
    ) -> Table:
        title = (
            f"scale: {self.hosts} hosts in one domain by one mosquitto, presence {self.presence}, "
            "simulated, no mounts"
        )
        table = Table("scale", title, ("what", "median", "p99", "unit"))
        table.add("to join, subscribed", *spread([s * 1000 for s in joined]), "ms")
        if self.presence == "all":
            last = met[-max(1, self.hosts // 10) :]
            times = spread([seconds * 1000 for seconds in last])
            table.add("the last tenth: until one knows all", *times, "ms")
            pairs = self.hosts * (self.hosts - 1) / 2
            table.add("until all knew all, for each handshake", took / pairs * 1e3, None, "ms")
            tell("  broadcast")
            times = spread(self._broadcast(crowd))
            table.add("broadcast, until the last host has it", *times, "ms")
        else:
            tell("  hosts that were not heard of are found")
            table.add(
                "a host that was not heard of, until it has answered", *self._reach(crowd), "ms"
            )
        tell(f"  {self.idle:.0f} s of nothing but presence")
        for member in crowd:
            self._tell(member, "reset")
        before = activity(broker)[1]
        time.sleep(self.idle)
        counts = self._ask(crowd, "count")
        cpu = sum(facts["cpu"] for facts in counts) / self.hosts / self.idle
        table.add("CPU of a host, idle but for presence", cpu * 1e6, None, "µs/s")
        used = (activity(broker)[1] - before) / 1e9 / self.idle
        table.add("CPU of the broker, the same", used * 1e3, None, "ms/s")
        added = sum(facts["memory"] for facts in counts) / self.hosts
        table.add("memory that a host adds to a process", added / 1024, None, "KiB")
        empty = max(facts["empty"] for facts in counts)
        table.add("memory of a process without hosts", empty / 1024, None, "KiB")
        table.notes.append(
            f"{PROCESSES} processes share the machine with the broker: with a machine each, the "
            "hosts would not wait for each other."
        )
        return table

    def _reach(self, crowd: list[Dialogue]) -> tuple[float, float]:
        """Milliseconds until hosts that nobody has heard of are known to the first."""
        times = []
        for number in range(self.hosts - 20, self.hosts):
            self._tell(crowd[0], f"reach host{number}")
            times.append(self._hear(crowd[0])["reached"] * 1000)
        return spread(times)

    def _broadcast(self, crowd: list[Dialogue]) -> list[float]:
        """Milliseconds until the last host has each message."""
        times = []
        for number in range(self.messages):
            self._tell(crowd[0], f"send {number}")
            sent = self._hear(crowd[0])["sent"]
            last = max(self._hear(member)["at"] for member in crowd)
            times.append((last - sent) / 1e6)
        return times


def spread(values: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int((len(ordered) - 1) * 0.99)]
