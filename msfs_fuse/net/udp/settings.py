"""UDP as the configuration has it. Pure."""

import re
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from msfs_fuse.net.fields import FieldError, TransportSettings

if TYPE_CHECKING:
    from msfs_fuse.net.transport import Transport
    from msfs_fuse.net.trust.identity import Identity

PORT = 4424

URL = "udp://"

_HOST_AND_PORT = re.compile(r"(?:\[(?P<quoted>[^]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")


def split_host_and_port(text: str, port: int) -> tuple[str, int]:
    """Take `HOST`, `HOST:PORT`, `[ADDRESS]:PORT` or a bare IPv6 address apart.

    Args:
        port: the one to use if the text has none.

    Raises:
        ValueError: it is none of these.
    """
    if text.count(":") > 1 and not text.startswith("["):
        return text, port
    match = _HOST_AND_PORT.fullmatch(text)
    number = int(match["port"] or port) if match else 0
    if match is None or not 0 < number < 65536:
        raise ValueError(f"not HOST, HOST:PORT or [ADDRESS]:PORT: {text!r}")
    return match["quoted"] or match["host"], number


class UdpSettings(TransportSettings, frozen=True, kw_only=True):
    """One domain by UDP.

    Attributes:
        port: this host's, if it is free; the one after it is that of the multicast groups.
        peers: hosts to send to one by one, `HOST`, `HOST:PORT`, `[ADDRESS]:PORT` or addresses.
        interfaces: names of those to use for multicast; None for those that lead to other machines.
        multicast: whether to use it.
    """

    schemes: ClassVar[tuple[str, ...]] = ("udp",)

    port: Annotated[int, Meta(ge=1, le=65534, description="a number from 1 to 65534")] = PORT
    peers: Annotated[
        tuple[str, ...],
        Meta(description='a list of "HOST", "HOST:PORT" or "[ADDRESS]:PORT"'),
    ] = ()
    interfaces: Annotated[
        tuple[str, ...] | None, Meta(description="a list of names of interfaces")
    ] = None
    multicast: Annotated[bool, Meta(description="true or false")] = True

    def __post_init__(self) -> None:
        for word in self.peers:
            try:
                split_host_and_port(word, self.port)
            except ValueError as error:
                raise FieldError("peers", f"peers: {error}") from None

    def __str__(self) -> str:
        ports = f"s {self.port} and {self.port + 1}" if self.multicast else f" {self.port}"
        return f"UDP port{ports}"

    def make(self, identity: "Identity") -> "Transport":
        from msfs_fuse.net.udp.transport import UdpTransport

        return UdpTransport(identity, self)
