"""A stream from its request to its end: what scientists see of the operator."""

from __future__ import annotations

import json
from typing import Any

from harness import Namespace, unique_name
from operator_rig import (
    API,
    children,
    condition,
    consume,
    consumed,
    operator,
    phase,
    project_image_name,
    request,
    streams,
    uids,
    until,
    until_phase,
)

__all__ = ["operator", "project_image_name", "streams"]


def test_a_request_becomes_a_stream_and_a_consumer_gets_every_event(streams: Namespace) -> None:
    streams.kubectl("apply", "--filename=-", stdin=json.dumps(request(events=64, shards=2)))
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
    events = streams.kubectl("get", "events", "--output=jsonpath={.items[*].reason}")
    assert {"Provisioning", "Streaming", "Completed"} <= set(events.split())


def test_shards_over_two_buffers_arrive_whole(streams: Namespace) -> None:
    streams.apply(request(events=60, shards=3, delivery={"memory": "16Mi", "buffers": 2}))
    consume(streams)
    assert consumed(streams)["events"] == 60
    assert phase(until_phase(streams, "Completed", "Failed")) == "Completed"


def test_a_worker_that_is_killed_is_tried_again_and_nothing_is_lost(streams: Namespace) -> None:
    streams.apply(request(events=120, shards=2, rate=4))
    consume(streams)
    until(streams, lambda one: (one.get("status") or {}).get("progress", {}).get("batches", 0) > 2)
    workers = "--selector=lclstream.io/stream=stream,app.kubernetes.io/component=worker"
    before = uids(json.loads(streams.kubectl("get", "pods", workers, "--output=json"))["items"])
    streams.kubectl("delete", "pod", workers, "--grace-period=0", "--force")
    assert consumed(streams)["events"] == 120
    done = until_phase(streams, "Completed", "Failed")
    assert done["status"]["progress"]["events"] == 120, done["status"]
    after = uids(json.loads(streams.kubectl("get", "jobs,pods", workers, "--output=json"))["items"])
    assert not set(before.values()) & set(after.values())


def test_a_buffer_that_is_killed_gets_what_it_held_again(streams: Namespace) -> None:
    streams.apply(request(events=64, shards=2, rate=4))
    until(streams, lambda one: (one.get("status") or {}).get("progress", {}).get("batches", 0) > 4)
    streams.kubectl("delete", "pod/stream-buffer-0", "--grace-period=0", "--force")
    # A worker gives a buffer up after 30 s, and its successor starts after the Job's backoff.
    until(streams, lambda one: one["status"].get("completedShards") == 2, timeout=180)
    consume(streams)
    assert consumed(streams)["events"] == 64
    assert phase(until_phase(streams, "Completed", "Failed")) == "Completed"


def test_a_request_that_is_deleted_tells_its_consumers(streams: Namespace) -> None:
    streams.apply(request(events=100_000, shards=2, rate=2))
    consume(streams)
    until(streams, lambda one: (one.get("status") or {}).get("progress", {}).get("delivered", 0) > 0)
    streams.kubectl("delete", "sr/stream", "--timeout=60s")
    streams.wait("job/consumer", "condition=Failed")
    said = json.loads(streams.kubectl("logs", "job/consumer").splitlines()[-1])
    assert "the request was deleted" in said["error"]


def test_a_suspended_stream_runs_nothing_and_goes_on_afterwards(streams: Namespace) -> None:
    streams.apply(request(events=80, shards=2, rate=4))
    until(streams, lambda one: (one.get("status") or {}).get("progress", {}).get("batches", 0) > 2)
    streams.kubectl("patch", "sr/stream", "--type=merge", "--patch", '{"spec": {"suspend": true}}')
    until_phase(streams, "Suspended")
    streams.watch("batch/v1", "Job", lambda found: not found[0]["status"].get("active"))
    streams.kubectl("patch", "sr/stream", "--type=merge", "--patch", '{"spec": {"suspend": false}}')
    consume(streams)
    assert consumed(streams)["events"] == 80
    assert phase(until_phase(streams, "Completed", "Failed")) == "Completed"


def test_scaling_a_request_changes_how_many_shards_run_at_once(streams: Namespace) -> None:
    streams.apply(request(events=4000, shards=3, rate=1))
    streams.watch("batch/v1", "Job", lambda found: any(job["status"].get("active") == 3 for job in found))
    streams.kubectl("scale", "sr/stream", "--replicas=1")
    streams.watch("batch/v1", "Job", lambda found: found[0]["spec"]["parallelism"] == 1)
    until(streams, lambda one: one["status"].get("activeWorkers") == 1)
    assert streams.kubectl("get", "sr/stream", "--output=jsonpath={.status.selector}")


def test_a_request_that_can_not_be_served_says_why_and_starts_once_it_can(streams: Namespace) -> None:
    source = {"dataset": {"name": "lysozyme", "run": "44"}}
    streams.apply({**request(), "spec": {**request()["spec"], "source": source}})
    waiting = until(streams, lambda one: bool(condition(one, "Accepted")))
    assert phase(waiting) == "Pending"
    said = condition(waiting, "Accepted")
    assert said["status"] == "False"
    assert "there is no Dataset 'lysozyme'" in said["message"]

    dataset: dict[str, Any] = {
        "apiVersion": API,
        "kind": "Dataset",
        "metadata": {"name": "lysozyme"},
        "spec": {
            "reader": "synthetic",
            "runs": [{"name": "43", "synthetic": {"events": 8, "shape": [8, 8]}}],
        },
    }
    streams.apply(dataset)
    waiting = until(streams, lambda one: "lysozyme'," not in condition(one, "Accepted")["message"])
    assert "44" in condition(waiting, "Accepted")["message"]
    assert not children(streams, "job,statefulset,secret")

    dataset["spec"]["runs"].append({"name": "44", "synthetic": {"events": 8, "shape": [8, 8]}})
    streams.apply(dataset)
    consume(streams)
    assert consumed(streams)["events"] == 8


def test_a_finished_stream_is_deleted_after_its_time_to_live(streams: Namespace) -> None:
    streams.apply(request(events=8, shards=1, ttlSecondsAfterFinished=0))
    consume(streams)
    streams.wait("streamrequest/stream", "delete")
    streams.kubectl("wait", "statefulset,job", "--selector=lclstream.io/stream=stream", "--for=delete")


def test_a_namespace_with_a_stream_at_work_can_be_deleted(streams: Namespace) -> None:
    namespace = Namespace(streams.cluster, unique_name("doomed"), streams.labels)
    namespace.create()
    namespace.apply(request(events=100_000, shards=2, rate=2))
    until_phase(namespace, "Streaming")
    namespace.kubectl("delete", "namespace", namespace.name, "--timeout=120s")
