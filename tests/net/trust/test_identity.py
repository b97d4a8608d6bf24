"""Member files: ours and those that openssl and cat have made, and what is wrong with others."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from msfs_fuse.net.trust.authority import Authority, AuthorityError, request
from msfs_fuse.net.trust.identity import Identity, IdentityError, load_identity
from msfs_fuse.net.trust.wire import Reason, Refused
from tests.support.openssl import by_openssl, openssl


def load(path: Path, domain: str | None = None) -> Identity:
    return load_identity(str(path), domain, time.time())


@pytest.fixture
def corp(tmp_path: Path) -> Authority:
    return Authority.create(str(tmp_path / "corp"))


def test_a_domain_of_two(tmp_path: Path, corp: Authority) -> None:
    paths = [Path(path) for path in corp.admit(["build7", "Build8"])]
    assert [path.name for path in paths] == ["build7.member", "Build8.member"]
    one, two = map(load, paths)
    assert (one.domain, one.host, two.host) == ("corp", "build7", "Build8")
    assert one.keys == two.keys
    assert two.authority.certify(one.certificate.der).host == "build7"
    assert len(one.certificate.der) <= 314
    for path in (*paths, tmp_path / "corp/authority.key", tmp_path / "corp/corp.key"):
        assert path.stat().st_mode & 0o077 == 0
    assert "private" not in repr(one).lower()


@pytest.mark.parametrize("host", ["build7", "BUILD7"])
def test_no_name_twice(corp: Authority, host: str) -> None:
    corp.admit(["build7"])
    with pytest.raises(AuthorityError, match="is admitted already"):
        corp.admit([host])
    with pytest.raises(AuthorityError, match="twice"):
        corp.admit(["new", "NEW"])
    corp.admit(["build7"], renew=True)
    with pytest.raises(AuthorityError, match="nothing to renew"):
        corp.admit(["other"], renew=True)


def test_a_revoked_host_is_refused_with_all_its_certificates(corp: Authority) -> None:
    (mine,) = corp.admit(["ada"])
    (first,) = corp.admit(["bob"])
    old = load(Path(first))
    corp.admit(["bob"], renew=True)
    new = load(Path(first))
    assert corp.hosts() == ["ada", "bob"]
    corp.revoke("BOB")
    assert corp.hosts() == ["ada"]
    ada = load(Path(mine))
    for each in (old, new):
        with pytest.raises(Refused) as refused:
            ada.check_standing(each.certificate, time.time())
        assert refused.value.reason is Reason.CARD_REVOKED
    with pytest.raises(IdentityError, match="is revoked"):
        load(Path(first))
    corp.admit(["bob"], renew=True)
    ada.check_standing(load(Path(first)).certificate, time.time())
    with pytest.raises(AuthorityError, match="never admitted"):
        corp.revoke("cyd")


def test_three_steps_to_another_key(corp: Authority) -> None:
    (path,) = corp.admit(["ada"])
    (old,) = load(Path(path)).keys
    rings = []
    for _ in range(3):
        corp.rekey()
        rings.append(load(Path(path)).keys)  # corp.key is beside it
    (new,) = rings[2]
    assert rings == [(old, new), (new, old), (new,)]
    assert new != old
    (later,) = corp.admit(["bob"])
    assert load(Path(later)).keys == (new,)


def test_a_key_that_stays_where_it_was_made(
    tmp_path: Path, corp: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    member, asked = request("build9")
    with pytest.raises(IdentityError, match="certificate of its private key is not in it"):
        load(Path(member))
    made = corp.admit_request(asked)
    assert "PRIVATE" not in Path(made).read_text()
    with open(member, "a") as file:
        file.write(Path(made).read_text())
    assert load(Path(member)).host == "build9"
    with pytest.raises(AuthorityError, match="not a request"):
        corp.admit_request(member)


def test_by_openssl_alone(tmp_path: Path) -> None:
    member = by_openssl(tmp_path)
    identity = load(member, "corp")
    assert identity.host == "build7"  # without its own .corp
    assert identity.keys[0].secret == b"s" * 32
    with pytest.raises(IdentityError, match="-o domain=NAME"):
        load(member)
    two = by_openssl(tmp_path, "build8")
    assert identity.authority.certify(load(two, "corp").certificate.der).host == "build8"


def test_a_list_by_openssl(tmp_path: Path) -> None:
    mine, other = by_openssl(tmp_path), by_openssl(tmp_path, "build8")
    stolen = load(other, "corp")
    (tmp_path / "index").touch()
    (tmp_path / "ca.conf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=30\n"
    )
    words = ["-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca.key"]
    openssl(tmp_path, "ca", *words, "-revoke", "build8.pem")
    openssl(tmp_path, "ca", *words, "-gencrl", "-out", "corp.revoked")
    with pytest.raises(Refused) as refused:
        load(mine, "corp").check_standing(stolen.certificate, time.time())
    assert refused.value.reason is Reason.CARD_REVOKED
    with pytest.raises(IdentityError, match="is revoked"):
        load(other, "corp")


def test_what_has_expired(tmp_path: Path) -> None:
    member = by_openssl(tmp_path)
    with pytest.raises(IdentityError, match="has expired"):
        load_identity(str(member), "corp", time.time() + 31 * 86400)


@pytest.mark.parametrize(
    ("san", "key"),
    [
        ("DNS:*.corp", "ed25519"),
        ("DNS:a,DNS:b", "ed25519"),
        ("DNS:a,IP:10.0.0.1", "ed25519"),
        ("IP:10.0.0.1", "ed25519"),
        ("DNS:a", "rsa"),
    ],
)
def test_certificates_that_name_no_single_host(tmp_path: Path, san: str, key: str) -> None:
    with pytest.raises(IdentityError, match=r"is not that of a host|not Ed25519"):
        load(by_openssl(tmp_path, san=san, key=key), "corp")


@pytest.mark.parametrize(
    ("valid", "bad"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03"),  # a version that there is not
        (b"\x82\x03ada", b"\x83\x03ada"),  # an X.400 address in the place of a DNS name
        (b"\x82\x03ada", b"\x85\x03ada"),  # an EDI party
    ],
)
def test_certificates_that_cannot_be_read(corp: Authority, valid: bytes, bad: bytes) -> None:
    identity = load(Path(corp.admit(["ada"])[0]))
    der = identity.certificate.der
    assert der.count(valid) == 1
    with pytest.raises(Refused) as refused:
        identity.authority.certify(der.replace(valid, bad))
    assert refused.value.reason is Reason.CARD_MALFORMED


def break_mode(path: Path) -> None:
    path.chmod(0o640)


def without(kind: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        blocks = path.read_text().split("-----BEGIN ")
        path.write_text("-----BEGIN ".join(b for b in blocks if not b.startswith(kind)))

    return change


def of_another(path: Path) -> None:
    other = Authority.create(str(path.parent.parent / "other"))
    text = path.read_text()
    anchor = (path.parent / "authority.pem").read_text()
    path.write_text(text.replace(anchor, (Path(other.directory) / "authority.pem").read_text()))


def cut_key(path: Path) -> None:
    text = path.read_text()
    at = text.index("Number: 1")
    path.write_text(text[: at + 20] + text[at + 24 :])


def another_algorithm(path: Path) -> None:
    """Ed448, by its name, with a key of Ed25519: OpenSSL fails inside."""
    text = path.read_text()
    assert "MC4CAQAwBQYDK2VwBCIE" in text
    path.write_text(text.replace("MC4CAQAwBQYDK2VwBCIE", "MC4CAQAwBQYDK2VxBCIE"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (another_algorithm, "private key cannot be read"),
        (break_mode, "group or others may use it"),
        (without("PRIVATE KEY"), "0 private keys"),
        (without("CERTIFICATE"), "certificate of its private key is not in it"),
        (of_another, "not signed by the authority"),
        (cut_key, "is not a domain key|has 32 bytes"),
        (lambda path: path.write_bytes(b"\xff"), "not a text"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: (path.parent / "corp.key").write_text("none"), "no domain key in it"),
        (lambda path: (path.parent / "corp.revoked").write_text("x"), "not a list of revoked"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_file(
    corp: Authority, change: Callable[[Path], None], says: str
) -> None:
    (path,) = map(Path, corp.admit(["ada"]))
    change(path)
    with pytest.raises(IdentityError, match=says) as refused:
        load(path)
    assert os.path.dirname(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["ada.member", "corp.key", "corp.revoked"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(
    corp: Authority, make: Callable[[Path], None], name: str
) -> None:
    """A FIFO would keep a daemon from answering until somebody writes into it."""
    (path,) = map(Path, corp.admit(["ada"]))
    odd = path.parent / name
    odd.unlink(missing_ok=True)
    make(odd)
    with pytest.raises(IdentityError, match=f"{name}: not a file"):
        load(path)


def test_a_list_of_another_authority(tmp_path: Path, corp: Authority) -> None:
    (path,) = map(Path, corp.admit(["ada"]))
    other = Authority.create(str(tmp_path / "other"))
    other.admit(["ada"])
    revoked = Path(other.revoke("ada"))
    (path.parent / "corp.revoked").write_bytes(revoked.read_bytes())
    with pytest.raises(IdentityError, match="not signed by the authority"):
        load(path)


def test_openssl_takes_ours(corp: Authority) -> None:
    (path,) = map(Path, corp.admit(["ada"]))
    leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
    assert leaf.subject.rfc4514_string() == "CN=ada"
    directory = Path(corp.directory)
    corp.admit(["bob"])
    corp.revoke("bob")
    openssl(directory, "verify", "-CAfile", "authority.pem", str(path))
    words = ["-crl_check", "-CRLfile", "corp.revoked", "-CAfile", "authority.pem"]
    with pytest.raises(subprocess.CalledProcessError):
        openssl(directory, "verify", *words, "bob.member")
    openssl(directory, "crl", "-in", "corp.revoked", "-CAfile", "authority.pem", "-noout")
