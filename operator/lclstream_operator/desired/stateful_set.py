"""The StatefulSet of the buffers."""

from typing import Any

from lclstream.spec.stream import Resources
from lclstream_operator import names
from lclstream_operator.desired.context import Context
from lclstream_operator.desired.pod import CONFIG_FOLDER, pod_template
from lclstream_operator.desired.service import listened
from lclstream_operator.model import Manifest
from lclstream_operator.resources import SPILL_SLACK, buffer_memory, workers_of_a_buffer

_IMMUTABLE = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")


def build_stateful_set(context: Context) -> Manifest:
    """The StatefulSet: one pod for each buffer, each with the configuration of its index.

    A changed template (a new image, say) doesn't restart a running buffer, since what it holds would be
    lost; it is for the next pod that starts anyway. What Kubernetes doesn't let change stays as it is.
    """
    name, plan = names.buffer(context.name), context.plan
    certificate = names.secret(context.name, plan.buffers[0].certificate.name)
    template = pod_template(
        context, "buffer", _container(context), certificate=certificate, volumes=_spill_volumes(context)
    )
    spec: dict[str, Any] = {
        "replicas": len(plan.buffers),
        "serviceName": name,
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
        "revisionHistoryLimit": 1,
        "selector": {"matchLabels": context.selector("buffer")},
        "template": template,
    }
    if _spill(context) and context.site.spill_storage_class:
        spec["volumeClaimTemplates"] = [_claim(context)]
    live = context.live_spec("StatefulSet", name)
    if live:
        spec = {key: value for key, value in spec.items() if key not in _IMMUTABLE}
        spec |= {key: live[key] for key in _IMMUTABLE if key in live}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": context.metadata(name, "buffer"),
        "spec": spec,
    }


def _container(context: Context) -> dict[str, Any]:
    mounts = []
    if _spill(context):
        mounts.append({"name": "spill", "mountPath": context.plan.buffers[0].config.spill_directory})
    return {
        "args": ["buffer", "--config", f"{CONFIG_FOLDER}/{names.buffer_key('$(BUFFER_INDEX)')}"],
        "env": [
            {
                "name": "BUFFER_INDEX",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}},
            }
        ],
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in listened(context).items()
        ],
        "resources": _resources(context),
        # Two minutes to start; then alive means that it answers, ready that the stream goes on.
        "startupProbe": _probe("/healthz", period=1, failures=120),
        "livenessProbe": _probe("/healthz", period=20, failures=6),
        "readinessProbe": _probe("/readyz", period=5, failures=3),
        "volumeMounts": mounts,
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "status", "scheme": "HTTPS"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _resources(context: Context) -> dict[str, Any]:
    plan, defaults = context.plan, context.site.defaults.buffer
    workers = workers_of_a_buffer(plan.workers.config.shards, len(plan.buffers), plan.workers.parallelism)
    memory = str(buffer_memory(plan.buffers[0].config.memory, workers))
    requests, limits = {**defaults.requests, "memory": memory}, {**defaults.limits, "memory": memory}
    if _spill(context) and not context.site.spill_storage_class:
        requests["ephemeral-storage"] = str(_spill(context) + SPILL_SLACK)
    return Resources(requests=requests, limits=limits).model_dump()


def _spill(context: Context) -> int:
    return context.plan.buffers[0].config.spill


def _spill_volumes(context: Context) -> list[dict[str, Any]]:
    if not _spill(context) or context.site.spill_storage_class:
        return []
    return [{"name": "spill", "emptyDir": {"sizeLimit": str(_spill(context) + SPILL_SLACK)}}]


def _claim(context: Context) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "spill", "labels": context.labels("buffer")},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": context.site.spill_storage_class,
            "resources": {"requests": {"storage": str(_spill(context) + SPILL_SLACK)}},
        },
    }
