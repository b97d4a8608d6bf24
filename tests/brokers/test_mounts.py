"""Mounts that meet at brokers: what users see of it, and of a broker's trouble."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mount
from tests.support.broker import mosquitto, nats_cluster, password_file
from tests.support.command import msfs
from tests.support.network import (
    Host,
    Lan,
    ip,
    metric,
    sees,
    served,
    settle,
    stop,
    write,
)
from tests.support.processes import is_root, wait_until

pytestmark = pytest.mark.timeout(90)


class LocalHost(Host):
    """A host that has no network but loopback: the names of hosts are all that differs."""

    inside: list[str] = []  # noqa: RUF012


@contextlib.contextmanager
def mounted(
    directory: Path, *urls: str, names: tuple[str, ...] = ("ada", "bob"), options: str = ""
) -> Iterator[list[Mount]]:
    """Mounts of these hosts, that see each other by way of the brokers."""
    text = "[domain.corp]\n"
    for url in urls:
        text += f'[[domain.corp.transport]]\nurl = "{url}"\n{options}\n'
    with contextlib.ExitStack() as stack:
        mounts = []
        for name in names:
            host = LocalHost(name, 0, "", directory)
            config = host.configure(text)
            mounts.append(stack.enter_context(host.mounted(config=config, allow_log="away")))
        wait_until(lambda: all(links(each) == ["connected"] * len(urls) for each in mounts))
        for mount, name in zip(mounts, names, strict=True):
            wait_until(lambda m=mount, n=name: sees(m, *set(names) - {n}))  # type: ignore[misc]
        yield mounts


def links(mount: Mount) -> list[str]:
    """The states of a mount's links."""
    return [state for name, state in mount.status().items() if name.startswith("link ")]


def is_up(mount: Mount, url: str) -> bool:
    line = f'msfs_network_link_up{{domain="corp",url="{url}"}} '
    text = (mount / ".msfs/metrics").read_text()
    return bool(float(text.partition(line)[2].partition("\n")[0]))


def test_by_a_broker_alone_and_what_is_told_of_it(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        mounted(tmp_path, broker.url, options="keepalive = 2") as (ada, bob),
        served(bob, "slot") as slot,
        served(ada, "slot") as own,
    ):
        write(ada, "@bob/slot", b"to bob")
        write(ada, "@corp/SLOT", b"to all")
        assert sorted(settle(slot, 2)) == [b"to all", b"to bob"]
        assert settle(own, 1) == [b"to all"]
        assert bob.attribute("slot", "sender_host") == "ada"

        name = f"link corp {broker.url}"
        assert f"{name}: connected\n" in msfs(ada, "status").stdout
        assert json.loads(msfs(ada, "status", "--json").stdout)[name] == "connected"
        assert is_up(ada, broker.url)
        (peer,) = json.loads(msfs(ada, "peers", "--json").stdout)
        assert (peer["host"], peer["address"]) == ("bob", broker.url)

        broker.kill()
        wait_until(lambda: links(ada) == ["away: connection refused"])
        assert not is_up(ada, broker.url)
        assert f"{name} is away: connection refused" in msfs(ada, "doctor").stdout
        write(ada, "@bob/slot", b"lost")
        write(ada, "@corp/slot", b"kept at home")
        assert settle(own, 1) == [b"kept at home"]
        assert metric(ada, "sent_while_away") == 2
        broker.start()
        wait_until(lambda: links(ada) == links(bob) == ["connected"])
        write(ada, "@bob/slot", b"back")
        assert settle(slot, 1) == [b"back"]
    log = ada.log.read_text()
    assert log.count("away: connection refused") == 1
    assert log.count(f"{broker.url}: connected") == 2


def test_a_password_is_read_again_at_sighup(tmp_path: Path) -> None:
    passwords = password_file(tmp_path / "passwords", "ada", "right")
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("wrong\n")
    host = LocalHost("ada", 0, "", tmp_path)
    settings = (f"password_file {passwords}", "allow_anonymous false")
    with mosquitto(tmp_path / "broker", *settings) as broker:
        way = f'{{ url = "{broker.url}", user = "ada", password_file = "secret" }}'
        config = host.configure(f"[domain.corp]\ntransport = [{way}]")
        with host.mounted(config=config, allow_log="away") as ada:
            wait_until(lambda: links(ada) == ["away: the broker refused the login"])
            secret.write_text("right\n")
            os.kill(ada.daemon.pid, signal.SIGHUP)
            wait_until(lambda: links(ada) == ["connected"])


def test_who_is_killed_is_missed_at_once_and_who_leaves_too(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        mounted(tmp_path, broker.url, names=("ada", "bob", "cyd")) as (ada, bob, cyd),
    ):
        stop(bob, signal.SIGKILL)
        wait_until(lambda: not sees(ada, "bob"))
        stop(cyd)
        wait_until(lambda: not sees(ada, "cyd"))
        wait_until(lambda: "is lost" in ada.log.read_text())
        wait_until(lambda: "has left" in ada.log.read_text())


