"""Our guards against a broker override private methods of paho: one without them is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

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
