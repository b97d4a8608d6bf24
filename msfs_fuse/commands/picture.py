"""What `msfs top` shows: samples of a mount, rates between two of them, and lines of text.

All is read from `.msfs` and from the attributes of slots, as any user may.
"""

import os
import re
import stat
import time
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from msfs_fuse.commands import peers, targets
from msfs_fuse.commands.nodes import octal, user_name
from msfs_fuse.commands.output import ABSENT, printable
from msfs_fuse.commands.peers import Peer
from msfs_fuse.core.attributes import PREFIX
from msfs_fuse.core.names import CONTROL_DIRECTORY, REMOTE_MARK

# Slots that are looked at: each costs some calls, and whoever makes many is not to slow us down.
MAX_SLOTS = 2000
_MAX_DEPTH = 16

_METRICS = "msfs_"
_TOTAL = "_total"
_LINE = re.compile(r"(\w+)(?:\{.*\})? (\S+)")
_LINK = "link "

# What the lines of rates show, by its name in the metrics.
_RATES = {
    "written": "messages_written",
    "read": "messages_read",
    "unread": "messages_unread",
    "refused": "writes_full",
    "too long": "writes_too_long",
}
_NETWORK_RATES = {
    "received": "network_received",
    "delivered": "network_delivered",
    "sent": "network_sent",
    "no slot": "network_no_slot",
    "dropped": "network_dropped",
}
_LISTED = 5  # of links, and of hosts


@dataclass(frozen=True)
class SlotState:
    """One slot; None for what we may not read, or is not there.

    Attributes:
        name: below the mount.
        served: somebody has it open to read.
        messages: how many are queued.
        next_size: bytes of the next one.
        written_at: when, in seconds since 1970.
    """

    name: str
    mode: str
    owner: str
    served: bool
    messages: int | None
    next_size: int | None
    written_at: float


@dataclass(frozen=True)
class Sample:
    """A mount at a moment.

    Attributes:
        at: by time.monotonic().
        now: in seconds since 1970.
        status: as `.msfs/status` has it.
        counters: those of `.msfs/metrics`, added up over their labels, without `msfs_`, `_total`.
        peers: None where there is no network.
        all_slots: no slot was left out.
    """

    at: float
    now: float
    status: Mapping[str, str]
    counters: Mapping[str, float]
    slots: list[SlotState]
    peers: list[Peer] | None
    all_slots: bool = True
    links: list[tuple[str, str, str]] = field(default_factory=list)


def sample(mount: str) -> Sample:
    """Look at a mount.

    Raises:
        CommandError: it is gone, or not for us.
    """
    status = targets.read_status(mount)
    path = os.path.join(mount, CONTROL_DIRECTORY, "metrics")
    counters: dict[str, float] = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                match = _LINE.match(line)
                if match and match[1].endswith(_TOTAL):
                    name = match[1].removeprefix(_METRICS).removesuffix(_TOTAL)
                    counters[name] = counters.get(name, 0) + float(match[2])
        slots = []
        for each in _slots(mount, "", _MAX_DEPTH):
            slots.append(each)
            if len(slots) > MAX_SLOTS:
                break
    except OSError as error:
        raise targets.refusal(error, path, mount) from None
    links = []
    for name, state in status.items():
        if name.startswith(_LINK):
            domain, _, url = name.removeprefix(_LINK).partition(" ")
            links.append((domain, url, state))
    return Sample(
        time.monotonic(),
        time.time(),
        status,
        counters,
        slots[:MAX_SLOTS],
        peers.read(mount),
        len(slots) <= MAX_SLOTS,
        links,
    )


def _slots(mount: str, below: str, depth: int) -> Iterator[SlotState]:
    try:
        entries = list(os.scandir(os.path.join(mount, below)))
    except (PermissionError, FileNotFoundError):
        return
    for entry in entries:
        if not below and entry.name.startswith((REMOTE_MARK, CONTROL_DIRECTORY)):
            continue
        name = os.path.join(below, entry.name)
        try:
            node = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # gone since
        if not stat.S_ISDIR(node.st_mode):
            yield SlotState(
                name,
                octal(node),
                user_name(node.st_uid),
                node.st_size > 0,
                _number(entry.path, "message_count"),
                _number(entry.path, "next_size"),
                node.st_mtime,
            )
        elif depth:
            yield from _slots(mount, name, depth - 1)


def _number(path: str, name: str) -> int | None:
    try:
        text = os.getxattr(path, PREFIX + name)
    except OSError:
        return None  # not for us, or gone since
    return int(text) if text.isdigit() else None


def rates(before: Sample | None, after: Sample) -> dict[str, float]:
    """How much each counter grew, in a second; nothing before there are two samples."""
    if before is None or after.at <= before.at:
        return {}
    seconds = after.at - before.at
    return {
        name: max(value - before.counters.get(name, 0), 0) / seconds
        for name, value in after.counters.items()
    }


