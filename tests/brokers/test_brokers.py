"""Hosts that meet at a broker: mosquitto and nats-server, TLS and logins, and who may not come."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from msfs_fuse.net.memory import Wire
from msfs_fuse.net.mqtt import transport as mqtt_transport
from msfs_fuse.net.mqtt.connection import STORED_FOR
from msfs_fuse.net.trust.bodies import GroupType
from msfs_fuse.net.trust.keys import DomainKey
from tests.support.broker import Server, mosquitto, nats, program, running
from tests.support.mqtt import Host, eventually, in_contact, mqtt, serving
from tests.support.trust import Corp


@pytest.fixture(params=["mosquitto", "nats", "unix"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if request.param == "nats":
        with running(nats(tmp_path / "nats")) as server:
            yield server
    else:
        scheme = "mqtt+unix" if request.param == "unix" else "mqtt"
        with mosquitto(tmp_path / "broker", scheme=scheme) as server:
            yield server


async def test_hosts_meet_talk_and_part(broker: Server) -> None:
    async with serving(Host("ada", mqtt("ada", broker.url))) as ada:
        async with serving(Host("bob", mqtt("bob", broker.url))) as bob:
            await in_contact(ada, bob)
            ada.send("bob", b"to bob")
            bob.send("corp", b"to all")
            await eventually(lambda: bob.delivered == [b"to bob"])
            await eventually(lambda: ada.delivered == [b"to all"])
            assert [each[:3] for each in ada.router.heard()] == [("corp", "bob", broker.url)]
            ada.send("corp", b"to all as well")
            await eventually(lambda: bob.delivered == [b"to bob", b"to all as well"])
            assert ada.delivered == [b"to all"]
            bob.router.close()
        await eventually(lambda: ada.router.route("bob") is None)
    assert ada.count("dropped", reason="other_sender") == 0


async def test_a_late_joiner_sees_all_at_once(
    broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks those whose HELLO the broker has kept."""
    monkeypatch.setattr(mqtt_transport, "_REPEAT", 1000)
    async with (
        serving(Host("ada", mqtt("ada", broker.url))) as ada,
        serving(Host("bob", mqtt("bob", broker.url))) as bob,
    ):
        await in_contact(ada, bob)
        async with serving(Host("cyd", mqtt("cyd", broker.url))) as cyd:
            await eventually(lambda: set(cyd.router.names()) == {"corp", "ada", "bob"})
            await in_contact(ada, cyd)
            ada.send("cyd", b"welcome")
            await eventually(lambda: cyd.delivered == [b"welcome"])
            assert cyd.senders == ["ada"]


async def test_what_a_broker_kept_of_a_dead_host_brings_it_not_back(broker: Server) -> None:
    """Its HELLO is a claim like any other, and nobody answers for it."""
    async with serving(Host("old", mqtt("old", broker.url))) as old:
        await trio.sleep(0.2)
        own = old.member.domain.here.own
        hello = own.seal_signed(bytes([GroupType.HELLO]) + own.card.raw, trio.current_time())
    transport = mqtt("old", broker.url)
    async with serving(Host("other", transport)):
        assert transport._connection is not None
        transport._connection.publish("ms2/corp/p/old/m", hello, retain=True)
        await trio.sleep(0.2)
    async with serving(Host("ada", mqtt("ada", broker.url))) as ada:
        await eventually(lambda: ada.count("probe_unanswered"))
        assert ada.router.names() == ["corp"]


