"""What a stream takes, and what a site lets it take."""

import pytest

from lclstream.spec import StreamSpec, parse
from lclstream_operator.limits import demand, refusal, usage
from lclstream_operator.model import Usage
from lclstream_operator.resources import buffer_memory, worker_resources, workers_of_a_buffer
from lclstream_operator.site import SiteConfig
from operator_world import stream_request

GIB = 2**30


def spec(**parts) -> StreamSpec:
    return parse(StreamSpec, stream_request(**parts)["spec"])


def at_work(phase, uid="uid-1", **parts):
    request = stream_request(**parts)
    request["metadata"]["uid"] = uid
    request["status"] = {"phase": phase}
    return request


def test_what_a_stream_takes_is_what_runs_at_once():
    site = SiteConfig()
    one = demand(spec(), site)
    assert (one.streams, one.workers) == (1, 1)
    assert one.memory == GIB + buffer_memory(GIB, 1)
    wide = demand(spec(workers={"shards": 100, "parallelism": 10}, delivery={"buffers": 4}), site)
    assert wide.workers == 10
    assert wide.memory == 10 * GIB + 4 * buffer_memory(GIB, 10)
    assert demand(spec(workers={"shards": 2, "parallelism": 10}), site).workers == 2


@pytest.mark.parametrize(
    ("shards", "buffers", "parallelism", "expected"), [(4, 1, 4, 4), (5, 2, 5, 3), (5, 2, 1, 1), (1, 1, 0, 0)]
)
def test_producers_of_a_buffer(shards, buffers, parallelism, expected):
    assert workers_of_a_buffer(shards, buffers, parallelism) == expected


def test_memory_of_a_buffer_is_bounded_by_what_it_may_hold():
    assert buffer_memory(GIB, 10_000) == GIB + GIB // 8 + GIB + 2**28
    assert buffer_memory(2**20, 1) < 2**29


def test_only_streams_at_work_count_and_not_oneself():
    requests = [
        at_work("Streaming", "a"),
        at_work("Provisioning", "b", workers={"shards": 3}),
        at_work("Pending", "c"),
        at_work("Completed", "d"),
        at_work("Suspended", "e"),
        at_work("Draining", "me"),
        {"metadata": {}, "spec": {}, "status": {"phase": "Streaming"}},
        {"metadata": {}},
    ]
    taken = usage(requests, SiteConfig(), but="me")
    assert (taken.streams, taken.workers) == (3, 4)


@pytest.mark.parametrize(
    ("limits", "others", "words"),
    [
        ({}, Usage(99, 99, 99), None),
        ({"streamsPerNamespace": 3}, Usage(streams=2), None),
        (
            {"streamsPerNamespace": 3},
            Usage(streams=3),
            "streamsPerNamespace is 3: streams at work here take 3",
        ),
        ({"workersPerStream": 4}, Usage(), None),
        ({"workersPerStream": 3}, Usage(), "spec.workers.parallelism: 4 is not <= 3, this site's limit"),
        ({"workersPerNamespace": 6}, Usage(workers=3), "workersPerNamespace is 6"),
        ({"memoryPerNamespace": "1Gi"}, Usage(), "it alone asks for too much"),
        ({"memoryPerNamespace": "1Ti"}, Usage(memory=GIB), None),
    ],
)
def test_a_limit_is_named(limits, others, words):
    why = refusal("lab", spec(workers={"shards": 4}), others, SiteConfig(limits=limits))
    assert (why is None) == (words is None)
    if words:
        assert words in why
        assert "\n" not in why


def test_a_namespace_that_is_not_allowed():
    site = SiteConfig(allowedNamespaces=["beam", "mfx"])
    assert "expected one of beam, mfx" in refusal("lab", spec(), Usage(), site)
    assert refusal("beam", spec(), Usage(), site) is None
    assert "switched off" in refusal("lab", spec(), Usage(), SiteConfig(allowedNamespaces=[]))


@pytest.mark.parametrize(
    ("asked", "requests", "limits"),
    [
        ({}, {"cpu": "500m", "memory": "1Gi"}, {"memory": "1Gi"}),
        ({"requests": {"memory": "4Gi"}}, {"cpu": "500m", "memory": "4Gi"}, {"memory": "4Gi"}),
        ({"limits": {"memory": "4Gi"}}, {"cpu": "500m", "memory": "4Gi"}, {"memory": "4Gi"}),
        (
            {"requests": {"memory": "2Gi"}, "limits": {"memory": "4Gi", "cpu": "2"}},
            {"cpu": "2", "memory": "2Gi"},
            {"memory": "4Gi", "cpu": "2"},
        ),
    ],
)
def test_resources_of_producers(asked, requests, limits):
    found = worker_resources(spec(workers={"resources": asked}).workers.resources, SiteConfig())
    assert (found.requests, found.limits) == (requests, limits)
