"""Who a host is: its member file, certificates of other hosts, and which of them are revoked.

A member file is PEM: the host's private key (Ed25519), its X.509 certificate, the certificate of
the domain's authority, and the domain's keys. Whoever signs certificates is free in how: ours come
from `msfs domain admit`, and openssl or a firm's own authority does as well.
"""

import hashlib
import os
import re
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from msfs_fuse.core.names import fold, is_host_name
from msfs_fuse.net.private_file import PrivateFileError, SecretError, open_file, read_private_file
from msfs_fuse.net.trust.bodies import MAX_CERTIFICATE_SIZE
from msfs_fuse.net.trust.keys import DomainKeyError, Keys, parse_keys
from msfs_fuse.net.trust.wire import Reason, Refused

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----.*?-----END (?:[A-Z]+ )?PRIVATE KEY-----\n?", re.DOTALL
)

# What is longer is no list of revoked certificates: some 100,000 are.
_MAX_LIST_SIZE = 8 * 1024 * 1024

# What is no certificate makes `cryptography` raise; most of these are not ValueErrors.
NOT_READABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InternalError,  # by a key of another algorithm that has the length of an Ed25519 one
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class IdentityError(SecretError):
    """A file that cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class Certificate:
    """A host's certificate, signed by the domain's authority.

    Attributes:
        host: the name that it proves, without the domain's.
        expires: seconds since 1970.
    """

    der: bytes
    host: str
    serial: int
    expires: float
    public: ed25519.Ed25519PublicKey = field(repr=False, compare=False)

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(self.der).digest()


def host_of(name: str, domain: str) -> str:
    """The host that a certificate's DNS name means in a domain: without the domain's own name."""
    suffix = "." + fold(domain)
    return name[: -len(suffix)] if fold(name).endswith(suffix) else name


class Authority:
    """Whose word on hosts a domain takes. Its certificate is the anchor: no chains."""

    def __init__(self, certificate: x509.Certificate, domain: str) -> None:
        self.certificate = certificate
        self.domain = domain

    def certify(self, der: bytes) -> Certificate:
        """A host's certificate, if this authority has signed it. Neither time nor list is asked.

        Raises:
            Refused: CARD_SIZE, CARD_MALFORMED, CARD_FOREIGN.
        """
        if len(der) > MAX_CERTIFICATE_SIZE:
            raise Refused(Reason.CARD_SIZE)
        try:
            certificate = x509.load_der_x509_certificate(der)
            public = certificate.public_key()
            names = certificate.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            ).value
            dns = names.get_values_for_type(x509.DNSName)
            expires = certificate.not_valid_after_utc.timestamp()
        except NOT_READABLE:
            raise Refused(Reason.CARD_MALFORMED) from None
        if not isinstance(public, ed25519.Ed25519PublicKey) or len(dns) != 1 or len(names) != 1:
            raise Refused(Reason.CARD_MALFORMED)
        host = host_of(dns[0], self.domain)
        if not is_host_name(host):  # a wildcard is none either
            raise Refused(Reason.CARD_MALFORMED)
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (*NOT_READABLE, InvalidSignature):
            raise Refused(Reason.CARD_FOREIGN) from None
        return Certificate(der, host, certificate.serial_number, expires, public)


@dataclass(frozen=True)
class Identity:
    """All that makes this host a member of a domain.

    Attributes:
        keys: of the domain; the first one sends.
        revoked: serial numbers of certificates that are not taken any more.
    """

    domain: str
    private: ed25519.Ed25519PrivateKey = field(repr=False)
    certificate: Certificate
    authority: Authority = field(repr=False)
    keys: Keys
    revoked: frozenset[int] = frozenset()

    @property
    def host(self) -> str:
        return self.certificate.host

    def check_standing(self, certificate: Certificate, now: float) -> None:
        """Refuse a certificate that is not good any more.

        Args:
            now: seconds since 1970, by this host's clock.

        Raises:
            Refused: CARD_REVOKED, CARD_EXPIRED.
        """
        if certificate.serial in self.revoked:
            raise Refused(Reason.CARD_REVOKED)
        if certificate.expires < now:
            raise Refused(Reason.CARD_EXPIRED)


_WORDS = {
    Reason.CARD_SIZE: f"has more than {MAX_CERTIFICATE_SIZE} bytes",
    Reason.CARD_MALFORMED: "is not that of a host: one DNS name, no wildcard, an Ed25519 key",
    Reason.CARD_FOREIGN: "is not signed by the authority that is in the file",
    Reason.CARD_REVOKED: "is revoked (the domain's admin can admit the host again)",
    Reason.CARD_EXPIRED: "has expired (msfs domain admit --renew makes another)",
}


def load_identity(path: str, domain: str | None, now: float) -> Identity:
    """Read a member file, and the domain's keys and revoked certificates beside it.

    `DOMAIN.key` beside the file takes the place of the keys in it. `DOMAIN.revoked` is a list of
    revoked certificates (CRL, PEM or DER), signed by the authority.

    Args:
        domain: None for the name of the authority.
        now: seconds since 1970.

    Raises:
        IdentityError: one of the files cannot be used, or the certificate is not good any more.
    """
    text = _read_private(path)
    try:
        private, leaf, anchor = _split(text)
        name = domain or _common_name(anchor)
        authority = Authority(anchor, name)
        certificate = authority.certify(leaf.public_bytes(Encoding.DER))
        keys = parse_keys(text)
    except Refused as refused:
        raise IdentityError(f"{path}: the certificate {_WORDS[refused.reason]}") from None
    except (DomainKeyError, ValueError) as error:
        raise IdentityError(f"{path}: {error}") from None
    beside = os.path.join(os.path.dirname(path), name)
    keys = _newer_keys(beside + ".key") or keys
    if not keys:
        raise IdentityError(f"{path}: there is no domain key in it, and no {beside}.key")
    revoked = load_revoked(beside + ".revoked", anchor)
    identity = Identity(name, private, certificate, authority, keys, revoked)
    try:
        identity.check_standing(certificate, now)
    except Refused as refused:
        raise IdentityError(f"{path}: the certificate {_WORDS[refused.reason]}") from None
    return identity


def _read_private(path: str) -> str:
    try:
        return read_private_file(path).decode("ascii")
    except UnicodeDecodeError:
        raise IdentityError(f"{path}: not a text of PEM blocks") from None
    except PrivateFileError as error:
        raise IdentityError(f"{path}: {error}") from None


def _split(text: str) -> tuple[ed25519.Ed25519PrivateKey, x509.Certificate, x509.Certificate]:
    """The private key, the certificate of that key, and the other certificate.

    Raises:
        ValueError: they are not in it.
    """
    keys = _PRIVATE_KEY.findall(text)
    if len(keys) != 1:
        raise ValueError(f"{len(keys)} private keys are in it, not one")
    try:
        private = load_pem_private_key(keys[0].encode(), password=None)
    except NOT_READABLE:
        raise ValueError("its private key cannot be read (a key with a password cannot)") from None
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise ValueError("its private key is not Ed25519")
    mine: list[x509.Certificate] = []
    others: list[x509.Certificate] = []
    for block in _CERTIFICATE.findall(text):
        try:
            certificate = x509.load_pem_x509_certificate(block.encode())
            is_mine = certificate.public_key() == private.public_key()
        except NOT_READABLE:
            raise ValueError("a certificate in it cannot be read") from None
        (mine if is_mine else others).append(certificate)
    if len(mine) != 1:
        raise ValueError("the certificate of its private key is not in it")
    if len(others) != 1:
        raise ValueError(f"{len(others)} certificates of an authority are in it, not one")
    return private, mine[0], others[0]


def _common_name(authority: x509.Certificate) -> str:
    names = authority.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    name = str(names[0].value) if len(names) == 1 else ""
    if not is_host_name(name):
        raise ValueError("the authority has no name that a domain can have (use -o domain=NAME)")
    return name


def _newer_keys(path: str) -> Keys:
    if not os.path.lexists(path):
        return ()
    try:
        keys = parse_keys(_read_private(path))
    except DomainKeyError as error:
        raise IdentityError(f"{path}: {error}") from None
    if not keys:
        raise IdentityError(f"{path}: there is no domain key in it")
    return keys


def load_revoked(path: str, authority: x509.Certificate) -> frozenset[int]:
    """The serial numbers in a list of revoked certificates; none where there is no such file.

    Raises:
        IdentityError: it cannot be read, or is not this authority's.
    """
    try:
        with open_file(path) as file:
            data = file.read(_MAX_LIST_SIZE + 1)
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
    try:
        if len(data) > _MAX_LIST_SIZE:
            raise ValueError
        is_pem = data.lstrip().startswith(b"-----BEGIN")
        load = x509.load_pem_x509_crl if is_pem else x509.load_der_x509_crl
        revoked = load(data)
        serials = frozenset(each.serial_number for each in revoked)
    except NOT_READABLE:
        raise IdentityError(f"{path}: not a list of revoked certificates (CRL)") from None
    try:
        signed = revoked.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        signed = False
    if not signed:
        raise IdentityError(f"{path}: not signed by the authority of the member file")
    return serials
