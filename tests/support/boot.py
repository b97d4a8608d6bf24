"""Whole Debian machines: trees made by debootstrap, and booted by systemd-nspawn.

A tree is made once and kept in $XDG_CACHE_HOME/msfs-tests. What is done to it goes to a layer in
memory, so it stays as it is.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RELEASES = ("bookworm", "trixie")

CHECKOUT = Path(__file__).parent.parent.parent

# Where the checkout is in a tree.
SOURCE = "/usr/src/msfs"

# What runs it, and what the checks inside a machine use.
_BASE = (
    "ca-certificates",
    "dbus",
    "dbus-user-session",
    "fuse3",
    "libpam-systemd",
    "mount",
    "passwd",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
)

# What builds it, and what its tests use (scripts/setup).
_BUILD = (
    "attr",
    "busybox",
    "dash",
    "debootstrap",
    "gcc",
    "git",
    "groff",
    "iproute2",
    "libc6-dev",
    "libfuse3-dev",
    "man-db",
    "mawk",
    "mosquitto",
    "mosquitto-clients",
    "nats-server",
    "nodejs",
    "perl",
    "pkg-config",
    "python3-dev",
    "python3-venv",
    "socat",
    "systemd-container",
)

# Users of the machines. Their numbers are not those of users in other tests, who have no names.
_USERS = {"alice": 3001, "bob": 3002}

_MIRROR = "http://deb.debian.org/debian"

_BOOT_TIMEOUT = 180.0

Completed = subprocess.CompletedProcess[str]


def why_not() -> str | None:
    """What keeps machines from being made here, if anything does."""
    if os.geteuid() != 0:
        return "making machines takes root"
    for program in ("debootstrap", "systemd-nspawn"):
        if shutil.which(program) is None:
            return f"{program} is not installed (scripts/setup test)"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    return None


def base_tree(release: str) -> Path:
    """A tree in which MSFS can run. Not to be written to."""
    return _cached(release, "base", _BASE)


def build_tree(release: str) -> Path:
    """A tree in which MSFS can be built, and tested. Not to be written to."""
    return _cached(release, "build", (*_BASE, *_BUILD))


def _cached(release: str, variant: str, packages: Sequence[str]) -> Path:
    """The tree with these packages, made if it is not there.

    It is made in memory, where what dpkg wants to be on disk at once is no work, and moved into
    its place when it is complete.
    """
    key = hashlib.sha256(f"{packages} {_USERS}".encode()).hexdigest()[:12]
    name = f"{release}-{platform.machine()}-{variant}"
    tree = _cache() / f"{name}-{key}"
    with (_cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            for old in _cache().glob(f"{name}-*"):
                _remove(old)
            with in_memory(_cache() / f"{name}.new") as memory:
                made = memory / "tree"
                if variant == "base":
                    _debootstrap(release, made, packages)
                else:
                    _copy(base_tree(release), made)
                    _install_packages(made, packages)
                _copy(made, _cache() / f"{name}-unfinished")
            (_cache() / f"{name}-unfinished").rename(tree)
    return tree


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(base) / "msfs-tests"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _copy(source: Path, target: Path) -> None:
    quietly("cp", "-a", "--reflink=auto", source, target)


def _remove(tree: Path) -> None:
    quietly("rm", "-rf", "--one-file-system", tree)


def _debootstrap(release: str, tree: Path, packages: Sequence[str]) -> None:
    include = f"--include={','.join(packages)}"
    quietly("debootstrap", "--variant=minbase", include, release, tree, _mirror(), env=_apt_proxy())
    (tree / "etc/hostname").write_text(f"{release}\n")
    for user, uid in _USERS.items():
        in_tree(tree, f"useradd --create-home --uid {uid} --shell /bin/bash {user}")


def _install_packages(tree: Path, packages: Sequence[str]) -> None:
    in_tree(tree, f"{APT} update && {APT} install {' '.join(packages)}")


APT = "DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends"


def _mirror() -> str:
    """Where this machine has its own packages from, if it is a Debian."""
    sites = _output_of("apt-get", "indextargets", "--format", "$(SITE)", "Origin: Debian")
    mirrors = [site for site in sites.splitlines() if site and "security" not in site]
    return mirrors[0] if mirrors else _MIRROR


def _apt_configuration() -> dict[str, str]:
    """What apt here has been told about the way to the archive."""
    ways = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    lines = _output_of("apt-config", "dump").splitlines()
    pairs = (line.split(" ", 1) for line in lines if line.startswith(ways))
    return {key: value for key, value in pairs if value != '"";'}


def _apt_proxy() -> dict[str, str]:
    """The same for debootstrap."""
    proxy = _apt_configuration().get("Acquire::http::Proxy")
    return {"http_proxy": proxy.strip('";')} if proxy else {}


def _output_of(*command: str) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def quietly(
    *command: object,
    timeout: float = 300.0,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a command, to be seen only if it fails. What it started goes with it."""
    with subprocess.Popen(
        [str(argument) for argument in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(env or {})},
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    done = Completed(process.args, process.returncode, output, "")
    if check:
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{output}"
    return done


@contextlib.contextmanager
def in_memory(path: Path) -> Iterator[Path]:
    """A directory in memory, with devices in it that work."""
    path.mkdir(exist_ok=True)
    quietly("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path)
    try:
        yield path
    finally:
        quietly("umount", "-l", path)
        path.rmdir()


@contextlib.contextmanager
def layered(tree: Path, memory: Path, name: str) -> Iterator[Path]:
    """A tree that can be written to; what is written goes to memory, and away at the end."""
    upper, work, root = (memory / name / part for part in ("upper", "work", "root"))
    for directory in (upper, work, root):
        directory.mkdir(parents=True)
    options = f"lowerdir={tree},upperdir={upper},workdir={work}"
    quietly("mount", "-t", "overlay", "-o", options, "overlay", root)
    try:
        yield root
    finally:
        quietly("umount", "-l", root)
        _remove(memory / name)


def copy_checkout(root: Path) -> None:
    """Put the checkout, as it is now, into a tree."""
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "__pycache__", "*.egg-info", "*.so", ".*_cache", "*.deb"
    )
    shutil.copytree(CHECKOUT, root / SOURCE.lstrip("/"), ignore=ignored, symlinks=True)


# The name of a file in a tree -> what it is: mode, owner, size.
Contents = dict[str, str]


def contents(root: Path) -> Contents:
    """All that is in a tree, but for what comes and goes by itself."""
    found = {}
    for directory, directories, files in os.walk(root):
        inside = directory.removeprefix(str(root)) + "/"
        directories[:] = [name for name in directories if not _is_volatile(inside + name)]
        for name in [*directories, *files]:
            if not _is_volatile(inside + name):
                found[inside + name] = _describe(Path(directory, name))
    return found


def _is_volatile(path: str) -> bool:
    return path in _VOLATILE or path.endswith("/__pycache__")


_VOLATILE = frozenset(
    (
        "/dev /proc /sys /run /tmp /root/.cache /etc/ld.so.cache /var/tmp /var/cache /var/log "
        f"/var/lib/apt /var/lib/dpkg /var/lib/systemd {SOURCE}"
    ).split()
)


def _describe(path: Path) -> str:
    status = path.lstat()
    if path.is_symlink():
        return f"-> {path.readlink()}"
    text = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISREG(status.st_mode):
        text += f" {status.st_size} bytes"
    return text


_ENTER = """
set -e
root=$1; host=$2; pip=$3; script=$4
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/run/host" "$root/run/lock" "$root/run/pip"
mount --bind "$host" "$root/run/host"
mount --bind "$pip" "$root/run/pip"
# Whoever raises the kernel's limit of pages for a mount takes turns with those outside.
(umask 077; : >>/run/msfs.lock; : >"$root/run/msfs.lock")
mount --bind /run/msfs.lock "$root/run/msfs.lock"
[ ! -e /etc/resolv.conf ] || mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" /bin/bash -e -c "$script" || exit  # no exec: this shell is the one that reaps
"""


# What pip is told about the way to its packages.
_KEPT = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)


