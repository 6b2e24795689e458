"""The status endpoint of a buffer: who may see what, and what it says."""

import http.client
import json
import socket
import ssl
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from buffer_rig import Rig
from lclstream.pki import Authority, client_context, write_credentials


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def context(rig, role):
    if role is None:
        return ssl.create_default_context(cadata=rig.authority.pem)
    folder = rig.folder / f"client-{role}"
    write_credentials(folder, rig.credentials(role))
    return client_context(folder)


def get(rig, path, role=None, tls=None):
    tls = tls or context(rig, role)
    tls.check_hostname = False  # dialled by number; the name is the buffer's
    parts = urlsplit(rig.buffer.addresses()["status"])
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=tls, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_health_needs_no_certificate(rig):
    rig.start()
    assert get(rig, "/healthz") == (200, "alive\n")
    assert get(rig, "/readyz") == (200, "ready\n")
    assert get(rig, "/elsewhere")[0] == 404


def test_a_buffer_that_is_ending_is_alive_but_not_ready(rig):
    rig.start()
    consumer = rig.consumer()
    rig.buffer.cancel("enough")
    assert consumer.fetch().outcome == "canceled"
    assert get(rig, "/readyz")[0] == 503
    assert get(rig, "/healthz")[0] == 200
    assert json.loads(get(rig, "/status", "operator")[1])["phase"] == "Canceled"


@pytest.mark.parametrize("path", ["/status", "/metrics"])
@pytest.mark.parametrize("role", [None, "worker", "consumer", "buffer"])
def test_status_and_metrics_are_the_operators(rig, path, role):
    rig.start()
    status, said = get(rig, path, role)
    assert status == 403
    assert "expected one of role 'operator'" in said


def test_an_operator_of_another_stream_is_refused(rig, tmp_path):
    rig.start()
    other = Authority("beamline", "run-44")
    write_credentials(tmp_path / "other", other.issue("operator"))
    tls = client_context(tmp_path / "other")
    tls.load_verify_locations(cadata=rig.authority.pem)
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        get(rig, "/status", tls=tls)


def test_status_shows_where_everything_stands(rig):
    rig.start(shards=2, memory=1_000, spill=100_000)
    rig.worker(0).send(0, 1, 2)
    rig.worker(1).end(0)
    consumer = rig.consumer("a")
    consumer.fetch()
    code, text = get(rig, "/status", "operator")
    assert code == 200
    status = json.loads(text)
    assert (status["stream"], status["phase"]) == ("beamline/run-44", "Streaming")
    assert status["memory"] == {"used": 612, "bound": 1_000, "peak": 612}
    assert (status["spill"]["used"], status["spill"]["bound"]) == (1_224, 100_000)
    assert (status["counters"]["buffered"], status["counters"]["bufferedBytes"]) == (3, 1_836)
    assert status["counters"]["workers"] == 2
    assert status["groups"]["a"] == {
        "produced": 3,
        "acknowledged": 0,
        "leased": 1,
        "waiting": 2,
        "dropped": 0,
        "redelivered": 0,
        "members": 1,
    }
    assert (status["shards"]["0"]["batches"], status["shards"]["0"]["position"]) == (3, 12)
    assert (status["shards"]["0"]["state"], status["shards"]["1"]["state"]) == ("open", "ended")


def test_metrics_are_what_prometheus_reads(rig):
    rig.start()
    worker, consumer = rig.worker(), rig.consumer("a")
    worker.send(0, 1, 0)
    consumer.fetch(*[consumer.fetch()])
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(get(rig, "/metrics", "operator")[1])
        for sample in family.samples
    }
    prefix = "lclstream_buffer_"
    assert samples[prefix + "batches_received_total",] == 2
    assert samples[prefix + "bytes_received_total",] == 1_224
    assert samples[prefix + "batches_duplicates_total",] == 1
    assert samples[prefix + "batches_delivered_total", "a"] == 1
    assert samples[prefix + "batches_leased", "a"] == 1
    assert samples[prefix + "stored_bytes", "memory"] == 612
    assert samples[prefix + "stored_bytes", "spill"] == 0
    assert (samples[prefix + "consumers",], samples[prefix + "workers",]) == (1, 1)


def test_who_connects_and_says_nothing_is_in_nobodys_way(rig):
    rig.start()
    parts = urlsplit(rig.buffer.addresses()["status"])
    silent = [socket.create_connection((parts.hostname, parts.port)) for _ in range(20)]
    assert get(rig, "/healthz")[0] == 200
    rig.buffer.cancel("enough")
    assert rig.end().outcome == "canceled"
    for each in silent:
        each.close()
