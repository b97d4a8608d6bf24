"""MQTT: a domain by way of a broker, where hosts cannot reach each other.

At most once: QoS 0, nothing kept here for later, nothing kept there but presence. That is a
retained HELLO for each mount, which those who come later get at once; so nobody has to answer
theirs. The broker empties it when the connection ends without a word (the will).
"""

import logging
import os
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import trio
from paho.mqtt.enums import MQTTProtocolVersion

from msfs_fuse.core.metrics import Metric, counter, metrics_of
from msfs_fuse.core.network import CONNECTED, Link
from msfs_fuse.net.mqtt.connection import Connection, LinkDown, WrongVersion
from msfs_fuse.net.mqtt.dial import Login, load_login
from msfs_fuse.net.mqtt.guarded_client import Arrival
from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.mqtt.topics import Origin, Topics
from msfs_fuse.net.private_file import SecretError
from msfs_fuse.net.transport import (
    METRICS_PREFIX,
    QueueFull,
    Receiver,
    SendCounts,
    Transport,
)
from msfs_fuse.net.trust.mounts import Way

log = logging.getLogger(__name__)

_MEMBER_SIZE = 6  # bytes: two mounts of one host have to differ
_CLIENT_ID_SIZE = 11  # 22 digits; a broker need not take more than 23

# Pauses before another attempt, in seconds: the first, and the longest of an outage that lasts.
# In between they double, up to _SHORT or _SHARE of the outage, whichever is more: who was away for
# a short time is back within seconds, and a broker that comes back is not run over.
_FIRST = 0.05
_SHORT = 2.0
_SHARE = 0.1
_LONGEST = 30.0

# A connection that ends sooner, in seconds, is one more failed attempt.
_STABLE = 10.0

_VERSIONS = {
    "auto": MQTTProtocolVersion.MQTTv5,
    "5": MQTTProtocolVersion.MQTTv5,
    "3.1.1": MQTTProtocolVersion.MQTTv311,
}

# When to say HELLO once more, in seconds: in a cluster some nodes may not have known of all
# subscriptions when we said it first.
_REPEAT = 4.0

# How long a mount whose connection has ended may take to come back unnoticed, in seconds.
_GRACE = 0.5

# Causes in one trouble that the log has lines for: a broker has a say in the words.
_MAX_CAUSES = 16

# Mounts that the broker says are gone, until that is looked at.
_MAX_LEAVING = 1024

_CONNECTING = "connecting"


def pause(attempts: int, outage: float) -> float:
    """How long to wait after so many attempts in vain, without jitter. In seconds."""
    longest = min(_LONGEST, max(_SHORT, _SHARE * outage))
    return min(longest, _FIRST * 2.0 ** min(attempts, 16))


@dataclass
class _BrokerCounts(SendCounts):
    sent_while_away: int = counter("Datagrams lost because the broker was away.")
    sent_unanswered: int = counter(
        "Datagrams sent after the last sign of life of a broker whose connection then ended: "
        "it may have lost them."
    )