def facts(before: Sample | None, after: Sample, mount: str) -> dict[str, object]:
    """A picture as JSON has it."""
    totals = ("slots", "messages", "bytes", "waiting")
    return {
        "time": after.now,
        "mount": mount,
        "host": after.status["host"],
        "uptime_seconds": int(after.status["uptime_seconds"]),
        "totals": {name: int(after.status[name]) for name in totals},
        "rates": {name: round(rate, 3) for name, rate in rates(before, after).items()},
        "slots": [vars(slot) for slot in after.slots],
        "all_slots": after.all_slots,
        "hosts": after.peers or [],
        "links": [
            {"domain": domain, "url": url, "state": state} for domain, url, state in after.links
        ],
    }


def lines(
    before: Sample | None, after: Sample, mount: str, order: str, room: int | None
) -> list[str]:
    """A picture for people, printable.

    Args:
        order: of the slots, a key of ORDERS.
        room: how many lines there may be; None for any number.
    """
    status, grown = after.status, rates(before, after)
    up = _duration(int(status["uptime_seconds"]))
    text = [
        f"msfs top: {mount} on {status['host']}, up {up}",
        f"now    slots {status['slots']}   messages {status['messages']}"
        f"   bytes {_size(int(status['bytes']))} of {_size(int(status['max_bytes']))}"
        f"   waiting reads {status['waiting']}",
        "a second" + _rates(grown, _RATES) + f"   bytes {_rate(grown, 'bytes_written')}",
    ]
    if after.peers is not None:
        text.append("network " + _rates(grown, _NETWORK_RATES))
    text += _some([f"link    {domain} {url}: {state}" for domain, url, state in after.links])
    text += _some(
        [
            f"host    {peer['domain']} {peer['host']} {peer['address']}"
            f", heard {_duration(peer['seconds_since_heard'])} ago"
            for peer in after.peers or []
        ]
    )
    text += ["", f"{'MESSAGES':>8} {'NEXT':>8} {'WRITTEN':>8} SERVED MODE {'OWNER':<8} SLOT"]
    shown = sorted(after.slots, key=ORDERS[order])
    fit = len(shown) if room is None else max(room - len(text), 0)
    if len(shown) > fit:
        fit = max(fit - 1, 0)
    text += [_row(slot, after.now) for slot in shown[:fit]]
    left = max(len(shown) - fit, 0)
    if left or not after.all_slots:
        text.append(f"and {left} more" if after.all_slots else f"and {left} more, or many more")
    return [printable(line) for line in text[:room]]


def _by_messages(slot: SlotState) -> tuple[int, float, str]:
    return -(slot.messages or 0), -slot.written_at, slot.name


def _by_time(slot: SlotState) -> tuple[int, float, str]:
    return 0, -slot.written_at, slot.name


def _by_name(slot: SlotState) -> tuple[int, float, str]:
    return 0, 0, slot.name


ORDERS = {"messages": _by_messages, "written": _by_time, "name": _by_name}


def _row(slot: SlotState, now: float) -> str:
    messages = ABSENT if slot.messages is None else str(slot.messages)
    size = ABSENT if slot.next_size is None else _size(slot.next_size)
    ago = _duration(max(int(now - slot.written_at), 0))
    served = "yes" if slot.served else "no"
    head = f"{messages:>8} {size:>8} {ago:>8} {served:<6} {slot.mode}"
    return f"{head} {slot.owner:<8} {slot.name}"


def _some(listed: list[str]) -> list[str]:
    more = len(listed) - _LISTED
    return [*listed[:_LISTED], f"        and {more} more"] if more > 0 else listed


def _rates(grown: Mapping[str, float], names: Mapping[str, str]) -> str:
    return "".join(f"   {title} {_rate(grown, name)}" for title, name in names.items())


def _rate(grown: Mapping[str, float], name: str) -> str:
    rate = grown.get(name)
    return ABSENT if rate is None else f"{rate:.1f}" if rate < 100 else _size(int(rate))


def _size(number: int) -> str:
    """A number in five characters or fewer: 1023, 1.5k, 64M."""
    if number < 1024:
        return str(number)
    size = float(number)
    for unit in ("k", "M", "G"):
        size /= 1024
        if size < 1000:
            return f"{size:.1f}{unit}" if size < 10 else f"{size:.0f}{unit}"
    return f"{size / 1024:.0f}T"


def _duration(seconds: int) -> str:
    """A time as people read it: 12s, 3:05, 2:03:04, 5d."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if seconds < 60:
        return f"{seconds}s"
    if hours >= 48:
        return f"{hours // 24}d"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clipped(text: str, width: int) -> str:
    """As much of a printable line as fits in so many columns of a terminal."""
    columns = 0
    for at, letter in enumerate(text):
        if unicodedata.combining(letter):
            continue
        columns += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if columns > width:
            return text[:at]
    return text
