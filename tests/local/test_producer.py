"""The producer as a process of its own, against a responder over TLS, and its exit codes."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field

import h5py
import pytest

from lclstream.pki import Authority, buffer_dns_names, write_credentials
from lclstream.protocol import Refusal, ShardEnd, Stored, Welcome, read_ingest
from lclstream.transport import Closed, Responder
from lclstream.wire import Kind, decode, is_message

STREAM = "default/test"


@dataclass
class FakeBuffer:
    """Answers as a buffer would; what it took is in `batches` and `end`."""

    authority: Authority
    welcome: dict = field(default_factory=dict)
    refuse: Refusal | None = None
    hold: int | None = None
    batches: list = field(default_factory=list)
    end: ShardEnd | None = None
    held: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        credentials = self.authority.issue("buffer", dns_names=buffer_dns_names())
        self.responder = Responder("tls+tcp://127.0.0.1:0", credentials)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                request = self.responder.receive()
                answer = self._answer(request.body)
                if answer is not None:
                    request.reply(answer.encode())
            except Closed:
                return

    def _answer(self, body):
        if not is_message(body):
            hello = read_ingest(body)
            assert (hello.stream, hello.shard, hello.shards) == (STREAM, 0, 1)
            standing = {"sequence": 0, "position": None, "events": 0, "ended": False, "max_message": 1 << 30}
            return Welcome(**(standing | self.welcome))
        header, payload = decode(body)
        if header.kind is Kind.END:
            self.end = ShardEnd.model_validate_json(bytes(payload))
            return Stored()
        if self.hold is not None and len(self.batches) >= self.hold:
            self.held.set()
            return None
        self.batches.append((header, bytes(body)))
        return self.refuse or Stored()

    def close(self):
        self.responder.close()
        self.thread.join()


@pytest.fixture
def buffer(tmp_path):
    made = []

    def make(**changes):
        authority = Authority("default", "test")
        write_credentials(tmp_path / "tls", authority.issue("worker"))
        made.append(FakeBuffer(authority, **changes))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def producer(tmp_path):
    """Starts ``run`` or ``check``; ends what still runs."""
    started = []

    def start(command, url="tls+tcp://127.0.0.1:1", **changes):
        config = {
            "stream": STREAM,
            "shards": 1,
            "source": {"reader": "synthetic", "identifier": "x", "events": {},
                       "synthetic": {"events": 30, "shape": [16, 16]}},
            "fields": {}, "steps": [], "batchEvents": 4, "encoding": {},
            "sinkBuffer": {"buffers": [{"url": url}], "tls": str(tmp_path / "tls")},
            "maxMessage": 1 << 30,
        }  # fmt: skip
        path = tmp_path / "producer.json"
        path.write_text(json.dumps(config | changes))
        process = subprocess.Popen(
            [sys.executable, "-m", "lclstream_producer", command, "--config", str(path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"JOB_COMPLETION_INDEX": "0"},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(process):
    out, err = process.communicate()
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.splitlines()


def test_a_shard_reaches_its_buffer(buffer, producer):
    b = buffer()
    code, said, _ = finish(producer("run", b.responder.url))
    assert code == 0
    assert said == [{"event": "finished", "shard": 0, "events": 30, "batches": 8, "skipped": 0}]
    assert [header.sequence for header, _ in b.batches] == list(range(8))
    assert b.end == ShardEnd(events=30, batches=8, skipped=0)
    with h5py.File(io.BytesIO(b.batches[0][1])) as file:
        assert file["detector_data"].shape == (4, 16, 16)


def test_a_restarted_producer_goes_on_where_the_buffer_says(buffer, producer):
    whole = buffer()
    finish(producer("run", whole.responder.url))
    last = whole.batches[2][0]
    rest = buffer(welcome={"sequence": 3, "position": last.stop, "events": 12})
    code, said, _ = finish(producer("run", rest.responder.url))
    assert code == 0
    assert [message for _, message in rest.batches] == [message for _, message in whole.batches[3:]]
    assert rest.end == whole.end
    assert said[-1]["events"] == 30


def test_a_shard_that_has_ended_sends_nothing(buffer, producer):
    b = buffer(welcome={"sequence": 8, "position": 30, "events": 30, "ended": True})
    code, said, _ = finish(producer("run", b.responder.url))
    assert (code, b.batches, b.end) == (0, [], None)
    assert said[-1]["events"] == 30


def test_the_stream_is_over(buffer, producer):
    b = buffer(refuse=Refusal(reason="over", message="the stream was stopped"))
    code, said, _ = finish(producer("run", b.responder.url))
    assert (code, b.end) == (0, None)
    assert said == [{"event": "over", "shard": 0, "reason": "the stream was stopped"}]


@pytest.mark.parametrize(("reason", "code"), [("conflict", 1), ("too-large", 2)])
def test_a_refusal_is_said(buffer, producer, reason, code):
    b = buffer(refuse=Refusal(reason=reason, message="no, because"))
    found, said, errors = finish(producer("run", b.responder.url))
    assert (found, said, b.end) == (code, [], None)
    assert errors[-1].endswith("no, because")
    assert not any("Traceback" in line for line in errors)


def test_a_full_buffer_and_a_signal(buffer, producer):
    b = buffer(hold=2)
    process = producer("run", b.responder.url)
    assert b.held.wait(60)
    process.send_signal(signal.SIGTERM)
    code, said, errors = finish(process)
    assert (code, said, b.end) == (3, [], None)
    assert not any("Traceback" in line for line in errors)


def test_a_certificate_of_another_stream(buffer, producer, tmp_path):
    b = buffer()
    write_credentials(tmp_path / "tls", Authority("default", "other").issue("worker"))
    code, said, errors = finish(producer("run", b.responder.url))
    assert (code, said) == (1, [])
    assert "TLS refused" in errors[-1]


def test_check_says_what_a_batch_is(producer):
    code, said, errors = finish(producer("check"))
    assert (code, errors) == (0, [])
    assert said[0].keys() == {"events", "fields", "batchBytes"}
    assert said[0]["events"] == 30


def test_bad_input_is_a_line_a_problem(producer):
    code, said, errors = finish(producer("check", fields={"a": {}, "b": {"path": "/b"}}))
    assert (code, said) == (2, [])
    assert [line.partition(":")[0] for line in errors] == ["spec.fields.a", "spec.fields.b"]
