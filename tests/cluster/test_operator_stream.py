"""A stream from its request to its end: what scientists see of the operator."""

from __future__ import annotations

import json

import pytest
from harness import Namespace
from operator_rig import (
    condition,
    consume,
    consumed,
    operator,
    project_image_name,
    request,
    streams,
    until_phase,
)

__all__ = ["operator", "project_image_name", "streams"]


def test_a_request_becomes_a_stream_and_a_consumer_gets_every_event(streams: Namespace) -> None:
    streams.kubectl("apply", "--filename=-", stdin=json.dumps(request(events=64, shards=2)))
    until_phase(streams, "Streaming", "Draining")
    consume(streams)
    got = consumed(streams)
    assert (got["events"], got["batches"]) == (64, 16)
    done = until_phase(streams, "Completed", "Failed", "Canceled")
    assert done["status"]["phase"] == "Completed", done["status"]
    assert condition(done, "Complete")["status"] == "True"
    progress = done["status"]["progress"]
    assert (progress["events"], progress["batches"], progress["delivered"]) == (64, 16, 16)
    header, row = streams.kubectl("get", "sr").splitlines()
    assert header.split()[:2] == ["NAME", "PHASE"]
    assert row.split()[:2] == ["stream", "Completed"]


@pytest.mark.parametrize("issuer", ["cert-manager"])
def test_certificates_come_from_cert_manager_where_it_is(streams: Namespace, issuer: str) -> None:
    streams.apply(request())
    until_phase(streams, "Streaming", "Draining")
    secret = streams.get("v1", "Secret", "stream-buffer")
    assert secret["metadata"]["annotations"]["cert-manager.io/issuer-name"] == "stream-ca"
    assert issuer == "cert-manager"
