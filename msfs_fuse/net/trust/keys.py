"""The keys that all members of a domain share: the first one sends, all receive.

A domain key keeps outsiders out: without it nothing on the wire can be read or made. It does not
prove who speaks; certificates do that (identity.py).
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from msfs_fuse.core.names import fold

KEY_SIZE = 32
PEM_LABEL = "MSFS DOMAIN KEY"

# What hosts may have at a time: one that goes, one that comes, and one more.
MAX_KEYS = 4

_BLOCK = re.compile(rf"-----BEGIN {PEM_LABEL}-----\n(.*?)-----END {PEM_LABEL}-----", re.DOTALL)
_NUMBER = re.compile(r"\s*Number: (\d{1,9})\s*\n(.*)", re.DOTALL)


class DomainKeyError(Exception):
    """Keys that cannot be used; the message says why."""


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """HKDF-SHA256 (RFC 5869), by hand because that takes half the time of the library's."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    block, made = b"", b""
    for number in range(1, -(-size // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes([number]), "sha256")
        made += block
    return made[:size]


def domain_context(name: str) -> bytes:
    """The domain's name as every derivation and signature has it: length, and folded name."""
    folded = fold(name).encode()
    return bytes([len(folded)]) + folded


class Mask:
    """Hides the headers of datagrams from those without the domain's key.

    AES-256 of a piece of the sealed body, as QUIC's header protection (RFC 9001 5.4).
    """

    def __init__(self, key: bytes) -> None:
        # ECB of single blocks: each has another input, and keeping the encryptor saves 10 µs.
        self._encryptor = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()

    def apply(self, header: bytes, sample: bytes) -> bytes:
        """Mask or unmask 16 bytes with another 16."""
        pad = self._encryptor.update(sample)
        return (int.from_bytes(header) ^ int.from_bytes(pad)).to_bytes(16)


@dataclass(frozen=True)
class DomainKey:
    """One secret of a domain.

    Attributes:
        number: counts the keys of a domain, so that the newer of two can be told.
    """

    secret: bytes
    number: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_SIZE:
            raise DomainKeyError(f"a domain key has {KEY_SIZE} bytes, not {len(self.secret)}")

    def __repr__(self) -> str:
        return f"DomainKey({self.fingerprint})"  # never the secret

    @classmethod
    def generate(cls, number: int = 0) -> "DomainKey":
        """A new random key."""
        return cls(os.urandom(KEY_SIZE), number)

    @property
    def fingerprint(self) -> str:
        """What people call it: eight hexadecimal digits that do not help to find the key."""
        return hashlib.sha256(b"msfs2 fingerprint" + self.secret).hexdigest()[:8]

    def mask(self, context: bytes) -> Mask:
        """What hides the headers of a domain's datagrams."""
        return Mask(hkdf(self.secret, b"", b"msfs2 mask" + context, 32))

    def group_cipher(self, context: bytes, mount: bytes) -> ChaCha20Poly1305:
        """What one mount seals with for all members."""
        return ChaCha20Poly1305(hkdf(self.secret, mount, b"msfs2 group" + context, 32))

    def multicast_seed(self, context: bytes) -> bytes:
        """Eight bytes that choose the multicast groups: nobody finds them without the key."""
        return hkdf(self.secret, b"", b"msfs2 multicast" + context, 8)

    def to_pem(self) -> str:
        """The key as a block of a PEM file."""
        body = base64.b64encode(self.secret).decode()
        content = f"Number: {self.number}\n\n{body}\n"
        return f"-----BEGIN {PEM_LABEL}-----\n{content}-----END {PEM_LABEL}-----\n"


Keys = tuple[DomainKey, ...]


def parse_keys(text: str) -> Keys:
    """The keys in a PEM file, in their order; what else is in it is left alone.

    Raises:
        DomainKeyError: a block is not a key, a key is in it twice, or there are too many.
    """
    keys = []
    for place, match in enumerate(_BLOCK.finditer(text.replace("\r\n", "\n")), 1):
        headed = _NUMBER.fullmatch(match[1])
        number, body = (int(headed[1]), headed[2]) if headed else (0, match[1])
        try:
            secret = base64.b64decode("".join(body.split()), validate=True)
        except (binascii.Error, ValueError):
            # Not the text itself: it may be most of a key.
            raise DomainKeyError(f"block {place} is not a domain key") from None
        keys.append(DomainKey(secret, number))
    if len(set(keys)) < len(keys):
        raise DomainKeyError("a domain key is in it twice")
    if len(keys) > MAX_KEYS:
        raise DomainKeyError(f"more than {MAX_KEYS} domain keys")
    return tuple(keys)


def format_keys(keys: Iterable[DomainKey]) -> str:
    """The text of a file with these keys."""
    return "".join(key.to_pem() for key in keys)
