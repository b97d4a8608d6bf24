r"""The Browser protocol ([MS-BRWS]): who is there, said in the slot `BROWSE`.

Hosts announce themselves to their workgroup's local master browser, `WORKGROUP<1D>`, which tells
`WORKGROUP<1E>` that it is one, and other workgroups that there is a workgroup. Whoever sends a
request for announcements gets them at once. Elections are for those who want to be master: here
they are told apart and no more.
"""

import struct
from enum import IntFlag
from typing import NamedTuple

from msfs_fuse.core.names import fold
from msfs_fuse.programs import FormatError

SLOT = "BROWSE"

MAX_NAME = 15  # bytes; 16 with its NUL
MAX_COMMENT = 42  # bytes; 43 with its NUL

HOST_ANNOUNCEMENT = 0x01
ANNOUNCEMENT_REQUEST = 0x02
ELECTION = 0x08
DOMAIN_ANNOUNCEMENT = 0x0C
LOCAL_MASTER_ANNOUNCEMENT = 0x0F

_ANNOUNCEMENTS = (HOST_ANNOUNCEMENT, DOMAIN_ANNOUNCEMENT, LOCAL_MASTER_ANNOUNCEMENT)
_KNOWN = range(0x01, 0x10)

# Opcode, count of updates, period in ms, name, version of the system, server type, version of the
# browser protocol, signature.
_ANNOUNCEMENT = struct.Struct("<BBL16sBBLBBH")
_BROWSER_VERSION = (15, 1)
_SIGNATURE = 0xAA55


class ServerType(IntFlag):
    """What a host is, as far as one wants to know."""

    WORKSTATION = 0x1
    SERVER = 0x2
    DOMAIN_CONTROLLER = 0x8
    BACKUP_CONTROLLER = 0x10
    PRINT_SERVER = 0x200
    UNIX = 0x800
    WINDOWS_NT = 0x1000
    NT_SERVER = 0x8000
    POTENTIAL_BROWSER = 0x1_0000
    BACKUP_BROWSER = 0x2_0000
    MASTER_BROWSER = 0x4_0000
    DOMAIN_MASTER = 0x8_0000
    DOMAIN = 0x8000_0000


class Announcement(NamedTuple):
    """A host, or for DOMAIN_ANNOUNCEMENT a workgroup.

    Attributes:
        kind: HOST_ANNOUNCEMENT, LOCAL_MASTER_ANNOUNCEMENT or DOMAIN_ANNOUNCEMENT.
        name: of the host or workgroup.
        comment: of the host; for a workgroup the name of its local master.
        period: until the next one, in seconds; 0 from a host that goes.
        server_type: bits of ServerType, and others.
        version: of its system, major and minor.
        updates: how many there were, a byte that wraps around.
    """

    kind: int
    name: str
    comment: str = ""
    period: float = 720.0
    server_type: int = ServerType.WORKSTATION | ServerType.SERVER | ServerType.UNIX
    version: tuple[int, int] = (6, 1)
    updates: int = 0


class AnnouncementRequest(NamedTuple):
    """Everybody is asked to announce himself.

    Attributes:
        name: of the host that asks.
    """

    name: str


class Other(NamedTuple):
    """A frame that is for masters and those who want to be.

    Attributes:
        kind: its opcode.
    """

    kind: int


# How many hosts are kept, and after how many missed announcements one is taken to have gone.
MAX_HOSTS = 1000
_MISSED = 3
_LEAST_SECONDS = 60.0
_MOST_SECONDS = 12 * 60.0

Frame = Announcement | AnnouncementRequest | Other


class Host(NamedTuple):
    """A host or workgroup as it announced itself last.

    Attributes:
        source: who sent that really, as far as is known.
        heard: when, in seconds of the clock of whoever keeps the hosts.
    """

    said: Announcement
    source: str
    heard: float

    @property
    def expires(self) -> float:
        """When it is gone if it says nothing more."""
        period = min(max(self.said.period, _LEAST_SECONDS), _MOST_SECONDS)
        return self.heard + _MISSED * period


class Change(NamedTuple):
    """What has become of a host.

    Attributes:
        event: `came`, `changed` or `gone`.
    """

    event: str
    host: Host


class Hosts:
    """The hosts that announced themselves, at most MAX_HOSTS."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[bool, str], Host] = {}

    def take(self, said: Announcement, source: str, now: float) -> Change | None:
        """What an announcement changes, if anything; nothing beyond MAX_HOSTS."""
        key = said.kind == DOMAIN_ANNOUNCEMENT, fold(said.name)
        before, host = self._hosts.get(key), Host(said, source, now)
        if not said.server_type or not said.period:
            return Change("gone", self._hosts.pop(key)) if before else None
        if before is None and len(self._hosts) >= MAX_HOSTS:
            return None
        self._hosts[key] = host
        if before is None:
            return Change("came", host)
        return Change("changed", host) if _shown(before) != _shown(host) else None

    def expire(self, now: float) -> list[Change]:
        """Those that are gone, since they have said nothing for long."""
        late = [key for key, host in self._hosts.items() if host.expires <= now]
        return [Change("gone", self._hosts.pop(key)) for key in late]


def _shown(host: Host) -> tuple[object, ...]:
    said = host.said
    return said.kind, said.name, said.comment, said.server_type, said.version, host.source


def decode(data: bytes, code_page: str = "cp850") -> Frame:
    """A frame from a message.

    Raises:
        FormatError: it is none.
    """
    kind = data[0] if data else 0
    if kind in _ANNOUNCEMENTS:
        if len(data) < _ANNOUNCEMENT.size:
            raise FormatError("an announcement ends early")
        _, updates, period, name, *version, server_type, _, _, _ = _ANNOUNCEMENT.unpack_from(data)
        label = _text(name, code_page)
        comment = _text(data[_ANNOUNCEMENT.size :][: MAX_COMMENT + 1], code_page)
        major, minor = version
        return Announcement(
            kind, label, comment, period / 1000, server_type, (major, minor), updates
        )
    if kind == ANNOUNCEMENT_REQUEST:
        return AnnouncementRequest(_text(data[2 : 2 + MAX_NAME + 1], code_page))
    if kind in _KNOWN:
        return Other(kind)
    raise FormatError("not a browser frame")


def encode(frame: Announcement | AnnouncementRequest, code_page: str = "cp850") -> bytes:
    """A message from a frame.

    Raises:
        FormatError: a name or the comment is too long, or holds a NUL.
    """
    if isinstance(frame, AnnouncementRequest):
        return bytes([ANNOUNCEMENT_REQUEST, 0]) + _pack(frame.name, MAX_NAME, code_page) + b"\0"
    period = round(frame.period * 1000)
    if not 0 <= period < 1 << 32 or not frame.name:
        raise FormatError("an announcement has a name and a period of 0 to 49 days")
    name = _pack(frame.name, MAX_NAME, code_page)
    fixed = _ANNOUNCEMENT.pack(
        *(frame.kind, frame.updates & 0xFF, period, name.ljust(16, b"\0"), *frame.version),
        *(frame.server_type, *_BROWSER_VERSION, _SIGNATURE),
    )
    return fixed + _pack(frame.comment, MAX_COMMENT, code_page) + b"\0"


def _text(field: bytes, code_page: str) -> str:
    return field.partition(b"\0")[0].decode(code_page, "replace")


def _pack(text: str, limit: int, code_page: str) -> bytes:
    data = text.encode(code_page, "replace")
    if len(data) > limit or b"\0" in data:
        raise FormatError(f"longer than {limit} bytes, or holds a NUL: {text!r}")
    return data
