"""Addresses of UDP, as sockets and as people have them."""

import re
import socket
from typing import NamedTuple


class Endpoint(NamedTuple):
    """Where a datagram goes to or comes from.

    Attributes:
        family: AF_INET or AF_INET6.
        address: numeric.
        scope: index of the interface, for a link-local IPv6 address and for a group; else 0.
    """

    family: int
    address: str
    port: int
    scope: int = 0

    @classmethod
    def from_socket(cls, family: int, name: tuple[str | int, ...]) -> "Endpoint":
        """From an address as the socket module has it."""
        scope = int(name[3]) if len(name) > 3 else 0
        return cls(family, str(name[0]).partition("%")[0], int(name[1]), scope)

    def to_socket(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """The address as the socket module wants it."""
        if self.family == socket.AF_INET:
            return self.address, self.port
        return self.address, self.port, 0, self.scope

    def __str__(self) -> str:
        if self.family == socket.AF_INET:
            return f"{self.address}:{self.port}"
        zone = ""
        if self.scope:
            try:
                zone = f"%{socket.if_indextoname(self.scope)}"
            except OSError:  # the interface has gone
                zone = f"%{self.scope}"
        return f"[{self.address}{zone}]:{self.port}"


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
