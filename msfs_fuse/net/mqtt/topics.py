"""What MQTT topics tell, and so the broker: hosts and domains, never slots or messages. Pure.

    PREFIX/DOMAIN/h/HOST/SENDER      to all mounts of a host
    PREFIX/DOMAIN/b/SENDER           to the domain
    PREFIX/DOMAIN/p/SENDER/MEMBER    retained: a mount that is there. Empty: it is gone

Only the sender writes to topics with its name in that place, so that a broker which knows its
clients can see to it (README.md has the rules for mosquitto).
"""

from typing import NamedTuple

from msfs_fuse.core.names import fold

_UNESCAPED = {"__": "_", "_-": "."}


def escape(name: str) -> str:
    """The name of a host or domain as a level of a topic: lower case, `_` as `__`, `.` as `_-`.

    A dot separates levels where a NATS server takes MQTT, and is doubled to `//` on its way.
    """
    return fold(name).replace("_", "__").replace(".", "_-")


def unescape(level: str) -> str:
    """The name that escape() made this of, in lower case.

    Raises:
        ValueError: it has made this of none.
    """
    name, rest = "", level
    while rest:
        plain, mark, rest = rest.partition("_")
        name += plain
        if mark:
            name += _UNESCAPED.get(mark + rest[:1], "")
            rest = rest[1:]
    if not name or escape(name) != level:
        raise ValueError(f"not of a host or domain: {level!r}")
    return name


class Origin(NamedTuple):
    """Who has sent something, as its topic has it.

    Attributes:
        member: the mount, if the topic is one of presence; else None.
    """

    host: str
    member: str | None = None


class Topics:
    """The topics of one mount as a member of a domain.

    Args:
        member: names the mount among those of its host.
    """

    def __init__(self, prefix: str, domain: str, host: str, member: str) -> None:
        self._root = f"{prefix}/{escape(domain)}"
        self._host = escape(host)
        self.domain = f"{self._root}/b/{self._host}"
        self.presence = f"{self._root}/p/{self._host}/{member}"
        # They do not overlap: mosquitto sends a copy for each one that fits.
        self.subscriptions = (
            f"{self._root}/h/{self._host}/+",
            f"{self._root}/b/+",
            f"{self._root}/p/+/+",
        )

    def host(self, name: str) -> str:
        """Where to send to that host."""
        return f"{self._root}/h/{escape(name)}/{self._host}"

    def is_to_us(self, topic: str) -> bool:
        """Whether a topic is that of this host, and not one of all."""
        return topic.startswith(f"{self._root}/h/{self._host}/")

    def origin(self, topic: str) -> Origin:
        """Who may have written to a topic.

        Raises:
            ValueError: it is none that we have subscribed to.
        """
        root, _, rest = topic.partition(f"{self._root}/")
        match rest.split("/"):
            case ["h", destination, sender] if not root and destination == self._host:
                return Origin(unescape(sender))
            case ["b", sender] if not root:
                return Origin(unescape(sender))
            case ["p", sender, member] if not root:
                return Origin(unescape(sender), member)
        raise ValueError(f"not a topic of ours: {topic!r}")
