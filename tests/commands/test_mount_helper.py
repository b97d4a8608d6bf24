"""`mount.msfs`: by itself, and as mount(8) runs it for `mount -t msfs` and fstab."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from msfs_fuse.commands.mount_helper import MountExit
from msfs_fuse.errors import Exit
from tests.conftest import force_unmount, is_mounted
from tests.support.processes import has_ended, is_root, line_of, started, wait_until

pytestmark = pytest.mark.skipif(not is_root(), reason="needs a mount namespace")

HELPER = Path(sys.executable).with_name("mount.msfs")
TIMEOUT = 30.0

Result = subprocess.CompletedProcess[str]


def run(*command: object) -> Result:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def helper(directory: Path, *words: str, source: str = "msfs") -> Result:
    return run(HELPER, source, directory, *words)


def status(directory: Path) -> dict[str, str]:
    lines = (directory / ".msfs/status").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def complaint(result: Result) -> str:
    """The one line of a helper that failed."""
    assert result.stdout == ""
    assert result.stderr.startswith("mount.msfs: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removeprefix("mount.msfs: ").rstrip("\n")


def source_of(directory: Path) -> str:
    """What the mount table shows as mounted there."""
    line = next(
        line
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines())
        if line.split(" ")[4] == str(directory)
    )
    assert line.partition(" - ")[2].split(" ")[0] == "fuse.msfs"
    source = line.partition(" - ")[2].split(" ")[1]
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), source)


def take_away(directory: Path) -> None:
    """End the mount there, if there is one, and its daemon."""
    if not is_mounted(directory):
        return
    try:
        pid = int(status(directory)["pid"])
    except OSError:
        force_unmount(directory)
        return
    os.kill(pid, signal.SIGTERM)
    try:
        wait_until(lambda: has_ended(pid))
    finally:
        force_unmount(directory)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where to mount; what is mounted there goes at the end."""
    path = tmp_path / "mail"
    path.mkdir()
    yield path
    take_away(path)


@pytest.fixture
def sbin(tmp_path: Path) -> Iterator[Path]:
    """The helper where mount(8) looks for it, by both names, over the real /usr/sbin.

    The tests have a mount table of their own, so that nobody else sees it. Gives a directory for
    more files.
    """
    layers = tmp_path / "layers"
    layers.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", layers], check=True)
    try:
        for name in ("upper", "work"):
            (layers / name).mkdir()
        for name in ("mount.msfs", "mount.fuse.msfs"):
            (layers / "upper" / name).symlink_to(HELPER)
        options = f"lowerdir=/usr/sbin,upperdir={layers}/upper,workdir={layers}/work"
        subprocess.run(["mount", "-t", "overlay", "none", "-o", options, "/usr/sbin"], check=True)
        try:
            yield layers
        finally:
            subprocess.run(["umount", "-l", "/usr/sbin"], check=True)
    finally:
        subprocess.run(["umount", "-l", layers], check=True)


# ---- by itself ----


def test_it_returns_when_the_mount_is_live(directory: Path) -> None:
    options = "allow_other,nofail,_netdev,x-systemd.automount,defaults"
    result = helper(directory, "-o", options, source="post")
    assert (result.returncode, result.stdout, result.stderr) == (MountExit.OK, "", "")
    assert source_of(directory) == "post"
    assert directory.stat().st_mode & 0o777 == 0o777
    assert status(directory)["slots"] == "0"


@pytest.mark.parametrize("source", ["a,b", "a\\b", "a\\,b", "with space", "none"])
def test_the_source_is_shown_as_it_is(directory: Path, source: str) -> None:
    assert helper(directory, source=source).returncode == MountExit.OK
    assert source_of(directory) == source


def test_options_take_effect(directory: Path) -> None:
    assert helper(directory, "-o", "rw,strict", "-o", "max_waiting=7").returncode == MountExit.OK
    assert status(directory)["max_waiting"] == "7"
    with pytest.raises(FileNotFoundError):
        os.open(directory / "slot", os.O_WRONLY | os.O_CREAT)


def test_an_unknown_option(directory: Path) -> None:
    result = helper(directory, "-o", "rw,nonsense")
    assert result.returncode == MountExit.USAGE
    assert complaint(result) == "unknown option: nonsense (see msfs mount --help)"
    assert not is_mounted(directory)


