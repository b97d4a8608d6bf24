"""`msfs doctor`: what it finds."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from msfs_fuse.errors import Exit
from tests.conftest import Mount, MountFactory
from tests.support.command import MSFS, TIMEOUT, only_with_mounts
from tests.support.network import admitted
from tests.support.processes import is_root, line_of, started, wait_until

pytestmark = pytest.mark.skipif(not is_root(), reason="needs a mount namespace")


def doctor(
    *mounts: Mount, prefix: tuple[str, ...] = (), config: Path | None = None
) -> tuple[int, list[dict[str, Any]]]:
    """Run it where nothing else is mounted: exit code, checks."""
    words = ["--json"] + (["--config", str(config)] if config else [])
    result = _run(*only_with_mounts(*mounts), *prefix, *MSFS, "doctor", *words)
    assert result.stderr == ""
    return result.returncode, json.loads(result.stdout)


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def message_of(checks: list[dict[str, Any]], name: str) -> str:
    (message,) = [each["message"] for each in checks if each["check"] == name]
    return str(message)


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


def test_the_right_to_mount_is_missing(tmp_path: Path) -> None:
    """For root and for users, and `msfs mount` says the same."""
    for less in (
        ("--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"),
        ("--reuid", "2001", "--regid", "2001", "--clear-groups", "--no-new-privs"),
    ):
        prefix = ("setpriv", *less)
        result = _run(*prefix, *MSFS, "doctor", "--json")
        checks = json.loads(result.stdout)
        assert state_of(checks, "right") == ["fail"]
        complaint = _run(*prefix, *MSFS, "mount", str(tmp_path)).stderr
        assert complaint.startswith("msfs: ")
        assert complaint.count("\n") == 1
        assert any(each["message"] in complaint for each in checks if each["state"] == "fail")


def test_a_device_that_is_missing(tmp_path: Path) -> None:
    script = 'mount -t tmpfs none /dev; exec "$@"'
    hidden = ("unshare", "--mount", "sh", "-c", script, "sh", *MSFS)
    result = _run(*hidden, "mount", str(tmp_path))
    assert "modprobe fuse" in result.stderr
    assert result.stderr.count("\n") == 1


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
    assert "sysctl -w fs.fuse.max_request_timeout=0" in message_of(checks, "max_request_timeout")


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
    program = hidden + "from msfs_fuse.commands.main import main; main()"
    result = _run(*only_with_mounts(), MSFS[0], "-c", program)
    checks = json.loads(result.stdout)
    assert state_of(checks, "extension") == ["fail"]
    assert result.returncode == Exit.FAILED


# ---- configuration ----


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """One domain with a member file and a port that is free."""
    admitted(tmp_path / "corp", "ada")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "msfs.toml"
    path.write_text(
        f'[domain.corp]\nmember = "corp/ada.member"\nport = {port}\nmulticast = false\npeers = []\n'
    )
    return path


def port_of(config: Path) -> int:
    return int(config.read_text().split("port = ")[1].split()[0])


def test_a_domain_that_can_be_used(config: Path) -> None:
    code, checks = doctor(config=config)
    assert state_of(checks, "configuration") == ["ok"]
    assert state_of(checks, "member") == ["ok"]
    assert state_of(checks, "port") == ["ok"]
    assert message_of(checks, "port") == f"UDP port {port_of(config)} is free"
    assert code == Exit.OK


def test_a_configuration_that_makes_no_sense(config: Path) -> None:
    config.write_text("[mount]\nnonsense = 1\n")
    code, checks = doctor(config=config)
    assert state_of(checks, "configuration") == ["fail"]
    assert message_of(checks, "configuration").startswith(f"{config}:2: unknown key 'nonsense'")
    assert state_of(checks, "member") == []
    assert code == Exit.FAILED


def test_a_member_file_that_others_can_read(config: Path) -> None:
    keys = config.parent / "corp/ada.member"
    keys.chmod(0o644)
    code, checks = doctor(config=config)
    assert state_of(checks, "member") == ["fail"]
    assert f"chmod 600 {keys}" in message_of(checks, "member")
    assert code == Exit.FAILED


def test_a_member_file_that_is_missing(config: Path) -> None:
    (config.parent / "corp/ada.member").unlink()
    code, checks = doctor(config=config)
    assert state_of(checks, "member") == ["fail"]
    assert message_of(checks, "member").startswith("domain corp: ")
    assert code == Exit.FAILED


def test_a_password_file_that_is_missing(config: Path) -> None:
    config.write_text(
        config.read_text().partition("port")[0]
        + 'transport = [{ url = "mqtt://h", user = "me", password_file = "secret" }]\n'
    )
    _, checks = doctor(config=config)
    assert "password_file" in message_of(checks, "member")
    assert state_of(checks, "port") == []


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_that_another_program_has(config: Path, family: socket.AddressFamily) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as other:
        other.bind(("", port_of(config)))
        code, checks = doctor(config=config)
        user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
        blind = _run(*user, sys.executable, "-c", _PORT, str(port_of(config)))
    assert state_of(checks, "port") == ["warn"]
    name = Path("/proc/self/comm").read_text().strip()
    assert f"is taken by process {os.getpid()} ({name})" in message_of(checks, "port")
    assert code == Exit.OK
    assert "is taken: stop that" in blind.stdout, blind.stderr


_PORT = """
import sys
from msfs_fuse.commands import doctor_network
print(doctor_network._port(int(sys.argv[1])).message)
"""


def test_a_port_that_is_a_mounts_own(config: Path, mount_with: MountFactory) -> None:
    mount = mount_with(f"config={config}")
    code, checks = doctor(mount, config=config)
    assert message_of(checks, "port") == f"UDP port {port_of(config)} is that of a mount"
    assert state_of(checks, "port") == ["ok"]
    assert code == Exit.OK


# ---- fstab ----


def with_files(tmp_path: Path, fstab: str, *, helpers: bool, service: bool) -> tuple[str, ...]:
    """A prefix with another /etc/fstab, other helpers and units, in a mount table of its own."""
    (tmp_path / "fstab").write_text(fstab)
    units, sbin = tmp_path / "units", tmp_path / "sbin"
    (units / "multi-user.target.wants").mkdir(parents=True)
    sbin.mkdir()
    if service:
        (units / "multi-user.target.wants/msfs.service").symlink_to("/nowhere/msfs.service")
    if helpers:
        (sbin / "mount.msfs").touch()
        (sbin / "mount.fuse.msfs").touch()
    script = (
        f"mount --bind {tmp_path}/fstab /etc/fstab && mount --bind {units} /etc/systemd/system && "
        f'mount --bind {sbin} /usr/sbin && exec "$@"'
    )
    return ("sh", "-c", script, "sh")


@pytest.mark.parametrize("fstype", ["msfs", "fuse.msfs"])
def test_fstab_without_a_helper(tmp_path: Path, fstype: str) -> None:
    line = f"# a comment\nproc /proc proc\nmsfs /srv/my\\040mail/ {fstype} nofail 0 0\n"
    code, checks = doctor(prefix=with_files(tmp_path, line, helpers=False, service=False))
    assert state_of(checks, "fstab") == ["fail"]
    assert message_of(checks, "fstab") == (
        f"/etc/fstab has mailslots at /srv/my mail, but /sbin/mount.{fstype} is missing: "
        "scripts/install or the package brings it"
    )
    assert code == Exit.FAILED


def test_fstab_with_its_helper(tmp_path: Path) -> None:
    lines = "msfs /mnt/mailslot msfs\nmsfs /srv/mail fuse.msfs defaults\n"
    code, checks = doctor(prefix=with_files(tmp_path, lines, helpers=True, service=False))
    assert state_of(checks, "fstab") == ["ok", "ok"]
    assert state_of(checks, "fstab_and_service") == []
    assert code == Exit.OK


@pytest.mark.parametrize(("path", "states"), [("/mnt/mailslot", ["warn"]), ("/srv/mail", [])])
def test_fstab_and_the_service(tmp_path: Path, path: str, states: list[str]) -> None:
    line = f"msfs {path} msfs defaults 0 0\n"
    _, checks = doctor(prefix=with_files(tmp_path, line, helpers=True, service=True))
    assert state_of(checks, "fstab_and_service") == states
