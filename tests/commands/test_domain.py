"""`msfs domain`: what an admin types to add, remove and replace hosts, and to change the key."""

import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509

from msfs_fuse.errors import Exit
from msfs_fuse.net.trust.identity import Identity, load_identity
from tests.support.command import MSFS, TIMEOUT, Result, refusal


@pytest.fixture
def admin(tmp_path: Path) -> Path:
    """A directory with the domain `corp` in it."""
    done = domain(tmp_path, "create", "corp")
    assert done.stdout == "domain corp: keep corp where no host is\n"
    return tmp_path


def domain(directory: Path, *words: str) -> Result:
    """Run `msfs domain …` there."""
    return subprocess.run(
        [*MSFS, "domain", *words],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        umask=0,  # the command sees to the modes itself
    )


def good(directory: Path, *words: str) -> list[str]:
    """The same, and it succeeds; the lines of its output."""
    done = domain(directory, *words)
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    return done.stdout.splitlines()


def modes(directory: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o7777) for path in directory.iterdir()}


def load(path: Path) -> Identity:
    return load_identity(str(path), None, time.time())


def test_create_and_admit(admin: Path) -> None:
    said = good(admin, "admit", "corp", "build7", "Build8")
    assert said == ["corp/build7.member", "corp/Build8.member"]
    one, two = (load(admin / path) for path in said)
    assert (one.domain, one.host, two.host) == ("corp", "build7", "Build8")
    assert one.keys == two.keys
    assert modes(admin)["corp"] == "0o700"
    assert modes(admin / "corp") == {
        "authority.key": "0o600",
        "authority.pem": "0o600",
        "issued.pem": "0o600",
        "corp.key": "0o600",
        "build7.member": "0o600",
        "Build8.member": "0o600",
    }


def test_no_domain_twice(admin: Path) -> None:
    before = modes(admin / "corp"), (admin / "corp/authority.key").read_bytes()
    assert "corp: File exists" in refusal(domain(admin, "create", "corp"))
    assert (modes(admin / "corp"), (admin / "corp/authority.key").read_bytes()) == before


@pytest.mark.parametrize("host", ["build7", "BUILD7"])
def test_no_host_twice(admin: Path, host: str) -> None:
    good(admin, "admit", "corp", "build7")
    first = (admin / "corp/build7.member").read_bytes()
    said = refusal(domain(admin, "admit", "corp", "other", host))
    assert f"{host} is admitted already (--renew makes it another certificate)" in said
    assert (admin / "corp/build7.member").read_bytes() == first
    assert not (admin / "corp/other.member").exists()  # all of them or none
    assert "NEW is there twice" in refusal(domain(admin, "admit", "corp", "new", "NEW"))
    good(admin, "admit", "--renew", "corp", "build7")
    assert (admin / "corp/build7.member").read_bytes() != first
    assert load(admin / "corp/build7.member").host == "build7"


def test_a_key_that_never_leaves_its_host(admin: Path) -> None:
    host = admin / "host"
    host.mkdir()
    assert good(host, "request", "build9") == ["build9.member", "build9.request"]
    assert modes(host)["build9.member"] == "0o600"
    assert "PRIVATE" not in (host / "build9.request").read_text()
    said = good(admin, "admit", "corp", "--request", "host/build9.request")
    assert said == ["corp/build9.certificate"]
    assert modes(admin / "corp")["build9.certificate"] == "0o600"
    certificate = (admin / "corp/build9.certificate").read_text()
    assert "PRIVATE" not in certificate
    with (host / "build9.member").open("a") as member:
        member.write(certificate)
    assert load(host / "build9.member").host == "build9"
    again = domain(admin, "admit", "corp", "--request", "host/build9.request")
    assert "build9 is admitted already" in refusal(again)
    assert "build9.member: File exists" in refusal(domain(host, "request", "build9"))


def test_revoke_and_let_in_again(admin: Path) -> None:
    good(admin, "admit", "corp", "ada", "bob")
    (said,) = good(admin, "revoke", "corp", "BOB")
    assert said == "corp/corp.revoked: copy it beside every member file, then SIGHUP"
    revoked = x509.load_pem_x509_crl((admin / "corp/corp.revoked").read_bytes())
    assert len(revoked) == 1
    assert load(admin / "corp/ada.member").revoked == {each.serial_number for each in revoked}
    assert "bob was revoked" in refusal(domain(admin, "admit", "corp", "bob"))
    good(admin, "admit", "--renew", "corp", "bob")
    assert load(admin / "corp/bob.member").host == "bob"


