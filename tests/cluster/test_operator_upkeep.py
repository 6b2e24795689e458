"""The operator keeps streams as they should be: repair, deletion, its own death and its limits."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from harness import Namespace
from operator_rig import (
    API,
    DEPLOYMENT,
    PODS,
    children,
    condition,
    consume,
    consumed,
    operator,
    operator_alone,
    phase,
    project_image_name,
    request,
    scale,
    streams,
    uids,
    until,
    until_phase,
)

__all__ = ["operator", "operator_alone", "project_image_name", "streams"]

KINDS = {
    "ConfigMap": "v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "Secret": "v1",
    "Certificate": "cert-manager.io/v1",
    "Issuer": "cert-manager.io/v1",
    "Job": "batch/v1",
    "StatefulSet": "apps/v1",
}
OURS = "lclstream.io/stream=stream"


def endless(**spec: Any) -> dict[str, Any]:
    """A request for a stream that goes on until something is done about it."""
    return request(events=100_000, shards=2, rate=2, **spec)


def test_every_kind_of_object_that_is_deleted_comes_back(streams: Namespace) -> None:
    streams.apply(endless())
    until_phase(streams, "Streaming")
    for kind, api_version in KINDS.items():
        before = uids(children(streams, f"{kind.lower()}.{api_version.rpartition('/')[0]}".rstrip(".")))
        assert before, kind
        streams.kubectl("delete", kind, f"--selector={OURS}", "--wait=false")

        def is_back(found: list[dict[str, Any]], before: dict[str, str] = before) -> bool:
            now = uids(found)
            return now.keys() >= before.keys() and not set(now.values()) & set(before.values())

        streams.watch(api_version, kind, is_back, selector=OURS)
    until(streams, lambda one: condition(one, "WorkersReady").get("status") == "True")


def test_what_is_changed_by_hand_is_changed_back(streams: Namespace) -> None:
    streams.apply(endless())
    until_phase(streams, "Streaming")
    patch = {"spec": {"publishNotReadyAddresses": False}}
    streams.kubectl("patch", "service/stream-buffer", "--type=merge", "--patch", json.dumps(patch))
    streams.watch("v1", "Service", lambda found: found[0]["spec"].get("publishNotReadyAddresses") is True)
    streams.kubectl("scale", "statefulset/stream-buffer", "--replicas=2")
    streams.watch("apps/v1", "StatefulSet", lambda found: found[0]["spec"]["replicas"] == 1)
    streams.kubectl("label", "job/stream-workers", "app.kubernetes.io/name-")
    streams.watch("batch/v1", "Job", lambda found: "app.kubernetes.io/name" in found[0]["metadata"]["labels"])


@pytest.mark.parametrize(
    "when", ["Pending", "Provisioning", "Streaming", "Draining", "Suspended", "Completed"]
)
def test_a_request_can_be_deleted_in_every_phase(streams: Namespace, when: str) -> None:
    spec = {
        "Pending": request(source={"dataset": {"name": "missing", "run": "1"}}),
        "Draining": request(events=8, shards=1),
        "Suspended": request(suspend=True),
        "Completed": request(events=8, shards=1),
    }
    streams.apply(spec.get(when, endless()))
    if when == "Completed":
        consume(streams)
    until_phase(streams, when)
    streams.kubectl("delete", "sr/stream", "--timeout=60s")
    for kind in ("job", "statefulset", "secret", "pod"):
        streams.kubectl("wait", kind, f"--selector={OURS}", "--for=delete", "--timeout=60s")


def test_an_operator_that_dies_changes_nothing_for_a_stream(
    streams: Namespace, operator_alone: Namespace
) -> None:
    streams.apply(request(events=160, shards=2, rate=4))
    consume(streams)
    seen = until(streams, lambda one: (one.get("status") or {}).get("progress", {}).get("events", 0) > 8)
    before = uids(children(streams, "pods"))
    operator_alone.kubectl("delete", "pod", f"--selector={PODS}", "--grace-period=0", "--force")
    operator_alone.kubectl("rollout", "status", DEPLOYMENT, "--timeout=90s")
    events = seen["status"]["progress"]["events"]
    until(streams, lambda one: one["status"]["progress"]["events"] > events)
    now = uids(children(streams, "pods"))
    assert {name: now.get(name) for name in before} == before
    assert consumed(streams)["events"] == 160
    assert phase(until_phase(streams, "Completed", "Failed")) == "Completed"


def test_a_request_deleted_while_no_operator_is_there_goes_when_one_is(
    streams: Namespace, operator_alone: Namespace
) -> None:
    streams.apply(endless())
    until_phase(streams, "Streaming")
    scale(operator_alone, 0)
    streams.kubectl("delete", "sr/stream", "--wait=false")
    assert streams.get(API, "StreamRequest", "stream")["metadata"]["finalizers"]
    scale(operator_alone, 2)
    streams.wait("streamrequest/stream", "delete")


def test_of_two_operators_one_leads_and_the_other_follows_it(
    streams: Namespace, operator_alone: Namespace
) -> None:
    leader = leading(operator_alone)
    operator_alone.kubectl("delete", f"pod/{leader}", "--wait=false")
    found = operator_alone.watch(
        "coordination.k8s.io/v1",
        "Lease",
        lambda leases: bool(leases[0]["spec"]["holderIdentity"]) and holder(leases[0]) != leader,
    )
    operator_alone.kubectl("wait", f"pod/{leader}", "--for=delete", "--timeout=60s")
    operator_alone.kubectl("rollout", "status", DEPLOYMENT, "--timeout=90s")
    assert leading(operator_alone) == holder(found[0])
    streams.apply(request(events=8, shards=1))
    consume(streams)
    assert consumed(streams)["events"] == 8


def test_the_built_in_issuer_serves_a_stream(streams: Namespace, operator_alone: Namespace) -> None:
    scale(operator_alone, 0)
    arguments = ["--issuer", "builtin", "--no-leader-election", "--namespace", streams.name]
    operator_alone.apply(operator_pod(operator_alone, "builtin", arguments))
    try:
        streams.apply(request(events=64, shards=2))
        consume(streams)
        assert consumed(streams)["events"] == 64
        assert phase(until_phase(streams, "Completed", "Failed")) == "Completed"
        assert not children(streams, "certificates,issuers")
        secret = streams.get("v1", "Secret", "stream-consumer") if children(streams, "secret") else None
        assert not secret or "cert-manager.io/issuer-name" not in secret["metadata"].get("annotations", {})
    finally:
        operator_alone.kubectl("delete", "pod/builtin")


def test_an_operator_without_its_role_says_what_it_lacks(operator: Namespace, streams: Namespace) -> None:
    account = f"--serviceaccount={streams.name}:default"
    streams.kubectl("create", "rolebinding", "half", "--clusterrole=view", account)
    pod = operator_pod(operator, "powerless", ["--no-leader-election"])
    pod["spec"]["serviceAccountName"] = "default"
    pod["spec"].pop("volumes")
    container = pod["spec"]["containers"][0]
    container.pop("volumeMounts")
    container["args"] = ["run", "--no-leader-election", "--namespace", streams.name]
    streams.apply(pod)
    streams.wait("pod/powerless", "jsonpath={.status.phase}=Failed")
    status = streams.get("v1", "Pod", "powerless")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert status["exitCode"] == 2
    said = streams.kubectl("logs", "pod/powerless").splitlines()[-1]
    assert said.startswith("the operator's role lacks: ")
    assert f"patch streamrequests/status.lclstream.io in namespace {streams.name}" in said
    assert "list pods" not in said


def test_the_operator_shows_prometheus_its_queue_and_its_requests(operator: Namespace) -> None:
    pods = json.loads(operator.kubectl("get", "pods", f"--selector={PODS}", "--output=json"))["items"]
    shown = metrics(operator, pods[0]["metadata"]["name"])
    for name in (
        "workqueue_depth",
        "workqueue_adds_total",
        "rest_client_requests_total",
        "lclstream_reconcile",
    ):
        assert name in shown


def leading(operator: Namespace) -> str:
    """The name of the only pod that says it leads."""
    pods = json.loads(operator.kubectl("get", "pods", f"--selector={PODS}", "--output=json"))["items"]
    names: list[str] = [pod["metadata"]["name"] for pod in pods]
    leaders = [name for name in names if "leader_election_master_status 1.0" in metrics(operator, name)]
    assert len(leaders) == 1, names
    return leaders[0]


def metrics(operator: Namespace, pod: str) -> str:
    return operator.kubectl(
        "get", "--raw", f"/api/v1/namespaces/{operator.name}/pods/{pod}:8080/proxy/metrics"
    )


def holder(lease: dict[str, Any]) -> str:
    """The pod that holds a lease."""
    return str(lease["spec"]["holderIdentity"].split("_")[0])


def operator_pod(operator: Namespace, name: str, arguments: list[str]) -> dict[str, Any]:
    """A single operator as the Deployment would run it, with other arguments."""
    template = copy.deepcopy(operator.get("apps/v1", "Deployment", "lclstream-operator")["spec"]["template"])
    spec = template["spec"]
    spec["restartPolicy"] = "Never"
    container = spec["containers"][0]
    container["args"] = [*container["args"], *arguments]
    labels = template["metadata"]["labels"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {**labels, "app.kubernetes.io/component": "operator-of-a-test"}},
        "spec": spec,
    }
