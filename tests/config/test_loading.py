"""The network is loaded where a domain is configured, and nowhere else."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.network import admitted

# What `msfs mount` does before it mounts.
SCRIPT = """
import sys
from msfs_fuse.config.file import read_settings
from msfs_fuse.daemon.service import _make_router

settings = read_settings("/mnt", sys.argv[2:], sys.argv[1])
_make_router(settings)
print(*(name for name in sys.modules if name.startswith("msfs_fuse.net")))
for name in ("cryptography", "paho", "msgspec"):
    assert name not in sys.modules or "msfs_fuse.net" in sys.modules, name
"""


def loaded(path: Path, *options: str) -> set[str]:
    """The modules of the network that a mount with this configuration loads."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), *options],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.removeprefix("msfs_fuse.") for name in done.stdout.split()}


@pytest.mark.parametrize(
    "text", ["", 'host = "build7"\n[mount]\noptions = ["strict", "max_bytes=1g"]\n']
)
def test_without_a_domain_nothing_of_the_network(tmp_path: Path, text: str) -> None:
    path = tmp_path / "msfs.toml"
    path.write_text(text)
    assert loaded(path) == set()
    assert loaded(path, "strict", "host=me") == set()


def test_with_a_domain_what_carries_it(tmp_path: Path) -> None:
    member = admitted(tmp_path / "corp", "ada")
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    by_udp = loaded(empty, f"member={member}")
    assert {"net.router", "net.udp.transport"} <= by_udp
    assert "net.mqtt.transport" not in by_udp

    brokers = tmp_path / "brokers.toml"
    brokers.write_text(f'[domain.corp]\nmember = "{member}"\ntransport = ["mqtt://127.0.0.1:1"]')
    by_mqtt = loaded(brokers)
    assert {"net.router", "net.mqtt.transport"} <= by_mqtt
    assert "net.udp.transport" not in by_mqtt