def test_sloppy_lets_unknown_options_pass(directory: Path) -> None:
    assert helper(directory, "-s", "-o", "nonsense,max_waiting=7").returncode == MountExit.OK
    assert status(directory)["max_waiting"] == "7"


def test_read_only_is_refused_with_a_reason(directory: Path) -> None:
    result = helper(directory, "-o", "ro")
    assert result.returncode == MountExit.USAGE
    assert complaint(result) == "option ro: mailslots are there to be written to: mount without it"


def test_a_missing_directory(tmp_path: Path) -> None:
    result = helper(tmp_path / "missing")
    assert result.returncode == MountExit.USAGE
    assert f"mkdir -p {tmp_path}/missing" in complaint(result)


def test_mounted_already(directory: Path) -> None:
    assert helper(directory).returncode == MountExit.OK
    result = helper(directory)
    assert result.returncode == MountExit.FAILED
    assert complaint(result).startswith(f"mailslots are mounted at {directory} already")


def test_a_fake_mount_checks_only(directory: Path) -> None:
    assert helper(directory, "-f", "-n", "-v", "-t", "msfs").returncode == MountExit.OK
    assert not is_mounted(directory)
    assert helper(directory, "-f", "-o", "nonsense").returncode == MountExit.USAGE


def test_arguments_that_make_no_sense() -> None:
    result = run(HELPER, "only-a-source")
    assert result.returncode == MountExit.USAGE
    assert "DIR" in complaint(result)


@pytest.mark.parametrize(
    ("option", "mode"), [("X-mount.mkdir", 0o755), ("X-mount.mkdir=0711", 0o711)]
)
def test_the_directory_is_made(tmp_path: Path, option: str, mode: int) -> None:
    path = tmp_path / "new/mail"
    try:
        assert helper(path, "-o", option).returncode == MountExit.OK
        assert is_mounted(path)
    finally:
        take_away(path)
    assert path.stat().st_mode & 0o777 == mode


def test_a_quoted_path_may_hold_a_comma(directory: Path, tmp_path: Path) -> None:
    config = tmp_path / "a,b.toml"
    config.write_text('[mount]\noptions = ["max_waiting=7", "max_messages=8"]\n')
    options = f'rw,config="{config}",max_messages=9'
    assert helper(directory, "-o", options).returncode == MountExit.OK
    assert status(directory)["max_waiting"] == "7"


# ---- by mount(8) ----


@pytest.mark.parametrize("fstype", ["msfs", "fuse.msfs"])
@pytest.mark.usefixtures("sbin")
def test_mount_and_umount(directory: Path, fstype: str) -> None:
    result = run("mount", "-t", fstype, "post", directory, "-o", "allow_other,max_waiting=7")
    assert (result.returncode, result.stderr) == (0, "")
    assert source_of(directory) == "post"
    pid = int(status(directory)["pid"])
    assert status(directory)["max_waiting"] == "7"
    assert run("umount", directory).returncode == 0
    assert not is_mounted(directory)
    wait_until(lambda: has_ended(pid))


@pytest.mark.usefixtures("sbin")
def test_mount_passes_on_exit_codes_and_reasons(directory: Path) -> None:
    result = run("mount", "-t", "msfs", "post", directory, "-o", "nonsense")
    assert result.returncode == MountExit.USAGE
    assert complaint(result) == "unknown option: nonsense (see msfs mount --help)"
    result = run("mount", "-t", "msfs", "post", directory, "-o", "ro")
    assert result.returncode == MountExit.USAGE
    assert complaint(result) == "option ro: mailslots are there to be written to: mount without it"
    assert run("mount", "-t", "msfs", "post", directory).returncode == 0
    result = run("mount", "-t", "msfs", "other", directory)
    assert result.returncode == MountExit.FAILED
    assert "already" in complaint(result)


@pytest.mark.usefixtures("sbin")
def test_mount_hands_on_fake_sloppy_and_mkdir(directory: Path) -> None:
    assert run("mount", "-f", "-t", "msfs", "post", directory).returncode == 0
    assert not is_mounted(directory)
    assert run("mount", "-s", "-t", "msfs", "post", directory, "-o", "nonsense").returncode == 0
    assert is_mounted(directory)
    below = directory.parent / "new"
    try:
        options = "X-mount.mkdir,nofail"
        assert run("mount", "-t", "msfs", "post", below, "-o", options).returncode == 0
        assert is_mounted(below)
    finally:
        take_away(below)


