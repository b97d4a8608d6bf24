"""Many hosts in one domain by one broker: simulated hosts in a few processes, without mounts."""

import contextlib
import os
import statistics
import time
from pathlib import Path

from crowds import Crowd
from hosts import Lan, Members
from lab import Lab
from report import Cell, Table
from rivals import Rivals
from sections import activity, tell

PROCESSES = 2
STEP = 10  # so many join in one process, and then in the next
HANDSHAKE = 0.004  # seconds of both ends and the broker, for the estimate that is printed
BY_BROKER, BY_UDP = "broker", "udp"


class Scale:
    """One of many hosts writes to all.

    Args:
        at_once: all hosts join at the same time, not one after the other.
    """

    def __init__(
        self,
        lab: Lab,
        rivals: Rivals,
        quick: bool,
        hosts: int,
        presence: str,
        carrier: str,
        at_once: bool,
    ) -> None:
        self.lab, self.rivals, self.presence, self.carrier = lab, rivals, presence, carrier
        # Each process has as many, a step at a time.
        self.hosts = 40 if quick else max(2, hosts // (STEP * PROCESSES)) * STEP * PROCESSES
        self.at_once = at_once
        self.messages = 100 if quick else 500
        self.idle = 30.0 if quick else 60.0

    def tables(self) -> list[Table]:
        members = Members(self.lab, self.lab.msfs)
        self.lab.run([self.lab.msfs, "domain", "admit", members.made, *self._names()])
        with contextlib.ExitStack() as stack:
            if self.carrier == BY_UDP:
                lan, url, broker = Lan(self.lab, stack, members), "udp", None
                places = [lan.plug()[0] for _ in range(PROCESSES)]
            else:
                server = self.rivals.mosquitto()
                url, broker = f"mqtt://127.0.0.1:{server.port}", server.process.pid
                places = [()] * PROCESSES
            each = self.hosts // PROCESSES
            crowd = [
                Crowd(self.lab, stack, inside, number * each, each, url, members, self.presence)
                for number, inside in enumerate(places)
            ]
            return [self._measure(crowd, broker)]

    def _names(self) -> list[str]:
        return [f"host{number}" for number in range(self.hosts)]

    def _join(self, crowd: list[Crowd]) -> tuple[list[float], list[float | None]]:
        """How long each took to be subscribed, and to know all who were there, in seconds.

        This machine does the work of all of them. Where all come at once, each waits here for
        what the others have to do, as it would not with a machine of its own.
        """
        joined, met = [], []
        if self.at_once:
            tell(f"  {self.hosts} hosts join at once")
            for member in crowd:
                member.tell(f"start {self.hosts}")
            for member in crowd:
                for _ in range(self.hosts // PROCESSES):
                    facts = member.hear()
                    joined.append(facts["joined"])
                    met.append(facts["met"])
            return joined, met
        if self.presence == "all":
            pairs = self.hosts * (self.hosts - 1) // 2
            tell(f"  {self.hosts} hosts join: {pairs} handshakes, some {pairs * HANDSHAKE:.0f} s")
        else:
            tell(f"  {self.hosts} hosts join")
        for number in range(0, self.hosts, STEP):
            member = crowd[number // STEP % PROCESSES]
            member.tell(f"join {STEP} {number + 1}")
            for _ in range(STEP):
                facts = member.hear()
                joined.append(facts["joined"])
                met.append(facts["met"])
            if (number + STEP) * 10 // self.hosts > number * 10 // self.hosts:
                tell(f"  {number + STEP} are there")
        return joined, met

    def _measure(self, crowd: list[Crowd], broker: int | None) -> Table:
        title = (
            f"scale: {self.hosts} hosts in one domain by {self.carrier}, "
            f"presence {self.presence}, simulated, no mounts"
        )
        table = Table("scale", title, ("what", "median", "p99", "unit"))
        start, before = time.monotonic(), cpu_of(broker)
        joined, met = self._join(crowd)
        took = time.monotonic() - start
        used = sum(facts["cpu"] for facts in [member.ask("count") for member in crowd])
        table.add("to join, subscribed", *spread([s * 1000 for s in joined]), "ms")
        pairs = self.hosts * (self.hosts - 1) / 2
        if self.presence == "all":
            self._tell_met(table, met, took / pairs)
            table.add("CPU of both ends for each handshake", used / pairs * 1e3, None, "ms")
            if broker is not None:
                work = (cpu_of(broker) - before) / pairs * 1e3
                table.add("CPU of the broker for each handshake", work, None, "ms")
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
            member.tell("reset")
        before = cpu_of(broker)
        time.sleep(self.idle)
        counts = [member.ask("count") for member in crowd]
        cpu = sum(facts["cpu"] for facts in counts) / self.hosts / self.idle
        table.add("CPU of a host, idle but for presence", cpu * 1e6, None, "µs/s")
        if broker is not None:
            used = (cpu_of(broker) - before) / self.idle
            table.add("CPU of the broker, the same", used * 1e3, None, "ms/s")
            size = memory_of(broker) / 1024 / self.hosts
            table.add("memory of the broker for each host", size, None, "KiB")
        added = sum(facts["memory"] for facts in counts) / self.hosts
        table.add("memory that a host adds to a process", added / 1024, None, "KiB")
        empty = max(facts["empty"] for facts in counts)
        table.add("memory of a process without hosts", empty / 1024, None, "KiB")
        table.notes.append(
            f"{PROCESSES} processes share the machine with all that carries: with a machine each, "
            "the hosts would not wait for each other."
        )
        return table

    def _tell_met(self, table: Table, met: list[float | None], for_each: float) -> None:
        known = [seconds for seconds in met if seconds is not None]
        if self.at_once:
            table.add("hosts that got to know all", len(known), None, f"of {len(met)}")
            times: tuple[Cell, Cell] = spread(known) if known else (None, None)
            table.add("until one knows all, all at once", *times, "s")
        else:
            last = known[-max(1, self.hosts // 10) :]
            times = spread([seconds * 1000 for seconds in last])
            table.add("the last tenth: until one knows all", *times, "ms")
        table.add("until all knew all, for each handshake", for_each * 1e3, None, "ms")

    def _reach(self, crowd: list[Crowd]) -> tuple[float, float]:
        """Milliseconds until hosts that nobody has heard of are known to the first."""
        times = []
        for number in range(self.hosts - 20, self.hosts):
            crowd[0].tell(f"reach host{number}")
            times.append(crowd[0].hear()["reached"] * 1000)
        return spread(times)

    def _broadcast(self, crowd: list[Crowd]) -> list[float]:
        """Milliseconds until the last host has each message."""
        times = []
        for number in range(self.messages):
            crowd[0].tell(f"send {number}")
            sent = crowd[0].hear()["sent"]
            last = max(member.hear()["at"] for member in crowd)
            times.append((last - sent) / 1e6)
        return times


def spread(values: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int((len(ordered) - 1) * 0.99)]


def cpu_of(process: int | None) -> float:
    """Seconds of CPU that it has used; None is nobody."""
    return 0.0 if process is None else activity(process)[1] / 1e9


def memory_of(process: int) -> int:
    """Resident bytes."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
