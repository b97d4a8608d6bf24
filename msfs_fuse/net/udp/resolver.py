"""Static peers: names and addresses from the configuration, resolved where nobody waits for it."""

import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import trio

from msfs_fuse.core.names import fold
from msfs_fuse.net.udp.endpoint import Endpoint
from msfs_fuse.net.udp.settings import split_host_and_port

log = logging.getLogger(__name__)

# Names are looked up again after so many seconds: addresses change. Sooner if there was no answer.
_INTERVAL = 300.0
_RETRY_INTERVAL = 30.0

# Look-ups at the same time. Each holds a thread for as long as no name server answers.
_MAX_THREADS = 4


class _StaticPeer(NamedTuple):
    host: str
    port: int


def _endpoints(found: Sequence[tuple[Any, ...]]) -> list[Endpoint]:
    return [Endpoint.from_socket(family, address) for family, _, _, _, address in found]


class StaticPeers:
    """Where the static peers are, as far as is known.

    Args:
        words: `HOST`, `HOST:PORT`, `[ADDRESS]:PORT` or an address each.
        port: for those that do not tell.

    Raises:
        ValueError: a word is none of these.
    """

    def __init__(self, words: Sequence[str], port: int) -> None:
        self._known: dict[_StaticPeer, list[Endpoint]] = {}
        self._names: list[_StaticPeer] = []
        for word in words:
            peer = _StaticPeer(*split_host_and_port(word, port))
            try:
                self._known[peer] = _endpoints(
                    socket.getaddrinfo(*peer, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
                )
            except socket.gaierror:
                self._names.append(peer)

    def endpoints(self) -> list[Endpoint]:
        """All that are known."""
        return [endpoint for endpoints in self._known.values() for endpoint in endpoints]

    def endpoints_of(self, host: str) -> list[Endpoint]:
        """Those of a peer that is listed by this name or address, or so in some DNS domain."""
        return [
            endpoint
            for peer, endpoints in self._known.items()
            if fold(host) in (fold(peer.host), fold(peer.host).partition(".")[0])
            for endpoint in endpoints
        ]

    async def run(self, changed: Callable[[], None]) -> None:
        """Look the names up, again and again; return at once if there are only addresses.

        Args:
            changed: called when a peer has another address than before.
        """
        limiter = trio.CapacityLimiter(_MAX_THREADS)
        async with trio.open_nursery() as nursery:
            for peer in self._names:
                nursery.start_soon(self._follow, peer, changed, limiter)

    async def _follow(
        self, peer: _StaticPeer, changed: Callable[[], None], limiter: trio.CapacityLimiter
    ) -> None:
        def look_up() -> list[Endpoint]:
            return _endpoints(socket.getaddrinfo(*peer, type=socket.SOCK_DGRAM))

        while True:
            pause = _INTERVAL
            try:
                # Given up at the end of the mount, whatever the thread does then.
                found = await trio.to_thread.run_sync(
                    look_up, abandon_on_cancel=True, limiter=limiter
                )
                if found != self._known.get(peer):
                    self._known[peer] = found
                    changed()
            except OSError as error:
                log.info("peer %s: %s", peer.host, error.strerror)
                pause = _RETRY_INTERVAL
            await trio.sleep(pause)
