"""One host that many newcomers ask at once: what a handshake costs each side."""

import contextlib

from crowds import Crowd
from hosts import Lan, Members
from lab import Command, Lab
from report import Table
from rivals import Rivals
from sections import tell

PORT = 4424


class Handshakes:
    """By UDP and by a broker, with presence `asked`: nothing but handshakes."""

    def __init__(self, lab: Lab, rivals: Rivals, quick: bool) -> None:
        self.lab, self.rivals = lab, rivals
        self.newcomers = 100 if quick else 400

    def tables(self) -> list[Table]:
        members = Members(self.lab, self.lab.msfs)
        names = [f"host{number}" for number in range(self.newcomers + 1)]
        self.lab.run([self.lab.msfs, "domain", "admit", members.made, *names])
        title = f"handshakes: one host is asked by {self.newcomers} newcomers at once"
        columns = (
            "by",
            "a second",
            "all, s",
            "CPU, the host",
            "CPU, a newcomer",
            "asymmetric",
            "unit",
        )
        table = Table("handshakes", title, columns)
        with contextlib.ExitStack() as stack:
            lan = Lan(self.lab, stack, members)
            (inside, address), (outside, _) = lan.plug(), lan.plug()
            udp = f"udp:{address}:{PORT}"
            self._measure(table, stack, "UDP", members, udp, inside, outside)
            url = f"mqtt://127.0.0.1:{self.rivals.mosquitto().port}"
            self._measure(table, stack, "a broker", members, url, (), ())
        table.notes.append(
            "A second: of the first nine tenths. CPU in ms for each handshake, without what it "
            "takes to start; asymmetric: what X25519 and Ed25519 take of that on each side, by the "
            "same process. The host and the newcomers have a process each."
        )
        return [table]

    def _measure(
        self,
        table: Table,
        stack: contextlib.ExitStack,
        name: str,
        members: Members,
        url: str,
        inside: Command,
        outside: Command,
    ) -> None:
        tell(f"  by {name}")
        host = Crowd(self.lab, stack, inside, 0, 1, url, members, "asked")
        others = Crowd(self.lab, stack, outside, 1, self.newcomers, url, members, "asked")
        host.ask("start 1")
        others.tell(f"start {self.newcomers}")
        for _ in range(self.newcomers):
            others.hear()
        host.tell("reset")
        others.tell("reset")
        times = others.ask("all-reach host0")["reached"]
        theirs, ours = others.ask("count")["cpu"], host.ask("count")["cpu"]
        each = [cpu / self.newcomers * 1e3 for cpu in (ours, theirs)]
        asymmetric = host.ask("asymmetric")["seconds"] * 1e3
        most = self.newcomers * 9 // 10
        table.add(name, most / times[most - 1], times[-1], *each, asymmetric, "ms")
