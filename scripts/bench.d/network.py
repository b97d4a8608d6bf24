"""Messages between hosts: by UDP and by a broker, beside what others take for the same."""

import contextlib
import json
import os
import statistics
import sys
from functools import partial
from pathlib import Path

from hosts import DOMAIN, Host, Lan, Members, by_broker
from lab import HERE, Command, Lab, Missing, stop
from report import Table, verdict
from rivals import Rivals
from sections import OURS, SIZE, Contender, Runner, Sample, compare, tell

HOP: Command = (sys.executable, HERE / "hop.py")
FIRST = "msfs, the first protocol"
ECHO_GOAL = 1.5  # times a trio UDP echo, there and back
CLIENTS_GOAL = 2.2  # times mosquitto_pub -l to mosquitto_sub
PROMISE = 1.15  # times the first protocol
MESSAGES = 20_000
KEPT = 0.99  # of a pace; what is below has not kept it
PACES = {"20,000/s": 20_000, "unpaced": 0}
CROWDS = (1, 4, 16)
BROADCAST_PAUSE = "0.002"  # seconds: 500 a second are taken of a sender
KEYS = ("written", "read")

# Where to write to, and the slot where it comes.
Line = tuple[Path, Path]


class Network:
    """From one host to another, and from one to many.

    Args:
        first: an msfs of the first protocol, to be measured beside this one.
    """

    def __init__(
        self, lab: Lab, rivals: Rivals, rounds: int, quick: bool, first: Path | None
    ) -> None:
        self.lab, self.rivals, self.rounds, self.first = lab, rivals, rounds, first
        self._there = str(lab.server_core)  # the core of the host that reads
        self.count = "2000" if quick else "5000"
        self.broadcasts = "300" if quick else "1000"

    def tables(self) -> list[Table]:
        if os.geteuid() != 0:
            raise Missing("needs root, for network namespaces")
        self.lab.need("ip", "nsenter")
        with contextlib.ExitStack() as stack:
            everybody = {OURS: Members(self.lab, self.lab.msfs)}
            if self.first is not None:
                everybody[FIRST] = Members(self.lab, self.first, is_first=True)
            lans = {
                name: Lan(self.lab, stack, members, f"lan{number}")
                for number, (name, members) in enumerate(everybody.items())
            }
            lines = {name: self._line(lan) for name, lan in lans.items()}
            echo = self._echo(stack, *lans[OURS].hosts)
            tables = [self._latency(lines, echo), self._rate("UDP", lines)]
            tables.append(self._broadcast(lans[OURS]))
            port = self.rivals.mosquitto().port
            lines = {}
            for name, members in everybody.items():
                writer, reader = by_broker(self.lab, stack, members, port)
                lines[name] = writer / "@host2/bench", reader / "bench"
            return [*tables, self._by_broker(lines, port), self._rate("a broker", lines)]

    @staticmethod
    def _line(lan: Lan) -> Line:
        writer, reader = lan.add(), lan.add()
        lan.meet()
        return writer.mount.path / "@host2/bench", reader.mount.path / "bench"

    def _hop(self, *words: str | Path, inside: Command = ()) -> Sample:
        result: Sample = json.loads(self.lab.client(*inside, *HOP, *words))
        return result

    def _echo(self, stack: contextlib.ExitStack, client: Host, server: Host) -> Runner:
        """An echo on one host, and what measures it from the other."""
        ready = self.lab.directory("echo") / "ready"
        command = [*server.inside, *HOP, "serve", server.address, ready]
        process, _ = self.lab.serve(command, ready.exists)
        stack.callback(stop, process)
        return lambda: self._hop("echo", self.count, SIZE, server.address, inside=client.inside)

    def _along(self, lines: dict[str, Line]) -> list[Contender]:
        """What measures each of these, this msfs first."""
        return [
            (
                name,
                PROMISE if name == FIRST else None,
                lambda line=line: partial(
                    self._hop, "latency", self._there, self.count, SIZE, "0", *line
                ),
            )
            for name, line in lines.items()
        ]

    def _latency(self, lines: dict[str, Line], echo: Runner) -> Table:
        contenders: list[Contender] = [
            *self._along(lines),
            ("trio UDP echo, round trip", ECHO_GOAL, lambda: echo),
        ]
        title = "network: 64 bytes from one host to another, µs from write to read, one way"
        table = compare("network", title, "latency", contenders, self.rounds)
        table.notes.append(
            "Each host has a core for its daemon and its processes, and so have the two ends of "
            "the echo, which is there and back."
        )
        return table

    def _by_broker(self, lines: dict[str, Line], port: int) -> Table:
        """The same by a mosquitto, from one mount to another on this host."""
        self.lab.need("mosquitto_pub", "mosquitto_sub")
        clients = partial(self._hop, "clients", self._there, self.count, SIZE, str(port))
        contenders: list[Contender] = [
            *self._along(lines),
            ("mosquitto_pub -l | mosquitto_sub", CLIENTS_GOAL, lambda: clients),
        ]
        title = "by a broker: 64 bytes from one mount to another by mosquitto, µs, write to read"
        table = compare("mqtt", title, "latency", contenders, self.rounds)
        table.notes.append(
            "mosquitto_pub reads lines from a pipe and mosquitto_sub writes them to one: no "
            "sealing, no file."
        )
        return table

    def _rate(self, carrier: str, lines: dict[str, Line]) -> Table:
        """Many messages, at a pace and as fast as they go."""
        title = f"rate: {MESSAGES:,} messages of 64 bytes from one host to another by {carrier}"
        columns = ("pace", "written/s", "read/s", "refused", "lost", "it/msfs", "goal", "verdict")
        table = Table("rate", title, columns)
        for pace, rate in PACES.items():
            rounds: dict[str, list[dict[str, float]]] = {name: [] for name in lines}
            tell(f"  {pace} by {carrier}")
            for _ in range(self.rounds):
                for name, line in lines.items():
                    flood = ("flood", self._there, str(MESSAGES), str(rate), SIZE, *line)
                    rounds[name].append(json.loads(self.lab.client(*HOP, *flood)))
            for name, each in rounds.items():
                table.raw[f"{name}: {pace}"] = each
                speeds = [statistics.median(turn[key] for turn in each) for key in KEYS]
                failed = [sum(int(turn[key]) for turn in each) for key in ("refused", "lost")]
                row: tuple[str | float | None, ...] = (None, None, None)
                if name == FIRST and not rate:
                    turns = zip(each, rounds[OURS], strict=True)
                    ratio = statistics.median(its["read"] / own["read"] for its, own in turns)
                    row = ratio, PROMISE, verdict(ratio, PROMISE)
                elif name == OURS and rate:
                    met = not any(failed) and min(speeds) >= KEPT * rate
                    row = None, "none lost", "met" if met else "NOT MET"
                table.add(f"{name}, {pace}", *speeds, *failed, *row)
        table.notes.append(
            f"Lost and refused are of all {self.rounds} rounds; speeds are medians. Refused: "
            "the write failed (ENOBUFS). Lost: written, but not read."
        )
        return table

    def _broadcast(self, lan: Lan) -> Table:
        """To so many hosts besides the writer's own."""
        title = (
            f"broadcast: one write of 64 bytes to @{DOMAIN}/bench, µs until the last host's "
            "reader has it"
        )
        table = Table("broadcast", title, ("hosts", "median", "p99", "min", "mean", "median/host"))
        here = ("latency", str(self.lab.client_core), self.broadcasts)
        for size in CROWDS:
            tell(f"  broadcast to {size}")
            try:
                while len(lan.hosts) <= size:
                    lan.add()
                lan.meet()
                writer, *others = (host.mount.path for host in lan.hosts)
                target, slots = writer / f"@{DOMAIN}/bench", [p / "bench" for p in others[:size]]
                each = [
                    self._hop(*here, SIZE, BROADCAST_PAUSE, target, *slots)["latency"]
                    for _ in range(self.rounds)
                ]
            except Missing as error:
                table.add(size, f"missing: {error}")
                continue
            table.raw[str(size)] = each
            middle, tail, mean = (
                statistics.median(turn[key] for turn in each) for key in ("median", "p99", "mean")
            )
            table.add(size, middle, tail, min(turn["min"] for turn in each), mean, middle / size)
        table.notes.append(
            "Besides the writer's host, which has no such slot. The hosts' daemons share one core, "
            "and all readers another: real hosts would not wait for each other."
        )
        return table
