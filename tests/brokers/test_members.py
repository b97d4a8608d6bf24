"""Member files at a broker: the same certificate that proves a host to others logs it in."""

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.brokers.test_mounts import LocalHost, links
from tests.conftest import Mount
from tests.support import broker as brokers
from tests.support.network import admitted, sees, served, settle, write
from tests.support.processes import wait_until

_ACL = """
pattern read ms2/corp/h/%u/+
pattern read ms2/corp/b/+
pattern read ms2/corp/p/+/+
pattern write ms2/corp/h/+/%u
pattern write ms2/corp/b/%u
pattern write ms2/corp/p/%u/+
"""


def member_config(host: LocalHost, url: str, ca: Path) -> Path:
    member = f"corp/{host.name}.member"
    way = f'{{ url = "{url}", ca = "{ca}", cert = "{member}", key = "{member}" }}'
    return host.configure(f"[domain.corp]\ntransport = [{way}]")


def reload(mount: Mount) -> None:
    before = mount.log.read_text().count("has read its keys")
    os.kill(mount.daemon.pid, signal.SIGHUP)
    wait_until(lambda: mount.log.read_text().count("has read its keys") > before)


def test_a_member_file_logs_in_and_a_list_made_by_openssl_ends_it(tmp_path: Path) -> None:
    tls = brokers.Authority(tmp_path / "tls")
    cert, key = tls.issue("broker")
    for name in ("ada", "bob"):
        admitted(tmp_path / "corp", name)
    directory = tmp_path / "corp"
    pem = (directory / "authority.pem").read_text()
    end = "-----END CERTIFICATE-----\n"
    mark = "-----BEGIN CERTIFICATE-----"
    trusted = tmp_path / "members.pem"
    trusted.write_text(mark + pem.partition(mark)[2].partition(end)[0] + end)
    (tmp_path / "acl").write_text(_ACL)
    settings = (
        f"cafile {trusted}",
        f"certfile {cert}",
        f"keyfile {key}",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {tmp_path}/acl",
    )
    ada_host, bob_host = (LocalHost(name, 0, "", tmp_path) for name in ("ada", "bob"))
    with (
        brokers.mosquitto(tmp_path / "broker", *settings, scheme="mqtts") as server,
        ada_host.mounted(config=member_config(ada_host, server.url, tls.path)) as ada,
        bob_host.mounted(config=member_config(bob_host, server.url, tls.path)) as bob,
        served(ada, "slot") as slot,
    ):
        wait_until(lambda: links(ada) == links(bob) == ["connected"])
        # The broker knows them by the names in their certificates.
        log = server.log
        wait_until(lambda: sees(ada, "bob") and sees(bob, "ada"))
        write(bob, "@ada/slot", b"as a member")
        assert settle(slot, 1) == [b"as a member"], log.read_text()

        revoke_by_openssl(directory, "bob", tmp_path)
        reload(ada)
        assert not sees(ada, "bob")
        write(bob, "@ada/slot", b"revoked")
        write(bob, "@corp/slot", b"revoked, to all")
        assert settle(slot, 0, quiet=1) == []


def revoke_by_openssl(domain: Path, host: str, scratch: Path) -> None:
    """Make the list of a domain as an admin would who has openssl alone."""
    member = (domain / f"{host}.member").read_text()
    mark = "-----BEGIN CERTIFICATE-----"
    certificate = scratch / "revoked.crt"
    certificate.write_text(mark + member.split(mark)[1].split("-----BEGIN")[0])
    said = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-serial"],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout
    serial = said.partition("=")[2].strip()
    at = time.strftime("%y%m%d%H%M%SZ", time.gmtime())
    (scratch / "index").write_text(f"R\t491231235959Z\t{at}\t{serial}\tunknown\t/CN={host}\n")
    (scratch / "openssl.cnf").write_text(
        f"[ca]\ndefault_ca = own\n[own]\ndatabase = {scratch}/index\ndefault_md = default\n"
    )
    subprocess.run(
        [
            *("openssl", "ca", "-gencrl", "-config", scratch / "openssl.cnf", "-crldays", "30"),
            *("-cert", domain / "authority.pem", "-keyfile", domain / "authority.key"),
            *("-out", domain / "corp.revoked"),
        ],
        check=True,
        capture_output=True,
        timeout=10,
    )
