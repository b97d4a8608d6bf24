"""Member files at a broker: the same certificate that proves a host to others logs it in."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers.test_mounts import LocalHost, links
from tests.conftest import Mount
from tests.support import broker as brokers
from tests.support.network import admitted, sees, served, settle, write
from tests.support.openssl import by_openssl
from tests.support.processes import wait_until

_ACL = """
pattern read ms2/corp/h/%u/+
pattern read ms2/corp/b/+
pattern read ms2/corp/p/+/+
pattern write ms2/corp/h/+/%u
pattern write ms2/corp/b/%u
pattern write ms2/corp/p/%u/+
"""


def member_config(directory: Path, host: str, url: str, ca: Path) -> Path:
    """One that proves the host to others, and logs it in, by the same member file."""
    member = f"corp/{host}.member"
    way = f'{{ url = "{url}", ca = "{ca}", cert = "{member}", key = "{member}" }}'
    path = directory / f"{host}.toml"
    path.write_text(f'[domain.corp]\nmember = "{member}"\ntransport = [{way}]\n')
    return path


def reload(mount: Mount) -> None:
    before = mount.log.read_text().count("has read its keys")
    os.kill(mount.daemon.pid, signal.SIGHUP)
    wait_until(lambda: mount.log.read_text().count("has read its keys") > before)


def ours(directory: Path, *hosts: str) -> Path:
    """Members that `msfs domain` has made; the authority's certificate."""
    for host in hosts:
        admitted(directory, host)
    return directory / "authority.pem"


def openssls(directory: Path, *hosts: str) -> Path:
    """The same by openssl and cat."""
    directory.mkdir()
    for host in hosts:
        by_openssl(directory, host)
    return directory / "ca.pem"


@pytest.mark.parametrize("make", [ours, openssls])
def test_a_member_file_logs_in_and_a_list_made_by_openssl_ends_it(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    tls = brokers.Authority(tmp_path / "tls")
    cert, key = tls.issue("broker")
    directory = tmp_path / "corp"
    authority = make(directory, "ada", "bob")
    (tmp_path / "acl").write_text(_ACL)
    settings = (
        f"cafile {authority}",
        f"certfile {cert}",
        f"keyfile {key}",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {tmp_path}/acl",
    )
    ada_host, bob_host = (LocalHost(name, 0, "", tmp_path) for name in ("ada", "bob"))
    with brokers.mosquitto(tmp_path / "broker", *settings, scheme="mqtts") as server:
        ada_config, bob_config = (
            member_config(tmp_path, name, server.url, tls.path) for name in ("ada", "bob")
        )
        with (
            ada_host.mounted(config=ada_config) as ada,
            bob_host.mounted(config=bob_config) as bob,
            served(ada, "slot") as slot,
        ):
            wait_until(lambda: links(ada) == links(bob) == ["connected"])
            # The broker knows them by the names in their certificates.
            log = server.log
            wait_until(lambda: sees(ada, "bob") and sees(bob, "ada"))
            write(bob, "@ada/slot", b"as a member")
            assert settle(slot, 1) == [b"as a member"], log.read_text()

            revoke_by_openssl(authority, directory / "bob.member", tmp_path)
            reload(ada)
            assert not sees(ada, "bob")
            write(bob, "@ada/slot", b"revoked")
            write(bob, "@corp/slot", b"revoked, to all")
            assert settle(slot, 0, quiet=1) == []


def revoke_by_openssl(authority: Path, member: Path, scratch: Path) -> None:
    """Make the list of a domain as an admin would who has openssl alone."""
    mark = "-----BEGIN CERTIFICATE-----"
    certificate = scratch / "revoked.crt"
    certificate.write_text(mark + member.read_text().split(mark)[1].split("-----BEGIN")[0])
    said = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-serial"],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout
    serial = said.partition("=")[2].strip()
    at = time.strftime("%y%m%d%H%M%SZ", time.gmtime())
    (scratch / "index").write_text(
        f"R\t491231235959Z\t{at}\t{serial}\tunknown\t/CN={member.stem}\n"
    )
    (scratch / "openssl.cnf").write_text(
        f"[ca]\ndefault_ca = own\n[own]\ndatabase = {scratch}/index\ndefault_md = default\n"
    )
    subprocess.run(
        [
            *("openssl", "ca", "-gencrl", "-config", scratch / "openssl.cnf", "-crldays", "30"),
            *("-cert", authority, "-keyfile", authority.with_suffix(".key")),
            *("-out", authority.parent / "corp.revoked"),
        ],
        check=True,
        capture_output=True,
        timeout=10,
    )
