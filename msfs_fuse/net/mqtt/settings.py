"""Where a broker is, and how to log in there. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

# Beginning of all topics: the first version of mailslots by MQTT.
DEFAULT_PREFIX = "ms1"

PROTOCOLS = ("auto", "5", "3.1.1")

# Registered with IANA as mqtt and secure-mqtt; a Unix socket has none.
_PORTS = {"mqtt": 1883, "mqtts": 8883, "mqtt+unix": 0}

_PREFIX = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


def is_prefix(text: str) -> bool:
    """Whether topics may begin so: no wildcard, empty level or dot."""
    return _PREFIX.fullmatch(text) is not None


@dataclass(frozen=True)
class Address:
    """What a URL tells.

    Attributes:
        host: a name or a numeric address; empty with a Unix socket.
        port: of TCP; 0 with a Unix socket.
        path: of a Unix socket, else empty.
    """

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Take `mqtt://HOST[:PORT]`, `mqtts://HOST[:PORT]` or `mqtt+unix:///PATH` apart.

        Raises:
            ValueError: it is none of these; the message says why.
        """
        if not url.isprintable() or " " in url:
            raise ValueError("a URL has no spaces")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"not a URL: {error}") from None
        if parts.scheme not in _PORTS:
            raise ValueError("not udp://, mqtt://HOST, mqtts://HOST or mqtt+unix:///PATH")
        if "@" in parts.netloc:
            raise ValueError(
                "user and password do not belong in a URL, which ends up in logs "
                "(use the options user and password_file)"
            )
        if "?" in url or "#" in url:
            raise ValueError("options do not go in the URL, but beside it: { url = …, prefix = … }")
        if parts.scheme == "mqtt+unix":
            if parts.netloc or not parts.path.strip("/"):
                raise ValueError("not mqtt+unix:///PATH, with three slashes")
            return cls(parts.scheme, "", 0, parts.path)
        if not parts.hostname or parts.path.strip("/") or port == 0:
            raise ValueError(f"not {parts.scheme}://HOST or {parts.scheme}://HOST:PORT")
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], "")


@dataclass(frozen=True)
class Broker:
    """A broker and what it is told. Paths are absolute, times in seconds.

    Attributes:
        url: as configured; names the broker to people.
        prefix: what all topics begin with.
        user: name to log in with.
        password_file: its first line is the password.
        ca: certificates that the broker's is checked with; None for those of the system.
        cert: our certificate, for a broker that asks for one, and `key` its key.
        protocol: one of PROTOCOLS; `auto` takes MQTT 5, and 3.1.1 where the broker knows no other.
        keepalive: a broker that is silent for so long is given up. It is asked at half that time.
        connect_timeout: for a connection, and then for the answer to our login.
    """

    url: str
    address: Address
    prefix: str = DEFAULT_PREFIX
    user: str | None = None
    password_file: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    protocol: str = "auto"
    keepalive: float = 10.0
    connect_timeout: float = 5.0
