"""Certificates: OpenSSL agrees with them, they say who one is, and a bad one is refused with a reason."""

import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from lclstream.pki import (
    Authority,
    Credentials,
    PkiError,
    buffer_dns_names,
    check,
    client_context,
    read_credentials,
    server_context,
    write_credentials,
)
from lclstream.roles import ROLES, Role

AUTHORITY = Authority("default", "lysozyme-44")
OTHER = Authority("default", "another")
NOW = datetime.now(UTC)


def loaded(credentials: Credentials) -> x509.Certificate:
    return x509.load_pem_x509_certificate(credentials.certificate.encode())


def openssl_verify(folder: Path, purpose: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", purpose, *more, "-CAfile", "ca.crt", "tls.crt"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_a_certificate_names_role_stream_and_namespace(role: Role) -> None:
    certificate = loaded(AUTHORITY.issue(role))
    subject = {a.oid: a.value for a in certificate.subject}
    assert subject[NameOID.COMMON_NAME] == role
    assert subject[NameOID.ORGANIZATION_NAME] == "lysozyme-44"
    assert subject[NameOID.ORGANIZATIONAL_UNIT_NAME] == "default"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == [f"spiffe://lclstream.io/ns/default/stream/lysozyme-44/role/{role}"]


def test_keys_are_on_the_curve_that_nng_knows() -> None:
    credentials = AUTHORITY.issue("worker")
    for key in (
        load_pem_private_key(credentials.key.encode(), None),
        x509.load_pem_x509_certificate(AUTHORITY.pem.encode()).public_key(),
    ):
        assert isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)


def test_every_component_has_a_key_of_its_own() -> None:
    first, second = AUTHORITY.issue("worker"), AUTHORITY.issue("worker")
    assert first.key != second.key
    assert loaded(first).serial_number != loaded(second).serial_number


def test_openssl_verifies_the_chain(tmp_path: Path) -> None:
    write_credentials(tmp_path, AUTHORITY.issue("buffer", dns_names=buffer_dns_names("x.example")))
    for purpose in ("sslserver", "sslclient"):
        done = openssl_verify(tmp_path, purpose, "-verify_hostname", "x.example")
        assert done.returncode == 0, done.stderr
    assert openssl_verify(tmp_path, "sslserver", "-verify_hostname", "y.example").returncode != 0


def test_openssl_takes_a_worker_for_a_client_only(tmp_path: Path) -> None:
    write_credentials(tmp_path, AUTHORITY.issue("worker"))
    assert openssl_verify(tmp_path, "sslclient").returncode == 0
    assert openssl_verify(tmp_path, "sslserver").returncode != 0


def test_openssl_refuses_the_certificate_of_another_stream(tmp_path: Path) -> None:
    write_credentials(tmp_path, OTHER.issue("worker"))
    (tmp_path / "ca.crt").write_text(AUTHORITY.pem)
    assert openssl_verify(tmp_path, "sslclient").returncode != 0


def test_the_authority_signs_certificates_and_nothing_below_it_does() -> None:
    ca = x509.load_pem_x509_certificate(AUTHORITY.pem.encode()).extensions
    own = loaded(AUTHORITY.issue("worker")).extensions
    constraints = [e.get_extension_for_class(x509.BasicConstraints) for e in (ca, own)]
    assert [(c.value.ca, c.critical) for c in constraints] == [(True, True), (False, True)]
    assert constraints[0].value.path_length == 0


def test_names_of_a_buffer_are_given_once() -> None:
    assert buffer_dns_names("b-0", "buffer", "b-0") == ("buffer", "b-0")


def test_credentials_survive_their_files(tmp_path: Path) -> None:
    written = AUTHORITY.issue("consumer")
    write_credentials(tmp_path / "deep" / "tls", written)
    read = read_credentials(tmp_path / "deep" / "tls")
    assert (read.ca, read.certificate, read.key) == (written.ca, written.certificate, written.key)


def test_a_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    (folder / "tls.key").touch(mode=0o644)
    write_credentials(folder, AUTHORITY.issue("worker"))
    assert stat.S_IMODE((folder / "tls.key").stat().st_mode) == 0o600


def test_a_key_is_never_shown() -> None:
    credentials = AUTHORITY.issue("worker")
    secret = credentials.key.splitlines()[1]
    assert secret not in repr(credentials)
    assert secret not in credentials.describe()
    assert "CN=worker" in credentials.describe()


def test_an_expired_certificate_is_refused() -> None:
    credentials = AUTHORITY.issue("consumer", lifetime=timedelta(hours=1))
    with pytest.raises(PkiError, match=r"^memory: certificate expired at .*Z, expected a valid one"):
        check(credentials, NOW + timedelta(hours=2))


def test_a_certificate_from_the_future_is_refused() -> None:
    with pytest.raises(PkiError, match=r"valid from .*; is this machine's clock right"):
        check(AUTHORITY.issue("consumer"), NOW - timedelta(days=1))


def test_a_clock_that_is_a_little_behind_is_no_problem() -> None:
    check(AUTHORITY.issue("consumer"), NOW - timedelta(minutes=3))


