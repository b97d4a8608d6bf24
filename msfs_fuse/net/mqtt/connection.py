"""One connection to an MQTT broker: paho-mqtt's protocol on trio's sockets and time.

paho's loop is left out. This module makes the socket, waits for it, and calls loop_read(),
loop_write() and loop_misc(). Each connection has a client of its own, so nothing that was queued
in one is ever sent in another. Everything happens in trio's thread.
"""

import logging
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
import trio
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from msfs_fuse.net.mqtt import dial
from msfs_fuse.net.mqtt.guarded_client import Arrival, GuardedClient
from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.transport import QueueFull

log = logging.getLogger(__name__)

# Messages that wait for room in the socket's buffer.
QUEUE_SIZE = 512

# Packets to take before others have their turn.
_BATCH = 16

# How long a broker shall keep what we have it keep, in seconds: of a host that dies while the
# broker is away nobody else takes it back. 3.1.1 has no such thing.
STORED_FOR = 120

# For the last words on a connection, in seconds.
_FAREWELL = 1.0

# CONNACK codes of MQTT 5; paho has those of 3.1.1 translated.
_WRONG_VERSION = 132
_REFUSED_LOGIN = (134, 135)

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger


class LinkDown(Exception):
    """There is no connection any more; the message says why, for people."""


class WrongVersion(LinkDown):
    """The broker does not speak this version of MQTT."""


