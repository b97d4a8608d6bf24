"""Addresses of UDP, as sockets and as people have them."""

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
