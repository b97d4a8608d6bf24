"""What routers and transports have counted."""

from collections.abc import Iterable
from typing import Protocol

from msfs_fuse.core.metrics import Metric


class _Counting(Protocol):
    def metrics(self) -> Iterable[Metric]: ...


def total(counting: _Counting, name: str, **labels: str) -> float:
    """The sum of what it has counted under that name, without `network_`.

    Raises:
        AssertionError: nothing is counted under that name.
    """
    values = [
        metric.value
        for metric in counting.metrics()
        if (metric.name, dict(metric.labels)) == (f"network_{name}", labels)
    ]
    assert values, name
    return sum(values)
