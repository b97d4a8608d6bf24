"""One table a section: as text, as JSON, as a plot."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Cell = str | int | float | None
REASONS = ("missing", "refused")  # what a cell begins with that says why there is no figure
LIMIT = 1.3  # a cost that grows by more is a finding


@dataclass
class Table:
    """Named columns; the first says what a row is about."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)  # each round, for the JSON

    def add(self, *cells: Cell) -> None:
        """Add a row; what is left out at its end is empty."""
        self.rows.append(cells + (None,) * (len(self.columns) - len(cells)))

    def text(self) -> str:
        if not self.columns:
            return self.title
        cells = [self.columns, *(tuple(shown(cell) for cell in row) for row in self.rows)]
        # A reason runs over the columns to its right.
        widths = [
            max(len(row[i]) for row in cells if not row[i].startswith(REASONS))
            for i in range(len(self.columns))
        ]
        lines = [self.title]
        for row in cells:
            words = [
                word.ljust(width) if i == 0 or word.startswith(REASONS) else word.rjust(width)
                for i, (word, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  " + "  ".join(words).rstrip())
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def as_dicts(self) -> list[dict[str, Cell]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def shown(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.2f}" if abs(cell) < 10 else f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def verdict(ratio: float | None, goal: float | None) -> str | None:
    if goal is None:
        return None
    if ratio is None:
        return "not measured"
    return "met" if ratio <= goal else "NOT MET"


def save_json(path: Path, header: dict[str, str], tables: list[Table]) -> None:
    sections = [
        {"name": t.name, "title": t.title, "rows": t.as_dicts(), "notes": t.notes, "rounds": t.raw}
        for t in tables
    ]
    path.write_text(json.dumps({"header": header, "tables": sections}, indent=2) + "\n")


def save_plot(path: Path, header: dict[str, str], tables: list[Table]) -> None:
    """Bars for each table of latencies, lines for growth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [t for t in tables if {"rival", "median", "p99"} <= set(t.columns)]
    growth = [t for t in tables if t.name == "growth"]
    panels = len(bars) + len(growth)
    if not panels:
        return
    figure, axes = pyplot.subplots(
        panels, 1, figsize=(10, 4 * panels), squeeze=False, layout="constrained"
    )
    for axis, table in zip(axes[:, 0], bars + growth, strict=True):
        axis.set_title(table.title, fontsize=10)
        axis.set_xscale("log")
        if table.name == "growth":
            lines: dict[str, list[tuple[float, float]]] = {}
            for row in table.as_dicts():
                if isinstance(row["of"], int) and isinstance(row["ratio"], float):
                    key = f"{row['what']}: {row['operation']}"
                    lines.setdefault(key, []).append((row["of"], row["ratio"]))
            for key, points in lines.items():
                axis.plot(*zip(*points, strict=True), marker="o", label=key)
            axis.axhline(LIMIT, color="grey", linestyle="--", label=f"{LIMIT} x")
            axis.set_ylabel("cost, times that of one")
            axis.set_xlabel("how many")
            axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
            continue
        rows = [r for r in reversed(table.as_dicts()) if isinstance(r["median"], float)]
        names = [str(r["rival"]) for r in rows]
        medians = [float(r["median"] or 0) for r in rows]
        tails = [max(0.0, float(r["p99"] or 0) - float(r["median"] or 0)) for r in rows]
        colours = ["tab:red" if name.startswith("msfs") else "tab:blue" for name in names]
        axis.barh(names, medians, xerr=[[0] * len(tails), tails], color=colours, capsize=3)
        axis.set_xlabel("µs, median; whisker: p99")
    figure.suptitle(f"{header['machine']}, Linux {header['kernel']}, {header['date']}", fontsize=9)
    figure.savefig(path, dpi=110)
