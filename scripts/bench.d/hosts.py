"""Hosts to measure between: network namespaces on a bridge, or mounts that meet at a broker."""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from lab import Command, Lab, Missing, Mount

DOMAIN = "bench"
MEET_TIMEOUT = 30.0  # seconds


class Members:
    """A domain, and how an msfs lets a host into it.

    Args:
        msfs: the program.
        is_first: it speaks the first protocol, where one file of keys was for all.

    Attributes:
        made: what was made for the domain, a directory or that file.
    """

    def __init__(self, lab: Lab, msfs: Path, *, is_first: bool = False) -> None:
        self.msfs = msfs
        self._lab, self._is_first = lab, is_first
        self.made = lab.directory("keys") / DOMAIN
        lab.run([msfs, *(("keygen",) if is_first else ("domain", "create")), self.made])

    def admit(self, host: str) -> dict[str, str]:
        """The mount options of one more host."""
        if self._is_first:
            return {"host": host, "domain": DOMAIN, "keyring": str(self.made)}
        file = self.made / f"{host}.member"
        if not file.exists():
            self._lab.run([self.msfs, "domain", "admit", self.made, host])
        return {"member": str(file)}

    def configuration(self, host: str, transport: str) -> str:
        """The same as TOML, with a transport."""
        options = self.admit(host)
        options.pop("domain", None)
        lines = [f'host = "{options.pop("host")}"'] if "host" in options else []
        lines.append(f"[domain.{DOMAIN}]")
        lines += [f'{name} = "{value}"' for name, value in options.items()]
        return "\n".join([*lines, f'transport = ["{transport}"]', ""])


@dataclass(frozen=True)
class Host:
    """A network namespace with one interface, eth0, and the mount of its daemon."""

    inside: Command  # what to put before a command to run it there; the mounts stay the same
    address: str
    mount: Mount


class Lan:
    """A bridge in a namespace of its own, and hosts on it; all gone at the end of the stack.

    Args:
        members: the domain of hosts that are mounted.
    """

    def __init__(
        self, lab: Lab, stack: contextlib.ExitStack, members: Members, name: str = "lan"
    ) -> None:
        self.lab, self.stack, self.members = lab, stack, members
        self.hosts: list[Host] = []
        self._name, self._plugged = name, 0
        self.switch = self._namespace("switch")
        self._ip(self.switch, "link add bridge type bridge mcast_snooping 0")
        self._ip(self.switch, "link set bridge up")

    def _ip(self, namespace: str, words: str) -> None:
        self.lab.run(["ip", "-n", namespace, *words.split()], timeout=10)

    def _namespace(self, name: str) -> str:
        namespace = f"msfs-bench-{os.getpid()}-{self._name}-{name}"

        def delete() -> None:
            with contextlib.suppress(Missing):
                self.lab.run(["ip", "netns", "delete", namespace], timeout=10)

        self.stack.callback(delete)
        self.lab.run(["ip", "netns", "add", namespace], timeout=10)
        return namespace

    def plug(self) -> tuple[Command, str]:
        """One more namespace on the bridge, with IPv4 alone: how to run there, and its address."""
        number = self._plugged = self._plugged + 1
        namespace = self._namespace(f"host{number}")
        inside = ["nsenter", f"--net=/run/netns/{namespace}", "--"]
        no_v6 = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"
        self.lab.run([*inside, "sh", "-c", f"[ ! -d /proc/sys/net/ipv6 ] || {no_v6}"])
        port = f"port{number}"
        self._ip(self.switch, f"link add {port} type veth peer name eth0 netns {namespace}")
        self._ip(self.switch, f"link set {port} master bridge up")
        address = f"10.77.0.{number}"
        self._ip(namespace, f"address add {address}/24 dev eth0")
        self._ip(namespace, "link set lo up")
        self._ip(namespace, "link set eth0 up")
        return inside, address

    def add(self) -> Host:
        """One more host, mounted."""
        inside, address = self.plug()
        number = len(self.hosts) + 1
        options = {"allow_other": "", **self.members.admit(f"host{number}")}
        words = ",".join(f"{name}={value}" if value else name for name, value in options.items())
        # Two hosts do not share a core, and the two ends of an echo do not either.
        core = self.lab.server_core if self.hosts else self.lab.client_core
        daemon: Command = [
            *(self.members.msfs, "mount", "-f"),
            *("--config", "/dev/null", "-o", words),
        ]
        command: Command = ["taskset", "-c", str(core), *inside, *daemon]
        mount = self.stack.enter_context(self.lab.fresh("fuse.msfs", command))
        host = Host(inside, address, mount)
        self.hosts.append(host)
        return host

    def meet(self) -> None:
        """Wait until each host knows all others."""
        meet([host.mount.path for host in self.hosts])


def by_broker(
    lab: Lab, stack: contextlib.ExitStack, members: Members, port: int
) -> tuple[Path, Path]:
    """Two mounts of this machine that meet at a broker, each on a core of its own."""
    directory = lab.directory("mqtt")
    mounts = []
    for number, core in ((1, lab.client_core), (2, lab.server_core)):
        config = directory / f"host{number}.toml"
        config.write_text(members.configuration(f"host{number}", f"mqtt://127.0.0.1:{port}"))
        command: Command = [
            *("taskset", "-c", str(core), members.msfs, "mount", "-f"),
            *("--config", config, "-o", "allow_other"),
        ]
        mounts.append(stack.enter_context(lab.fresh("fuse.msfs", command)).path)
    meet(mounts)
    return mounts[0], mounts[1]


def meet(mounts: list[Path]) -> None:
    """Wait until host1, host2 and so on know all others.

    Raises:
        Missing: it takes too long.
    """
    names = {f"@host{number}" for number in range(1, len(mounts) + 1)}
    deadline = time.monotonic() + MEET_TIMEOUT
    for number, mount in enumerate(mounts, 1):
        while not names - {f"@host{number}"} <= set(os.listdir(mount)):
            if time.monotonic() > deadline:
                raise Missing(f"the hosts have not met within {MEET_TIMEOUT:.0f} s")
            time.sleep(0.1)
