"""Keys: their order, their file, and who may read it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.net.keyring import Key, Keyring, KeyringError, load_keyring, save_keyring
from tests.support.processes import ALICE, is_root

FIRST, SECOND, THIRD = (Key(bytes([n]) * 32) for n in range(3))
RING = Keyring((FIRST, SECOND))

keys = st.binary(min_size=32, max_size=32).map(Key)


def test_the_first_sends_and_order_is_kept() -> None:
    assert RING.add(THIRD).keys == (FIRST, SECOND, THIRD)
    assert RING.add(THIRD).use(THIRD.fingerprint).keys == (THIRD, FIRST, SECOND)
    assert RING.use(SECOND.fingerprint).remove(FIRST.fingerprint).keys == (SECOND,)


def test_what_makes_no_sense_is_refused() -> None:
    attempts: tuple[Callable[[], Keyring], ...] = (
        lambda: RING.add(FIRST),
        lambda: RING.use(THIRD.fingerprint),
        lambda: RING.remove(THIRD.fingerprint),
        lambda: RING.remove(FIRST.fingerprint),
        lambda: Keyring(()),
    )
    for attempt in attempts:
        with pytest.raises(KeyringError):
            attempt()


@given(st.lists(keys, min_size=1, max_size=5, unique=True).map(tuple))
def test_its_text_says_all(ring: tuple[Key, ...]) -> None:
    assert Keyring.parse(Keyring(ring).format()) == Keyring(ring)


def test_a_bad_line_is_named_but_not_shown() -> None:
    text = RING.format() + "AAAA\n"
    with pytest.raises(KeyringError, match="line 4 is not a key") as caught:
        Keyring.parse(text)
    assert "AAAA" not in str(caught.value)


def test_a_secret_is_not_shown() -> None:
    assert repr(FIRST) == f"Key({FIRST.fingerprint})"
    assert FIRST.fingerprint != SECOND.fingerprint


@given(keys, st.binary(min_size=16, max_size=16), st.sampled_from(["corp", "a.b", "x_1"]))
def test_derivation_is_hkdf(key: Key, epoch: bytes, domain: str) -> None:
    derived = HKDF(SHA256(), 32, salt=epoch, info=b"mailslot v1|" + domain.encode()).derive(
        key.secret
    )
    nonce = bytes(12)
    assert key.cipher(domain.upper(), epoch).encrypt(nonce, b"x", b"") == ChaCha20Poly1305(
        derived
    ).encrypt(nonce, b"x", b"")


def test_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "keys")
    save_keyring(path, RING, new=True)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert load_keyring(path) == RING
    with pytest.raises(KeyringError, match="exists"):
        save_keyring(path, RING, new=True)
    save_keyring(path, RING.add(THIRD), new=False)
    assert load_keyring(path) == RING.add(THIRD)
    assert os.listdir(tmp_path) == ["keys"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys"
    save_keyring(str(path), RING, new=True)
    path.chmod(mode)
    with pytest.raises(KeyringError, match="chmod 600"):
        load_keyring(str(path))


@pytest.mark.skipif(not is_root(), reason="needs another user")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    save_keyring(str(path), RING, new=True)
    os.chown(path, ALICE, ALICE)
    with pytest.raises(KeyringError, match="another user"):
        load_keyring(str(path))


@pytest.mark.parametrize("content", [b"", b"# none\n", b"\xff\xff", b"x" * 70_000, b"short\n"])
def test_a_file_that_is_no_keyring(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyringError, match="keys"):
        load_keyring(str(path))
    with pytest.raises(KeyringError, match="No such file"):
        load_keyring(str(tmp_path / "missing"))
    with pytest.raises(KeyringError):
        load_keyring(str(tmp_path))
