"""To and from Samba's nmbd: what `tests/samba/figures.py` measures, as a table."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from lab import Lab, Missing
from report import Table

TOP = Path(__file__).resolve().parents[2]
TIMEOUT = 300.0  # seconds; nmbd takes its time to start
COLUMNS = ("median ms", "99 % ms", "written a second", "lost")


class Netbios:
    """Latency and rates by real mailslots, with nmbd at one end or in between."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def tables(self) -> list[Table]:
        if os.geteuid() != 0:
            raise Missing("needs root, for network namespaces")
        self.lab.need("ip", "nsenter", "nmbd", "nmblookup")
        if importlib.util.find_spec("pytest") is None:
            raise Missing("needs what the tests need (scripts/setup test)")
        words = [sys.executable, "-m", "tests.samba.figures"]
        try:
            done = subprocess.run(
                words, cwd=TOP, check=True, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT
            )
        except subprocess.SubprocessError as error:
            raise Missing(str(error)) from None
        table = Table("netbios", "NetBIOS datagrams, 1 and 64 bytes", ("way", *COLUMNS))
        for line in done.stdout.splitlines():
            figures = json.loads(line)
            table.add(figures["way"], *map(figures.get, COLUMNS))
        return [table]