class MqttTransport(Transport):
    """One domain by one broker.

    Args:
        domain: its name is part of the topics, and so is that of `host`, this one.
    """

    def __init__(self, domain: str, host: str, broker: BrokerSettings, login: Login) -> None:
        self._domain = domain
        self._host = host
        self._broker = broker
        self._login = login
        self._version = _VERSIONS[broker.protocol]
        member = os.urandom(_MEMBER_SIZE).hex()
        self._topics = Topics(broker.prefix, domain, host, member)
        # Two clients with one name would end each other's connections, so that nobody else may
        # know it: it is in no topic.
        self._client_id = os.urandom(_CLIENT_ID_SIZE).hex()
        self._connection: Connection | None = None
        self._reloaded = trio.Event()
        self._state = _CONNECTING
        # What the log has been told: the last line, and the causes of this trouble, each once,
        # also if the link comes and goes all the time.
        self._told = ""
        self._causes: set[str] = set()
        self._leaving: set[Origin] = set()  # mounts that the broker says are gone
        self._counts = _BrokerCounts()

    # ---- what the router asks ----

    def send(self, way: Way, datagram: bytes) -> None:
        self._send(self._topics.host(way.host), datagram)

    def send_to_domain(self, datagram: bytes, beyond: Collection[Way] = ()) -> None:
        self._send(self._topics.domain, datagram)

    def ask(self, host: str, datagram: bytes) -> None:
        self._send(self._topics.host(host), datagram)

    def announce(self, datagram: bytes) -> None:
        # Without a connection there is no need to: run() asks for a HELLO when there is one.
        if self._connection is not None:
            self._send(self._topics.presence, datagram, retain=True)

    def is_up(self) -> bool:
        return self._connection is not None

    def reload(self) -> None:
        """For the next connection: the one there is has been let in. If there is none, try now."""
        try:
            self._login = load_login(self._broker)
        except SecretError as error:
            log.error("domain %s: %s: %s", self._domain, self._broker.url, error)
        else:
            self._causes.clear()
            self._reloaded.set()

    def link(self) -> Link:
        return Link(self._domain, self._broker.url, self._state)

    def metrics(self) -> Iterable[Metric]:
        return metrics_of(self._counts, METRICS_PREFIX)

    def _send(self, topic: str, datagram: bytes, *, retain: bool = False) -> None:
        connection = self._connection
        try:
            sent = connection is not None and connection.publish(topic, datagram, retain=retain)
        except QueueFull:
            self._counts.send_queue_full += 1
            raise
        self._counts.sent += sent
        self._counts.sent_while_away += not sent

    # ---- the connection ----

    async def run(
        self, receiver: Receiver, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Carry until cancelled. Ready at once: the broker may come later."""
        task_status.started()
        attempts, down_since = 0, trio.current_time()
        while True:
            started = trio.current_time()
            trouble = await self._connect(receiver)
            is_new = self._version == _VERSIONS["auto"]
            if isinstance(trouble, WrongVersion) and self._broker.protocol == "auto" and is_new:
                self._version = _VERSIONS["3.1.1"]
                continue
            now = trio.current_time()
            if self._state == CONNECTED and now - started > _STABLE:
                attempts, down_since = 0, now
                self._causes.clear()
            self._set_state(f"away: {trouble}")
            with trio.move_on_after(pause(attempts, now - down_since) * random.uniform(0.5, 1)):
                await self._reloaded.wait()
            self._reloaded = trio.Event()
            attempts += 1

    async def _connect(self, receiver: Receiver) -> LinkDown:
        """Carry until the connection ends; why it did."""
        connection = Connection(
            self._broker,
            self._login,
            self._version,
            self._client_id,
            self._topics.subscriptions,
            self._topics.presence,
            self._topics.host(self._host),
        )

        async def say_hello() -> None:
            receiver.changed()
            await trio.sleep(_REPEAT * random.uniform(0.5, 1))
            receiver.changed()

        def ready() -> None:
            self._connection = connection
            self._set_state(CONNECTED)
            nursery.start_soon(say_hello)

        async with trio.open_nursery() as nursery:
            try:
                await connection.run(ready, lambda each: self._take(receiver, each, nursery))
            except LinkDown as error:
                trouble = error
            finally:
                self._connection = None
                self._counts.sent_unanswered += connection.unanswered
                self._leaving.clear()
            nursery.cancel_scope.cancel()
        return trouble

    def _take(self, receiver: Receiver, arrival: Arrival, nursery: trio.Nursery) -> None:
        try:
            origin = self._topics.origin(arrival.topic)
            by_group = not self._topics.is_to_us(arrival.topic)
        except ValueError as error:
            log.debug("from %s: %s", self._broker.url, error)
            return
        if not arrival.payload and not by_group:
            return  # the trial of another mount of this host
        way = Way(self, self._broker.url, host=origin.host)
        if arrival.payload:
            receiver.received(arrival.payload, way, by_group=by_group)
        elif origin not in self._leaving and len(self._leaving) < _MAX_LEAVING:
            self._leaving.add(origin)
            nursery.start_soon(self._lose, receiver, origin, way)

    async def _lose(self, receiver: Receiver, origin: Origin, way: Way) -> None:
        """Tell that a mount may be gone, unless the connection ends, too.

        A broker that is shut down says so of everybody, and then ends our connection.
        """
        await trio.sleep(_GRACE)
        self._leaving.discard(origin)
        receiver.lost(way)

    def _set_state(self, state: str) -> None:
        self._state = state
        if state == CONNECTED:
            if self._told != state:
                log.info("domain %s: %s: %s", self._domain, self._broker.url, state)
                self._told = state
        elif state not in self._causes and len(self._causes) < _MAX_CAUSES:
            log.warning("domain %s: %s: %s", self._domain, self._broker.url, state)
            self._causes.add(state)
            self._told = state
