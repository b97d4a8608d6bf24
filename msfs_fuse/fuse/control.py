"""`.msfs`: what the mount tells about itself."""

import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as MetricFamily
from prometheus_client.registry import Collector

from msfs_fuse import __version__
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.metrics import Metric
from msfs_fuse.core.names import CONTROL_DIRECTORY
from msfs_fuse.core.network import Router
from msfs_fuse.core.shares import Held
from msfs_fuse.fuse.nodes import ControlDirectory, ControlText
from msfs_fuse.fuse.thrift import Thrift

# Gives numbers with their descriptions, as they are now.
Numbers = Callable[[], Iterable[Metric]]

_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


# So many users are shown with what they hold.
_MOST_USERS = 10


class _Collector(Collector):
    """Reads the numbers when somebody scrapes, so that counting costs nothing."""

    def __init__(self, *sources: Numbers) -> None:
        self._sources = sources

    def collect(self) -> Iterable[MetricFamily]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for metric in itertools.chain.from_iterable(source() for source in self._sources):
            family = families.get(metric.name)
            if family is None:
                family = families[metric.name] = _FAMILIES[metric.kind](
                    f"msfs_{metric.name}", metric.help, labels=list(metric.labels)
                )
            family.add_metric(list(metric.labels.values()), metric.value)
        return families.values()


def metrics(*sources: Numbers) -> Callable[[], bytes]:
    """A function that renders numbers, as they are then, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(*sources))
    return lambda: generate_latest(registry)


def _holdings(held: Held) -> str:
    return (
        f"bytes {held.bytes} messages {held.messages} waiting {held.waiting} "
        f"handles {held.handles} slots {held.names}"
    )


def status(mail: Mailslots, mountpoint: str, router: Router) -> Callable[[], bytes]:
    """A function that renders the mount's state as lines of `name: value`."""
    started = time.monotonic()

    def render() -> bytes:
        facts: dict[str, object] = {
            "version": __version__,
            "mountpoint": mountpoint,
            "host": mail.host,
            "pid": os.getpid(),
            "uptime_seconds": int(time.monotonic() - started),
            "strict": "yes" if mail.strict else "no",
            **{metric.name: metric.value for metric in mail.metrics()},
            **dataclasses.asdict(mail.limits),
            **({"domains": " ".join(router.domains())} if router.domains() else {}),
            **{f"keys {domain}": words for domain, words in router.keys().items()},
            **{f"user {held.uid}": _holdings(held) for held in mail.shares.largest(_MOST_USERS)},
            **{f"link {link.domain} {link.url}": link.state for link in router.links()},
        }
        return "".join(f"{name}: {value}\n" for name, value in facts.items()).encode(
            errors="surrogateescape"
        )

    return render


def peers(router: Router) -> str:
    """The hosts that were heard: a line of headings, then one line for each. Tabs in between.

    Nothing at all where there is no network: then there is no domain to name either.
    """
    if not router.names():
        return ""
    rows = [("DOMAIN", "HOST", "ADDRESS", "HEARD")]
    rows += ((*heard[:3], f"{heard.age:.0f}") for heard in router.heard())
    return "".join("{}\t{}\t{}\t{}\n".format(*row) for row in rows)


def control_directory(
    mail: Mailslots, mountpoint: str, router: Router, daemon: Numbers, now: int
) -> ControlDirectory:
    """Make `.msfs` and its files.

    Args:
        daemon: the numbers of the process that serves the mount.
    """
    root = mail.tree.root
    owner = root.uid, root.gid
    directory = ControlDirectory(
        mail.tree.new_id(), CONTROL_DIRECTORY, root, *owner, 0o555, now, now, now
    )
    contents = {
        "metrics": metrics(mail.metrics, router.metrics, daemon),
        "peers": lambda: peers(router).encode(),
        "status": status(mail, mountpoint, router),
    }
    for name, content in contents.items():
        file = ControlText(
            mail.tree.new_id(), name, directory, *owner, 0o444, now, now, now, Thrift(content)
        )
        directory.children[name] = file
        file.place = directory.order.add(file)
    return directory
