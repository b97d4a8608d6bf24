"""A broker as the configuration has it: where it is, and how to log in there. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from msfs_fuse.net.fields import FieldError, FilePath, TransportSettings

if TYPE_CHECKING:
    from msfs_fuse.net.transport import Transport
    from msfs_fuse.net.trust.identity import Identity

# Beginning of all topics: the second version of mailslots by MQTT.
DEFAULT_PREFIX = "ms2"

# Registered with IANA as mqtt and secure-mqtt; a Unix socket has none.
_PORTS = {"mqtt": 1883, "mqtts": 8883, "mqtt+unix": 0}

# No wildcard, empty level or dot.
_PREFIX = r"\A[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\Z"

_Word = Annotated[str, Meta(min_length=1)]
_File = Annotated[FilePath | None, Meta(description="the path of a file")]


@dataclass(frozen=True)
class BrokerAddress:
    """What the URL of a broker tells.

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
    def parse(cls, url: str) -> "BrokerAddress":
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


class BrokerSettings(TransportSettings, frozen=True, kw_only=True):
    """One domain by one broker. Paths are absolute, times in seconds.

    Attributes:
        url: as configured; names the broker to people.
        prefix: what all topics begin with.
        user: name to log in with.
        password_file: its first line is the password.
        ca: certificates that the broker's is checked with; None for those of the system.
        cert: our certificate, for a broker that asks for one, and `key` its key.
        protocol: `auto` takes MQTT 5, and 3.1.1 where the broker knows no other.
        keepalive: a broker that is silent for so long is given up. It is asked at half that time.
            Half of less than 2 is not a second, and a broker that answers would be given up.
        connect_timeout: for a connection, and then for the answer to our login.
    """

    schemes: ClassVar[tuple[str, ...]] = tuple(_PORTS)

    url: Annotated[str, Meta(description="a URL")]
    prefix: Annotated[
        str, Meta(pattern=_PREFIX, description="letters, digits, _ and -, and slashes between them")
    ] = DEFAULT_PREFIX
    user: Annotated[_Word | None, Meta(description="a name")] = None
    password_file: _File = None
    ca: _File = None
    cert: _File = None
    key: _File = None
    protocol: Annotated[
        Literal["auto", "5", "3.1.1"], Meta(description='"auto", "5" or "3.1.1"')
    ] = "auto"
    keepalive: Annotated[
        float, Meta(ge=2, le=3600, description="a number of seconds from 2 to 3600")
    ] = 10.0
    connect_timeout: Annotated[
        float, Meta(ge=1, le=3600, description="a number of seconds from 1 to 3600")
    ] = 5.0

    def __post_init__(self) -> None:
        try:
            address = self.address
        except ValueError as error:
            raise FieldError("url", str(error)) from None
        for name, needs in (("cert", "key"), ("key", "cert"), ("password_file", "user")):
            if getattr(self, name) is not None and getattr(self, needs) is None:
                raise FieldError(name, f"{name} needs {needs}")
        for name in ("ca", "cert", "key"):
            if getattr(self, name) is not None and address.scheme != "mqtts":
                raise FieldError(name, f"{name} is for mqtts:// alone")

    @property
    def address(self) -> BrokerAddress:
        """Where the URL leads."""
        return BrokerAddress.parse(self.url)

    def __str__(self) -> str:
        return self.url

    def make(self, identity: "Identity") -> "Transport":
        from msfs_fuse.net.mqtt.dial import load_login
        from msfs_fuse.net.mqtt.transport import MqttTransport

        return MqttTransport(identity.domain, identity.host, self, load_login(self))
