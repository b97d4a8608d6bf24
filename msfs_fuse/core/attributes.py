"""GetMailslotInfo and SetMailslotInfo as extended attributes of a slot: text in, text out."""

import errno
import re
from collections.abc import Callable
from typing import NamedTuple

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.limits import Limits
from msfs_fuse.core.slot import Slot

PREFIX = "user.mailslot."
MAX_MESSAGE_SIZE = PREFIX + "max_message_size"

FOREVER = "forever"
NONE = "none"

# The longest wait one may ask for, in milliseconds: what a Windows DWORD holds below "for ever".
_READ_TIMEOUT_CEILING = 0xFFFF_FFFE


class Attribute(NamedTuple):
    """How one attribute is read, and set where it can be.

    `get` gives None while there is nothing to tell; `set` raises ValueError for nonsense.
    """

    get: Callable[[Slot], str | None]
    set: Callable[[Slot, str, Limits], None] | None = None


def _number(text: str, ceiling: int) -> int:
    if not re.fullmatch(r"[0-9]{1,20}", text) or int(text) > ceiling:
        raise ValueError(text)
    return int(text)


def _choice(text: str, no: str, yes: str) -> bool:
    if text not in (no, yes):
        raise ValueError(text)
    return text == yes


def _set_max_message_size(slot: Slot, text: str, limits: Limits) -> None:
    # As with CreateMailslot, 0 means any size: here as large as the mount takes.
    slot.max_message_size = _number(text, limits.max_message_size) or limits.max_message_size


def _set_read_timeout(slot: Slot, text: str, limits: Limits) -> None:
    slot.read_timeout = None if text == FOREVER else _number(text, _READ_TIMEOUT_CEILING)


def _set_short_read(slot: Slot, text: str, limits: Limits) -> None:
    slot.short_read_fails = _choice(text, "continue", "error")


def _set_network(slot: Slot, text: str, limits: Limits) -> None:
    slot.network = _choice(text, "off", "on")


def _next_size(slot: Slot) -> str:
    return str(len(slot.messages[0][0]) - slot.offset) if slot.messages else NONE


def _known(number: int | None) -> str | None:
    return None if number is None else str(number)


def seconds(nanoseconds: int) -> str:
    """A time since the epoch as seconds with all nine decimals."""
    return "{}.{:09}".format(*divmod(nanoseconds, 1_000_000_000))


ATTRIBUTES: dict[str, Attribute] = {
    MAX_MESSAGE_SIZE: Attribute(lambda s: str(s.max_message_size), _set_max_message_size),
    PREFIX + "next_size": Attribute(_next_size),
    PREFIX + "message_count": Attribute(lambda s: str(len(s.messages))),
    PREFIX + "read_timeout": Attribute(
        lambda s: FOREVER if s.read_timeout is None else str(s.read_timeout), _set_read_timeout
    ),
    PREFIX + "short_read": Attribute(
        lambda s: "error" if s.short_read_fails else "continue", _set_short_read
    ),
    PREFIX + "network": Attribute(lambda s: "on" if s.network else "off", _set_network),
    PREFIX + "sender_host": Attribute(lambda s: s.last_sender and s.last_sender.host),
    PREFIX + "sender_proof": Attribute(lambda s: s.last_sender and s.last_sender.proof.value),
    PREFIX + "sender_uid": Attribute(lambda s: s.last_sender and _known(s.last_sender.uid)),
    PREFIX + "sender_pid": Attribute(lambda s: s.last_sender and _known(s.last_sender.pid)),
    PREFIX + "sent_at": Attribute(lambda s: s.last_sender and seconds(s.last_sent_at)),
}


def list_attributes(slot: Slot) -> list[str]:
    """The names that get_attribute has a value for."""
    return [name for name, attribute in ATTRIBUTES.items() if attribute.get(slot) is not None]


def get_attribute(slot: Slot, name: str) -> str:
    """The value of an attribute.

    Raises:
        SlotError: ENODATA where there is none of that name, or nothing was read yet.
    """
    attribute = ATTRIBUTES.get(name)
    value = attribute.get(slot) if attribute else None
    if value is None:
        raise SlotError(errno.ENODATA)
    return value


def set_attribute(slot: Slot, name: str, value: str, uid: int, limits: Limits) -> None:
    """Set an attribute on behalf of the user `uid`.

    Raises:
        SlotError: ENOTSUP for a name that is not ours; EPERM for one that is read-only, for
            another user's slot, and for one that no server has had yet: whoever writes first
            does not rule how the server will read; EINVAL for a value that makes no sense.
    """
    attribute = ATTRIBUTES.get(name)
    if attribute is None:
        raise SlotError(errno.ENOTSUP)
    if attribute.set is None or not slot.claimed or uid not in (slot.uid, 0):
        raise SlotError(errno.EPERM)
    try:
        attribute.set(slot, value, limits)
    except ValueError:
        raise SlotError(errno.EINVAL) from None


def remove_attribute(name: str) -> None:
    """Refuse to remove an attribute.

    Raises:
        SlotError: EPERM for ours, which are always there; ENODATA for others.
    """
    raise SlotError(errno.EPERM if name in ATTRIBUTES else errno.ENODATA)
