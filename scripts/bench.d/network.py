"""Messages between hosts: network namespaces on a bridge, each with a mount of its own."""

import contextlib
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab import HERE, Command, Lab, Missing, Mount, stop
from report import Table
from rivals import Rivals
from sections import OURS, SIZE, Contender, Runner, Sample, compare, tell

HOP: Command = (sys.executable, HERE / "hop.py")
DOMAIN = "bench"
GOAL = 3.0  # times a trio UDP echo
MESSAGES = 10_000
KEPT = 0.99  # of a pace; what is below has not kept it
PACES = {"10,000/s": 10_000, "unpaced": 0}
CROWDS = (1, 4, 16)
MEET_TIMEOUT = 30.0  # seconds


@dataclass(frozen=True)
class Host:
    """A network namespace with one interface, eth0, and the mount of its daemon."""

    inside: Command  # what to put before a command to run it there; the mounts stay the same
    address: str
    mount: Mount


class Lan:
    """A bridge in a namespace of its own, and hosts on it; all gone at the end of the stack."""

    def __init__(self, lab: Lab, stack: contextlib.ExitStack) -> None:
        self.lab, self.stack = lab, stack
        self.hosts: list[Host] = []
        self.domain = lab.directory("keys") / DOMAIN
        lab.run([lab.msfs, "domain", "create", self.domain])
        self.switch = self._namespace("switch")
        self._ip(self.switch, "link add bridge type bridge mcast_snooping 0")
        self._ip(self.switch, "link set bridge up")

    def _ip(self, namespace: str, words: str) -> None:
        self.lab.run(["ip", "-n", namespace, *words.split()], timeout=10)

    def _namespace(self, name: str) -> str:
        namespace = f"msfs-bench-{os.getpid()}-{name}"

        def delete() -> None:
            with contextlib.suppress(Missing):
                self.lab.run(["ip", "netns", "delete", namespace], timeout=10)

        self.stack.callback(delete)
        self.lab.run(["ip", "netns", "add", namespace], timeout=10)
        return namespace

    def add(self) -> Host:
        """One more host on the bridge, with IPv4 alone, mounted."""
        number = len(self.hosts) + 1
        namespace = self._namespace(f"host{number}")
        inside = ["nsenter", f"--net=/run/netns/{namespace}", "--"]
        no_v6 = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"
        self.lab.run([*inside, "sh", "-c", f"[ ! -d /proc/sys/net/ipv6 ] || {no_v6}"])
        port = f"port{number}"
        self._ip(self.switch, f"link add {port} type veth peer name eth0 netns {namespace}")
        self._ip(self.switch, f"link set {port} master bridge up")
        address = f"10.77.0.{number}"
        self._ip(namespace, f"address add {address}/24 dev eth0")
        self._ip(namespace, "link set lo up")
        self._ip(namespace, "link set eth0 up")
        self.lab.run([self.lab.msfs, "domain", "admit", self.domain, f"host{number}"])
        options = f"allow_other,member={self.domain}/host{number}.member"
        # Two hosts do not share a core, and the two ends of an echo do not either.
        core = self.lab.server_core if self.hosts else self.lab.client_core
        daemon: Command = [self.lab.msfs, "mount", "-f", "--config", "/dev/null", "-o", options]
        command: Command = ["taskset", "-c", str(core), *inside, *daemon]
        mount = self.stack.enter_context(self.lab.fresh("fuse.msfs", command))
        host = Host(inside, address, mount)
        self.hosts.append(host)
        return host

    def meet(self) -> None:
        """Wait until each host knows all others."""
        names = {f"@host{number}" for number in range(1, len(self.hosts) + 1)}
        deadline = time.monotonic() + MEET_TIMEOUT
        for number, host in enumerate(self.hosts, 1):
            while not names - {f"@host{number}"} <= set(os.listdir(host.mount.path)):
                if time.monotonic() > deadline:
                    raise Missing(f"the hosts have not met within {MEET_TIMEOUT:.0f} s")
                time.sleep(0.1)


