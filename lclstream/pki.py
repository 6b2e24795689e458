"""Keys, certificates and the built-in certificate authority.

Every stream has a CA of its own, so a certificate of another stream is refused at the handshake.
Every component has a certificate that names its role, stream and namespace. Keys are ECDSA P-256:
nng's TLS library (Mbed TLS) knows neither Ed25519 nor Ed448. The names of the files are those of a
Kubernetes TLS Secret, so a mounted Secret and a folder made here look the same.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lclstream.config import BUFFER_SERVER_NAME, TLS_CA, TLS_CERTIFICATE, TLS_KEY
from lclstream.roles import Role, role_uri

CLOCK_SKEW = timedelta(minutes=5)
"""Certificates are valid from a little before they are made: clocks of machines differ."""

DEFAULT_LIFETIME = timedelta(hours=24)


class PkiError(ValueError):
    """Credentials that can't be used; the message says which file, why, and what was expected."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A component's certificate with its key, and the CA it trusts, all PEM.

    Attributes:
        ca: certificate of the stream's CA.
        certificate: the component's own.
        key: its private key; never shown.
        origin: where they were read from, for messages.
    """

    ca: str
    certificate: str
    key: str = field(repr=False)
    origin: str = "memory"

    def describe(self) -> str:
        """Who these credentials say one is, in one line."""
        own = x509.load_pem_x509_certificate(self.certificate.encode())
        return (
            f"certificate {own.subject.rfc4514_string()} from {self.origin}, issued by "
            f"{own.issuer.rfc4514_string()}, valid until {own.not_valid_after_utc:%Y-%m-%d %H:%M}Z"
        )


class Authority:
    """The certificate authority of one stream; its key exists in this process only, unless exported."""

    def __init__(self, namespace: str, stream: str, lifetime: timedelta = timedelta(days=30)) -> None:
        self.namespace, self.stream = namespace, stream
        self._key: ec.EllipticCurvePrivateKey = ec.generate_private_key(ec.SECP256R1())
        name = self._name("ca")
        self._certificate = (
            _builder(name, name, self._key.public_key(), lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(Encoding.PEM).decode()

    @classmethod
    def load(cls, namespace: str, stream: str, credentials: Credentials) -> Self:
        """The authority that `export` gave out.

        Raises:
            PkiError: it can't be used, is no authority, or is that of another stream.
        """
        check(credentials, datetime.now(UTC))
        certificate = x509.load_pem_x509_certificate(credentials.certificate.encode())
        key = load_pem_private_key(credentials.key.encode(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(
                f"{credentials.origin}: the private key is not an elliptic curve's, expected P-256"
            )
        self = cls.__new__(cls)
        self.namespace, self.stream = namespace, stream
        self._key, self._certificate, self.pem = key, certificate, credentials.certificate
        if certificate.subject != self._name("ca"):
            raise PkiError(
                f"{credentials.origin}: certificate of {certificate.subject.rfc4514_string()}, "
                f"expected {self._name('ca').rfc4514_string()}"
            )
        return self

    def export(self) -> Credentials:
        """The authority's own certificate and key, to be kept as a secret."""
        return Credentials(ca=self.pem, certificate=self.pem, key=_pem(self._key))

    def issue(
        self,
        role: Role,
        *,
        dns_names: Sequence[str] = (),
        lifetime: timedelta = DEFAULT_LIFETIME,
    ) -> Credentials:
        """A new key and a certificate for it.

        Args:
            role: what the holder may do.
            dns_names: names it is dialled by; only a buffer has any.
            lifetime: how long it is valid.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
        names.append(x509.UniformResourceIdentifier(role_uri(self.namespace, self.stream, role)))
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if dns_names:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        certificate = (
            _builder(self._name(role), self._certificate.subject, key.public_key(), lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return Credentials(
            ca=self.pem,
            certificate=certificate.public_bytes(Encoding.PEM).decode(),
            key=_pem(key),
        )

    def _name(self, common_name: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, self.namespace),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.stream),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )


def buffer_dns_names(*names: str) -> tuple[str, ...]:
    """DNS names of a buffer's certificate: its own, and the one every buffer has."""
    return tuple(dict.fromkeys([BUFFER_SERVER_NAME, *names]))


def write_credentials(folder: Path, credentials: Credentials) -> None:
    """Write credentials as the three files of a TLS Secret; the key is readable by its owner only."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / TLS_CA).write_text(credentials.ca)
    (folder / TLS_CERTIFICATE).write_text(credentials.certificate)
    key = folder / TLS_KEY
    key.touch(mode=0o600)
    key.chmod(0o600)
    key.write_text(credentials.key)


def read_credentials(folder: Path) -> Credentials:
    """Read and check the three files of a TLS Secret.

    Raises:
        PkiError: a file is missing or not PEM, the certificate is expired or of another CA, or the
            key is not its own.
    """
    return read_files(folder / TLS_CA, folder / TLS_CERTIFICATE, folder / TLS_KEY)


def read_files(ca: Path, certificate: Path, key: Path) -> Credentials:
    """Read and check credentials from three files. Raises `PkiError` as `read_credentials` does."""
    try:
        credentials = Credentials(ca.read_text(), certificate.read_text(), key.read_text(), str(certificate))
    except (OSError, UnicodeDecodeError) as error:
        raise PkiError(f"{certificate.parent}: cannot read the certificate: {error}") from None
    check(credentials, datetime.now(UTC))
    return credentials


def check(credentials: Credentials, now: datetime) -> None:
    """See that credentials can be used at a point in time.

    Raises:
        PkiError: not PEM, expired, not yet valid, of another CA, or the key is not its own.
    """
    origin = credentials.origin
    try:
        ca = x509.load_pem_x509_certificate(credentials.ca.encode())
        own = x509.load_pem_x509_certificate(credentials.certificate.encode())
        key = load_pem_private_key(credentials.key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PkiError(f"{origin}: not a PEM certificate and key: {error}") from None
    for kind, certificate in (("certificate", own), ("CA certificate", ca)):
        if now > certificate.not_valid_after_utc:
            raise PkiError(
                f"{origin}: {kind} expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S}Z, "
                "expected a valid one; ask for a new connection file"
            )
        if now < certificate.not_valid_before_utc:
            raise PkiError(
                f"{origin}: {kind} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S}Z "
                "only; is this machine's clock right?"
            )
    try:
        own.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        raise PkiError(
            f"{origin}: certificate was issued by {own.issuer.rfc4514_string()}, expected "
            f"{ca.subject.rfc4514_string()}; it belongs to another stream"
        ) from None
    own_public = own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != own_public:
        raise PkiError(f"{origin}: the private key is not that of the certificate")


def server_context(folder: Path) -> ssl.SSLContext:
    """TLS for an HTTPS server that asks for a client certificate and verifies any it gets.

    Whoever shows none may ask for health only; that is for the server to enforce.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / TLS_CERTIFICATE, folder / TLS_KEY)
    context.load_verify_locations(folder / TLS_CA)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_context(folder: Path) -> ssl.SSLContext:
    """TLS for an HTTPS client that shows its certificate and trusts this stream's CA only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / TLS_CERTIFICATE, folder / TLS_KEY)
    context.load_verify_locations(folder / TLS_CA)
    return context


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
