"""`.msfs`: what the mount tells about itself."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from msfs_fuse import __version__
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.names import CONTROL_DIRECTORY
from msfs_fuse.core.network import Router
from msfs_fuse.fuse.nodes import ControlDirectory, ControlFile

_GAUGES = {
    "slots": "Live slots.",
    "messages": "Messages queued.",
    "bytes": "Bytes queued.",
    "waiting": "Reads that wait for a message.",
}

_COUNTERS = {
    "slots_created": "Slots made.",
    "messages_written": "Messages queued or handed to a waiting reader.",
    "bytes_written": "Bytes of these messages.",
    "messages_read": "Messages read to their end.",
    "messages_unread": "Messages that died unread with their slot.",
    "writes_too_long": "Writes refused for the size of the message.",
    "writes_full": "Writes refused for a full slot or mount.",
    "reads_interrupted": "Waiting reads ended by a signal.",
    "reads_timed_out": "Reads that met the slot's read timeout.",
    "reads_over_limit": "Reads refused because too many waited.",
}


_NETWORK_COUNTERS = {
    "sent": "Datagrams handed to the kernel.",
    "send_failed": "Datagrams that the kernel refused: no route, no link.",
    "send_queue_full": "Datagrams refused for a full send queue.",
    "sent_while_away": "Datagrams lost because the broker was away.",
    "received": "Datagrams of other members, each counted once.",
    "delivered": "Messages from other hosts put in a slot.",
    "no_slot": "Messages from other hosts for a slot that this one has not.",
    "slot_refused": "Messages from other hosts that a slot did not take.",
}


class _MailCollector(Collector):
    """Reads the core's plain numbers when somebody scrapes, so that counting costs nothing."""

    def __init__(self, mail: Mailslots, router: Router) -> None:
        self._mail = mail
        self._router = router

    def collect(self) -> Iterable[Metric]:
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"msfs_{name}", text, value=getattr(self._mail, name))
        for name, value in self._mail.counts:
            yield CounterMetricFamily(f"msfs_{name}", _COUNTERS[name], value=value)
        for name, value in self._router.counts().items():
            yield CounterMetricFamily(f"msfs_network_{name}", _NETWORK_COUNTERS[name], value=value)
        links = self._router.links()
        if links:
            gauge = GaugeMetricFamily(
                "msfs_network_link_up", "Whether the broker is there.", labels=["domain", "url"]
            )
            for link in links:
                gauge.add_metric([link.domain, link.url], link.is_up)
            yield gauge
        drops = self._router.drops()
        if drops:
            family = CounterMetricFamily(
                "msfs_network_dropped", "Datagrams dropped.", labels=["reason"]
            )
            for reason, value in drops.items():
                family.add_metric([reason], value)
            yield family


def metrics(mail: Mailslots, router: Router) -> Callable[[], bytes]:
    """A function that renders the mount's metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_MailCollector(mail, router))
    return lambda: generate_latest(registry)


def status(mail: Mailslots, mountpoint: str, router: Router) -> Callable[[], bytes]:
    """A function that renders the mount's state as lines of `name: value`."""
    started = time.monotonic()

    def render() -> bytes:
        facts = {
            "version": __version__,
            "mountpoint": mountpoint,
            "host": mail.host,
            "pid": os.getpid(),
            "uptime_seconds": int(time.monotonic() - started),
            "strict": "yes" if mail.strict else "no",
            **{name: getattr(mail, name) for name in _GAUGES},
            **dict(mail.counts),
            **dataclasses.asdict(mail.limits),
            **{f"link {link.domain} {link.url}": link.state for link in router.links()},
        }
        return "".join(f"{name}: {value}\n" for name, value in facts.items()).encode(
            errors="surrogateescape"
        )

    return render


def control_directory(
    mail: Mailslots, mountpoint: str, router: Router, now: int
) -> ControlDirectory:
    """Make `.msfs` and its files."""
    root = mail.tree.root
    owner = root.uid, root.gid
    directory = ControlDirectory(
        mail.tree.new_id(), CONTROL_DIRECTORY, root, *owner, 0o555, now, now, now
    )
    contents = {
        "metrics": metrics(mail, router),
        "peers": lambda: router.peers().encode(),
        "status": status(mail, mountpoint, router),
    }
    for name, content in contents.items():
        directory.children[name] = ControlFile(
            mail.tree.new_id(), name, directory, *owner, 0o444, now, now, now, content
        )
    return directory