def in_tree(root: Path, script: str, *, timeout: float = 300.0, check: bool = True) -> Completed:
    """Run a bash script in a tree that is not booted, with this machine's network.

    It has mounts and processes of its own, and none of them outlives it.
    """
    with contextlib.ExitStack() as stack:
        host = root.parent / f"{root.name}.host"
        host.mkdir()
        stack.callback(shutil.rmtree, host)
        environment = {
            "HOME": "/root",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "APT_CONFIG": "/run/host/apt.conf",
            "PIP_CACHE_DIR": "/run/pip",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        apt = (f"{key} {value}\n" for key, value in _apt_configuration().items())
        (host / "apt.conf").write_text("".join(apt))
        certificates = Path("/etc/ssl/certs/ca-certificates.crt")
        if certificates.exists():
            shutil.copy(certificates, host)
            environment["PIP_CERT"] = f"/run/host/{certificates.name}"
        environment.update({key: os.environ[key] for key in _KEPT if key in os.environ})
        pip = _cache() / "pip" / _release_of(root)
        pip.mkdir(parents=True, exist_ok=True)
        own = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        given = (f"{key}={value}" for key, value in environment.items())
        enter = ("env", "-i", *given, "sh", "-c", _ENTER, "sh", root, host, pip, script)
        return quietly(*own, *enter, timeout=timeout, check=check)


def _release_of(root: Path) -> str:
    lines = (root / "etc/os-release").read_text().splitlines()
    return next(line.split("=")[1] for line in lines if line.startswith("VERSION_CODENAME="))


@dataclass
class Machine:
    """A booted tree.

    Attributes:
        root: its files.
        share: a directory that it has at /srv/tests.
        nspawn: the process that is the machine.
        console: what came on its console.
    """

    root: Path
    share: Path
    nspawn: "subprocess.Popen[bytes]"
    console: Path

    def shell(
        self, script: str, *, user: str = "root", timeout: float = 60.0, check: bool = True
    ) -> Completed:
        """Run a bash script inside, as a user who has nothing to do with any session."""
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        command += ["--reset-env", "bash", "-c", f"cd; {script}"]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout + 10)
            connection.connect(str(self.share / "agent"))
            request = {"command": command, "timeout": timeout}
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(connection.makefile().readline())
        done = Completed(script, **answer)
        if check:
            assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def output(self, script: str, *, user: str = "root", timeout: float = 60.0) -> str:
        """What a script inside printed, without the last newline."""
        return self.shell(script, user=user, timeout=timeout).stdout.rstrip("\n")

    def wait_for(self, script: str, *, user: str = "root", timeout: float = 60.0) -> None:
        """Wait until a script inside succeeds."""
        deadline = time.monotonic() + timeout
        while (done := self.shell(script, user=user, check=False)).returncode != 0:
            assert time.monotonic() < deadline, f"{script}\n{done.stdout}{done.stderr}"
            time.sleep(0.05)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.output(f"systemctl show -P {name} {unit}")

    def power_off(self, timeout: float = 60.0) -> float:
        """Power it off from inside; how many seconds that took."""
        began = time.monotonic()
        with contextlib.suppress(json.JSONDecodeError):  # it may be off before it has answered
            self.shell("systemctl --no-block poweroff")
        self.nspawn.wait(timeout)
        return time.monotonic() - began

    def journal(self) -> str:
        """What its journal says, and its console."""
        command = "journalctl --directory=/var/log/journal -o short-monotonic --no-pager -n 400"
        done = subprocess.run(
            ["chroot", self.root, *command.split()],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
        return done.stdout + done.stderr + self.console.read_text(errors="replace")


_AGENT_UNIT = """
[Unit]
Description=Does what the test asks for
After=multi-user.target

[Service]
ExecStart=/usr/bin/python3 /srv/tests/boot_agent.py /srv/tests/agent
"""


@contextlib.contextmanager
def booted(root: Path, memory: Path, name: str) -> Iterator[Machine]:
    """The machine whose files are in `root`; it has reached multi-user.target."""
    share = memory / f"{name}.share"
    share.mkdir()
    shutil.copy(Path(__file__).with_name("boot_agent.py"), share)
    # A node for all users, as udev makes it; this machine's own may be for root alone.
    fuse = memory / f"{name}.fuse"
    os.mknod(fuse, stat.S_IFCHR, Path("/dev/fuse").stat().st_rdev)
    fuse.chmod(0o666)
    (root / "srv/tests").mkdir(exist_ok=True)
    (root / "var/log/journal").mkdir(exist_ok=True)
    (root / "etc/systemd/system/test-agent.service").write_text(_AGENT_UNIT)
    console = memory / f"{name}.console"
    # Should the tests be killed, it powers off.
    command = [
        "setpriv",
        "--pdeathsig=TERM",
        "systemd-nspawn",
        "--quiet",
        "--directory",
        str(root),
        "--machine",
        name,
    ]
    command += ["--register=no", "--private-network", "--console=pipe", "--link-journal=no"]
    command += ["--timezone=off"]
    if Path("/dev/autofs").exists():
        command.append("--bind=/dev/autofs")
    if Path("/run/systemd/system").exists():
        command.append("--property=DeviceAllow=/dev/fuse rwm")
        command.append("--property=DeviceAllow=/dev/autofs rwm")
    else:  # nobody here to make a scope for it
        command.append("--keep-unit")
    command.append(f"--bind={fuse}:/dev/fuse")
    command += [f"--bind={share}:/srv/tests", "--boot", "systemd.wants=test-agent.service"]
    with console.open("wb") as output:
        nspawn = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    machine = Machine(root, share, nspawn, console)
    try:
        deadline = time.monotonic() + _BOOT_TIMEOUT
        while not (share / "agent").exists():
            assert nspawn.poll() is None, machine.journal()
            assert time.monotonic() < deadline, machine.journal()
            time.sleep(0.05)
        yield machine
    finally:
        _end(nspawn)


def _end(nspawn: "subprocess.Popen[bytes]") -> None:
    """Power a machine off from outside; what does not end in time is killed."""
    if nspawn.poll() is None:
        nspawn.terminate()
        try:
            nspawn.wait(30)
        except subprocess.TimeoutExpired:
            nspawn.kill()  # and with it its init, and all that is inside
            nspawn.wait(10)
