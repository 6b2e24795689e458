"""A cluster on paper: decisions are carried out on plain data, and the test says what pods do."""

import base64
import copy
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lclstream.pki import Authority, Credentials
from lclstream_operator import names, reading
from lclstream_operator.decide import decide
from lclstream_operator.issuer import fill
from lclstream_operator.model import Decision, IssuerKind, Key, Manifest, Observed, Usage
from lclstream_operator.site import SiteConfig

BEGIN = datetime.now(UTC).replace(microsecond=0)
"""Certificates are made by the real clock, so paper time begins with it."""

SYNTHETIC = {"synthetic": {"events": 100}}


def stream_request(**spec: Any) -> Manifest:
    return {
        "apiVersion": "lclstream.io/v1alpha1",
        "kind": "StreamRequest",
        "metadata": {"name": "first", "namespace": "lab", "uid": "uid-1", "generation": 1},
        "spec": {"source": SYNTHETIC, **spec},
    }


def dataset(**spec: Any) -> Manifest:
    return {
        "apiVersion": "lclstream.io/v1alpha1",
        "kind": "Dataset",
        "metadata": {"name": "lysozyme", "namespace": "lab"},
        "spec": {
            "volume": {"persistentVolumeClaim": {"claimName": "mfx", "readOnly": True}},
            "runs": [{"name": "44", "files": ["run0044/*.h5"]}],
            **spec,
        },
    }


def secret_data(credentials: Credentials) -> dict[str, str]:
    parts = {"ca.crt": credentials.ca, "tls.crt": credentials.certificate, "tls.key": credentials.key}
    return {key: base64.b64encode(text.encode()).decode() for key, text in parts.items()}


def said(phase: str = "Streaming", reason: str = "", shards: dict[int, str] | None = None, **counters: int):
    """What a buffer's status endpoint says."""
    return {
        "phase": phase,
        "reason": reason,
        "counters": counters,
        "shards": {str(shard): {"state": state} for shard, state in (shards or {0: "open"}).items()},
    }