@pytest.mark.parametrize("fstype", ["msfs", "fuse.msfs"])
def test_fstab(directory: Path, sbin: Path, fstype: str) -> None:
    config = sbin / "a,b.toml"
    config.write_text('[mount]\noptions = ["max_waiting=7"]\n')
    options = f'allow_other,nofail,_netdev,x-systemd.automount,config="{config}"'
    fstab = sbin / "fstab"
    fstab.write_text(f"post {directory} {fstype} {options} 0 0\n")
    subprocess.run(["mount", "--bind", fstab, "/etc/fstab"], check=True)
    try:
        result = run("mount", "-a")
        assert (result.returncode, result.stderr) == (0, "")
        assert source_of(directory) == "post"
        before = status(directory)
        assert before["max_waiting"] == "7"
        result = run("mount", "-a")
        assert (result.returncode, result.stderr) == (0, "")
        assert status(directory)["pid"] == before["pid"]
        assert run("umount", directory).returncode == 0
        assert run("mount", directory).returncode == 0
        assert is_mounted(directory)
    finally:
        subprocess.run(["umount", "/etc/fstab"], check=True)


@pytest.mark.usefixtures("sbin")
def test_a_file_of_the_name_of_the_source(
    directory: Path, sbin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mount(8) takes the source for a path then: it is shown as written, and mounted once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "post").touch()
    fstab = sbin / "fstab"
    fstab.write_text(f"post {directory} fuse.msfs defaults 0 0\n")
    subprocess.run(["mount", "--bind", fstab, "/etc/fstab"], check=True)
    try:
        result = run("mount", "-a")
        assert (result.returncode, result.stderr) == (0, "")
        assert source_of(directory) == "post"
        pid = status(directory)["pid"]
        result = run("mount", "-a")
        assert result.returncode == 0
        assert "mounted" in complaint(result)
        assert status(directory)["pid"] == pid
    finally:
        subprocess.run(["umount", "/etc/fstab"], check=True)


# ---- x-systemd.automount ----

# What systemd does for x-systemd.automount: it has the kernel tell when somebody comes to a
# directory, mounts there, and lets them in. sys.argv: the directory, the command that mounts.
AUTOMOUNTER = """
import ctypes, fcntl, struct, subprocess
READY, FAIL, CATATONIC = 0x9360, 0x9361, 0x9362  # <linux/auto_fs.h>
os.setpgrp()
reader, writer = os.pipe()
path, command = sys.argv[1], sys.argv[2:]
options = f"fd={writer},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"auto", path.encode(), b"autofs", 0, options.encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
control = os.open(path, os.O_RDONLY)
print("ready", flush=True)
while packet := os.read(reader, 4096):
    token = struct.unpack_from("iiI", packet)[2]
    failed = subprocess.run(command).returncode
    fcntl.ioctl(control, FAIL if failed else READY, token)
"""


@contextlib.contextmanager
def automounted(directory: Path, *command: object) -> Iterator[None]:
    """`command` mounts at the directory when somebody comes to it."""
    with started(AUTOMOUNTER, directory, *command) as process:
        try:
            assert line_of(process) == "ready"
            yield
        finally:
            take_away(directory)
            process.kill()
            process.wait(TIMEOUT)
            force_unmount(directory)


def status_command(**environment: str) -> Result:
    return subprocess.run(
        [sys.executable, "-m", "msfs_fuse", "status"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize("way", ["fstab", "environment"])
def test_commands_find_a_mount_that_comes_with_its_first_use(
    directory: Path, tmp_path: Path, way: str
) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(f"msfs {directory} msfs x-systemd.automount 0 0\n" if way == "fstab" else "")
    subprocess.run(["mount", "--bind", fstab, "/etc/fstab"], check=True)
    try:
        with automounted(directory, HELPER, "post", directory):
            environment = {} if way == "fstab" else {"MSFS_MOUNT": str(directory)}
            result = status_command(**environment)
            assert (result.returncode, result.stderr) == (0, "")
            assert result.stdout.startswith("version: ")
            assert source_of(directory) == "post"
    finally:
        subprocess.run(["umount", "/etc/fstab"], check=True)


def test_an_automount_that_fails(directory: Path) -> None:
    with automounted(directory, "false"):
        result = status_command(MSFS_MOUNT=str(directory))
    assert result.returncode == Exit.NO_MOUNT
    assert "no mailslots are mounted" in result.stderr
