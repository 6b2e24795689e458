"""The connection file."""

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from lclstream.connection import Addresses, Connection, read_connection, write_connection
from lclstream.pki import Authority, PkiError, write_credentials
from lclstream.spec import SpecError


@pytest.fixture
def authority():
    return Authority("default", "first-light")


def connection(**changes):
    words = {
        "stream": "default/first-light",
        "mode": "lease",
        "buffers": [Addresses(lease="tls+tcp://127.0.0.1:30002")],
        "ca": "tls/ca.crt",
        "certificate": "tls/tls.crt",
        "key": "tls/tls.key",
    }
    return Connection(**{**words, **changes})


def test_paths_are_seen_from_the_file(tmp_path, authority):
    credentials = authority.issue("consumer")
    write_credentials(tmp_path / "tls", credentials)
    write_connection(tmp_path / "stream.json", connection())
    read, found = read_connection(tmp_path / "stream.json")
    assert read == connection()
    assert (found.ca, found.certificate, found.key) == (
        credentials.ca,
        credentials.certificate,
        credentials.key,
    )


def test_pem_may_stand_in_the_file_itself(tmp_path, authority):
    own = authority.issue("consumer")
    inline = connection(ca=own.ca, certificate=own.certificate, key=own.key)
    write_connection(tmp_path / "stream.json", inline)
    assert read_connection(tmp_path / "stream.json")[1].key == own.key


def test_the_file_is_for_its_owner_only(tmp_path):
    path = tmp_path / "stream.json"
    path.write_text("")
    path.chmod(0o644)
    write_connection(path, connection())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_expired_certificate_is_found_before_anything_is_dialled(tmp_path, authority):
    expired = authority.issue("consumer", lifetime=timedelta(seconds=-1))
    write_credentials(tmp_path / "tls", expired)
    write_connection(tmp_path / "stream.json", connection())
    with pytest.raises(PkiError, match=f"expired at {datetime.now(UTC):%Y}"):
        read_connection(tmp_path / "stream.json")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"mode": "pull"}, "stream.json.mode: 'pull' is not one of 'lease' or 'push'"),
        ({"buffers": []}, "stream.json.buffers"),
        ({"key": "tls/none.key"}, "key: tls/none.key cannot be read"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, authority, change, line):
    write_credentials(tmp_path / "tls", authority.issue("consumer"))
    words = connection().model_dump(by_alias=True, exclude_none=True) | change
    (tmp_path / "stream.json").write_text(json.dumps(words))
    with pytest.raises(SpecError) as caught:
        read_connection(tmp_path / "stream.json")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
