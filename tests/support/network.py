"""Hosts in network namespaces on a bridge, each with a mount of its own, for tests as root."""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msfs_fuse.net.trust.authority import Authority
from tests.conftest import END_TIMEOUT, START_TIMEOUT, Mount, force_unmount, is_mounted
from tests.support.processes import wait_until

_serial = itertools.count()


def ip(*words: object) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *map(str, words)], check=True, timeout=60)


def tc(*words: object) -> bool:
    """Run tc(8); whether the kernel can do that."""
    done = subprocess.run(["tc", *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 or "unknown" in done.stderr, done.stderr
    return done.returncode == 0


@dataclass
class Host:
    """A network namespace with one interface, eth0, at 10.77.0.NUMBER and fd77::NUMBER."""

    name: str
    number: int
    namespace: str
    directory: Path
    mounts: list[Mount] = field(default_factory=list)

    @property
    def inside(self) -> list[str]:
        """What to put before a command to run it there; the mounts stay the same."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--"]

    @property
    def address(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def mount(self) -> Mount:
        return self.mounts[0]

    def configure(self, text: str) -> Path:
        """Write the configuration of this host, and make it a member of the domains in it."""
        path = self.directory / f"{self.name}.toml"

        def admit(match: re.Match[str]) -> str:
            member = admitted(self.directory / match[1], self.name)
            return f'{match[0]}\nmember = "{member}"'

        text = re.sub(r"^\[domain\.(\w+)\]$", admit, text, flags=re.M)
        # Where there is a domain, the member file says what this host is called.
        path.write_text(text if "\nmember = " in text else f'host = "{self.name}"\n{text}')
        return path

    @contextlib.contextmanager
    def mounted(
        self,
        *options: str,
        config: Path | None = None,
        allow_log: str | None = None,
        program: tuple[str, ...] = ("-m", "msfs_fuse"),
    ) -> Iterator[Mount]:
        """A mount served by a daemon of this host, ended by SIGTERM.

        Args:
            allow_log: with it, the log may hold warnings and errors.
            program: what Python runs instead of `-m msfs_fuse`.
        """
        path = self.directory / f"{self.name}-{next(_serial)}"
        path.mkdir()
        log = path.with_suffix(".log")
        command = [*self.inside, sys.executable, *program, "mount", "-f"]
        command += ["-o", ",".join(options), "--config", str(config or "/dev/null"), str(path)]
        with log.open("wb") as output:
            daemon = subprocess.Popen(command, stdout=output, stderr=output)
        mount = Mount(path, daemon, log)
        try:
            wait_until(lambda: is_ready(mount), START_TIMEOUT)
            self.mounts.append(mount)
            yield mount
        finally:
            stop(mount)
            force_unmount(path)
            if mount in self.mounts:
                self.mounts.remove(mount)
        said = log.read_text()
        assert allow_log or not any(word in said for word in ("WARNING", "ERROR", "Traceback")), (
            said
        )

    def sockets(self) -> str:
        """What /proc/net tells of UDP in this namespace."""
        files = [f"/proc/net/{name}" for name in ("udp", "udp6", "raw", "raw6", "igmp", "netlink")]
        return subprocess.run(
            [*self.inside, "cat", *files], capture_output=True, text=True, check=True, timeout=60
        ).stdout


def admitted(domain: Path, host: str) -> Path:
    """The member file of a host in a domain, whose authority is made if there is none."""
    authority = Authority.load(str(domain)) if domain.exists() else Authority.create(str(domain))
    member = domain / f"{host}.member"
    if not member.exists():
        authority.admit([host])
    return member


def is_ready(mount: Mount) -> bool:
    assert mount.daemon.poll() is None, mount.log.read_text()
    if not is_mounted(mount.path):
        return False
    # It answers only once all that it needs is running.
    return (mount.path / ".msfs/status").exists()


def stop(mount: Mount, number: int = signal.SIGTERM) -> None:
    """End the daemon of a mount by a signal."""
    if mount.daemon.poll() is None:
        mount.daemon.send_signal(number)
    try:
        mount.daemon.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        mount.daemon.kill()
        mount.daemon.wait(END_TIMEOUT)
        raise


class Lan:
    """A bridge in a namespace of its own, and hosts on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.id = f"{os.getpid()}-{next(_serial)}"
        self.switch = f"msfs-{self.id}-switch"
        self.hosts: list[Host] = []
        self._namespaces = [self.switch]
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "bridge", "type", "bridge", "mcast_snooping", 0)
        ip("-n", self.switch, "link", "set", "bridge", "up")

    def add(self, name: str, *, v4: bool = True, v6: bool = True) -> Host:
        """Put one more host on the bridge."""
        number = len(self.hosts) + 1
        namespace = f"msfs-{self.id}-{name}"
        ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        host = Host(name, number, namespace, self.directory)
        port = f"port{number}"
        ip(
            *("-n", self.switch, "link", "add", port, "type", "veth"),
            *("peer", "name", "eth0", "netns", namespace),
        )
        ip("-n", self.switch, "link", "set", port, "master", "bridge", "up")
        knob = f"echo {int(not v6)} > /proc/sys/net/ipv6/conf/eth0/disable_ipv6"
        knob += " && echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad"
        subprocess.run([*host.inside, "sh", "-c", knob], check=True, timeout=60)
        ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", namespace, "link", "set", "eth0", "up")
        if v4:
            ip("-n", namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        if v6:
            ip("-n", namespace, "address", "add", f"fd77::{number}/64", "dev", "eth0", "nodad")
        self.hosts.append(host)
        return host

    def close(self) -> None:
        """Take the namespaces away, and with them all that is in them."""
        for namespace in self._namespaces:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "delete", namespace)


@contextlib.contextmanager
def mounted(hosts: list[Host], domain: str) -> Iterator[list[Mount]]:
    """A mount on each host, all members of the domain `corp`, that see each other.

    Args:
        domain: what more the configuration says of it.
    """
    with contextlib.ExitStack() as stack:
        mounts = [
            stack.enter_context(
                host.mounted(
                    "allow_other",
                    config=host.configure(f"[domain.corp]\n{domain}"),
                )
            )
            for host in hosts
        ]
        for mount, host in zip(mounts, hosts, strict=True):
            others = [each.name for each in hosts if each is not host]
            wait_until(lambda mount=mount, others=others: sees(mount, *others))  # type: ignore[misc]
        yield mounts


# Between two hosts, for each a way to the other one: loses, doubles, delays and damages datagrams.
_POOR_RELAY = """
import heapq, random, select, socket, sys, time
random.seed(4424)
ends = [(address, 4424) for address in sys.argv[1:]]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE: it loses what it means to
sock.bind(("0.0.0.0", 4424))
print("ready", flush=True)
late = []
while True:
    pause = max(0, late[0][0] - time.monotonic()) if late else None
    if select.select([sock], [], [], pause)[0]:
        data, source = sock.recvfrom(2000)
        copies = random.choices([0, 1, 2], [5, 90, 5])[0]
        for _ in range(copies):
            if random.random() < 0.01:
                at = random.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1:]
            delay = random.choices([0, random.uniform(0, 0.02)], [75, 25])[0]
            heapq.heappush(late, (time.monotonic() + delay, random.random(), data, source))
    while late and late[0][0] <= time.monotonic():
        _, _, data, source = heapq.heappop(late)
        if source in ends:
            sock.sendto(data, ends[1 - ends.index(source)])
"""


@contextlib.contextmanager
def poor_relay(host: Host, *ends: Host) -> Iterator[None]:
    """A relay on `host` that two others may have for each other's address."""
    addresses = [end.address for end in ends]
    process = subprocess.Popen(
        [*host.inside, "/usr/bin/python3", "-c", _POOR_RELAY, *addresses], stdout=subprocess.PIPE
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


def sees(mount: Mount, *hosts: str) -> bool:
    """Whether the mount knows these hosts."""
    return all(f"@{host}" in os.listdir(mount.path) for host in hosts)


def metric(mount: Mount, name: str, **labels: str) -> int:
    """A counter from `.msfs/metrics`."""
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    pattern = re.escape(f"msfs_network_{name}_total" + (f"{{{inside}}}" if inside else ""))
    match = re.search(rf"^{pattern} (\S+)$", (mount.path / ".msfs/metrics").read_text(), re.M)
    assert match is not None, name
    return int(float(match[1]))


def write(mount: Mount, name: str, data: bytes) -> None:
    """Send one message."""
    fd = os.open(mount.path / name, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def writev(mount: Mount, name: str, segments: list[bytes]) -> None:
    """Send one message from several buffers."""
    fd = os.open(mount.path / name, os.O_WRONLY)
    try:
        os.writev(fd, segments)
    finally:
        os.close(fd)


@contextlib.contextmanager
def served(mount: Mount, name: str) -> Iterator[int]:
    """A slot that is read without waiting."""
    fd = os.open(mount.path / name, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def read_all(fd: int) -> list[bytes]:
    """What is in a slot."""
    messages = []
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(os.read(fd, 65536))
    return messages


def peer_count(mount: Mount, host: str) -> int:
    """How many mounts of a host this one has found so far, by its log."""
    text = mount.log.read_text()
    return len(re.findall(rf"host {host} of domain \S+ is there", text))


def drain(fd: int, silence: float = 2.0) -> list[bytes]:
    """Read until nothing has come for so long."""
    messages: list[bytes] = []
    last = time.monotonic()
    while time.monotonic() - last < silence:
        if new := read_all(fd):
            messages += new
            last = time.monotonic()
        time.sleep(0.01)
    return messages


def settle(fd: int, expected: int, timeout: float = 40.0, quiet: float = 0.2) -> list[bytes]:
    """Read until as many messages have come, and then for a while more, in case of duplicates."""
    messages: list[bytes] = []
    deadline = time.monotonic() + timeout
    while len(messages) < expected and time.monotonic() < deadline:
        messages += read_all(fd)
        time.sleep(0.01)
    time.sleep(quiet)
    return messages + read_all(fd)
