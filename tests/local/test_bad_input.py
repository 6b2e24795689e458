"""Bad input gets a line that names field, value and expectation, exit code 2, and starts nothing."""

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta

import h5py
import numpy as np
import pytest
import yaml

from lclstream.pki import Authority, write_credentials
from support import LCLSTREAM, request

SYNTHETIC = {"synthetic": {"events": 20, "shape": [32, 48]}}


@pytest.fixture
def refused(tmp_path):
    """Run a request that must be refused; returns the lines that say why."""

    def run(documents, *command):
        path = tmp_path / "request.yaml"
        path.write_text(documents if isinstance(documents, str) else yaml.safe_dump_all(documents))
        temporary = tmp_path / "tmp"
        temporary.mkdir()
        done = subprocess.run(
            [*LCLSTREAM, *(command or ("run",)), str(path)],
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert list(temporary.iterdir()) == [], "something was started, or left behind"
        return done.stderr.splitlines()

    return run


@pytest.fixture
def refused_spec(refused):
    def run(**spec):
        lines = refused([request(**{"source": SYNTHETIC, **spec})])
        assert len(lines) == 1, lines
        return lines[0]

    return run


def test_what_the_schema_refuses(refused_spec):
    steps = [{"batch": {"events": 0}}]
    assert refused_spec(steps=steps) == "error: spec.steps[0].batch.events: 0 is not > 0"


def test_every_mistake_has_its_line(refused):
    lines = refused([request(source={"synthetic": {"events": 0}}, workers={"shard": 2})])
    assert sorted(lines) == [
        "error: spec.source.synthetic.events: 0 is not > 0",
        "error: spec.workers.shard: 2 given, but there is no such field",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[1", "not YAML"),
        ("", "0 StreamRequests, expected one"),
        ("hello", "document 1 is not a mapping"),
        ("{apiVersion: v1, kind: Pod}", "apiVersion: 'v1' is not 'lclstream.io/v1alpha1'"),
        ("{apiVersion: lclstream.io/v1alpha1, kind: Stream}", "kind: 'Stream' is not one of"),
    ],
)
def test_what_is_no_request(refused, text, line):
    (said,) = refused(text)
    assert line in said


def test_an_unknown_field_names_those_there_are(refused_spec):
    line = refused_spec(fields={"nope": {}})
    assert line.startswith("error: spec.fields.nope: ")
    assert "detector_data" in line


def test_a_missing_dataset_path_lists_what_is_there(refused_spec, run_file):
    line = refused_spec(source={"hdf5": {"files": [str(run_file)]}}, fields={"x": {"path": "/entry_1/data"}})
    assert line.startswith("error: spec.fields.x.path: /entry_1/data")
    assert "/entry_1/data_1/data" in line


def test_files_that_are_not_there_or_not_hdf5(refused_spec, tmp_path):
    assert "none/*.h5" in refused_spec(source={"hdf5": {"files": ["none/*.h5"]}})


def test_a_file_that_is_not_hdf5(refused_spec, tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    line = refused_spec(source={"hdf5": {"files": ["text.h5"]}}, fields={"x": {"path": "/x"}})
    assert "text.h5" in line
    assert "HDF5" in line


def test_no_events_selected(refused_spec):
    line = refused_spec(source={**SYNTHETIC, "events": {"start": 20}})
    assert line.startswith("error: spec.source.events")
    assert "20" in line


@pytest.mark.parametrize(
    ("step", "field"),
    [
        ({"crop": {"field": "detector_data", "height": 33, "width": 48}}, "spec.steps[0].crop"),
        ({"pad": {"field": "detector_data", "height": 16, "width": 16}}, "spec.steps[0].pad"),
        ({"bin": {"field": "detector_data", "factor": 5}}, "spec.steps[0].bin"),
        ({"crop": {"field": "photon_energy", "height": 1, "width": 1}}, "spec.steps[0].crop"),
        ({"cast": {"field": "nope", "dtype": "int8"}}, "spec.steps[0].cast.field"),
        ({"mask": {"field": "detector_data", "file": "none.npy"}}, "spec.steps[0].mask.file"),
    ],
)
def test_a_step_that_does_not_fit_its_field(refused_spec, step, field):
    assert refused_spec(steps=[step]).startswith(f"error: {field}")


def test_a_mask_of_another_shape_says_both(refused_spec, tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((16, 16)))
    line = refused_spec(steps=[{"mask": {"field": "detector_data", "file": "mask.npy"}}])
    assert "(16, 16)" in line
    assert "(32, 48)" in line


def test_memory_smaller_than_one_batch(refused_spec):
    line = refused_spec(delivery={"memory": "10Ki"})
    assert "10240" in line
    assert "delivery.memory" in line


def test_a_shape_that_differs_between_fields(refused_spec, tmp_path):
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["a"] = np.zeros((10, 4, 4))
        file["b"] = np.zeros(7)
    line = refused_spec(
        source={"hdf5": {"files": ["odd.h5"]}}, fields={"a": {"path": "/a"}, "b": {"path": "/b"}}
    )
    assert "10" in line
    assert "7" in line


def test_suspended(refused_spec):
    assert refused_spec(suspend=True).startswith("error: spec.suspend: true")


def test_validate_says_the_same(refused):
    (line,) = refused([request(source=SYNTHETIC, fields={"nope": {}})], "validate")
    assert line.startswith("error: spec.fields.nope: ")


def test_the_connection_file_cannot_be_used(tmp_path):
    def pull(path):
        command = [*LCLSTREAM, "pull", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        return line

    def connection(credentials, ca):
        write_credentials(tmp_path / "tls", credentials)
        (tmp_path / "tls" / "ca.crt").write_text(ca)
        path = tmp_path / "stream.json"
        words = {
            "stream": "default/s",
            "mode": "lease",
            "buffers": [{"lease": "tls+tcp://127.0.0.1:9"}],
            "ca": "tls/ca.crt",
            "certificate": "tls/tls.crt",
            "key": "tls/tls.key",
        }
        path.write_text(json.dumps(words))
        return path

    one, other = Authority("default", "s"), Authority("default", "other")
    expired = one.issue("consumer", lifetime=timedelta(seconds=-1))
    assert "expired" in pull(connection(expired, one.pem))
    assert "another stream" in pull(connection(one.issue("consumer"), other.pem))
    assert "cannot read" in pull(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"stream": ')
    assert "not a connection file" in pull(tmp_path / "half.json")


@pytest.mark.parametrize("foreign", [True, False])
def test_a_certificate_of_another_stream_or_none_is_refused(run_stream, tmp_path, foreign):
    stream = run_stream(source=SYNTHETIC)
    words = json.loads(stream.connection.read_text())
    theirs = Authority("default", "other")
    if foreign:
        # Complete and consistent in itself, so only the buffer can refuse it.
        write_credentials(tmp_path / "theirs", theirs.issue("consumer"))
        words |= {"ca": "theirs/ca.crt", "certificate": "theirs/tls.crt", "key": "theirs/tls.key"}
        mine = tmp_path / "mine.json"
        mine.write_text(json.dumps(words))
        command = [*LCLSTREAM, "pull", str(mine)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "TLS refused" in done.stderr
        assert "O=other" in done.stderr
    else:
        script = (
            "import pynng, sys, json; c = json.load(open(sys.argv[1])); T = pynng.TLSConfig\n"
            "s = pynng.Req0(recv_timeout=10000)\n"
            "s.tls_config = T(T.MODE_CLIENT, server_name='buffer', ca_string=open(c['ca']).read(),"
            " auth_mode=T.AUTH_MODE_REQUIRED)\n"
            "s.dial(c['buffers'][0]['lease'], block=True)\n"
        )
        command = [sys.executable, "-c", script, str(stream.connection)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "CryptoError" in done.stderr


def test_a_port_that_is_taken(refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (line,) = refused([request(source=SYNTHETIC)], "run", "--port", str(port))
    assert f"127.0.0.1:{port}" in line
    assert "address in use" in line
