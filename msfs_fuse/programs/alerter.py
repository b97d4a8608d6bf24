"""What programs raise in the slot `Alerter`: STD_ALERT of the Windows SDK's `lmalert.h`.

A fixed part of 200 bytes, little-endian with UTF-16LE text, is followed by what belongs to the
event: ADMIN_OTHER_INFO, ERRLOG_OTHER_INFO, PRINT_OTHER_INFO, USER_OTHER_INFO, or for any other
event anything. The slot is local: programs of this host write to it.
"""

import struct
from typing import NamedTuple

from msfs_fuse.programs import FormatError

SLOT = "Alerter"

_EVENT_LENGTH = 17  # of WCHARs, a NUL included
_SERVICE_LENGTH = 81
_STD_ALERT = struct.Struct(f"<L{2 * _EVENT_LENGTH}s{2 * _SERVICE_LENGTH}s")
_TWO = struct.Struct("<LL")
_FOUR = struct.Struct("<LLLL")


class Admin(NamedTuple):
    """ADMIN: an error code and the strings of its message."""

    error: int
    strings: tuple[str, ...]


class ErrorLog(NamedTuple):
    """ERRORLOG: an entry was added to the error log, with that code, there."""

    error: int
    offset: int


class Print(NamedTuple):
    """PRINTING: a job and what became of it; `submitted` in seconds since 1970."""

    job: int
    status_bits: int
    submitted: int
    size: int
    computer: str
    user: str
    queue: str
    destination: str
    status: str


class User(NamedTuple):
    """USER: an error code, the strings of its message, and whom it is about."""

    error: int
    strings: tuple[str, ...]
    user: str
    computer: str


class Alert(NamedTuple):
    """One alert.

    Attributes:
        time: in seconds since 1970.
        event: ADMIN, ERRORLOG, MESSAGE, PRINTING, USER or anything else, up to 16 characters.
        service: who raised it, up to 80 characters.
        details: what the event says; bytes, where its form is not known.
    """

    time: int
    event: str
    service: str
    details: Admin | ErrorLog | Print | User | bytes


def decode(data: bytes) -> Alert:
    """An alert from a message.

    Raises:
        FormatError: it is none, or what should follow for its event is not there.
    """
    if len(data) < _STD_ALERT.size:
        raise FormatError("too short for an alert")
    time, event, service = _STD_ALERT.unpack_from(data)
    name = _fixed_text(event)
    rest = data[_STD_ALERT.size :]
    details: Admin | ErrorLog | Print | User | bytes
    match name:
        case "ADMIN":
            (error, count), strings = _numbers(_TWO, rest)
            details = Admin(error, _strings(strings, count))
        case "ERRORLOG":
            (error, offset), _ = _numbers(_TWO, rest)
            details = ErrorLog(error, offset)
        case "PRINTING":
            (job, bits, submitted, size), strings = _numbers(_FOUR, rest)
            details = Print(job, bits, submitted, size, *_strings(strings, 5))
        case "USER":
            (error, count), strings = _numbers(_TWO, rest)
            *texts, user, computer = _strings(strings, count + 2)
            details = User(error, tuple(texts), user, computer)
        case _:
            details = rest
    return Alert(time, name, _fixed_text(service), details)


def encode(alert: Alert) -> bytes:
    """A message from an alert.

    Raises:
        FormatError: its event has other details, or something is too long or holds a NUL.
    """
    match alert.event, alert.details:
        case "ADMIN", Admin(error, strings):
            rest = _TWO.pack(error, len(strings)) + _pack_strings(strings)
        case "ERRORLOG", ErrorLog(error, offset):
            rest = _TWO.pack(error, offset)
        case "PRINTING", Print() as job:
            rest = _FOUR.pack(*job[:4]) + _pack_strings(job[4:])
        case "USER", User(error, strings, user, computer):
            rest = _TWO.pack(error, len(strings)) + _pack_strings((*strings, user, computer))
        case "ADMIN" | "ERRORLOG" | "PRINTING" | "USER", _:
            raise FormatError(f"not what belongs to {alert.event}")
        case _, bytes(rest):
            pass
        case _:
            raise FormatError(f"nobody knows what belongs to {alert.event}")
    event = _pack_fixed(alert.event, _EVENT_LENGTH)
    service = _pack_fixed(alert.service, _SERVICE_LENGTH)
    return _STD_ALERT.pack(alert.time, event, service) + rest


def is_alert(data: bytes) -> bool:
    """Whether a message is an STD_ALERT rather than plain text: its names are UTF-16 with NULs."""
    if len(data) < _STD_ALERT.size:
        return False
    event: bytes = _STD_ALERT.unpack_from(data)[1]
    return event[:1] != b"\0" and event[1:2] == b"\0" and event.endswith(b"\0\0")


def describe(alert: Alert) -> str:
    """What to tell people, in lines."""
    match alert.details:
        case Admin(error, strings):
            lines = [f"error {error}", *strings] if error else [*strings]
        case ErrorLog(error, offset):
            lines = [f"error {error} was logged at {offset}"]
        case Print() as job:
            lines = [
                f"job {job.job} of {job.user} on {job.computer}: {job.status or 'no status'}",
                f"queue {job.queue}, printer {job.destination}, {job.size} bytes",
            ]
        case User(error, strings, user, computer):
            lines = [f"about {user} on {computer}", *strings]
            if error:
                lines.insert(1, f"error {error}")
        case bytes(data):
            lines = [_best_text(data)] if data.strip(b"\0") else []
    return "\n".join([f"{alert.event} from {alert.service or 'an unnamed service'}", *lines])


def _best_text(data: bytes) -> str:
    """Details of no known form are mostly text: WCHARs, if every second byte says so, or UTF-8."""
    wide = len(data) % 2 == 0 and not any(data[1::2])
    text = data.decode("utf-16-le" if wide else "utf-8", "replace")
    return text.strip("\0").replace("\0", "\n")


def _fixed_text(field: bytes) -> str:
    text, end, _ = field.decode("utf-16-le", "replace").partition("\0")
    if not end:
        raise FormatError("a name does not end")
    return text


def _pack_fixed(text: str, length: int) -> bytes:
    data = text.encode("utf-16-le")
    if "\0" in text or len(data) > 2 * (length - 1):
        raise FormatError(f"too long, or holds a NUL: {text!r}")
    return data.ljust(2 * length, b"\0")


def _numbers(form: struct.Struct, data: bytes) -> tuple[tuple[int, ...], bytes]:
    if len(data) < form.size:
        raise FormatError("the alert ends early")
    return form.unpack_from(data), data[form.size :]


def _strings(data: bytes, count: int) -> tuple[str, ...]:
    # Each takes two bytes at least: a count that lies costs nothing.
    if 2 * count > len(data):
        raise FormatError("the alert has fewer strings than it says")
    text = data[: len(data) & ~1].decode("utf-16-le", "replace")
    parts = text.split("\0", count)
    if len(parts) != count + 1:
        raise FormatError("the alert has fewer strings than it says")
    return tuple(parts[:count])


def _pack_strings(strings: tuple[str, ...]) -> bytes:
    if any("\0" in text for text in strings):
        raise FormatError("a string holds a NUL")
    return b"".join((text + "\0").encode("utf-16-le") for text in strings)
