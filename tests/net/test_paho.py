"""Our guards against a broker: a paho that cannot be guarded is refused; messages are bytes."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.enums import MQTTProtocolVersion

from msfs_fuse.net.mqtt.guarded_client import Arrival, decode_publish
from tests.support.network import admitted

# Ways in which a new paho may leave the guards without work.
DOCTORED = {
    "another name": "Client._sock_receive = Client._sock_recv; del Client._sock_recv",
    "another parameter": "Client._sock_send = lambda self, buf, flags: 0",
    "never called": "Client._packet_read = lambda self: Client._receive_packet(self)",
}

RUN = """
import sys
from paho.mqtt.client import Client
{change}
from msfs_fuse.commands.main import main
sys.argv[1:] = {words}
main()
"""


def run(change: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", RUN.format(change=change, words=list(words))],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def config(tmp_path: Path) -> str:
    member = admitted(tmp_path / "corp", "ada")
    path = tmp_path / "msfs.toml"
    path.write_text(f'[domain.corp]\nmember = "{member}"\ntransport = ["mqtt://127.0.0.1:1"]\n')
    return str(path)


@pytest.mark.parametrize("change", DOCTORED.values(), ids=DOCTORED)
def test_a_paho_that_cannot_be_guarded_is_one_clear_line(
    tmp_path: Path, config: str, change: str
) -> None:
    (tmp_path / "mnt").mkdir()
    for words in (
        ("config", "--check", "--config", config),
        ("mount", "-f", "--config", config, str(tmp_path / "mnt")),
    ):
        done = run(change, *words)
        assert done.returncode == 1
        assert done.stderr.startswith("msfs: domain corp: paho-mqtt ")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "mnt" / ".msfs").exists()


def test_the_installed_paho_is_good(config: str) -> None:
    done = run("pass", "config", "--check", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert "domain corp: host ada, mqtt://127.0.0.1:1" in done.stdout


def packet(topic: str, properties: bytes, payload: bytes, version: MQTTProtocolVersion) -> bytes:
    """What follows the length of a PUBLISH."""
    start = len(topic.encode()).to_bytes(2) + topic.encode()
    if version != MQTTProtocolVersion.MQTTv5:
        return start + payload
    size = len(properties)
    number = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return start + number + properties + payload


VERSIONS = st.sampled_from([MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])


@given(st.text(max_size=40), st.binary(max_size=300), st.binary(max_size=500), VERSIONS)
@example("t", bytes(127), b"x", MQTTProtocolVersion.MQTTv5)
@example("t", bytes(128), b"", MQTTProtocolVersion.MQTTv5)
def test_a_publish_is_taken_apart(
    topic: str, properties: bytes, payload: bytes, version: MQTTProtocolVersion
) -> None:
    rest = packet(topic, properties, payload, version)
    assert decode_publish(0x31, rest, version) == Arrival(topic, payload, True)
    assert decode_publish(0x30, rest, version) == Arrival(topic, payload, False)


@given(st.binary(max_size=200), VERSIONS)
@example(b"\0\1t\x80", MQTTProtocolVersion.MQTTv5)
@example(b"\0\1t" + b"\xff" * 190, MQTTProtocolVersion.MQTTv5)
@example(b"\0\5t", MQTTProtocolVersion.MQTTv311)
def test_what_is_no_publish_is_a_value_error(rest: bytes, version: MQTTProtocolVersion) -> None:
    try:
        arrival = decode_publish(0x30, rest, version)
    except ValueError:
        return
    assert rest.endswith(arrival.payload)
    assert rest[2:].startswith(arrival.topic.encode())


def test_a_length_of_many_bytes_is_refused_at_once() -> None:
    """To add up a megabyte of them would take seconds."""
    with pytest.raises(ValueError, match="four bytes"):
        decode_publish(0x30, b"\0\1t" + b"\xff" * (1 << 20), MQTTProtocolVersion.MQTTv5)