@dataclass
class World:
    request: Manifest = field(default_factory=stream_request)
    dataset: Manifest | None = None
    site: SiteConfig = field(default_factory=SiteConfig)
    issuer: IssuerKind = "builtin"
    usage: Usage = field(default_factory=Usage)
    now: datetime = BEGIN
    children: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    pods: list[Manifest] = field(default_factory=list)
    buffers: dict[int, dict[str, Any]] = field(default_factory=dict)
    told: list[tuple[int, Any]] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)
    gone: bool = False
    _uids: Any = field(default_factory=itertools.count)

    # --- what the operator does

    def observed(self) -> Observed:
        return Observed(
            request=copy.deepcopy(self.request),
            dataset=copy.deepcopy(self.dataset),
            children=tuple(copy.deepcopy(list(self.children.values()))),
            pods=tuple(copy.deepcopy(self.pods)),
            buffers=copy.deepcopy(self.buffers),
            usage=self.usage,
            issuer=self.issuer,
            now=self.now,
        )

    def step(self) -> Decision:
        decision = decide(self.observed(), self.site)
        self.carry_out(decision)
        return decision

    def carry_out(self, decision: Decision) -> None:
        metadata = self.request["metadata"]
        if decision.finalizer:
            metadata["finalizers"] = [names.FINALIZER]
        key = Key(metadata["namespace"], metadata["name"])
        for secret in fill(key, decision.issue, list(self.children.values())):
            self.apply(secret)
        for manifest in decision.apply:
            self.apply(manifest)
        for ref in decision.prune:
            child = self.children.get((ref.kind, ref.name))
            assert child, f"{ref} is not there"
            assert child["metadata"]["uid"] == ref.uid
            del self.children[ref.kind, ref.name]
        self.told += [(index, word) for index, words in decision.tell.items() for word in words]
        self.notes += decision.notes
        if decision.status is not None:
            self.request["status"] = decision.status
        if decision.delete:
            metadata["deletionTimestamp"] = reading.stamp(self.now)
        if decision.finalizer is False:
            metadata.pop("finalizers", None)
        self.gone = "deletionTimestamp" in metadata and not metadata.get("finalizers")

    def apply(self, manifest: Manifest) -> None:
        key = manifest["kind"], manifest["metadata"]["name"]
        old = self.children.get(key)
        new = copy.deepcopy(manifest)
        fresh = {"uid": f"child-{next(self._uids)}", "creationTimestamp": reading.stamp(self.now)}
        new["metadata"] |= (
            {name: old["metadata"][name] for name in ("uid", "creationTimestamp")} if old else fresh
        )
        for kept in ("status", "data"):
            if old and kept in old and kept not in new:
                new[kept] = old[kept]
        if old and new["kind"] == "Job":
            immutable = [dict(m["spec"]) for m in (old, new)]
            for spec in immutable:
                spec.pop("parallelism"), spec.pop("suspend")
            assert immutable[0] == immutable[1], "a Job's template can't be changed"
        self.children[key] = new

    def settle(self, limit: int = 20) -> Decision:
        """Look again until nothing changes any more."""
        for _ in range(limit):
            before = copy.deepcopy((self.request, self.children))
            decision = self.step()
            if (self.request, self.children) == before:
                return decision
        raise AssertionError("it does not settle")

    # --- what is seen of it

    @property
    def status(self) -> Manifest:
        return self.request.get("status", {})

    @property
    def phase(self) -> str:
        return self.status.get("phase", "")

    def condition(self, kind: str) -> Manifest:
        return reading.condition(self.request, kind)

    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.children}

    @property
    def job(self) -> Manifest:
        return self.children["Job", names.workers("first")]

    # --- what the cluster, the pods and people do

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def cert_manager_issues(self) -> None:
        authority = Authority("lab", "first")
        for (kind, name), child in list(self.children.items()):
            if kind == "Certificate":
                child["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
                labels = child["spec"]["secretTemplate"]["labels"]
                made = {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": name, "namespace": "lab", "labels": labels},
                    "data": secret_data(authority.export()),
                }
                self.apply(made)

    def buffers_start(self, started: datetime | None = None) -> None:
        buffer_set = self.children["StatefulSet", names.buffer("first")]
        count = buffer_set["spec"]["replicas"]
        buffer_set["status"] = {"readyReplicas": count, "observedGeneration": 1}
        for index in range(count):
            self.pods.append(self._pod("buffer", f"first-buffer-{index}", started or self.now))
            shards = range(index, self.request["spec"].get("workers", {}).get("shards", 1), count)
            self.buffers[index] = said(shards=dict.fromkeys(shards, "open"))

    def workers_run(self, count: int = 1) -> None:
        self.job["status"] = {"active": count, "ready": count}
        self.pods += [
            self._pod("worker", f"first-workers-{index}-x", self.now, index) for index in range(count)
        ]

    def workers_done(self, completed: str = "0", failed: str = "") -> None:
        self.job["status"] = {
            "completedIndexes": completed,
            "failedIndexes": failed,
            "conditions": [{"type": "Failed" if failed else "Complete", "status": "True"}],
        }
        if failed:
            done = {"phase": "Failed", "containerStatuses": [terminated(2, "spec.fields.x: no such field\n")]}
            for pod in self._workers():
                pod["status"] = done
        else:
            self.pods = [pod for pod in self.pods if pod not in self._workers()]

    def delete(self) -> None:
        self.request["metadata"]["deletionTimestamp"] = reading.stamp(self.now)

    def streaming(self) -> "World":
        """Brought to the middle of a stream."""
        for _ in range(3):
            self.step()
        if self.issuer == "cert-manager":
            self.cert_manager_issues()
            self.step()
        self.buffers_start()
        self.wait(1)
        self.step()
        self.workers_run()
        self.wait(10)
        self.step()
        assert self.phase == "Streaming", self.status
        return self

    def _workers(self) -> list[Manifest]:
        return [pod for pod in self.pods if pod["metadata"]["labels"][names.COMPONENT] == "worker"]

    def _pod(self, component: Any, name: str, started: datetime, index: int = 0) -> Manifest:
        labels = names.labels("first", "uid-1", component)
        if component == "worker":
            labels["batch.kubernetes.io/job-completion-index"] = str(index)
        running = {"state": {"running": {"startedAt": reading.stamp(started)}}}
        return {
            "metadata": {"name": name, "labels": labels, "creationTimestamp": reading.stamp(started)},
            "status": {"phase": "Running", "containerStatuses": [running]},
        }


def terminated(code: int, message: str) -> Manifest:
    return {"state": {"terminated": {"exitCode": code, "reason": "Error", "message": message}}}