VICTIM = """
import sys, trio
from tests.support.mqtt import Host, mqtt, serving

async def main():
    async with serving(Host(sys.argv[1], mqtt(sys.argv[1], sys.argv[2]))):
        print("there", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@asynccontextmanager
async def another_process(name: str, url: str) -> AsyncIterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", VICTIM, name, url], stdout=subprocess.PIPE)
    with process:
        try:
            yield process
        finally:
            process.kill()


async def test_who_is_killed_vanishes_at_once(
    broker: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        async with (
            serving(Host("ada", mqtt("ada", broker.url))) as ada,
            another_process("bob", broker.url) as bob,
        ):
            await eventually(lambda: ada.router.route("bob"))
            os.kill(bob.pid, signal.SIGKILL)
            await eventually(lambda: ada.router.route("bob") is None)
    assert "host bob of domain corp is lost" in caplog.text


async def test_who_has_another_way_is_not_lost(tmp_path: Path) -> None:
    wire = Wire()
    with mosquitto(tmp_path / "broker") as broker:
        ada = Host("ada", mqtt("ada", broker.url), wire.attach("ada"))
        bob = Host("bob", mqtt("bob", broker.url), wire.attach("bob"))
        async with serving(ada), serving(bob):
            await in_contact(ada, bob)
            await eventually(lambda: ways(ada) == 2)
            broker.kill()
            await eventually(lambda: not any(link.is_up for link in ada.router.links()))
            ada.send("bob", b"by the other one")
            await eventually(lambda: bob.delivered == [b"by the other one"])


def ways(host: Host) -> int:
    """How many ways it has to the only other one."""
    (mount,) = host.member.domain
    return len(mount.ways)


async def test_two_brokers_deliver_once(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "one") as one, mosquitto(tmp_path / "two") as two:
        ada, bob = (Host(name, mqtt(name, one.url), mqtt(name, two.url)) for name in ("ada", "bob"))
        async with serving(ada), serving(bob):
            await in_contact(ada, bob)
            await eventually(lambda: ways(ada) == 2)
            for number in range(50):
                ada.send("corp", b"%d" % number)
            # Copies are told from what still waits to be verified, so they may be counted before.
            await eventually(lambda: len(bob.delivered) >= 50)
            await eventually(lambda: bob.count("dropped", reason="replayed") >= 50)
            assert bob.delivered == [b"%d" % number for number in range(50)]
            one.kill()
            await eventually(lambda: not all(link.is_up for link in ada.router.links()))
            ada.send("bob", b"by the other one")
            await eventually(lambda: bob.delivered[-1] == b"by the other one")


async def test_a_broker_that_is_shut_down_makes_nobody_seem_dead(tmp_path: Path) -> None:
    """It sends the wills of all before it goes."""
    with mosquitto(tmp_path / "broker") as broker:
        ada, bob = (Host(name, mqtt(name, broker.url)) for name in ("ada", "bob"))
        async with serving(ada), serving(bob):
            await in_contact(ada, bob)
            broker.stop()
            await eventually(lambda: ada.state.startswith("away"))
            await trio.sleep(1)
            ada.send("bob", b"lost, and no error")
            assert ada.count("sent_while_away") == 1
            broker.start()
            await eventually(lambda: ada.state == bob.state == "connected")
            ada.send("bob", b"back")
            await eventually(lambda: bob.delivered == [b"back"])


async def test_domains_and_prefixes_are_apart(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        ada = Host("ada", mqtt("ada", broker.url))
        other = Host("bob", mqtt("bob", broker.url, prefix="other"))
        foreign = Host("cyd", mqtt("cyd", broker.url), corp=Corp(keys=(DomainKey(b"f" * 32),)))
        async with serving(ada), serving(other), serving(foreign):
            await eventually(lambda: ada.count("dropped", reason="unmasked"))
            other.send("corp", b"x")
            foreign.send("corp", b"y")
            await trio.sleep(0.5)
            assert ada.delivered == []
            assert ada.router.names() == ["corp"]


# ---- versions ----


@pytest.mark.parametrize(("protocol", "version"), [("auto", 5), ("5", 5), ("3.1.1", 4)])
async def test_versions_of_mqtt(tmp_path: Path, protocol: str, version: int) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        ada, bob = (Host(n, mqtt(n, broker.url, protocol=protocol)) for n in ("ada", "bob"))
        async with serving(ada), serving(bob):
            await in_contact(ada, bob)
            ada.send("corp", b"x")
            await eventually(lambda: bob.delivered == [b"x"])
            # MQTT 5 has noLocal: our own do not come back.
            assert (ada.count("dropped", reason="own") == 0) == (version == 5)
            # And the broker does not keep presence for ever.
            words = ["-p", str(broker.where), "-V", "5", "-t", "ms2/corp/p/#", "-C", "1"]
            seen = await trio.run_process(
                [program("mosquitto_sub"), *words, "-F", "%E"], capture_stdout=True
            )
            assert (0 < int((seen.stdout or b"").strip() or 0) <= STORED_FOR) == (version == 5), (
                seen.stdout
            )
        # mosquitto's name for 3.1.1 is its second version.
        assert ("(p5, " if version == 5 else "(p2, ") in broker.log.read_text()


async def test_a_version_that_is_refused(tmp_path: Path) -> None:
    with running(nats(tmp_path / "nats")) as server:
        ada = Host("ada", mqtt("ada", server.url, protocol="5"))
        async with serving(ada, up=False):
            await eventually(
                lambda: ada.state == "away: the broker does not speak this version of MQTT"
            )


# ---- nobody there ----


async def test_nobody_at_the_port_and_then_somebody(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        broker.kill()
        ada = Host("ada", mqtt("ada", broker.url))
        async with serving(ada, up=False):
            await eventually(lambda: ada.state == "away: connection refused")
            ada.send("corp", b"nobody hears it, and nobody waits")
            assert ada.count("sent_while_away") == 1
            broker.start()
            await eventually(lambda: ada.state == "connected")


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    ada = Host("ada", mqtt("ada", f"mqtt+unix://{tmp_path}/none"))
    async with serving(ada, up=False):
        await eventually(lambda: ada.state == "away: no such file or directory")


async def test_a_name_that_nobody_knows() -> None:
    ada = Host("ada", mqtt("ada", "mqtt://broker.invalid"))
    async with serving(ada, up=False):
        await eventually(lambda: ada.state.startswith("away: its name is not known: "))


@pytest.mark.parametrize(("keepalive", "patience"), [(10.0, 1.0), (2.0, 4.0)])
async def test_somebody_who_never_answers(keepalive: float, patience: float) -> None:
    """How long the answer to a login is waited for has nothing to do with later silence."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mqtt://127.0.0.1:{silent.getsockname()[1]}"
        ada = Host("ada", mqtt("ada", url, keepalive=keepalive, connect_timeout=patience))
        async with serving(ada, up=False):
            await eventually(lambda: ada.state.startswith("away"))
            assert ada.state == f"away: no answer for {patience:g} s"


async def test_it_ends_at_once_whatever_the_broker_does(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        ada = Host("ada", mqtt("ada", broker.url))
        async with serving(ada):
            broker.signal(signal.SIGSTOP)
            start = time.monotonic()
        assert time.monotonic() - start < 10  # it hangs for ever
