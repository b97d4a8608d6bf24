"""The commands of one user on the slots of another."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msfs_fuse.errors import Exit
from tests.conftest import Mount, MountFactory
from tests.support.command import MSFS, listening, msfs, refusal
from tests.support.processes import SERVER, is_root, opened

pytestmark = pytest.mark.skipif(not is_root(), reason="needs to be more than one user")

ALICE: dict[str, Any] = {"user": 2001, "group": 2001, "extra_groups": []}
BOB: dict[str, Any] = {"user": 2002, "group": 2002, "extra_groups": []}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may walk into; pytest's own is for one user."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


def test_a_slot_open_to_all(mount: Mount) -> None:
    with listening(mount, "-n", 1, "--json", umask=0, **ALICE) as listener:
        assert msfs(mount, "send", "a", "from bob", **BOB).returncode == Exit.OK
        output, _ = listener.communicate(timeout=10)
    assert json.loads(output)["sender_uid"] == 2002


def test_a_share_that_is_used_up(mount_with: MountFactory) -> None:
    """Which no other slot can help: so it says so."""
    mount = mount_with("allow_other", "max_bytes=4000")
    with opened(mount / "a", SERVER) as server, opened(mount / "b", SERVER):
        os.fchmod(server, 0o666)
        (mount / "b").chmod(0o666)
        assert msfs(mount, "send", "a", "x" * 999, **BOB).returncode == Exit.OK
        told = refusal(msfs(mount, "send", "b", "xx", **BOB))
        assert "999 bytes of yours wait to be read" in told
        assert "25 % of 4000 (max_user_share of max_bytes)" in told
        assert msfs(mount, "send", "b", "xx", **ALICE).returncode == Exit.OK


def test_a_slot_for_its_owner(mount: Mount) -> None:
    with listening(mount, umask=0o077, **ALICE):
        assert "you may not write there" in refusal(msfs(mount, "send", "a", "x", **BOB))
        assert "another user's slot" in refusal(msfs(mount, "listen", "a", **BOB))
        assert msfs(mount, "send", "a", "x", **ALICE).returncode == Exit.OK
        assert "has a server already" in refusal(msfs(mount, "listen", "a", **ALICE))
        assert "has a server already" in refusal(msfs(mount, "listen", "a"))


def test_attributes_that_may_not_be_read(mount: Mount) -> None:
    with listening(mount, umask=0o077, **ALICE):
        (entry,) = json.loads(msfs(mount, "ls", "--json", **BOB).stdout)
        assert (entry["owner"], entry["mode"]) == ("2001", "0600")
        assert (entry["messages"], entry["next_size"]) == (None, None)
        assert msfs(mount, "ls", **BOB).stdout.splitlines()[1].split()[3:5] == ["-", "-"]
        assert json.loads(msfs(mount, "info", "a", "--json", **BOB).stdout)["next_size"] is None
        assert "next_size: -\n" in msfs(mount, "info", "a", **BOB).stdout


def test_a_directory_that_one_may_not_write(mount: Mount) -> None:
    (mount / "dir").mkdir()
    (mount / "dir").chmod(0o755)
    assert "you may not create slots in" in refusal(msfs(mount, "listen", "dir/a", **BOB))


def test_a_directory_where_one_may_not_mount(tmp_path: Path) -> None:
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    for path in (tmp_path, sticky):
        result = subprocess.run(
            [*MSFS, "mount", path], capture_output=True, text=True, check=False, **BOB
        )
        assert result.returncode == Exit.FAILED
        assert f"cannot mount {path}: it is not your directory (mount at one of" in result.stderr


def test_a_private_mount_of_another_user_is_no_choice(mount_with: MountFactory) -> None:
    private, shared = mount_with(), mount_with("allow_other")
    command, environment = [*MSFS, "status"], {"PATH": os.environ["PATH"]}

    def status(**user: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, **user
        )

    assert f"mountpoint: {shared.path}\n" in status(**BOB).stdout
    told = status().stderr
    assert f"mailslots are mounted at {private.path} and {shared.path}: choose one" in told


def test_a_private_mount(mount_with: MountFactory) -> None:
    mount = mount_with()
    for command in (("send", "a", "x"), ("listen", "a"), ("ls",), ("info", "a"), ("status",)):
        result = msfs(mount, *command, **BOB)
        assert f"{mount.path} is for its owner alone" in refusal(result), command


def test_too_many_slots(mount_with: MountFactory) -> None:
    mount = mount_with("allow_other", "max_slots_per_user=1")
    with listening(mount, **ALICE):
        assert "too many slots" in refusal(msfs(mount, "listen", "b", **ALICE))


def test_a_user_has_a_configuration_of_his_own(tmp_path: Path) -> None:
    path = tmp_path / "msfs/msfs.toml"
    path.parent.mkdir()
    path.write_text("nonsense = 1\n")
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    command = [*MSFS, "config", "--check"]
    named: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 20}
    of_bob = subprocess.run(command, env=environment, check=False, **named, **BOB)
    assert f"{path}:1: unknown key 'nonsense'" in of_bob.stderr
    of_root = subprocess.run(command, env=environment, check=False, **named)
    assert str(path) not in of_root.stderr
