"""A broker that means harm: real sockets, and just enough MQTT to be believed at first."""

import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from msfs_fuse.net.mqtt.guarded_client import MAX_PACKET
from msfs_fuse.net.mqtt.transport import MqttTransport
from tests.support.broker import mosquitto
from tests.support.mqtt import Host, eventually, in_contact, mqtt, relay, serving

CONNACK = bytes([0x20, 2, 0, 0])
SUBACK = bytes([0x90, 5, 0, 1, 0, 0, 0])

# Topic `a`, packet 1, and a payload.
QOS_2 = bytes([0x34, 7, 0, 1, ord("a"), 0, 1]) + b"xy"


def with_length(first: int, body: bytes, length: int | None = None) -> bytes:
    """A packet, which may announce more than it holds."""
    rest, size = len(body) if length is None else length, b""
    while True:
        rest, digit = divmod(rest, 128)
        size += bytes([digit | 0x80 * bool(rest)])
        if not rest:
            return bytes([first]) + size + body


def publish(topic: bytes, payload: bytes, first: int = 0x30) -> bytes:
    return with_length(first, len(topic).to_bytes(2) + topic + payload)


@asynccontextmanager
async def broker(
    say: Callable[[trio.SocketStream], object], answers: tuple[bytes, ...] = (CONNACK, SUBACK)
) -> AsyncIterator[str]:
    """One that lets everybody in, and then does what `say` does; its URL."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                for answer in answers:
                    await stream.receive_some()
                    await stream.send_all(answer)
                await say(stream)  # type: ignore[misc]
                async for _ in stream:
                    pass
            except trio.BrokenResourceError:
                pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield f"mqtt://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


def sends(data: bytes, times: int = 1) -> Callable[[trio.SocketStream], object]:
    async def say(stream: trio.SocketStream) -> None:
        for _ in range(times):
            await stream.send_all(data)

    return say


def peak() -> int:
    """What this process has needed at most, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def test_a_packet_of_256_mib_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    size = 2**28 - 1

    async def say(stream: trio.SocketStream) -> None:
        await stream.send_all(with_length(0x30, b"", size))
        for _ in range(256):
            await stream.send_all(bytes(2**20))

    before = peak()
    async with broker(say) as url:
        ada = Host("ada", mqtt("ada", url, protocol="3.1.1"))
        async with serving(ada, up=False):
            words = f"away: the broker announces a packet of {size} bytes"
            await eventually(lambda: ada.state == words)
            await trio.sleep(0.2)
    assert peak() - before < 32 * 1024
    assert caplog.text.count("announces a packet") == 1


async def test_the_longest_datagram_fits_and_one_byte_over_the_limit_does_not() -> None:
    topic = b"ms2/corp/b/" + b"x" * 64
    longest = publish(topic, b"x" * (MAX_PACKET - len(topic) - 2))
    async with broker(sends(longest)) as url:
        ada = Host("ada", mqtt("ada", url, protocol="3.1.1"))
        async with serving(ada):
            await eventually(lambda: ada.count("dropped", reason="length"))
    async with broker(sends(publish(topic, b"x" * (MAX_PACKET - len(topic) - 1)))) as url:
        ada = Host("ada", mqtt("ada", url, protocol="3.1.1"))
        async with serving(ada, up=False):
            await eventually(lambda: "announces a packet of 4097 bytes" in ada.state)


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (QOS_2, "what nobody has asked for (0x34)"),
        (publish(b"a", b"\x00\x01x", 0x32), "what nobody has asked for (0x32)"),
        (bytes([0xC0, 0]), "what nobody has asked for (0xc0)"),  # PINGREQ
        (bytes([0x62, 2, 0, 1]), "what nobody has asked for (0x62)"),  # PUBREL
        (CONNACK, "what nobody has asked for (0x20)"),
        (bytes([0, 0]), "what nobody has asked for (0x00)"),
        (bytes([0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]), "connection lost"),
    ],
)
async def test_what_paho_would_keep_or_answer_without_end(packet: bytes, words: str) -> None:
    async with broker(sends(packet)) as url:
        ada = Host("ada", mqtt("ada", url, protocol="3.1.1"))
        async with serving(ada, up=False):
            await eventually(lambda: ada.state.startswith("away") and words in ada.state)


@pytest.mark.parametrize("topic", [b"", b"\xff\xfe", b"ms2/corp/b/../x", b"$SYS/x", b"\0"])
async def test_odd_topics(topic: bytes) -> None:
    """What is no topic of ours is dropped, or ends the connection; nothing else happens."""
    good = publish(b"ms2/corp/b/eve", b"x")
    async with broker(sends(publish(topic, b"x") + good)) as url:
        ada = Host("ada", mqtt("ada", url, protocol="3.1.1"))
        async with serving(ada, up=False):
            await eventually(
                lambda: ada.count("dropped", reason="length") or ada.state.startswith("away")
            )


@pytest.mark.parametrize(
    "noise", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b"\x20\x00", b"\x20\x02\x00\x63", bytes(100)]
)
@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
async def test_what_is_no_broker(noise: bytes, protocol: str) -> None:
    async with broker(sends(b""), answers=(noise,)) as url:
        ada = Host("ada", mqtt("ada", url, protocol=protocol, connect_timeout=1.0))
        async with serving(ada, up=False):
            await eventually(lambda: ada.state.startswith("away: "))


