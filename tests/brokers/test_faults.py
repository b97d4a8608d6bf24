"""What a broker's trouble costs: messages of the outage, and nothing else.

`pytest -m slow` has an outage of half a minute as well; -s shows the figures.
"""

import signal
import time
from pathlib import Path

import pytest
import trio

from msfs_fuse.core.errors import SlotError
from msfs_fuse.net.mqtt.connection import QUEUE_SIZE
from tests.support.broker import Server, mosquitto
from tests.support.mqtt import Carry, Host, eventually, in_contact, mqtt, relay, serving

PACE = 0.02  # seconds between messages


class Stream:
    """Messages at a steady pace, and what became of them."""

    def __init__(self, sender: Host, receiver: Host) -> None:
        self._sender, self._receiver = sender, receiver
        self.sent_at: dict[bytes, float] = {}
        self.longest_write = 0.0
        self._is_over = False

    async def run(self) -> None:
        number = 0
        while not self._is_over:
            data = b"%d" % number
            start = time.monotonic()
            try:
                self._sender.send("corp", data)
            except SlotError:
                pass
            else:
                self.sent_at[data] = start
            self.longest_write = max(self.longest_write, time.monotonic() - start)
            number += 1
            await trio.sleep(PACE)

    async def end(self) -> None:
        """Send no more, and wait for what was sent last: there is no trouble any more."""
        self._is_over = True
        last = max(self.sent_at, key=int)
        await eventually(lambda: last in self._receiver.arrived_at)

    def lost(self) -> list[float]:
        """When those were sent that have not come."""
        return [at for data, at in self.sent_at.items() if data not in self._receiver.arrived_at]

    def came_of(self, began: float, ended: float) -> list[bytes]:
        """Those that were sent then, and have come."""
        return [data for data in self._receiver.arrived_at if began <= self.sent_at[data] < ended]

    async def caught_up(self) -> None:
        """Wait for a moment at which all that was sent has come; nothing is sent before it ends."""
        await eventually(
            lambda: self.sent_at and list(self.sent_at)[-1] in self._receiver.arrived_at
        )

    def twice(self) -> int:
        return len(self._receiver.delivered) - len(set(self._receiver.delivered))


async def check_outage(broker: Server, seconds: float, patience: float) -> None:
    """Kill the broker for so long. What is sent meanwhile is lost, and nothing else."""
    ada, bob = (Host(name, mqtt(name, broker.url)) for name in ("ada", "bob"))
    async with serving(ada), serving(bob), trio.open_nursery() as nursery:
        await in_contact(ada, bob)
        stream = Stream(ada, bob)
        nursery.start_soon(stream.run)
        await trio.sleep(0.5)
        await stream.caught_up()
        killed = time.monotonic()
        broker.kill()
        await trio.sleep(seconds)
        assert ada.state == "away: connection refused"
        broker.start()
        started = time.monotonic()
        count = len(bob.delivered)
        await eventually(lambda: len(bob.delivered) > count, patience)
        back = time.monotonic()
        await trio.sleep(0.5)
        await stream.end()
    print(
        f"\noutage of {seconds:g} s: {len(stream.sent_at)} sent, {len(stream.lost())} lost, "
        f"{stream.twice()} twice, back after {back - started:.2f} s, "
        f"longest write {stream.longest_write * 1000:.1f} ms"
    )
    assert all(killed <= at <= back for at in stream.lost())
    assert stream.came_of(killed, started) == []
    assert stream.twice() == 0
    assert stream.lost(), "nothing was lost: the test tests nothing"


