"""A buffer as a process: what it prints, how it exits."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from datetime import timedelta

import pytest

from buffer_rig import Consumer, Rig
from lclstream.pki import Authority, client_context, write_credentials
from lclstream.protocol import LoseShard
from lclstream.transport import Requester, TransportError


class Process:
    """A buffer as the runtime starts it; answers to the same clients as one in this process."""

    def __init__(self, rig, path, **env):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lclstream", "buffer", "--config", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=rig.folder,
            env={**os.environ, **env},
        )

    def say(self):
        return json.loads(self.process.stdout.readline())

    def addresses(self):
        words = self.say()
        assert words.pop("event") == "listening"
        return words

    def end(self):
        out, errors = self.process.communicate()
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], errors


def status(rig):
    write_credentials(rig.folder / "operator", rig.credentials("operator"))
    context = client_context(rig.folder / "operator")
    context.check_hostname = False  # its certificate is for the name "buffer"
    url = rig.buffer.addresses()["status"]
    with urllib.request.urlopen(f"{url}/status", context=context) as answer:
        return json.load(answer)


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def start(rig):
    processes = []

    def begin(environment=None, text=None, **settings):
        path = rig.folder / "buffer.json"
        path.write_text(text or rig.config(**settings).model_dump_json(by_alias=True, exclude_none=True))
        processes.append(Process(rig, path, **(environment or {})))
        return processes[-1]

    def listen(**settings):
        process = begin(**settings)
        addresses = process.addresses()
        rig.buffer = type("Addresses", (), {"addresses": lambda self: addresses, "cancel": lambda *_: None})()
        return process

    begin.listening = listen
    yield begin
    for one in processes:
        one.process.kill()
        one.process.communicate()


def test_a_complete_stream_exits_0(rig, start):
    process = start.listening(reportSeconds=0.001)
    worker, consumer = rig.worker(), rig.consumer()
    worker.send(*range(5))
    worker.end(5)
    consumer.drain()
    consumer.leave()
    worker.requester.close()
    code, words, _ = process.end()
    assert code == 0
    *progress, finished = words
    assert {one["event"] for one in progress} == {"progress"}
    assert (finished["event"], finished["outcome"], finished["reason"]) == ("finished", "completed", "")
    assert (finished["batches"], finished["delivered"], finished["events"]) == (5, 5, 20)
    assert set(progress[-1]) - {"event"} == set(finished) - {"event", "outcome", "reason"}
    assert (finished["shardsEnded"], finished["shards"], finished["shardsLost"]) == (1, 1, 0)


def test_a_failed_stream_exits_1(rig, start):
    process = start.listening()
    operator = rig.operator()
    operator.ask(LoseShard(shard=0, reason="gone").encode())
    operator.requester.close()
    code, words, _ = process.end()
    assert code == 1
    assert (words[-1]["outcome"], words[-1]["reason"]) == ("failed", "shard 0 was lost: gone")


@pytest.mark.parametrize("mode", ["lease", "push"])
def test_sigterm_cancels_and_exits_3(rig, start, mode):
    process = start.listening(mode=mode, memory=700)
    worker = rig.worker()
    worker.send(0)
    if mode == "lease":
        consumer = rig.consumer()
        assert consumer.fetch() == (0, 0)
        process.process.send_signal(signal.SIGTERM)
        assert consumer.fetch().outcome == "canceled"
        consumer.leave()
    else:
        process.process.send_signal(signal.SIGTERM)
    worker.requester.close()
    code, words, _ = process.end()
    assert (code, words[-1]["outcome"], words[-1]["buffered"]) == (3, "canceled", 1)


def test_a_buffer_that_stays_answers_after_the_end_until_it_is_told_to_go(rig, start):
    process = start.listening(stay=True)
    operator = rig.operator()
    operator.ask(LoseShard(shard=0, reason="gone").encode())
    while status(rig)["phase"] != "Failed":
        pass
    late = rig.consumer()
    assert late.fetch().outcome == "failed"
    assert process.process.poll() is None
    process.process.send_signal(signal.SIGTERM)
    code, words, _ = process.end()
    assert (code, words[-1]["outcome"]) == (1, "failed")


@pytest.mark.parametrize("mode", ["lease", "push"])
def test_a_buffer_that_stays_and_is_told_to_go_early_tells_nobody_of_an_end(rig, start, mode):
    process = start.listening(stay=True, mode=mode)
    if mode == "lease":
        address = rig.buffer.addresses()["lease"]
        consumer = Consumer(Requester(address, rig.credentials("consumer"), "buffer", patience=0.1), "group")
        process.process.send_signal(signal.SIGTERM)
        with pytest.raises(TransportError):
            consumer.fetch()
    else:
        process.process.send_signal(signal.SIGTERM)
    assert process.end()[0] == 3


def test_a_buffer_ends_with_the_process_that_started_it(start):
    process = start.listening(environment={"LCLSTREAM_LIFELINE": "1"})
    process.process.stdin.close()
    process.process.stdin = None
    assert process.end()[0] == 3


@pytest.mark.parametrize("port", ["ingest", "lease", "status"])
def test_a_taken_port_is_one_line_and_exit_code_2(rig, start, port):
    first = start.listening()
    number = int(rig.buffer.addresses()[port].rsplit(":", 1)[1])
    listen = {"host": "127.0.0.1", "ingest": 0, "lease": 0, "push": 0, "status": 0, port: number}
    code, words, errors = start(listen=listen).end()
    assert (code, words) == (2, [])
    assert len(errors.splitlines()) == 1
    assert str(number) in errors
    assert "in use" in errors
    first.process.terminate()
    assert first.end()[0] == 3


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"memory": 512}, "memory: 512 is not > 512"),
        ({"shards": 2, "totalShards": 1}, "shards: [0, 1] are not different numbers below 1"),
        ({"spill": 10_000, "spillDirectory": "/dev/null/spill"}, "/dev/null/spill: cannot be used to spill"),
        ({"tls": "nowhere"}, "nowhere: cannot read the certificate"),
        ({"text": '{"stream": "a/b", "colour": 1}'}, "colour"),
        ({"text": "{"}, "cannot be read as JSON"),
    ],
)
def test_bad_input_is_exit_code_2(start, settings, complaint):
    code, words, errors = start(**settings).end()
    assert (code, words) == (2, [])
    assert complaint in errors
    assert "Traceback" not in errors


def test_credentials_that_are_expired_or_foreign_are_exit_code_2(rig, start):
    expired = rig.authority.issue("buffer", dns_names=["buffer"], lifetime=timedelta(seconds=-1))
    foreign = Authority("a", "b").issue("buffer", dns_names=["buffer"])
    write_credentials(rig.folder / "expired", expired)
    write_credentials(rig.folder / "foreign", foreign)
    (rig.folder / "foreign" / "ca.crt").write_text(rig.authority.pem)
    for folder, complaint in (("expired", "certificate expired"), ("foreign", "belongs to another stream")):
        code, words, errors = start(tls=str(rig.folder / folder)).end()
        assert (code, words, len(errors.splitlines())) == (2, [], 1)
        assert complaint in errors
