"""Brokers for tests: mosquitto and nats-server on loopback ports and sockets of their own."""

import contextlib
import datetime
import ipaddress
import itertools
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.processes import wait_until

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # where Debian has servers


def program(name: str) -> str:
    """Where a server is. Without it the test is skipped."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed (scripts/setup test)")
    return found


# Below those that the kernel gives to whoever asks for any: while a broker is away nobody gets its
# port. Each process goes through them from a place of its own.
_PORTS = range(20_000, 32_000)
_serial = itertools.count(os.getpid() * 97)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of loopback that nobody has."""
    while True:
        port = _PORTS[next(_serial) % len(_PORTS)]
        with contextlib.suppress(OSError), socket.socket(type=kind) as probe:
            probe.bind(("127.0.0.1", port))
            return port


def accepts(where: int | Path) -> bool:
    """Whether somebody listens on a port of loopback, or on a Unix socket."""
    family = socket.AF_INET if isinstance(where, int) else socket.AF_UNIX
    with socket.socket(family) as probe:
        address = ("127.0.0.1", where) if isinstance(where, int) else str(where)
        return probe.connect_ex(address) == 0


@dataclass
class Server:
    """A broker that can be killed, hung, and started again at the same place."""

    command: Sequence[str | Path]
    url: str
    where: int | Path
    log: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = process = subprocess.Popen(
                [*map(str, self.command)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        wait_until(lambda: process.poll() is not None or accepts(self.where))
        assert process.poll() is None, self.log.read_text()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, without a word to anybody."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            self.process = None


def password_file(path: Path, name: str, password: str) -> Path:
    """A login for mosquitto, in a new file."""
    command = [program("mosquitto_passwd"), "-b", "-c", str(path), name, password]
    subprocess.run(command, check=True, timeout=10)
    return path


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


_COMMON = """
persistence false
set_tcp_nodelay true
max_queued_messages 100000
"""


def mosquitto(
    directory: Path, *settings: str, scheme: str = "mqtt", port: int = 0, address: str = "127.0.0.1"
) -> contextlib.AbstractContextManager[Server]:
    """A mosquitto.

    Args:
        settings: lines of its configuration; everybody may come in if there are none.
        scheme: mqtt, mqtts or mqtt+unix.
    """
    directory.mkdir(exist_ok=True)
    config, path = directory / "mosquitto.conf", directory / "socket"
    where: int | Path
    if scheme == "mqtt+unix":
        listener, url, where = f"listener 0 {path}", f"{scheme}://{path}", path
    else:
        where = port or free_port()
        listener, url = f"listener {where} {address}", f"{scheme}://127.0.0.1:{where}"
    # As root it would become a user that cannot read the test's files.
    user = "user root\n" if os.geteuid() == 0 else ""
    config.write_text(
        user + listener + _COMMON + "\n".join(settings or ["allow_anonymous true"]) + "\n"
    )
    command = (program("mosquitto"), "-c", config)
    return running(Server(command, url, where, directory / "mosquitto.log"))


def nats(
    directory: Path,
    name: str = "one",
    *,
    cluster: tuple[int, list[int]] | None = None,
    tls: tuple[Path, Path] | None = None,
) -> Server:
    """A nats-server with its MQTT listener, to be started.

    Args:
        cluster: the port of its own routes, and those of all.
        tls: its certificate and key, for MQTT.
    """
    directory.mkdir(exist_ok=True)
    config = directory / "nats.conf"
    port = free_port()
    routes = replicas = ""
    if cluster is not None:
        # As many as there are nodes, and not as it knows of when the first client comes: with less
        # there is no majority once one is killed.
        replicas = f", stream_replicas: {len(cluster[1])}"
        own, all_ = cluster
        others = ", ".join(f"nats://127.0.0.1:{each}" for each in all_ if each != own)
        routes = f'cluster {{ name: test, listen: "127.0.0.1:{own}", routes: [{others}] }}\n'
    secure = f', tls {{ cert_file: "{tls[0]}", key_file: "{tls[1]}" }}' if tls else ""
    config.write_text(
        f'server_name: {name}\nlisten: "127.0.0.1:{free_port()}"\n'
        f'jetstream {{ store_dir: "{directory}/store" }}\n{routes}'
        f'mqtt {{ listen: "127.0.0.1:{port}"{secure}{replicas} }}\n'
    )
    command = (program("nats-server"), "-c", config)
    scheme = "mqtts" if tls else "mqtt"
    return Server(command, f"{scheme}://127.0.0.1:{port}", port, directory / "nats.log")


@contextlib.contextmanager
def nats_cluster(directory: Path, size: int = 3) -> Iterator[list[Server]]:
    """Several nats-servers that are one, ready to take MQTT clients."""
    routes = [free_port() for _ in range(size)]
    servers = [
        nats(directory / f"nats{number}", f"n{number}", cluster=(own, routes))
        for number, own in enumerate(routes)
    ]
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.start()
        # Its MQTT works once the three have chosen who leads.
        leader = "JetStream cluster new metadata leader"
        wait_until(lambda: any(leader in each.log.read_text() for each in servers), 20)
        yield servers


# ---- certificates ----

_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class Authority:
    """A certificate authority, and what it signs, as files."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.path = directory / f"{name}.pem"
        self._certificate = self._sign(self._name, self._key.public_key(), days=10, is_ca=True)
        self.path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, days: int = 10) -> tuple[Path, Path]:
        """A certificate with that common name, for 127.0.0.1, and its key.

        Args:
            days: until it expires; in the past if negative.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), days=days, is_ca=False)
        cert_path, key_path = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.touch(0o600)
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_path, key_path

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int, is_ca: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names: list[x509.GeneralName] = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        own = x509.SubjectKeyIdentifier.from_public_key(key)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=20))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(own, critical=False)
            .add_extension(issuer, critical=False)
        )
        if is_ca:  # Python 3.13 insists on it
            usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True}
            builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
        else:
            names_of_host = x509.SubjectAlternativeName(names)
            builder = builder.add_extension(names_of_host, critical=False)
        return builder.sign(self._key, hashes.SHA256())
