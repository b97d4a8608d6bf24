"""The admin's side of a domain: a directory with its authority, and the five things to do there.

NAME/authority.key   its private key, which signs; it stays with the admin
NAME/authority.pem   its certificate
NAME/issued.pem      all certificates that it has signed
NAME/NAME.key        the domain's keys, for all hosts
NAME/NAME.revoked    the certificates that are not taken any more, for all hosts
NAME/HOST.member     all that one host needs
"""

import contextlib
import datetime
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from msfs_fuse.core.names import fold, is_host_name
from msfs_fuse.net.private_file import PrivateFileError, read_private_file
from msfs_fuse.net.trust.identity import NOT_READABLE, host_of
from msfs_fuse.net.trust.keys import DomainKey, DomainKeyError, Keys, format_keys, parse_keys

_KEY = "authority.key"

_SERIAL_SIZE = 8  # bytes: no two of one authority are the same, and small

# RFC 5280 4.1.2.5: of what does not end. Its beginning is not looked at: clocks may be behind.
_BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)


class AuthorityError(Exception):
    """Something that cannot be done; the message says why."""


@dataclass(frozen=True)
class Authority:
    """What is in the directory of a domain's admin."""

    directory: str
    name: str
    private: Ed25519PrivateKey = field(repr=False)
    certificate: x509.Certificate

    # ---- what the admin does ----

    @classmethod
    def create(cls, directory: str) -> "Authority":
        """Make a directory with an authority and a domain key; its last part names the domain.

        Raises:
            AuthorityError: no domain can be called so, or there is something already.
        """
        directory = os.path.abspath(directory)
        name = _checked(os.path.basename(directory))
        if f"{name}.key" == _KEY:
            raise AuthorityError(f"{name} is the name of a file of its own: choose another one")
        private = Ed25519PrivateKey.generate()
        builder = (
            _builder(private.public_key(), name, name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS, critical=True)
        )
        made = cls(directory, name, private, builder.sign(private, None))
        try:
            os.mkdir(directory, 0o700)
        except OSError as error:
            raise AuthorityError(f"{directory}: {error.strerror}") from None
        made._write(_KEY, _private_pem(private), new=True)
        made._write("authority.pem", _pem(made.certificate), new=True)
        made._write(f"{name}.key", format_keys([DomainKey.generate(1)]).encode(), new=True)
        return made

    @classmethod
    def load(cls, directory: str) -> "Authority":
        """What create() has made.

        Raises:
            AuthorityError: it is not there, or damaged.
        """
        directory = os.path.abspath(directory)
        if not os.path.lexists(os.path.join(directory, _KEY)):
            raise AuthorityError(
                f"{directory}: there is no authority (msfs domain create makes it)"
            )
        try:
            private = load_pem_private_key(_read(directory, _KEY), password=None)
            certificate = x509.load_pem_x509_certificate(_read(directory, "authority.pem"))
        except NOT_READABLE:
            private = None
        if (
            not isinstance(private, Ed25519PrivateKey)
            or private.public_key() != certificate.public_key()
        ):
            raise AuthorityError(f"{directory}: not the directory of a domain's authority")
        return cls(directory, os.path.basename(directory), private, certificate)

    def admit(self, hosts: Sequence[str], *, renew: bool = False) -> list[str]:
        """Make a member file for each host, with a new key; their paths.

        Args:
            renew: for hosts that are admitted already: they may have one more.

        Raises:
            AuthorityError: no host can be called so; a name twice, without regard to case.
        """
        self._check_hosts(hosts, renew)
        keys = self._keys()
        paths = []
        for host in hosts:
            private = Ed25519PrivateKey.generate()
            issued = self._issue(private.public_key(), host)
            text = _private_pem(private) + self._membership(issued, keys)
            paths.append(self._write(f"{host}.member", text, new=not renew))
        return paths

    def admit_request(self, path: str, *, renew: bool = False) -> str:
        """Make the certificate for a host that keeps its key for itself; the path of the file.

        Args:
            path: of the request (PKCS #10), as request() or openssl makes it.

        Raises:
            AuthorityError: it is none; otherwise as for admit().
        """
        try:
            with open(path, "rb") as file:
                request = x509.load_pem_x509_csr(file.read(64 * 1024))
            public = request.public_key()
            names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            hosts = names.value.get_values_for_type(x509.DNSName)
            signed = request.is_signature_valid
        except OSError as error:
            raise AuthorityError(f"{path}: {error.strerror}") from None
        except NOT_READABLE:
            raise AuthorityError(f"{path}: not a request for a certificate") from None
        if not isinstance(public, Ed25519PublicKey) or len(hosts) != 1 or not signed:
            raise AuthorityError(f"{path}: it needs an Ed25519 key and one DNS name")
        host = host_of(hosts[0], self.name)
        self._check_hosts([host], renew)
        issued = self._issue(public, host)
        membership = self._membership(issued, self._keys())
        return self._write(f"{host}.certificate", membership, new=not renew)

    def revoke(self, host: str) -> str:
        """Put all certificates of a host on the list; the path of the list.

        Raises:
            AuthorityError: it has none.
        """
        serials = [
            each.serial_number
            for each in self._issued()
            if fold(_host_in(each, self.name)) == fold(host)
        ]
        if not serials:
            raise AuthorityError(f"{self.name} has never admitted a host {host}")
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(_BEGIN)
            .next_update(_END)
        )
        for serial in sorted({*self._revoked(), *serials}):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_BEGIN)
            builder = builder.add_revoked_certificate(entry.build())
        revoked = builder.sign(self.private, None)
        return self._write(f"{self.name}.revoked", revoked.public_bytes(Encoding.PEM), mode=0o644)

    def rekey(self) -> tuple[str, str, Keys]:
        """Take the next of three steps to another domain key; the file, the step, the keys.

        Raises:
            AuthorityError: the keys are not as these steps leave them.
        """
        keys = self._keys()
        if len(keys) == 1:
            made = DomainKey.generate(keys[0].number + 1)
            after: Keys = (keys[0], made)
            step = f"1 of 3: hosts receive with the new key {made.fingerprint} too"
        elif len(keys) == 2 and keys[0].number < keys[1].number:
            after = (keys[1], keys[0])
            step = f"2 of 3: hosts send with the new key {keys[1].fingerprint}"
        elif len(keys) == 2 and keys[0].number > keys[1].number:
            after = keys[:1]
            step = f"3 of 3: the old key {keys[1].fingerprint} is not taken any more"
        else:
            raise AuthorityError(f"{self.name}.key does not hold one key, or an old and a new one")
        return self._write(f"{self.name}.key", format_keys(after).encode()), step, after

    # ---- what is there ----

    def hosts(self) -> list[str]:
        """Those with a certificate that is not revoked."""
        revoked = self._revoked()
        return sorted(
            {
                _host_in(each, self.name)
                for each in self._issued()
                if each.serial_number not in revoked
            }
        )

    def _keys(self) -> Keys:
        path = f"{self.name}.key"
        try:
            keys = parse_keys(_read(self.directory, path).decode("ascii"))
        except (DomainKeyError, UnicodeDecodeError) as error:
            raise AuthorityError(f"{os.path.join(self.directory, path)}: {error}") from None
        if not keys:
            raise AuthorityError(f"{os.path.join(self.directory, path)}: no domain key is in it")
        return keys

    def _issued(self) -> list[x509.Certificate]:
        path = os.path.join(self.directory, "issued.pem")
        try:
            with open(path, "rb") as file:
                blocks = _CERTIFICATE.findall(file.read())
            return [x509.load_pem_x509_certificate(block) for block in blocks]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise AuthorityError(f"{path}: {error}") from None

    def _revoked(self) -> set[int]:
        path = os.path.join(self.directory, f"{self.name}.revoked")
        try:
            with open(path, "rb") as file:
                return {each.serial_number for each in x509.load_pem_x509_crl(file.read())}
        except FileNotFoundError:
            return set()
        except (OSError, ValueError) as error:
            raise AuthorityError(f"{path}: {error}") from None

    # ---- how it is made ----

    def _check_hosts(self, hosts: Sequence[str], renew: bool) -> None:
        revoked = self._revoked()
        taken = {
            fold(_host_in(each, self.name)): each.serial_number in revoked
            for each in self._issued()
        }
        for number, host in enumerate(hosts):
            _checked(host)
            if fold(host) in map(fold, hosts[:number]):
                raise AuthorityError(f"{host} is there twice")
            if fold(host) in taken and not renew:
                how = "was revoked" if taken[fold(host)] else "is admitted already"
                raise AuthorityError(f"{host} {how} (--renew makes it another certificate)")
            if renew and fold(host) not in taken:
                raise AuthorityError(f"{host} was never admitted, so there is nothing to renew")

    def _issue(self, public: Ed25519PublicKey, host: str) -> x509.Certificate:
        issued = (
            _builder(public, host, self.name)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(_LOGS_IN, critical=False)
            .sign(self.private, None)
        )
        path = os.path.join(self.directory, "issued.pem")
        try:
            with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
                file.write(_pem(issued))
        except OSError as error:
            raise AuthorityError(f"{path}: {error.strerror}") from None
        return issued

    def _membership(self, issued: x509.Certificate, keys: Keys) -> bytes:
        return _pem(issued) + _pem(self.certificate) + format_keys(keys).encode()

    def _write(self, name: str, data: bytes, *, new: bool = False, mode: int = 0o600) -> str:
        return write_file(os.path.join(self.directory, name), data, new=new, mode=mode)


