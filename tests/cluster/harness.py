"""What tests use to talk to a cluster: any cluster, not only the one that `boot` makes.

Waiting is by watch, either `kubectl wait` or `Namespace.watch`; nothing here sleeps.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boot import build
from boot.layout import BASE_IMAGE, Layout
from kubernetes import client, config
from kubernetes.dynamic import DynamicClient

Manifest = Mapping[str, Any]

# Used on a cluster that is not ours: any image with python3 on its PATH will do.
FOREIGN_IMAGE = "python:3.11-slim"
FIELD_MANAGER = "lclstream-tests"


@dataclass(frozen=True)
class Cluster:
    """A cluster that a kubeconfig, or several separated by colons, lead to.

    `layout` is set if it is the cluster of this repository, whose components a test can stop.
    `image` is the name of an image with Python that its node has, or can pull.
    """

    kubeconfig: str
    layout: Layout | None
    image: str

    @staticmethod
    def at(kubeconfig: str, own: Layout) -> Cluster:
        is_own = kubeconfig == str(own.admin_kubeconfig)
        image = os.environ.get("LCLSTREAM_TEST_IMAGE", BASE_IMAGE if is_own else FOREIGN_IMAGE)
        return Cluster(kubeconfig, own if is_own else None, image)

    @functools.cached_property
    def api(self) -> client.ApiClient:
        configuration = client.Configuration()
        config.load_kube_config(self.kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
        return client.ApiClient(configuration)

    @functools.cached_property
    def dynamic(self) -> DynamicClient:
        return DynamicClient(self.api)  # type: ignore[no-untyped-call]

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    def program(self, name: str) -> str:
        """The path of kubectl or helm: the one that was built, else the one on PATH."""
        built = self.layout and build.programs(self.layout) / "bin" / name
        found = str(built) if built else shutil.which(name)
        assert found, f"{name}: command not found"
        return found

    def run(
        self, program: str, *words: str | Path, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl or helm against this cluster; `check` fails the test if it fails."""
        argv = [self.program(program), *map(str, words)]
        env = {**os.environ, "KUBECONFIG": self.kubeconfig}
        done = subprocess.run(argv, env=env, input=stdin, text=True, capture_output=True, check=False)
        assert not check or done.returncode == 0, (
            f"{program} {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def kubectl(self, *words: str | Path, stdin: str = "") -> str:
        return self.run("kubectl", *words, stdin=stdin).stdout


@dataclass(frozen=True)
class Namespace:
    """A namespace of its own for one test."""

    cluster: Cluster
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def image(self) -> str:
        return self.cluster.image

    def create(self) -> None:
        metadata = client.V1ObjectMeta(name=self.name, labels=dict(self.labels))
        self.cluster.core.create_namespace(client.V1Namespace(metadata=metadata))
        # Until its service account exists, the namespace refuses pods.
        self.wait("serviceaccount/default", "create")

    def delete(self) -> None:
        """Begin to delete the namespace; nobody has to wait for it to be gone."""
        self.cluster.core.delete_namespace(self.name)

    def kubectl(self, *words: str | Path, stdin: str = "") -> str:
        return self.cluster.kubectl("--namespace", self.name, *words, stdin=stdin)

    def apply(self, *manifests: Manifest) -> None:
        """Create or change objects by server-side apply.

        Raises kubernetes.client.ApiException if the API server refuses one.
        """
        for manifest in manifests:
            self._resource(manifest["apiVersion"], manifest["kind"]).server_side_apply(
                body=dict(manifest),
                name=manifest["metadata"]["name"],
                namespace=self.name,
                field_manager=FIELD_MANAGER,
            )

    def get(self, api_version: str, kind: str, name: str) -> dict[str, Any]:
        """One object, as the API server has it."""
        found = self._resource(api_version, kind).get(name=name, namespace=self.name)
        return dict(found.to_dict())

    def wait(self, what: str, condition: str, timeout: int = 120) -> None:
        """`kubectl wait`: such as wait("job/sum", "condition=Complete")."""
        self.kubectl("wait", what, f"--for={condition}", f"--timeout={timeout}s")

    def watch(
        self,
        api_version: str,
        kind: str,
        satisfied: Callable[[list[dict[str, Any]]], bool],
        *,
        selector: str = "",
        timeout: int = 120,
    ) -> list[dict[str, Any]]:
        """Watch the objects that a label selector matches until all of them together satisfy."""
        present: dict[str, dict[str, Any]] = {}
        events = self._resource(api_version, kind).watch(
            namespace=self.name, label_selector=selector, timeout=timeout
        )
        for event in events:
            seen = event["raw_object"]
            name = seen["metadata"]["name"]
            if event["type"] == "DELETED":
                present.pop(name, None)
            else:
                present[name] = seen
            if satisfied(list(present.values())):
                return list(present.values())
        raise AssertionError(f"{kind} {selector}: not so after {timeout} s: {json.dumps(present)}")

    def _resource(self, api_version: str, kind: str) -> Any:
        return self.cluster.dynamic.resources.get(api_version=api_version, kind=kind)


def unique_name(test: str) -> str:
    """A namespace name that tells the test it belongs to and that no parallel run has."""
    slug = re.sub(r"[^a-z0-9]+", "-", test.lower().removeprefix("test_")).strip("-")
    return f"{slug[:48].rstrip('-')}-{uuid.uuid4().hex[:8]}"


def pod(name: str, image: str, command: Sequence[str], **spec: Any) -> dict[str, Any]:
    """A pod of one container that meets the restricted Pod Security Standard."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {**pod_spec(image, command), "restartPolicy": "Never", **spec},
    }


def pod_spec(image: str, command: Sequence[str], **container: Any) -> dict[str, Any]:
    """The pod spec of such a pod; `container` has further fields of its container."""
    return {
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "main",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": list(command),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
                **container,
            }
        ],
    }