def test_three_steps_to_another_key(admin: Path) -> None:
    good(admin, "admit", "corp", "ada")
    rings = [load(admin / "corp/ada.member").keys]
    steps = []
    for _ in range(3):
        step, file, *keys = good(admin, "rekey", "corp")
        steps.append(step)
        rings.append(load(admin / "corp/ada.member").keys)
        assert file == "corp/corp.key: copy it beside every member file, then SIGHUP"
        assert len(keys) == len(rings[-1])
        assert all(key.fingerprint in line for key, line in zip(rings[-1], keys, strict=True))
        assert modes(admin / "corp")["corp.key"] == "0o600"
    ((old,), *_, (new,)) = rings
    assert rings == [(old,), (old, new), (new, old), (new,)]
    assert new != old
    assert steps == [
        f"step 1 of 3: hosts receive with the new key {new.fingerprint} too",
        f"step 2 of 3: hosts send with the new key {new.fingerprint}",
        f"step 3 of 3: the old key {old.fingerprint} is not taken any more",
    ]


@pytest.mark.parametrize("action", ["", "create", "admit", "request", "revoke", "rekey"])
def test_help(tmp_path: Path, action: str) -> None:
    said = "\n".join(good(tmp_path, *filter(None, [action]), "--help"))
    assert said.startswith(f"usage: msfs domain {action}".rstrip())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("", Exit.USAGE, "required: ACTION"),
        ("destroy corp", Exit.USAGE, "invalid choice: 'destroy'"),
        ("create", Exit.USAGE, "required: DOMAIN"),
        ("create a b", Exit.USAGE, "unrecognized arguments: b"),
        ("create a.d/not*good", Exit.FAILED, "'not*good' is not a name of letters"),
        ("create authority", Exit.FAILED, "authority is the name of a file of its own"),
        ("create no/such", Exit.FAILED, "such: No such file or directory"),
        ("admit corp", Exit.USAGE, "admit takes hosts, or --request FILE"),
        ("admit corp ada --request x", Exit.USAGE, "admit takes hosts, or --request FILE"),
        ("admit corp a/b", Exit.FAILED, "'a/b' is not a name of letters"),
        ("admit corp *", Exit.FAILED, "'*' is not a name of letters"),
        (
            "admit none ada",
            Exit.FAILED,
            "none: there is no authority (msfs domain create makes it)",
        ),
        ("admit corp --request none", Exit.FAILED, "none: No such file or directory"),
        ("admit corp --request corp/corp.key", Exit.FAILED, "not a request for a certificate"),
        ("admit --renew corp ada", Exit.FAILED, "ada was never admitted"),
        ("request a/b", Exit.FAILED, "'a/b' is not a name of letters"),
        ("revoke corp ada", Exit.FAILED, "corp has never admitted a host ada"),
        ("revoke corp", Exit.USAGE, "required: HOST"),
        ("rekey none", Exit.FAILED, "none: there is no authority"),
    ],
)
def test_wrong_use_is_one_line(admin: Path, words: str, code: Exit, says: str) -> None:
    before = modes(admin / "corp")
    done = domain(admin, *words.split())
    assert says in refusal(done)
    assert done.returncode == code
    assert modes(admin / "corp") == before
    assert [path.name for path in admin.iterdir()] == ["corp"]


@pytest.mark.parametrize("name", ["authority.key", "corp.key"])
def test_secrets_that_others_can_read_are_not_used(admin: Path, name: str) -> None:
    (admin / "corp" / name).chmod(0o644)
    assert "group or others may use it" in refusal(domain(admin, "admit", "corp", "ada"))


def test_an_authority_that_is_none(admin: Path) -> None:
    (admin / "corp/authority.pem").write_bytes((admin / "corp/corp.key").read_bytes())
    said = refusal(domain(admin, "admit", "corp", "ada"))
    assert "corp: not the directory of a domain's authority" in said
