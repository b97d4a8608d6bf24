"""The keys of a domain: the first one sends, all receive, so that they change without a gap.

A key is 32 random bytes that every member of the domain has. It authenticates the group: any
member can pose as any other.
"""

import base64
import binascii
import contextlib
import functools
import hashlib
import hmac
import os
import tempfile
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from msfs_fuse.core.names import fold
from msfs_fuse.net.private_file import PrivateFileError, SecretError, read_private_file

KEY_SIZE = 32

_CONTEXT = b"mailslot v1|"
_KEY_ID_CONTEXT = b"mailslot v1 key id|"
_FINGERPRINT_CONTEXT = b"mailslot v1 fingerprint|"

_HEADER = "# Keys of a mailslot domain. The first one sends, all receive. Keep it secret.\n"


@functools.lru_cache(maxsize=64)
def _information(domain: str) -> bytes:
    """What HKDF's expansion is told of its use, with the number of its only block."""
    return _CONTEXT + fold(domain).encode() + b"\x01"


class KeyringError(SecretError):
    """A keyring that cannot be used, or a change that makes no sense; the message says why."""


@dataclass(frozen=True)
class Key:
    """One secret of a domain."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(self.secret)}")

    def __repr__(self) -> str:
        return f"Key({self.fingerprint})"  # never the secret

    @classmethod
    def generate(cls) -> "Key":
        """A new random key."""
        return cls(os.urandom(KEY_SIZE))

    @property
    def fingerprint(self) -> str:
        """What people call it: eight hexadecimal digits that do not help to find the key."""
        return hashlib.sha256(_FINGERPRINT_CONTEXT + self.secret).hexdigest()[:8]

    def id_in(self, domain: str) -> int:
        """What datagrams call it. Two keys may share one; the tag tells them apart."""
        context = _KEY_ID_CONTEXT + fold(domain).encode() + b"|"
        return int.from_bytes(hashlib.sha256(context + self.secret).digest()[:2])

    def cipher(self, domain: str, epoch: bytes) -> ChaCha20Poly1305:
        """What seals and opens the datagrams of one sender's epoch.

        HKDF-SHA256 (RFC 5869) with the epoch as salt. One block is all that is needed, and by hand
        it takes half the time: this is what a forged datagram costs.
        """
        extracted = hmac.digest(epoch, self.secret, "sha256")
        return ChaCha20Poly1305(hmac.digest(extracted, _information(domain), "sha256"))


@dataclass(frozen=True)
class Keyring:
    """Keys in their order. Changes make a new keyring.

    Attributes:
        keys: at least one; the first one sends.
    """

    keys: tuple[Key, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise KeyringError("there is no key in it")
        if len(set(self.keys)) < len(self.keys):
            raise KeyringError("a key is in it twice")

    def add(self, key: Key) -> "Keyring":
        """Receive with one more key.

        Raises:
            KeyringError: it is there already.
        """
        return Keyring((*self.keys, key))

    def use(self, fingerprint: str) -> "Keyring":
        """Send with that key from now on.

        Raises:
            KeyringError: there is none of that fingerprint.
        """
        key = self._find(fingerprint)
        return Keyring((key, *(each for each in self.keys if each != key)))

    def remove(self, fingerprint: str) -> "Keyring":
        """Neither send nor receive with that key any more.

        Raises:
            KeyringError: there is none of that fingerprint, or it is the one that sends.
        """
        key = self._find(fingerprint)
        if key == self.keys[0]:
            raise KeyringError(f"key {fingerprint} is the one that sends: use another one first")
        return Keyring(tuple(each for each in self.keys if each != key))

    def _find(self, fingerprint: str) -> Key:
        found = [key for key in self.keys if key.fingerprint == fold(fingerprint)]
        if len(found) != 1:
            raise KeyringError(f"there is no key {fingerprint} in it")
        return found[0]

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """A keyring from the text of its file: one key a line in base64, and `#` comments.

        Raises:
            KeyringError: a line is not a key; the message has its number.
        """
        keys = []
        for number, line in enumerate(text.splitlines(), 1):
            word = line.partition("#")[0].strip()
            if not word:
                continue
            try:
                keys.append(Key(base64.b64decode(word, validate=True)))
            except (binascii.Error, ValueError):
                # Not the line itself: it may be most of a key.
                raise KeyringError(f"line {number} is not a key") from None
        return cls(tuple(keys))

    def format(self) -> str:
        """The text of its file."""
        lines = (f"{base64.b64encode(key.secret).decode()}\n" for key in self.keys)
        return _HEADER + "".join(lines)


def load_keyring(path: str) -> Keyring:
    """Read a keyring that nobody else can read.

    Raises:
        KeyringError: it cannot be read, others can, or it is not a keyring.
    """
    try:
        return Keyring.parse(read_private_file(path).decode("ascii"))
    except UnicodeDecodeError:
        raise KeyringError(f"keyring {path}: not a text") from None
    except (PrivateFileError, KeyringError) as error:
        raise KeyringError(f"keyring {path}: {error}") from None


def save_keyring(path: str, keyring: Keyring, *, new: bool) -> None:
    """Write a keyring, whole or not at all, for its owner alone.

    Args:
        new: there must be no such file yet.

    Raises:
        KeyringError: it cannot be written.
    """
    temporary = None
    try:
        # mkstemp makes it 0600.
        descriptor, temporary = tempfile.mkstemp(prefix=".keyring-", dir=os.path.dirname(path))
        with open(descriptor, "w") as file:
            file.write(keyring.format())
            file.flush()
            os.fsync(descriptor)
        if new:
            os.link(temporary, path)
        else:
            os.replace(temporary, path)
            temporary = None
    except FileExistsError:
        raise KeyringError(f"keyring {path}: it exists (msfs keygen --add {path})") from None
    except OSError as error:
        raise KeyringError(f"keyring {path}: {error.strerror}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
