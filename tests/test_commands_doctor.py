"""`msfs doctor`: what it finds."""

import json
import os
import subprocess
from typing import Any

import pytest

from msfs_fuse.errors import Exit
from tests.command_support import MSFS, TIMEOUT, only_with_mounts
from tests.conftest import Mount, MountFactory
from tests.processes import is_root, line_of, started, wait_until

pytestmark = pytest.mark.skipif(not is_root(), reason="needs a mount namespace")


def doctor(*mounts: Mount, prefix: tuple[str, ...] = ()) -> tuple[int, list[dict[str, Any]]]:
    """Run it where nothing else is mounted: exit code, checks."""
    result = _run(*only_with_mounts(*mounts), *prefix, *MSFS, "doctor", "--json")
    assert result.stderr == ""
    return result.returncode, json.loads(result.stdout)


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def state_of(checks: list[dict[str, Any]], name: str) -> list[str]:
    return [each["state"] for each in checks if each["check"] == name]


def test_all_is_well(mount: Mount) -> None:
    code, checks = doctor(mount)
    assert code == Exit.OK
    assert {each["state"] for each in checks} == {"ok"}
    assert checks[-1]["message"] == f"{mount.path} is served by process {mount.daemon.pid}"


def test_one_line_for_each_check(mount: Mount) -> None:
    _, checks = doctor(mount)
    result = _run(*only_with_mounts(mount), *MSFS, "doctor")
    assert [line.split(maxsplit=1) for line in result.stdout.splitlines()] == [
        [each["state"], each["message"]] for each in checks
    ]


def test_nothing_is_mounted() -> None:
    code, checks = doctor()
    assert state_of(checks, "mount") == ["warn"]
    assert code == Exit.OK


def test_a_dead_mount(mount_with: MountFactory) -> None:
    live, dead = mount_with(), mount_with()
    dead.daemon.kill()
    dead.daemon.wait(TIMEOUT)
    code, checks = doctor(live, dead)
    assert state_of(checks, "mount") == ["ok", "fail"]
    assert f"msfs umount -l {dead.path}" in checks[-1]["message"]
    assert code == Exit.FAILED


def test_a_mount_that_hangs(mount: Mount) -> None:
    os.kill(mount.daemon.pid, 19)  # SIGSTOP
    try:
        code, checks = doctor(mount)
    finally:
        os.kill(mount.daemon.pid, 18)  # SIGCONT
    assert state_of(checks, "mount") == ["fail"]
    assert code == Exit.FAILED


def test_limits_that_are_near(mount_with: MountFactory) -> None:
    mount = mount_with("max_waiting=1", "max_bytes=10", "max_total_messages=100")
    code = """
    import threading
    server = os.open(sys.argv[1] + "/b", os.O_RDONLY | os.O_CREAT)
    client = os.open(sys.argv[1] + "/a", os.O_WRONLY | os.O_CREAT)
    os.write(client, b"12345678")
    print("ready", flush=True)
    os.read(server, 10)
    """
    with started(code, mount.path) as process:
        assert line_of(process) == "ready"
        wait_until(lambda: mount.status()["waiting"] == "1")
        code_, checks = doctor(mount)
    assert state_of(checks, "max_waiting") == ["warn"]
    assert state_of(checks, "max_bytes") == ["warn"]
    assert state_of(checks, "max_total_messages") == []
    assert code_ == Exit.OK


def test_no_device() -> None:
    hide = ("sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh")
    code, checks = doctor(prefix=hide)
    assert state_of(checks, "device") == ["fail"]
    assert "modprobe fuse" in checks[0]["message"]
    assert code == Exit.FAILED


def test_a_kernel_that_limits_the_age_of_requests() -> None:
    script = 'echo 30 > /mnt/timeout && mount --bind /mnt/timeout "$KNOB" && exec "$@"'
    knob = "/proc/sys/fs/fuse/max_request_timeout"
    if not os.path.exists(knob):
        pytest.skip("this kernel has no such limit")
    private = ("sh", "-c", f"mount -t tmpfs none /mnt && KNOB={knob} && {script}", "sh")
    _, checks = doctor(prefix=private)
    assert state_of(checks, "max_request_timeout") == ["warn"]
    assert "sysctl -w fs.fuse.max_request_timeout=0" in checks[3]["message"]


def test_a_user_is_told_what_root_need_not_know() -> None:
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    _, checks = doctor(prefix=user)
    assert state_of(checks, "fusermount3") != []
    assert state_of(checks, "user_allow_other") != []
    nothing = (*user, "env", "PATH=/nonexistent")
    code, checks = doctor(prefix=nothing)
    assert state_of(checks, "fusermount3") == ["fail"]
    assert code == Exit.FAILED


def test_an_extension_that_is_not_there() -> None:
    # pyfuse3 before us: what check_loaded() and the import are there to tell.
    hidden = "import sys; sys.modules['pyfuse3'] = None; sys.argv[1:] = ['doctor', '--json']\n"
    program = hidden + "from msfs_fuse.cli import main; main()"
    result = _run(*only_with_mounts(), MSFS[0], "-c", program)
    checks = json.loads(result.stdout)
    assert state_of(checks, "extension") == ["fail"]
    assert result.returncode == Exit.FAILED
