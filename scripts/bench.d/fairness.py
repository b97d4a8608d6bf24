"""What one user's write and read takes while another uses the same mount."""

import contextlib
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from lab import Dialogue, Lab, Missing, Mount
from report import Cell, Table, verdict
from rivals import Rivals
from sections import OURS, tell

SAMPLES = 1000
WAITING = 16_000
PATIENCE = 60.0  # seconds for all of them to wait
GOAL = 3.0
IDLE = "nobody"
# Others than who is measured, where that can be: another user, whose share is another.
NEIGHBOUR = (
    ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"] if os.geteuid() == 0 else []
)


class User:
    """Who is measured, on a mount of his own msfs.

    Attributes:
        found: for each neighbour, what each round found: median and 99th percentile, or why he was
            refused.
    """

    def __init__(self, lab: Lab, program: Path, mount: Mount, dialogue: Dialogue) -> None:
        self._lab, self._program, self._mount, self._dialogue = lab, program, mount, dialogue
        self.found: dict[str, list[tuple[float, float] | str]] = {}

    def ask(self, name: str, what: str = "", processes: int = 0) -> None:
        """Measure beside so many others."""
        with self._others(what, processes):
            self._dialogue.say()
            sample = json.loads(self._dialogue.hear())
        refused = sample.get("refused")
        both = sample.get("both")
        self.found.setdefault(name, []).append(refused or (both["median"], both["p99"]))

    @contextlib.contextmanager
    def _others(self, what: str, processes: int) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for _ in range(processes):
                command = ["timeout", "120", self._program, what, self._mount.path]
                stack.enter_context(self._lab.background([*NEIGHBOUR, *command]))
            time.sleep(0.3)
            yield

    @contextlib.contextmanager
    def beside(self, *words: str, other: bool = True) -> Iterator[None]:
        """Beside something that is made once and held, by another user if `other`."""
        what, *how_many = words
        command = [*(NEIGHBOUR if other else []), self._program, what, self._mount.path, *how_many]
        with self._lab.dialogue(command, 120) as holder:
            holder.hear()
            yield
            holder.say()

    def until_waiting(self, count: int) -> None:
        """Return once so many reads have come."""
        status = self._mount.path / ".msfs/status"
        end = time.monotonic() + PATIENCE
        while f"\nwaiting: {count}\n" not in status.read_text():
            if time.monotonic() > end:
                raise Missing(f"not all of {count} reads wait")
            time.sleep(0.1)

    def rows(self) -> Iterator[tuple[str, tuple[Cell, ...]]]:
        """What each neighbour costs."""
        idle = self.found[IDLE]
        for name, samples in self.found.items():
            goal = GOAL if name != IDLE else None
            both = [
                (s, i)
                for s, i in zip(samples, idle, strict=True)
                if not isinstance(s, str) and not isinstance(i, str)
            ]
            if len(both) < len(samples):
                why = next((s for s in samples if isinstance(s, str)), "no idle mount to compare")
                yield name, (f"refused: {why}",)
                continue
            middle = [statistics.median(s[k] for s, _ in both) for k in (0, 1)]
            times, tail = (statistics.median(s[k] / i[k] for s, i in both) for k in (0, 1))
            yield name, (*middle, times, tail, goal, verdict(times, goal))


class Fairness:
    """The section.

    Args:
        earlier: an msfs that takes turns with the lab's own.
    """

    def __init__(
        self, lab: Lab, rivals: Rivals, rounds: int, quick: bool, earlier: Path | None
    ) -> None:
        self.lab, self.rivals, self.rounds = lab, rivals, rounds
        self.slots = 10_000 if quick else 100_000
        self.programs = {"earlier": earlier} if earlier else {}
        self.programs[OURS] = lab.msfs

    def tables(self) -> list[Table]:
        """One for each placement and each msfs.

        Where nothing is pinned, an idle mount has all on one core, and any neighbour at all makes
        them wake each other across cores.
        """
        apart = self.lab.client_core, self.lab.server_core
        return [
            *self._tables("fairness", "the daemon on a core of its own", *apart),
            *self._tables("fairness unpinned", "none is pinned", None, None),
        ]

    def _tables(
        self, key: str, where: str, clients: int | None, servers: int | None
    ) -> list[Table]:
        columns = ("beside", "median", "p99", "times idle", "p99, times", "goal", "verdict")
        tables = []
        tell(f"  {where}")
        with self.lab.placed(clients, servers), contextlib.ExitStack() as stack:
            users = {name: stack.enter_context(self._user(m)) for name, m in self.programs.items()}
            for turn in range(self.rounds):
                tell(f"  round {turn + 1} of {self.rounds}")
                for user in users.values():
                    self._few_slots(user)
            for name, user in users.items():
                with user.beside("fill", str(self.slots), other=False):
                    for turn in range(self.rounds):
                        tell(f"  {name}: {self.slots:,} slots, round {turn + 1} of {self.rounds}")
                        self._many_slots(user)
        for name, user in users.items():
            title = f"fairness: one user's write and read, µs; {where}; {name}"
            table = Table(key, title, columns)
            for beside, cells in user.rows():
                table.add(beside, *cells)
            table.raw = dict(user.found)
            tables.append(table)
        return tables

    @contextlib.contextmanager
    def _user(self, msfs: Path) -> Iterator[User]:
        # As it is mounted for all: with the limits that a mount has unless told otherwise.
        program = self.rivals.crowded()
        command = [msfs, "mount", "-f", "-o", "allow_other"]
        with self.lab.fresh("fuse.msfs", command) as mount:
            words = [program, "beside", mount.path, str(SAMPLES)]
            with self.lab.dialogue(words, 60) as dialogue:
                yield User(self.lab, program, mount, dialogue)

    @staticmethod
    def _few_slots(user: User) -> None:
        user.ask(IDLE)
        user.ask("1 flood", "flood", 1)
        user.ask("8 floods", "flood", 8)
        with user.beside("wait", str(WAITING)):
            user.until_waiting(WAITING)
            user.ask(f"{WAITING:,} waiting reads")
        user.until_waiting(0)
        with user.beside("bytes"):
            user.ask("as many bytes as one may have")

    def _many_slots(self, user: User) -> None:
        user.ask(f"{self.slots:,} slots")
        user.ask(f"{self.slots:,} slots, 1 long list", "long", 1)
        user.ask(f"{self.slots:,} slots, 4 opendir loops", "list", 4)