async def test_a_flood_leaves_time_for_others() -> None:
    """While nonsense comes as fast as it can, all others have their turn after a few pieces."""
    flood = publish(b"ms2/corp/b/eve", bytes(400)) * 100

    async def say(stream: trio.SocketStream) -> None:
        while True:
            await stream.send_all(flood)

    async with broker(say) as url:
        ada = Host("ada", mqtt("ada", url, protocol="3.1.1"))
        async with serving(ada):
            most, count = 0.0, 0.0
            with trio.fail_after(30):
                while count < 5000:
                    await trio.lowlevel.checkpoint()
                    before, count = count, ada.count("dropped", reason="length")
                    most = max(most, count - before)
    assert 1 < most < 100


async def test_everything_twice_and_again_later(tmp_path: Path) -> None:
    """A relay between host and broker that doubles and replays what the broker sends."""
    kept: list[bytes] = []

    async def up(client: trio.SocketStream, server: trio.SocketStream) -> None:
        async for data in client:
            await server.send_all(data)

    async def doubled(server: trio.SocketStream, client: trio.SocketStream) -> None:
        buffer = b""
        async for data in server:
            buffer += data
            while len(buffer) > 2:
                shift = 2 if buffer[1] < 128 else 3
                size = buffer[1] & 127 | (buffer[2] << 7 if shift == 3 else 0)
                if len(buffer) < shift + size:
                    break
                packet, buffer = buffer[: shift + size], buffer[shift + size :]
                await client.send_all(packet)
                if packet[0] & 0xF0 == 0x30:
                    kept.append(packet)
                    # and once more as if it had been stored
                    again = bytes([packet[0] | 1]) + packet[1:]
                    await client.send_all(b"".join([packet, again, *kept[-20:]]))

    with mosquitto(tmp_path / "broker") as real:
        async with relay(int(str(real.where)), up, doubled) as port:
            ada = Host("ada", mqtt("ada", real.url))
            bob = Host("bob", mqtt("bob", f"mqtt://127.0.0.1:{port}"))
            async with serving(ada):
                async with serving(bob):
                    await in_contact(ada, bob)
                    for number in range(100):
                        ada.send("bob", b"%d" % number)
                        ada.send("corp", b"all %d" % number)
                    await eventually(lambda: len(bob.delivered) >= 200)
                    await trio.sleep(0.2)
                    assert len(bob.delivered) == len(set(bob.delivered)) == 200
                    assert bob.count("dropped", reason="replayed") > 200
                # One that has just come is shown it all once more.
                cyd = Host("cyd", mqtt("cyd", f"mqtt://127.0.0.1:{port}"))
                async with serving(cyd):
                    await eventually(lambda: sum(cyd.member.domain.drops.values()) >= 5)
                    ada.send("corp", b"new")
                    await eventually(lambda: cyd.delivered)
                    assert cyd.delivered == [b"new"]


async def test_a_client_id_is_told_to_nobody_and_cannot_be_taken(tmp_path: Path) -> None:
    """Of two clients with one id a broker ends the older: whoever knows an id is rid of a host."""

    async def take(port: str, name: str) -> None:
        await trio.run_process(
            ["mosquitto_pub", "-p", port, "-i", name, "-t", "any", "-m", "x"], capture_stderr=True
        )

    with mosquitto(tmp_path / "broker") as real:
        port = str(real.where)
        ada, bob = (Host(name, mqtt(name, real.url)) for name in ("ada", "bob"))
        listen = ["mosquitto_sub", "-p", port, "-t", "#", "-F", "%t %x", "-W", "3"]
        async with trio.open_nursery() as nursery:
            heard: list[str] = []

            async def eavesdrop() -> None:
                done = await trio.run_process(listen, capture_stdout=True, check=False)
                heard.extend(done.stdout.decode().split())

            nursery.start_soon(eavesdrop)
            async with serving(ada), serving(bob):
                await in_contact(ada, bob)
                transports = [host.transports[0] for host in (ada, bob)]
                ids = [each._client_id for each in transports if isinstance(each, MqttTransport)]
                assert len(ids) == 2
                # Nor can it be told from the name of a host, or from an earlier one.
                assert mqtt("ada", real.url)._client_id != ids[0] != ids[1]
                assert min(map(len, ids)) >= 16
                bob.send("ada", b"to ada")
                await eventually(lambda: heard, 20)
                # The topics and what they held, in hexadecimal: neither has an id.
                text = " ".join(heard)
                assert "ms2/corp/p/ada/" in text
                for each in ids:
                    assert each not in text
                    assert each.encode().hex() not in text
                words = {level for word in heard if "/" in word for level in word.split("/")}
                told = (tmp_path / "broker/mosquitto.log").read_text()
                for word in words | {"ada", "bob", "msfs"}:
                    await take(port, word)
                bob.send("ada", b"once more")
                await eventually(lambda: ada.delivered[-1] == b"once more")
                new = (tmp_path / "broker/mosquitto.log").read_text().removeprefix(told)
                assert not any(each in new for each in ids), "it was thrown off"
                # That is how it would be, and so this can fail.
                await take(port, ids[0])
                await eventually(lambda: ada.state.startswith("away"))