def test_an_expired_authority_is_refused() -> None:
    short = Authority("default", "x", lifetime=timedelta(hours=1))
    with pytest.raises(PkiError, match="CA certificate expired at"):
        check(short.issue("consumer", lifetime=timedelta(days=1)), NOW + timedelta(hours=2))


@pytest.mark.parametrize("other", [OTHER, Authority("default", "lysozyme-44")], ids=["name", "same name"])
def test_a_certificate_of_another_authority_is_refused(other: Authority) -> None:
    mixed = AUTHORITY.issue("consumer")
    mixed = Credentials(other.pem, mixed.certificate, mixed.key, "here/tls.crt")
    with pytest.raises(PkiError, match=r"^here/tls.crt: .*CN=ca,O=lysozyme-44.*belongs to another stream"):
        check(mixed, NOW)


def test_a_key_of_another_certificate_is_refused() -> None:
    first, second = AUTHORITY.issue("worker"), AUTHORITY.issue("worker")
    with pytest.raises(PkiError, match="private key is not that of the certificate"):
        check(Credentials(first.ca, first.certificate, second.key), NOW)


@pytest.mark.parametrize("file", ["ca.crt", "tls.crt", "tls.key"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe\0", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_garbage_in_a_file_is_refused(tmp_path: Path, file: str, content: bytes) -> None:
    write_credentials(tmp_path, AUTHORITY.issue("worker"))
    (tmp_path / file).write_bytes(content)
    with pytest.raises(PkiError, match=str(tmp_path)):
        read_credentials(tmp_path)


@pytest.mark.parametrize("file", ["ca.crt", "tls.crt", "tls.key"])
def test_a_missing_file_is_refused(tmp_path: Path, file: str) -> None:
    write_credentials(tmp_path, AUTHORITY.issue("worker"))
    (tmp_path / file).unlink()
    with pytest.raises(PkiError, match=file):
        read_credentials(tmp_path)


def test_a_key_with_a_password_is_refused() -> None:
    credentials = AUTHORITY.issue("worker")
    key = load_pem_private_key(credentials.key.encode(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(PkiError, match="not a PEM certificate and key"):
        check(Credentials(credentials.ca, credentials.certificate, locked.decode()), NOW)


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both sides of a handshake, in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(down, up, server_hostname=name),
        server.wrap_bio(up, down, server_side=True),
    )
    waiting = list(sides)
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert not waiting
    return sides


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    server, client = tmp_path / "server", tmp_path / "client"
    write_credentials(server, AUTHORITY.issue("buffer", dns_names=buffer_dns_names()))
    write_credentials(client, AUTHORITY.issue("operator"))
    return server, client


def test_https_is_tls_1_3_and_both_sides_know_each_other(folders: tuple[Path, Path]) -> None:
    server, client = folders
    near, far = handshake(server_context(server), client_context(client), "buffer")
    assert near.version() == far.version() == "TLSv1.3"
    subject = {key: value for ((key, value),) in far.getpeercert()["subject"]}  # type: ignore[index, misc]
    assert subject["commonName"] == "operator"


def test_https_without_a_client_certificate_has_no_name(folders: tuple[Path, Path]) -> None:
    anonymous = ssl.create_default_context(cafile=str(folders[0] / "ca.crt"))
    _, far = handshake(server_context(folders[0]), anonymous, "buffer")
    assert not far.getpeercert()


def test_https_refuses_another_name(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(server_context(folders[0]), client_context(folders[1]), "elsewhere")


def test_https_refuses_the_client_of_another_stream(folders: tuple[Path, Path]) -> None:
    server, client = folders
    write_credentials(client, OTHER.issue("operator"))
    (client / "ca.crt").write_text(AUTHORITY.pem)
    with pytest.raises(ssl.SSLError):
        handshake(server_context(server), client_context(client), "buffer")


def test_https_refuses_the_server_of_another_stream(folders: tuple[Path, Path]) -> None:
    server, client = folders
    write_credentials(client, OTHER.issue("operator"))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(server), client_context(client), "buffer")


def test_an_exported_authority_goes_on_after_it_is_loaded(tmp_path: Path) -> None:
    loaded_again = Authority.load("default", "lysozyme-44", AUTHORITY.export())
    assert loaded_again.pem == AUTHORITY.pem
    write_credentials(tmp_path, loaded_again.issue("buffer", dns_names=buffer_dns_names()))
    done = openssl_verify(tmp_path, "sslserver")
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_credentials(tmp_path).ca == AUTHORITY.pem


def test_an_authority_of_another_stream_is_not_loaded() -> None:
    with pytest.raises(PkiError, match=r"CN=ca,O=another,OU=default, expected CN=ca,O=lysozyme-44"):
        Authority.load("default", "lysozyme-44", OTHER.export())


def test_what_is_no_authority_is_not_loaded() -> None:
    with pytest.raises(PkiError, match="CN=worker"):
        Authority.load("default", "lysozyme-44", AUTHORITY.issue("worker"))


def test_an_expired_authority_is_not_loaded() -> None:
    expired = Authority("default", "lysozyme-44", lifetime=timedelta(seconds=-1))
    with pytest.raises(PkiError, match="expired"):
        Authority.load("default", "lysozyme-44", expired.export())


def test_the_key_of_an_exported_authority_is_not_shown() -> None:
    assert "PRIVATE KEY" not in repr(AUTHORITY.export())