@pytest.mark.skipif(not is_root(), reason="needs network namespaces")
def test_udp_and_a_broker_deliver_once() -> None:
    with tempfile.TemporaryDirectory() as path:
        directory = Path(path)
        lan = Lan(directory)
        try:
            hosts = [lan.add(name) for name in ("ada", "bob")]
            # A Unix socket is the same in both namespaces.
            with (
                mosquitto(directory / "broker", scheme="mqtt+unix") as broker,
                contextlib.ExitStack() as stack,
            ):
                text = f'[domain.corp]\ntransport = ["udp://", "{broker.url}"]\n'
                ada, bob = (
                    stack.enter_context(host.mounted(config=host.configure(text))) for host in hosts
                )
                slot = stack.enter_context(served(bob, "slot"))
                wait_until(lambda: sees(ada, "bob") and sees(bob, "ada"))
                wait_until(lambda: links(ada) == links(bob) == ["connected"])
                before = metric(bob, "dropped", reason="replayed")
                for number in range(50):
                    write(ada, "@bob/slot", b"%d" % number)
                    write(ada, "@corp/slot", b"all %d" % number)
                assert len(settle(slot, 100)) == 100
                wait_until(lambda: metric(bob, "dropped", reason="replayed") - before >= 45)
                ip("-n", hosts[0].namespace, "link", "set", "eth0", "down")
                write(ada, "@bob/slot", b"by the broker")
                assert settle(slot, 1) == [b"by the broker"]
        finally:
            lan.close()


def test_a_node_of_a_cluster_is_killed_and_traffic_goes_on(tmp_path: Path) -> None:
    with (
        nats_cluster(tmp_path) as nodes,
        # ada knows two nodes, bob one of these and the third.
        mounted(tmp_path, nodes[0].url, nodes[1].url, names=("ada",)) as (ada,),
        mounted(tmp_path, nodes[1].url, nodes[2].url, names=("bob",)) as (bob,),
        served(bob, "slot") as slot,
    ):
        wait_until(lambda: sees(ada, "bob") and sees(bob, "ada"))

        def goes_by_both() -> bool:
            """Each of ada's two connections leads to both of bob's."""
            before = metric(bob, "dropped", reason="replayed")
            write(ada, "@corp/slot", b"probe")
            assert settle(slot, 1) == [b"probe"]
            return metric(bob, "dropped", reason="replayed") - before >= 3

        wait_until(goes_by_both)
        nodes[0].kill()
        for number in range(100):
            write(ada, "@bob/slot", b"early %d" % number)
            time.sleep(0.01)
        # Behind a HELLO that comes to be kept while the others elect a leader, all waits for that,
        # and a node that gives it up closes the connection: what waited there is lost.
        wait_until(lambda: links(ada)[0].startswith("away: ") and links(ada)[1] == "connected")
        got: list[bytes] = []

        def has_come(message: bytes) -> bool:
            got.extend(settle(slot, 0))
            return message in got

        def goes_on() -> bool:
            write(ada, "@bob/slot", b"probe")
            return has_come(b"probe")

        wait_until(goes_on)
        for number in range(100):
            write(ada, "@bob/slot", b"late %d" % number)
            time.sleep(0.01)
        wait_until(lambda: has_come(b"late 99"))
        early = [each for each in got if each.startswith(b"early")]
        late = [each for each in got if each.startswith(b"late")]
        print(f"\nnode killed: {100 - len(early)} of 100 lost")
        assert early == [each for each in (b"early %d" % n for n in range(100)) if each in early]
        assert late == [b"late %d" % number for number in range(100)]
        nodes[0].start()
        wait_until(lambda: links(ada) == ["connected", "connected"])


def local_latency(mount: Mount, count: int) -> list[float]:
    """Milliseconds from write to read on a slot of this host."""
    times = []
    with served(mount, "local") as slot:
        out = os.open(mount / "local", os.O_WRONLY)
        for number in range(count):
            start = time.monotonic()
            os.write(out, b"%d" % number)
            assert os.read(slot, 100) == b"%d" % number
            times.append((time.monotonic() - start) * 1000)
        os.close(out)
    return times


def test_local_slots_do_not_feel_the_brokers_trouble(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        mounted(tmp_path, broker.url, options="keepalive = 2") as (ada, _bob),
    ):
        out = os.open(ada / "@corp/slot", os.O_WRONLY)

        def flood() -> None:
            for _ in range(2000):
                with contextlib.suppress(OSError):
                    os.write(out, b"x" * 424)

        def figures(what: str) -> None:
            times = sorted(local_latency(ada, 1000))
            print(
                f"\n{what}: median {statistics.median(times):.3f} ms, "
                f"p99 {times[989]:.3f} ms, longest {times[-1]:.1f} ms"
            )
            assert times[-1] < 1000

        figures("all well")
        flood()
        figures("after a flood")
        broker.signal(signal.SIGSTOP)
        flood()
        figures("broker hangs")
        wait_until(lambda: links(ada)[0].startswith("away: no answer"))
        flood()
        figures("broker given up")
        broker.signal(signal.SIGCONT)
        wait_until(lambda: links(ada) == ["connected"])
        broker.kill()
        flood()
        figures("broker gone")
        os.close(out)


def test_unmounting_does_not_wait_for_a_broker_that_hangs(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, mounted(tmp_path, broker.url) as (ada, _):
        broker.signal(signal.SIGSTOP)
        start = time.monotonic()
        stop(ada)
        assert time.monotonic() - start < 10  # it hangs for ever


def test_what_a_broker_needs_and_has_not_is_one_line(tmp_path: Path) -> None:
    host = LocalHost("ada", 0, "", tmp_path)
    config = host.configure(
        '[domain.corp]\ntransport = [{ url = "mqtts://a", user = "me", password_file = "none" }]\n'
    )
    (tmp_path / "mnt").mkdir()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "msfs_fuse", "mount", "-f"),
            *("--config", str(config), str(tmp_path / "mnt")),
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stderr == (
        f"msfs: domain corp: password_file {tmp_path}/none: No such file or directory\n"
    )
