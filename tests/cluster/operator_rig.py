"""The operator in the test cluster, and what its tests say and ask.

The operator runs as it is meant to: the Deployment of `manifests/operator`, under the role of
`manifests/operator/rbac.yaml`, from an image built of this checkout.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import project_image
import pytest
import yaml
from boot import lifecycle
from harness import Cluster, Manifest, Namespace, pod_spec

REPOSITORY = Path(__file__).resolve().parents[2]
SYSTEM = "lclstream-system"
DEPLOYMENT = "deployment/lclstream-operator"
PODS = "app.kubernetes.io/component=operator"
API = "lclstream.io/v1alpha1"
FOREIGN_IMAGE = "LCLSTREAM_PROJECT_IMAGE"
OVER = ("Completed", "Failed", "Canceled")


@pytest.fixture(scope="session")
def project_image_name(cluster: Cluster) -> str:
    """The image of this checkout, where the nodes of the cluster have it."""
    if not cluster.layout:
        name = os.environ.get(FOREIGN_IMAGE)
        return name or pytest.skip(f"set {FOREIGN_IMAGE} to this project's image, which the nodes can pull")
    with lifecycle.exclusive(cluster.layout):
        return project_image.load(cluster.layout)


@pytest.fixture(scope="session")
def operator(cluster: Cluster, project_image_name: str) -> Namespace:
    """The namespace of the operator, which is installed and leads."""
    install(cluster, project_image_name)
    return Namespace(cluster, SYSTEM)


@pytest.fixture
def streams(
    operator: Namespace, new_namespace: Callable[..., Namespace], project_image_name: str
) -> Iterator[Namespace]:
    """A namespace for streams; what the operator logged about it is shown when the test fails."""
    made = new_namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    made = dataclasses.replace(made, cluster=dataclasses.replace(made.cluster, image=project_image_name))
    yield made
    logs = operator.kubectl("logs", f"--selector={PODS}", "--tail=-1", "--prefix")
    concerned = [line for line in logs.splitlines() if made.name in line or "error" in line]
    sys.stdout.write("\n".join(concerned)[-20000:])


@pytest.fixture
def operator_alone(operator: Namespace) -> Iterator[Namespace]:
    """The operator's namespace, for a test that stops it: no other such test runs meanwhile."""
    folder = operator.cluster.layout.cache if operator.cluster.layout else Path(tempfile.gettempdir())
    with (folder / "operator.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield operator
        scale(operator, 2)


def scale(operator: Namespace, replicas: int) -> None:
    """Have so many operators, and wait until it is so."""
    operator.kubectl("scale", DEPLOYMENT, f"--replicas={replicas}")
    if replicas:
        operator.kubectl("rollout", "status", DEPLOYMENT, "--timeout=90s")
    else:
        operator.kubectl("wait", "pod", f"--selector={PODS}", "--for=delete", "--timeout=90s")


def install(cluster: Cluster, image: str) -> None:
    """Install the operator, or bring it up to date, and wait until it is there."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename", REPOSITORY / "crds")
    names = [f"crd/{kind}.lclstream.io" for kind in ("streamrequests", "datasets")]
    cluster.kubectl("wait", *names, "--for=condition=Established", "--timeout=60s")
    text = "---\n".join(yaml.safe_dump(manifest) for manifest in manifests(image))
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=text)
    cluster.kubectl("--namespace", SYSTEM, "rollout", "status", DEPLOYMENT, "--timeout=90s")


def manifests(image: str, **site: Any) -> list[dict[str, Any]]:
    """What `manifests/operator` holds, with an image and a site of ours."""
    found = [
        manifest
        for name in ("namespace", "rbac", "deployment")
        for manifest in yaml.safe_load_all((REPOSITORY / f"manifests/operator/{name}.yaml").read_text())
    ]
    small = {"requests": {"cpu": "10m", "memory": "64Mi"}}
    ours = {
        "image": image,
        "pollSeconds": 1,
        "defaults": {"workers": small, "buffer": {"requests": {"cpu": "10m"}}},
    }
    for manifest in found:
        if manifest["kind"] == "ConfigMap":
            before = yaml.safe_load(manifest["data"]["site.yaml"])
            manifest["data"]["site.yaml"] = yaml.safe_dump(before | ours | site)
        if manifest["kind"] == "Deployment":
            container = manifest["spec"]["template"]["spec"]["containers"][0]
            container["image"] = image
            container["resources"]["requests"]["cpu"] = "10m"
            # Another site is another operator: it reads the file once.
            digest = json.dumps(ours | site, sort_keys=True)
            manifest["spec"]["template"]["metadata"]["annotations"] = {"lclstream.io/site": digest}
    return found


def request(
    name: str = "stream", *, events: int = 64, shards: int = 2, rate: float | None = None, **spec: Any
) -> dict[str, Any]:
    """A request for events that are made up, each an 8 by 8 image."""
    return {
        "apiVersion": API,
        "kind": "StreamRequest",
        "metadata": {"name": name},
        "spec": {
            "source": {"synthetic": {"events": events, "shape": [8, 8], **({"rate": rate} if rate else {})}},
            "steps": [{"batch": {"events": 4}}],
            "delivery": {"memory": "16Mi"},
            "workers": {"shards": shards},
            **spec,
        },
    }


def consume(namespace: Namespace, stream: str = "stream", name: str = "consumer") -> None:
    """Start a Job that fetches a whole stream and says at its end, in JSON, what it got."""
    connection = until(namespace, lambda one: "connection" in (one.get("status") or {}), stream)["status"][
        "connection"
    ]
    file = {
        "stream": f"{namespace.name}/{stream}",
        "mode": connection["mode"],
        "buffers": [{connection["mode"]: address} for address in connection["addresses"]],
        "ca": "/tls/ca.crt",
        "certificate": "/tls/tls.crt",
        "key": "/tls/tls.key",
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"stream.json": json.dumps(file)},
    }
    mounts = [{"name": "tls", "mountPath": "/tls"}, {"name": "connection", "mountPath": "/connection"}]
    command = ["lclstream", "pull", "/connection/stream.json", "--json"]
    spec = pod_spec(namespace.image, command, volumeMounts=mounts)
    spec["restartPolicy"] = "Never"
    spec["volumes"] = [
        {"name": "tls", "secret": {"secretName": connection["secret"]}},
        {"name": "connection", "configMap": {"name": name}},
    ]
    template = {"metadata": {"labels": {"lclstream.io/consumer-of": stream}}, "spec": spec}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template},
    }
    namespace.apply(config, job)


def consumed(namespace: Namespace, name: str = "consumer") -> dict[str, Any]:
    """Wait for a consumer, and what it said at its end."""
    namespace.wait(f"job/{name}", "condition=Complete")
    lines = namespace.kubectl("logs", f"job/{name}").splitlines()
    return dict(json.loads(lines[-1]))


def stream_of(namespace: Namespace, name: str = "stream") -> dict[str, Any]:
    """A request as it is."""
    return namespace.get(API, "StreamRequest", name)


def until(
    namespace: Namespace,
    satisfied: Callable[[dict[str, Any]], bool],
    name: str = "stream",
    timeout: int = 120,
) -> dict[str, Any]:
    """Watch a request until it is so; the request."""

    def check(found: list[dict[str, Any]]) -> bool:
        return any(one["metadata"]["name"] == name and satisfied(one) for one in found)

    found = namespace.watch(API, "StreamRequest", check, timeout=timeout)
    return next(one for one in found if one["metadata"]["name"] == name)


def until_phase(
    namespace: Namespace, *phases: str, name: str = "stream", timeout: int = 120
) -> dict[str, Any]:
    """Watch a request until it is in one of these phases; the request."""
    return until(namespace, lambda one: phase(one) in phases, name, timeout)


def phase(request: Manifest) -> str:
    """The phase of a request; empty as long as it has none."""
    return str((request.get("status") or {}).get("phase") or "")


def condition(request: Manifest, kind: str) -> dict[str, Any]:
    """A condition of a request; empty as long as it has none."""
    conditions = (request.get("status") or {}).get("conditions") or ()
    return next((dict(one) for one in conditions if one["type"] == kind), {})


def children(namespace: Namespace, kind: str, name: str = "stream") -> list[dict[str, Any]]:
    """The objects of a kind, as kubectl names it, that belong to a stream."""
    found = namespace.kubectl("get", kind, f"--selector=lclstream.io/stream={name}", "--output=json")
    return list(json.loads(found)["items"])


def uids(found: list[dict[str, Any]]) -> dict[str, str]:
    """The uids of objects by their names."""
    return {one["metadata"]["name"]: one["metadata"]["uid"] for one in found}
