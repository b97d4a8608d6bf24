"""paho's MQTT client on a socket of ours, and on its guard against the broker.

paho would take packets of 256 MiB, keep what comes with QoS 2 for as long as the broker likes, and
answer pings without end. Four of its methods are overridden to prevent that and to hand it our
socket. They are not part of its interface, so a new paho may do without them; _check_paho() sees
that, and then this module cannot be imported: no broker is better than an unguarded one.
"""

import contextlib
import inspect
import socket
from collections import deque
from typing import NamedTuple

import paho.mqtt.client as paho
import trio
from paho.mqtt import __version__ as paho_version
from paho.mqtt.enums import CallbackAPIVersion, MessageType, MQTTErrorCode, MQTTProtocolVersion

from msfs_fuse.net.mqtt import dial

# The longest packet that a broker may send, in bytes: a datagram and its topic take half of it.
MAX_PACKET = 4096

# How much to read at a time: TLS has at most so much in a record, so that it keeps no rest.
_CHUNK = 16 * 1024

# What a broker has reason to send.
_EXPECTED = {
    MessageType.CONNACK,
    MessageType.PUBLISH,
    MessageType.PUBACK,
    MessageType.SUBACK,
    MessageType.PINGRESP,
    MessageType.DISCONNECT,
}
_QOS, _RETAIN = 0b110, 0b001  # of a PUBLISH, in its first byte
_LONGEST_SHIFT = 21  # a variable byte integer (MQTT 5, 1.5.5) has seven bits in each of four bytes


# The methods that GuardedClient overrides, with their parameters in the paho it was written for.
_OVERRIDDEN = {
    "_create_socket": ("self",),
    "_sock_recv": ("self", "bufsize"),
    "_sock_send": ("self", "buf"),
    "_packet_handle": ("self",),
}


def _check_paho() -> None:
    """See that paho has each of these methods as we know it, and that it calls them.

    Raises:
        ImportError: it does not.
    """
    functions = {name: each for name, each in vars(paho.Client).items() if inspect.isfunction(each)}
    for name, parameters in _OVERRIDDEN.items():
        method = functions.get(name)
        is_known = method is not None and tuple(inspect.signature(method).parameters) == parameters
        if not is_known or not any(
            name in each.__code__.co_names for each in functions.values() if each is not method
        ):
            raise ImportError(
                f"paho-mqtt {paho_version} has no {name} that MSFS could guard: "
                "brokers need another version of it (pip install 'paho-mqtt>=2.1,<2.3')"
            )


_check_paho()


class Arrival(NamedTuple):
    """A message from the broker.

    Attributes:
        stored: the broker had kept it when we subscribed.
    """

    topic: str
    payload: bytes
    stored: bool


def decode_publish(first: int, rest: bytes, version: MQTTProtocolVersion) -> Arrival:
    """A PUBLISH with QoS 0 (MQTT 5, 3.3; 3.1.1, 3.3). paho takes six times as long.

    Args:
        first: its first byte.
        rest: what follows its length.

    Raises:
        ValueError: it is none.
    """
    end = 2 + int.from_bytes(rest[:2])
    topic = rest[2:end].decode()
    if version == MQTTProtocolVersion.MQTTv5:  # properties of no interest, after their length
        size = shift = 0
        more = True
        while more:
            if shift > _LONGEST_SHIFT:
                raise ValueError("a length of more than four bytes")
            (byte,) = rest[end : end + 1]
            size |= (byte & 0x7F) << shift
            more = byte > 0x7F
            end, shift = end + 1, shift + 7
        end += size
    if end > len(rest):
        raise ValueError("it ends too early")
    return Arrival(topic, rest[end:], bool(first & _RETAIN))


class GuardedClient(paho.Client):
    """A client whose reconnect() does not connect.

    Args:
        sock: connected already.

    Attributes:
        arrived: messages that nobody has taken yet.
        heard_at: when the broker sent anything; trio's time, in seconds.
        unanswered: how many messages have been sent since then; whoever sends counts them.
        trouble: why the connection has ended, for people, as far as it has and that is known.
    """

    def __init__(self, sock: socket.socket, version: MQTTProtocolVersion, client_id: str) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=version,
            # Else it would connect once more by itself, in trio's thread.
            reconnect_on_failure=False,
        )
        self._given = sock
        self._version = version
        self.arrived: deque[Arrival] = deque()
        self._input = b""
        self._is_answered = False
        self.heard_at = trio.current_time()
        self.unanswered = 0
        self.trouble: str | None = None

    @property
    def has_input(self) -> bool:
        """Whether there is something to read that no wait_readable() would tell of."""
        return bool(self._input)

    def _create_socket(self) -> socket.socket:
        return self._given

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_PACKET:
            self.trouble = f"the broker announces a packet of {bufsize} bytes"
            raise ConnectionError(self.trouble)
        if not self._input:
            try:
                self._input = super()._sock_recv(_CHUNK)
            except BlockingIOError:
                raise
            except OSError as error:
                self.trouble = dial.words(error)
                raise
            self.heard_at = trio.current_time()
            self.unanswered = 0
        data, self._input = self._input[:bufsize], self._input[bufsize:]
        return data

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            return super()._sock_send(buf)
        except BlockingIOError:
            raise
        except OSError as error:
            with contextlib.suppress(OSError):
                self._sock_recv(1)  # where TLS has the reason
            self.trouble = self.trouble or dial.words(error)
            raise

    def _packet_handle(self) -> MQTTErrorCode:
        command = self._in_packet["command"]
        kind = command & 0xF0
        if (
            kind not in _EXPECTED
            or (kind == MessageType.PUBLISH and command & _QOS)
            or (kind == MessageType.CONNACK) == self._is_answered
        ):
            self.trouble = f"the broker sends what nobody has asked for ({command:#04x})"
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        self._is_answered = True
        try:
            if kind == MessageType.PUBLISH:
                rest = bytes(self._in_packet["packet"])
                self.arrived.append(decode_publish(command, rest, self._version))
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            return super()._packet_handle()
        except OSError:
            raise
        except Exception:  # paho raises whatever it stumbles over, and so do we
            self.trouble = f"the broker sends what makes no sense ({command:#04x})"
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