class Connection:
    """A connection from the dial to its end.

    Args:
        subscriptions: topics to listen to.
        will: the topic that the broker shall empty when the connection ends.
        trial: a topic that only this host listens to. A broker with MQTT 5 says whether we may
            write there; others say that of nothing.

    Attributes:
        unanswered: once it has ended: how many messages it was given after the last sign of life of
            the broker, which may not have passed them on.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        login: dial.Login,
        version: MQTTProtocolVersion,
        client_id: str,
        subscriptions: tuple[str, ...],
        will: str,
        trial: str,
    ) -> None:
        self._broker = broker
        self._login = login
        self._version = version
        self._id = client_id
        self._subscriptions = subscriptions
        self._will = will
        self._trial = trial
        self._trial_id: int | None = None
        self._acknowledges = False
        self._client: GuardedClient | None = None
        # What the socket has not taken yet.
        self._unsent: deque[paho.MQTTMessageInfo] = deque()
        self._trouble: LinkDown | None = None
        self._is_leaving = False
        self.unanswered = 0
        self._expiry: Properties | None = None
        if version == MQTTProtocolVersion.MQTTv5:
            self._expiry = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            self._expiry.MessageExpiryInterval = STORED_FOR
        self._is_let_in = trio.Event()
        self._writable_wanted = trio.Event()

    async def run(self, ready: Callable[[], None], take: Callable[[Arrival], None]) -> None:
        """Connect, and carry until cancelled or the connection ends.

        Args:
            ready: called once we are subscribed, and may write as far as the broker says.
            take: gets each message.

        Raises:
            LinkDown: always, but for a cancellation.
        """
        try:
            sock = await dial.dial(self._broker, self._login.tls)
        except trio.TooSlowError:
            raise LinkDown(self._no_answer()) from None
        except OSError as error:
            raise LinkDown(dial.words(error)) from None
        has_ended = False
        try:
            client = self._client = self._make_client(sock)
            client.reconnect()  # only says CONNECT: the socket is there
            self._flush(client)
            async with trio.open_nursery() as nursery:
                # The first that has nothing left to do ends the others.
                for work in (self._read, self._write, self._watch):
                    nursery.start_soon(self._work, work, client, sock, take, nursery.cancel_scope)
                with trio.move_on_after(self._broker.connect_timeout) as patience:
                    await self._is_let_in.wait()
                if patience.cancelled_caught:
                    self._fail(self._no_answer())
                    nursery.cancel_scope.cancel()
                else:
                    ready()
            has_ended = True
        finally:
            if not has_ended:
                with trio.CancelScope(shield=True):
                    await self._say_goodbye(sock)
            if self._client is not None and not self._is_leaving:
                self.unanswered = self._client.unanswered
            self._client = None
            self._before_close(sock)
            sock.close()
        raise self._trouble or LinkDown(client.trouble or "connection lost")

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Send, or queue what the socket does not take now. Returns at once.

        Returns:
            False if the connection has just ended.

        Raises:
            QueueFull: too much waits already.
        """
        client = self._client
        if client is None or client.socket() is None:
            return False
        while self._unsent and _is_sent(self._unsent[0]):
            self._unsent.popleft()
        if len(self._unsent) >= QUEUE_SIZE:
            raise QueueFull
        client.unanswered += 1
        # That writes what the socket takes.
        properties = self._expiry if retain else None
        sent = client.publish(topic, payload, retain=retain, properties=properties)
        if client.want_write():
            self._writable_wanted.set()
            if not _is_sent(sent):
                self._unsent.append(sent)
        return True

    # ---- paho ----

    def _make_client(self, sock: socket.socket) -> GuardedClient:
        client = GuardedClient(sock, self._version, self._id)
        if self._login.user is not None:
            client.username_pw_set(self._login.user, self._login.password)
        client.will_set(self._will, b"", retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_socket_close = lambda *_: self._before_close(sock)
        # paho asks after `keepalive` of silence. The host is never looked up: _create_socket.
        client.connect_async(
            "connected.invalid",
            keepalive=max(1, int(self._broker.keepalive / 2)),
        )
        return client

    def _on_connect(
        self,
        client: paho.Client,
        _: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.value == _WRONG_VERSION:
            self._trouble = WrongVersion("the broker does not speak this version of MQTT")
        elif reason.value in _REFUSED_LOGIN:
            self._fail("the broker refused the login")
        elif reason.is_failure:
            self._fail(f"the broker refused: {str(reason).lower()}")
        elif self._version == MQTTProtocolVersion.MQTTv5:
            # A broker that takes QoS 0 alone acknowledges nothing.
            self._acknowledges = getattr(properties, "MaximumQoS", 1) > 0
            # Our own messages need not come back.
            options = SubscribeOptions(qos=0, noLocal=True)
            client.subscribe([(topic, options) for topic in self._subscriptions])
        else:
            client.subscribe([(topic, 0) for topic in self._subscriptions])

    def _on_subscribe(
        self,
        client: paho.Client,
        _: Any,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._fail("the broker refused a subscription")
        elif self._acknowledges:
            self._trial_id = client.publish(self._trial, b"", qos=1).mid
        else:
            self._let_in(client)

    def _let_in(self, client: paho.Client) -> None:
        client.on_publish = None  # paho takes its time to call it
        self._is_let_in.set()

    def _on_publish(
        self,
        client: paho.Client,
        _: Any,
        mid: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if mid == self._trial_id:
            if reason.is_failure:
                self._fail(f"the broker refused what we write: {str(reason).lower()}")
            else:
                self._let_in(client)

    def _on_disconnect(
        self,
        client: paho.Client,
        _: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._fail(f"the broker ended it: {str(reason).lower()}")

    def _before_close(self, sock: socket.socket) -> None:
        """Called by paho, or by us if it has not closed the socket."""
        if sock.fileno() < 0:
            return
        trio.lowlevel.notify_closing(sock)
        if not self._is_leaving:
            # What the kernel still has to send is not to come late. A broker that hangs has got
            # some already, which comes when it goes on: of the last `keepalive` seconds at most.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _fail(self, why: str) -> None:
        """Note why the connection ends, unless there was a cause before."""
        if self._trouble is None:
            self._trouble = LinkDown(why)

    def _no_answer(self) -> str:
        return f"no answer for {self._broker.connect_timeout:g} s"

    # ---- trio ----

    async def _work(
        self,
        work: Callable[..., Any],
        client: GuardedClient,
        sock: socket.socket,
        take: Callable[[Arrival], None],
        scope: trio.CancelScope,
    ) -> None:
        try:
            await work(client, sock, take)
        except trio.ClosedResourceError:
            pass  # paho has closed it
        except OSError as error:
            self._fail(dial.words(error))
        except Exception as error:  # paho, of what it cannot parse
            log.debug("broker %s", self._broker.url, exc_info=error)
            self._fail("the broker does not speak MQTT")
        scope.cancel()

    async def _read(
        self, client: GuardedClient, sock: socket.socket, take: Callable[[Arrival], None]
    ) -> None:
        while sock.fileno() >= 0:
            if client.has_input:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(sock)
            for _ in range(_BATCH):
                if client.loop_read() or self._trouble is not None:
                    return
                while client.arrived:
                    take(client.arrived.popleft())
                if not client.has_input:
                    break
            self._flush(client)

    async def _write(
        self, client: GuardedClient, sock: socket.socket, take: Callable[[Arrival], None]
    ) -> None:
        while sock.fileno() >= 0:
            if not client.want_write():
                self._writable_wanted = trio.Event()
                await self._writable_wanted.wait()
                continue
            await trio.lowlevel.wait_writable(sock)
            if client.loop_write():
                return

    async def _watch(
        self, client: GuardedClient, sock: socket.socket, take: Callable[[Arrival], None]
    ) -> None:
        """Ask for a sign of life, and give up when there is none. A login has its own time."""
        patience = self._broker.keepalive
        await self._is_let_in.wait()
        while True:
            await trio.sleep(patience / 8)
            if trio.current_time() - client.heard_at > patience or client.loop_misc():
                self._fail(f"no answer for {patience:g} s")
                return
            self._flush(client)

    def _flush(self, client: GuardedClient) -> None:
        """Write what paho could not in its callbacks; the rest waits for _write()."""
        if client.want_write():
            client.loop_write()
        if client.want_write():
            self._writable_wanted.set()

    async def _say_goodbye(self, sock: socket.socket) -> None:
        client = self._client
        if client is None or client.socket() is None or not self._is_let_in.is_set():
            return
        self._is_leaving = True
        with trio.move_on_after(_FAREWELL):
            client.publish(self._will, b"", retain=True)
            client.disconnect()
            try:
                while client.socket() is not None:
                    if client.loop_write():
                        return
                    if client.socket() is not None:
                        await trio.lowlevel.wait_writable(sock)
            except (OSError, trio.ClosedResourceError, ssl.SSLError) as error:
                log.debug("no goodbye to broker %s: %s", self._broker.url, error)


def _is_sent(message: paho.MQTTMessageInfo) -> bool:
    """Whether the socket has taken all of it, or never will."""
    try:
        return message.is_published()
    except (RuntimeError, ValueError):  # the connection has ended
        return True
