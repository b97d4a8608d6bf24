"""Messages to people between us and Samba by SMB sessions: `smbclient -M`, `message command`."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mount
from tests.support.command import MSFS, TIMEOUT
from tests.support.network import Host, Lan
from tests.support.processes import is_root, wait_until
from tests.support.samba import listens

pytestmark = [
    pytest.mark.skipif(not is_root(), reason="needs network namespaces"),
    pytest.mark.skipif(
        not (shutil.which("smbclient") and shutil.which("smbd")), reason="needs Samba"
    ),
]

LONG = "äöü " + "0123456789 " * 60

SMB_CONF = """
[global]
server min protocol = LANMAN1
smb ports = 139
map to guest = bad user
disable netbios = no
netbios name = SAMBA
pid directory = {path}
lock directory = {path}
state directory = {path}
cache directory = {path}
private dir = {path}/private
ncalrpc dir = {path}
log file = {path}/log
message command = {path}/show %s "%f"
"""

SHOW = """#!/bin/sh
cat "$1" >{path}/got/new
echo "$2" >{path}/got/from
mv {path}/got/new {path}/got/text
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may walk into; pytest's own is for one user."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    lan = Lan(tmp_path)
    try:
        yield [lan.add(name) for name in ("ada", "bob")]
    finally:
        lan.close()


@contextlib.contextmanager
def showing(host: Host, mount: Mount, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [*host.inside, *MSFS, "messenger", "--mount", str(mount.path), "--print", "--session"]
    process = subprocess.Popen(
        [*command, "--no-desktop", "--no-terminals", *arguments], stdout=subprocess.PIPE
    )
    with process:
        try:
            wait_until(lambda: listens(host))
            yield process
        finally:
            process.kill()


def smbclient(host: Host, to: str, address: str, text: str) -> "subprocess.CompletedProcess[str]":
    """`smbclient -M`, which takes the text from standard input."""
    return subprocess.run(
        [
            *(*host.inside, "smbclient", "-M", to, "-I", address, "-U%"),
            *("--option=client min protocol=LANMAN1", "--configfile=/dev/null"),
        ],
        input=text,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        check=False,
    )


def test_smbclient_reaches_our_messenger(hosts: list[Host]) -> None:
    ada, bob = hosts
    with bob.mounted() as mount, showing(bob, mount, "-n", "2") as process:
        for text in ("short", LONG):
            result = smbclient(ada, mount.status()["host"], bob.address, text)
            assert result.returncode == 0, result.stdout + result.stderr
        # To nobody here: refused, and not shown.
        assert smbclient(ada, "NOSUCHUSER", bob.address, "text").returncode != 0
        output = process.communicate(timeout=TIMEOUT)[0].decode()
    short, long = output.splitlines()
    assert f"({ada.address}, unproven)" in short
    assert short.endswith(": short")
    assert long.endswith(f": {LONG}")


def test_our_net_send_reaches_our_messenger(hosts: list[Host]) -> None:
    ada, bob = hosts
    with bob.mounted() as mount, showing(bob, mount, "-n", "1") as process:
        target = f"root@{bob.address}"
        command = [*ada.inside, *MSFS, "net-send", "--session", target, LONG, "--from", "ann"]
        subprocess.run(command, check=True, timeout=TIMEOUT)
        output = process.communicate(timeout=TIMEOUT)[0].decode()
    assert output == f"Message from ann ({ada.address}, unproven) to root: {LONG}\n"


@pytest.mark.parametrize("text", ["short", LONG, "two\nlines"])
def test_our_net_send_reaches_smbd(hosts: list[Host], tmp_path: Path, text: str) -> None:
    ada, bob = hosts
    path = tmp_path / "samba"
    for directory in (path, path / "private", path / "got"):
        directory.mkdir()
    os.chmod(path / "got", 0o777)  # smbd runs the command as nobody
    (path / "show").write_text(SHOW.format(path=path))
    os.chmod(path / "show", 0o755)
    (path / "smb.conf").write_text(SMB_CONF.format(path=path))
    command = [*bob.inside, "smbd", "-F", "--no-process-group", "-s", str(path / "smb.conf")]
    with (
        (path / "output").open("wb") as output,
        # It ends its whole process group with itself.
        subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True) as smbd,
    ):
        try:
            wait_until(lambda: listens(bob), timeout=30)
            send = [*ada.inside, *MSFS, "net-send", "--session", f"samba@{bob.address}", text]
            result = subprocess.run(
                [*send, "--from", "ann"], capture_output=True, text=True, timeout=TIMEOUT
            )
            assert result.returncode == 0, result.stderr
            wait_until((path / "got" / "text").exists)
            assert (path / "got" / "text").read_text() == text
            assert (path / "got" / "from").read_text().lower() == "ann\n"
        finally:
            smbd.terminate()


def test_nobody_is_there(hosts: list[Host]) -> None:
    ada, bob = hosts
    command = [*ada.inside, *MSFS, "net-send", "--session", bob.address, "text"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 1
    assert result.stderr == f"msfs: {bob.address}: no session on TCP port 139: Connection refused\n"
