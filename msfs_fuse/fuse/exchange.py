"""Messages that leave for other hosts, and those that come from them."""

import errno
import time
from dataclasses import dataclass

import pyfuse3

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.names import Address, fold
from msfs_fuse.core.network import Route, Router
from msfs_fuse.core.slot import Delivery, Sender, Slot
from msfs_fuse.fuse import procfs
from msfs_fuse.fuse.permissions import ANYBODY, Credentials
from msfs_fuse.fuse.replies import Replies


@dataclass(frozen=True, slots=True)
class RemoteHandle:
    """An open name on another host, or on every host of a domain.

    Attributes:
        capacity: how many bytes a message may have.
        credentials: of the process that opened it, for the slot of this name on this host.
    """

    route: Route
    path: tuple[str, ...]
    capacity: int
    sender: Sender
    credentials: Credentials


class Exchange:
    """Between the files and the router."""

    def __init__(self, mail: Mailslots, replies: Replies, router: Router) -> None:
        self._mail = mail
        self._replies = replies
        self._router = router

    def open(self, address: Address, ctx: pyfuse3.RequestContext) -> RemoteHandle | None:
        """Open a name on another host to write; None for one on this host.

        Raises:
            SlotError: EHOSTUNREACH for a host that nobody knows; ENAMETOOLONG.
        """
        assert address.host is not None
        route = self._router.route(address.host, ctx.uid)
        if route is None:
            name = address.host
            if fold(name) == fold(self._mail.host) or self._router.is_this_host(name):
                return None
            raise SlotError(errno.EHOSTUNREACH)
        capacity = route.capacity(address.path)
        sender = Sender(self._mail.host, ctx.uid, procfs.process_of(ctx.pid))
        return RemoteHandle(route, address.path, capacity, sender, Credentials.of(ctx))

    def capacity(self, address: Address, uid: int) -> int | None:
        """How many bytes a message to a name on another host may have; None if that is not known.

        Args:
            uid: who wants to know. A host that nobody knows yet is looked for.

        Raises:
            SlotError: no message could carry the name.
        """
        route = self._router.route(address.host, uid) if address.host is not None else None
        return None if route is None else route.capacity(address.path)

    def send(self, handle: RemoteHandle, data: bytes) -> None:
        """Send one message.

        Raises:
            SlotError: EINVAL for an empty one; EMSGSIZE; EHOSTUNREACH for a host that has gone;
                ENOBUFS.
        """
        if not data:
            raise SlotError(errno.EINVAL)
        if len(data) > handle.capacity:
            raise SlotError(errno.EMSGSIZE)
        now = time.time_ns()
        handle.route.send(handle.path, data, handle.sender, now)
        if handle.route.includes_this_host:
            # The writer is a process of this host: it needs the permissions that it would need
            # on any other way to the slot.
            accepts = handle.credentials.may_reach_and_write
            self._take(self._mail.deliver(handle.path, data, handle.sender, now, accepts=accepts))

    def deliver(
        self, path: tuple[str, ...], data: bytes, sender: Sender, sent_at: int
    ) -> tuple[int, int]:
        """Take a message from another host; how many slots took it, and how many refused.

        Args:
            sent_at: by the sender's clock, in nanoseconds since the epoch.
        """
        accepts = _takes_from_network
        if fold(sender.host) == fold(self._mail.host) or self._router.is_this_host(sender.host):
            accepts = _takes_from_anybody  # another mount of this host: a local process wrote it
        now = time.time_ns()
        delivery = self._mail.deliver(path, data, sender, now, sent_at=sent_at, accepts=accepts)
        self._take(delivery)
        return len(delivery.slots), delivery.refused

    def has_slot(self, path: tuple[str, ...]) -> bool:
        """Whether a message from the network to that name would reach a slot."""
        return bool(self._mail.tree.matching(path))

    def _take(self, delivery: Delivery) -> None:
        self._replies.settle(delivery.answers, delivery.slots)


def _takes_from_network(slot: Slot) -> bool:
    return slot.network


def _takes_from_anybody(slot: Slot) -> bool:
    """Whether any user of this host may write there: who did is not known."""
    return slot.network and ANYBODY.may_reach_and_write(slot)
