"""Samba's nmbd, from Debian, in a namespace of its own with directories of its own."""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.network import Host
from tests.support.processes import wait_until

WORKGROUP = "MSFSTEST"

# How long nmbd may take to be master of its workgroup, in seconds: elections take their time.
MASTER_TIMEOUT = 80

_CONF = """\
[global]
    workgroup = {workgroup}
    netbios name = {name}
    server string = real samba nmbd
    interfaces = eth0
    bind interfaces only = yes
    pid directory = {directory}/pid
    lock directory = {directory}/lock
    state directory = {directory}/state
    cache directory = {directory}/cache
    private dir = {directory}/private
    ncalrpc dir = {directory}/ncalrpc
    nmbd:socket dir = {directory}/nmbd
    log file = {directory}/log
    domain logons = yes
    domain master = yes
    preferred master = yes
    local master = yes
    os level = 200
    usershare max shares = 0
    load printers = no
    {more}
"""


@dataclass
class Nmbd:
    """An nmbd that runs.

    Attributes:
        name: its NetBIOS name.
        directory: all that it writes is there.
        socket: where it hands over what it does not want.
    """

    host: Host
    name: str
    directory: Path
    process: "subprocess.Popen[bytes]"
    output: Path

    @property
    def socket(self) -> Path:
        return self.directory / "nmbd/unexpected"

    @property
    def log(self) -> str:
        """What it said."""
        return self.output.read_text(errors="replace")

    def browse_list(self) -> str:
        """The servers that it has heard announce themselves, as it writes them down."""
        path = self.directory / "cache/browse.dat"
        return path.read_text() if path.exists() else ""


@contextlib.contextmanager
def started(host: Host, name: str, more: str = "", *, again: str = "") -> Iterator[Nmbd]:
    """Run one until the end of the block; it may not have its name yet, or never get it.

    Args:
        more: further lines for smb.conf.
        again: not empty for another one on this host, after the first has ended.
    """
    directory = host.directory / f"samba-{host.name}"
    directory.mkdir(exist_ok=True)
    for each in ("pid", "lock", "state", "cache", "private", "ncalrpc"):
        (directory / each).mkdir(exist_ok=True)
    conf = directory / "smb.conf"
    conf.write_text(_CONF.format(workgroup=WORKGROUP, name=name, directory=directory, more=more))
    command = [*host.inside, "/usr/sbin/nmbd", "-F", "--no-process-group", "--debug-stdout"]
    output = directory / f"output{again}"
    with output.open("wb") as file:
        process = subprocess.Popen([*command, "-d", "4", "-s", str(conf)], stdout=file, stderr=file)
    try:
        yield Nmbd(host, name, directory, process, output)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


@contextlib.contextmanager
def nmbd(host: Host, name: str, more: str = "", *, again: str = "") -> Iterator[Nmbd]:
    """Run one as `started`, from when it answers for its name."""
    with started(host, name, more, again=again) as server:
        wait_until(lambda: bool(server.process.poll() is None and addresses(host, name)))
        yield server


@contextlib.contextmanager
def smbd(server: Nmbd) -> Iterator[None]:
    """Run an smbd beside that nmbd, from when it listens: it shows the nmbd's list of hosts."""
    conf = server.directory / "smbd.conf"
    conf.write_text(
        f"[global]\n    include = {server.directory / 'smb.conf'}\n"
        "    server min protocol = NT1\n    smb ports = 139\n"
        "    map to guest = bad user\n    guest account = root\n"
    )
    command = [*server.host.inside, "smbd", "-F", "--no-process-group", "-s", str(conf)]
    with (
        (server.directory / "smbd.output").open("wb") as output,
        # It ends its whole process group with itself.
        subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True) as process,
    ):
        try:
            wait_until(lambda: listens(server.host), timeout=30)
            yield
        finally:
            process.terminate()


def listens(host: Host) -> bool:
    """Whether somebody listens on TCP port 139 of a host."""
    command = [*host.inside, "cat", "/proc/net/tcp", "/proc/net/tcp6"]
    table = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    addresses = [line.split()[1] for line in table.splitlines()[1:]]
    return any(address.endswith(":008B") for address in addresses)


def nmblookup(host: Host, *arguments: str) -> str:
    """What nmblookup(1) says on that host."""
    conf = host.directory / "nmblookup.conf"
    conf.write_text("[global]\n    interfaces = eth0\n    bind interfaces only = yes\n")
    done = subprocess.run(
        [*host.inside, "nmblookup", "-s", str(conf), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def addresses(host: Host, name: str) -> list[str]:
    """Who says on the network of that host to have a name, such as `NMBHOST#00`."""
    said = nmblookup(host, name)
    return re.findall(r"^(\d+\.\d+\.\d+\.\d+) " + re.escape(name.partition("#")[0]), said, re.M)
