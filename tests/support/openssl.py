"""Members of a domain without our authority: by openssl and cat alone."""

import base64
import subprocess
from pathlib import Path


def openssl(directory: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True, timeout=20)


def by_openssl(
    directory: Path, host: str = "build7", *, san: str = "", key: str = "ed25519"
) -> Path:
    """A member file by openssl and cat alone, as a firm with an authority of its own has it."""
    if not (directory / "ca.pem").exists():
        openssl(directory, "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "ca.key")
        words = ["-x509", "-new", "-key", "ca.key", "-subj", "/O=Example/CN=Example Root CA"]
        openssl(directory, "req", *words, "-days", "3650", "-out", "ca.pem")
    options = ["-algorithm", key] + (["-pkeyopt", "rsa_keygen_bits:2048"] if key == "rsa" else [])
    openssl(directory, "genpkey", *options, "-out", f"{host}.key")
    openssl(directory, "req", "-new", "-key", f"{host}.key", "-subj", f"/CN={host}", "-out", "csr")
    names = san or f"DNS:{host}.corp"
    (directory / "ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=clientAuth\n")
    words = ["-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    openssl(directory, "x509", *words, "-days", "30", "-extfile", "ext", "-out", f"{host}.pem")
    secret = base64.b64encode(b"s" * 32).decode()
    domain_key = f"-----BEGIN MSFS DOMAIN KEY-----\n{secret}\n-----END MSFS DOMAIN KEY-----\n"
    member = directory / f"{host}.member"
    parts = [(directory / name).read_text() for name in (f"{host}.key", f"{host}.pem", "ca.pem")]
    member.touch(0o600)
    member.write_text("".join([*parts, domain_key]))
    return member