def request(host: str) -> tuple[str, str]:
    """Make a key that stays on this host: the beginning of HOST.member, and HOST.request.

    Raises:
        AuthorityError: no host can be called so, or there is such a file.
    """
    _checked(host)
    private = Ed25519PrivateKey.generate()
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_name(host))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(private, None)
    )
    member = write_file(os.path.abspath(f"{host}.member"), _private_pem(private), new=True)
    text = made.public_bytes(Encoding.PEM)
    return member, write_file(os.path.abspath(f"{host}.request"), text, new=True, mode=0o644)


def write_file(path: str, data: bytes, *, new: bool = False, mode: int = 0o600) -> str:
    """Write a file, whole or not at all; its path.

    Args:
        new: there must be no such file yet.

    Raises:
        AuthorityError: it cannot be written.
    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".msfs-", dir=os.path.dirname(path))
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        if new:
            os.link(temporary, path)
        else:
            os.replace(temporary, path)
            temporary = None
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return path


# What the authority may do, and what a host may: log in to a broker.
_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
_LOGS_IN = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


def _checked(name: str) -> str:
    if not is_host_name(name):
        raise AuthorityError(f"{name!r} is not a name of letters, digits and _.-, 64 at most")
    return name


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(public: Ed25519PublicKey, subject: str, issuer: str) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(int.from_bytes(b"\x40" + os.urandom(_SERIAL_SIZE)))
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
    )


def _host_in(certificate: x509.Certificate, domain: str) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return host_of(names.get_values_for_type(x509.DNSName)[0], domain)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _private_pem(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read(directory: str, name: str) -> bytes:
    path = os.path.join(directory, name)
    if name.endswith(".pem"):
        try:
            with open(path, "rb") as file:
                return file.read(64 * 1024)
        except OSError as error:
            raise AuthorityError(f"{path}: {error.strerror}") from None
    try:
        return read_private_file(path)
    except PrivateFileError as error:
        raise AuthorityError(f"{path}: {error}") from None