class Network:
    """From one host to another, and from one to many."""

    def __init__(self, lab: Lab, rivals: Rivals, rounds: int, quick: bool) -> None:
        self.lab, self.rivals, self.rounds = lab, rivals, rounds
        self.count = "2000" if quick else "5000"
        self.broadcasts = "300" if quick else "1000"

    def tables(self) -> list[Table]:
        if os.geteuid() != 0:
            raise Missing("needs root, for network namespaces")
        self.lab.need("ip", "nsenter")
        with contextlib.ExitStack() as stack:
            lan = Lan(self.lab, stack)
            writer, reader = lan.add(), lan.add()
            lan.meet()
            target, slot = writer.mount.path / "@host2/bench", reader.mount.path / "bench"
            echo = self._echo(stack, writer, reader)
            tables = [self._latency(target, slot, echo), self._throughput(target, slot)]
            return [*tables, self._broadcast(lan), self._by_broker(stack, lan.domain)]

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

    def _latency(self, target: Path, slot: Path, echo: Runner) -> Table:
        def ours() -> Sample:
            return self._hop("latency", self.count, SIZE, target, slot)

        contenders: list[Contender] = [
            (OURS, None, lambda: ours),
            ("trio UDP echo, round trip", GOAL, lambda: echo),
            ("half a round trip", None, lambda: lambda: halved(echo())),
        ]
        title = (
            "network: 64 bytes from one host to another, µs from write to read, one way; "
            "the goal is against an echo's round trip"
        )
        table = compare("network", title, "latency", contenders, self.rounds)
        table.notes.append(
            "The writer's daemon shares the clients' core, the reader's has the servers': "
            "the two ends of the echo have a core each, too."
        )
        return table

    def _by_broker(self, stack: contextlib.ExitStack, domain: Path) -> Table:
        """The same by a mosquitto, from one mount to another on this host."""
        port = self.rivals.mosquitto().port
        directory = self.lab.directory("mqtt")
        mounts = []
        for number, core in ((1, self.lab.client_core), (2, self.lab.server_core)):
            config = directory / f"host{number}.toml"
            config.write_text(
                f'[domain.{DOMAIN}]\nmember = "{domain}/host{number}.member"\n'
                f'transport = ["mqtt://127.0.0.1:{port}"]\n'
            )
            command: Command = [
                *("taskset", "-c", str(core), self.lab.msfs, "mount", "-f"),
                *("--config", config, "-o", "allow_other"),
            ]
            mounts.append(stack.enter_context(self.lab.fresh("fuse.msfs", command)).path)
        deadline = time.monotonic() + MEET_TIMEOUT
        while "@host2" not in os.listdir(mounts[0]):
            if time.monotonic() > deadline:
                raise Missing("the hosts have not met at the broker")
            time.sleep(0.1)

        def ours() -> Sample:
            return self._hop("latency", self.count, SIZE, mounts[0] / "@host2/b", mounts[1] / "b")

        contenders: list[Contender] = [
            (OURS, None, lambda: ours),
            ("mosquitto_pub -l | mosquitto_sub", None, lambda: lambda: self._clients(port)),
        ]
        title = "by a broker: 64 bytes from one mount to another by mosquitto, µs, write to read"
        table = compare("mqtt", title, "latency", contenders, self.rounds)
        table.notes.append(
            "mosquitto_pub reads lines from a pipe and mosquitto_sub writes them to one: no "
            "sealing, no file."
        )
        return table

    def _clients(self, port: int) -> Sample:
        self.lab.need("mosquitto_pub", "mosquitto_sub")
        return self._hop("clients", self.count, SIZE, str(port))

    def _throughput(self, target: Path, slot: Path) -> Table:
        title = f"throughput: {MESSAGES:,} messages of 64 bytes from one host to another"
        columns = ("pace", "written/s", "read/s", "refused", "lost", "goal", "verdict")
        table = Table("throughput", title, columns)
        flood = ("flood", str(MESSAGES))
        for pace, rate in PACES.items():
            tell(f"  {pace}")
            try:
                each = [
                    json.loads(self.lab.client(*HOP, *flood, str(rate), SIZE, target, slot))
                    for _ in range(self.rounds)
                ]
            except Missing as error:
                table.add(pace, f"missing: {error}")
                continue
            table.raw[pace] = each
            speeds = [statistics.median(turn[key] for turn in each) for key in ("written", "read")]
            failed = [sum(turn[key] for turn in each) for key in ("refused", "lost")]
            met = not any(failed) and min(speeds) >= KEPT * rate
            goal = ("none lost", "met" if met else "NOT MET") if rate else ()
            table.add(pace, *speeds, *failed, *goal)
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
        for size in CROWDS:
            tell(f"  broadcast to {size}")
            try:
                while len(lan.hosts) <= size:
                    lan.add()
                lan.meet()
                writer, *others = (host.mount.path for host in lan.hosts)
                target, slots = writer / f"@{DOMAIN}/bench", [p / "bench" for p in others[:size]]
                each = [
                    self._hop("latency", self.broadcasts, SIZE, target, *slots)["latency"]
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


def halved(sample: Sample) -> Sample:
    stats = sample["latency"]
    return {
        "latency": {
            "n": stats["n"],
            "min": stats["min"] / 2,
            "median": stats["median"] / 2,
            "p99": stats["p99"] / 2,
            "mean": stats["mean"] / 2,
        }
    }
