"""Numbers that describe themselves: the help text and the kind stand where the number is kept.

A set of numbers is a dataclass whose fields are made by `counter` and `gauge`:

    @dataclass
    class Counts:
        slots_created: int = counter("Slots made.")

Code adds to `counts.slots_created` as to any integer, and `metrics_of` gives each number with its
description. So a new number needs one line in one place, and `.msfs/metrics` shows it.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["counter", "gauge"]


class Metric(NamedTuple):
    """One number, as Prometheus wants to have it described.

    Attributes:
        name: without the prefix that all metrics of this program have, and without `_total`.
        help: one sentence that says what is counted, and in which unit.
        kind: a counter only grows while the mount lives; a gauge goes up and down.
        labels: what tells apart the metrics of one name.
    """

    name: str
    help: str
    kind: Kind
    value: float
    labels: Mapping[str, str] = {}


def counter(help: str) -> Any:
    """A dataclass field for a number that only grows."""
    return dataclasses.field(default=0, metadata={"help": help, "kind": "counter"})


def gauge(help: str) -> Any:
    """A dataclass field for a number that goes up and down."""
    return dataclasses.field(default=0, metadata={"help": help, "kind": "gauge"})


def metrics_of(numbers: Any, prefix: str = "") -> Iterator[Metric]:
    """Every number of a dataclass that `counter` or `gauge` made, with its description.

    Args:
        numbers: an instance of that dataclass.
        prefix: put before each name.
    """
    for each in dataclasses.fields(numbers):
        if "help" in each.metadata:
            yield Metric(
                prefix + each.name,
                each.metadata["help"],
                each.metadata["kind"],
                getattr(numbers, each.name),
            )


def add_up(metrics: Iterable[Metric]) -> list[Metric]:
    """One metric for each name and labels, with the sum of the values; each name in one piece."""
    sums: dict[str, dict[frozenset[tuple[str, str]], Metric]] = {}
    for each in metrics:
        of_name = sums.setdefault(each.name, {})
        key = frozenset(each.labels.items())
        known = of_name.get(key)
        of_name[key] = each if known is None else known._replace(value=known.value + each.value)
    return [metric for of_name in sums.values() for metric in of_name.values()]
