"""The connection file: what a consumer needs to fetch a stream's batches, as JSON."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from lclstream.config import BUFFER_SERVER_NAME
from lclstream.pki import Credentials, check
from lclstream.spec import Model, SpecError, parse

_PEM = "-----BEGIN "


class Addresses(Model):
    """Where one buffer is reached."""

    lease: str | None = None
    """For consumers that acknowledge, such as tls+tcp://127.0.0.1:30002."""
    push: str | None = None
    """For plain nng PULL clients."""
    server_name: str = BUFFER_SERVER_NAME
    """DNS name the buffer's certificate carries."""


class Connection(Model):
    """How to reach a stream."""

    stream: str
    """namespace/name."""
    mode: Literal["lease", "push"]
    """How batches are handed out."""
    buffers: list[Addresses] = Field(min_length=1)
    """Every buffer of the stream; a consumer dials them all."""
    ca: str
    """Certificate of the stream's CA: PEM, or a path seen from the connection file."""
    certificate: str
    """The consumer's certificate, likewise."""
    key: str
    """Its private key, likewise."""
    expires: str | None = None
    """When the certificate does, RFC 3339."""


def read_connection(path: Path) -> tuple[Connection, Credentials]:
    """Read a connection file and the credentials it names, and check them.

    Raises:
        SpecError: the file is missing or is no connection file.
        PkiError: its credentials can't be used.
    """
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise SpecError(f"{path}: cannot read the connection file: {error.strerror}") from None
    except ValueError as error:
        raise SpecError(f"{path}: not a connection file: {error}") from None
    connection = parse(Connection, data, where=path.name)
    credentials = Credentials(
        ca=_pem(connection.ca, path, "ca"),
        certificate=_pem(connection.certificate, path, "certificate"),
        key=_pem(connection.key, path, "key"),
        origin=str(path),
    )
    check(credentials, datetime.now(UTC))
    return connection, credentials


def write_connection(path: Path, connection: Connection) -> None:
    """Write a connection file, readable by its owner only since it may hold a key."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(connection.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")


def _pem(value: str, file: Path, field: str) -> str:
    if value.startswith(_PEM):
        return value
    try:
        return (file.parent / value).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{file}: {field}: {value} cannot be read: {error}") from None