async def test_a_broker_that_is_killed_for_a_moment(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        await check_outage(broker, 3, patience=20)


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_broker_that_is_away_for_half_a_minute(tmp_path: Path) -> None:
    """Long enough for attempts to become rarer."""
    with mosquitto(tmp_path / "broker") as broker:
        await check_outage(broker, 30, patience=30)


async def test_a_broker_that_hangs(tmp_path: Path) -> None:
    """It is given up, and what comes late is what its kernel took until then."""
    keepalive = 2.0
    with mosquitto(tmp_path / "broker") as broker:
        ada, bob = (
            Host(name, mqtt(name, broker.url, keepalive=keepalive, connect_timeout=1.0))
            for name in ("ada", "bob")
        )
        async with serving(ada), serving(bob), trio.open_nursery() as nursery:
            await in_contact(ada, bob)
            stream = Stream(ada, bob)
            nursery.start_soon(stream.run)
            await trio.sleep(0.3)
            broker.signal(signal.SIGSTOP)
            hung = time.monotonic()
            await eventually(lambda: ada.state.startswith("away"))
            found = time.monotonic()
            assert ada.state == f"away: no answer for {keepalive:g} s"
            await trio.sleep(1)
            broker.signal(signal.SIGCONT)
            woken = time.monotonic()
            await eventually(lambda: ada.state == bob.state == "connected")
            count = len(bob.delivered)
            await eventually(lambda: len(bob.delivered) > count)
            back = time.monotonic() - woken
            await trio.sleep(0.5)
            await stream.end()
    print(
        f"\nhung: found after {found - hung:.2f} s, back after {back:.2f} s, "
        f"{len(stream.lost())} lost, {len(stream.came_of(hung, found))} late, "
        f"{stream.twice()} twice, longest write {stream.longest_write * 1000:.1f} ms"
    )
    assert stream.twice() == 0
    assert stream.longest_write < keepalive  # it hung for longer
    # Only what was sent before it was given up can be late.
    assert stream.came_of(found, woken) == []


async def test_a_flood_to_a_broker_that_hangs_is_refused_and_bounded(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        ada = Host("ada", mqtt("ada", broker.url))
        async with serving(ada):
            broker.signal(signal.SIGSTOP)
            refused = 0
            longest = 0.0
            for _ in range(60_000):
                start = time.monotonic()
                try:
                    ada.send("corp", b"x" * 424)
                except SlotError:
                    refused += 1
                    if refused == 100:
                        break
                longest = max(longest, time.monotonic() - start)
            assert refused == 100
            with pytest.raises(SlotError, match="No buffer space available"):
                ada.send("corp", b"x")
            assert ada.count("send_queue_full") == 101
            transport = ada.transports[0]
            assert len(transport._connection._unsent) == QUEUE_SIZE  # type: ignore[attr-defined]
            broker.kill()
            await eventually(lambda: ada.state.startswith("away"))
            broker.start()
            bob = Host("bob", mqtt("bob", broker.url))
            async with serving(bob):
                await in_contact(ada, bob)
                ada.send("corp", b"fresh")
                await eventually(lambda: b"fresh" in bob.delivered)
                assert bob.delivered == [b"fresh"]  # nothing of what was queued
    print(f"\nflood: longest write {longest * 1000:.1f} ms")


async def test_a_slow_broker(tmp_path: Path) -> None:
    """A relay that lets 20 kB/s through: what does not fit is refused, not delayed for ever."""

    def pump(pace: float) -> Carry:
        async def carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
            source.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
            while data := await source.receive_some(1024):
                await sink.send_all(data)
                await trio.sleep(len(data) / pace)

        return carry

    with mosquitto(tmp_path / "broker") as broker:
        async with relay(int(str(broker.where)), pump(20_000), pump(1e9)) as port:
            ada = Host("ada", mqtt("ada", f"mqtt://127.0.0.1:{port}", keepalive=60.0))
            bob = Host("bob", mqtt("bob", broker.url))
            async with serving(ada), serving(bob):
                await in_contact(ada, bob)
                sent, refused = 0, 0
                with trio.move_on_after(3):
                    while True:
                        try:
                            ada.send("corp", b"%d" % sent)
                            sent += 1
                        except SlotError:
                            refused += 1
                        await trio.sleep(0.0005)
                await eventually(lambda: len(bob.delivered) > 50)
                assert ada.state == "connected"
                assert bob.delivered == [b"%d" % n for n in range(len(bob.delivered))]
    print(f"\nslow: {sent} written, {refused} refused, {len(bob.delivered)} arrived")


async def test_what_a_broker_that_hangs_may_have_lost_is_counted(tmp_path: Path) -> None:
    """A sent datagram is one that the kernel took; these the broker has given no sign of."""
    with mosquitto(tmp_path / "broker") as broker:
        ada, bob = (
            Host(name, mqtt(name, broker.url, keepalive=2.0, connect_timeout=1.0))
            for name in ("ada", "bob")
        )
        async with serving(ada), serving(bob):
            await in_contact(ada, bob)
            ada.send("corp", b"this one comes")
            await eventually(lambda: b"this one comes" in bob.delivered)
            # A PINGRESP: what was sent before it has been taken.
            connection = ada.transports[0]._connection  # type: ignore[attr-defined]
            await eventually(lambda: connection._client.unanswered == 0)
            broker.signal(signal.SIGSTOP)
            for number in range(7):
                ada.send("corp", b"lost %d" % number)
            assert ada.count("sent_unanswered") == 0
            await eventually(lambda: ada.state.startswith("away"))
            assert ada.count("sent_unanswered") >= 7
            broker.signal(signal.SIGCONT)
