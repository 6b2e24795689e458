"""The Job of the producers."""

from typing import Any

from lclstream.plan import DATA_FOLDER
from lclstream.process import EXIT_BAD_INPUT, EXIT_CANCELED
from lclstream.spec import Volume
from lclstream_operator import names, reading
from lclstream_operator.desired.context import Context
from lclstream_operator.desired.pod import CONFIG_FOLDER, pod_template
from lclstream_operator.model import Manifest
from lclstream_operator.resources import worker_resources

_MUTABLE = ("parallelism", "suspend")
_LABELS_OF_THE_JOB = ("controller-uid", "job-name")


def build_job(context: Context) -> Manifest:
    """The Job: one index for each shard.

    Nearly everything of a Job is fixed once it is made; then only how many of its shards run at once, and
    whether any does, follow the request.
    """
    name, workers = names.workers(context.name), context.plan.workers
    shards = workers.config.shards
    spec: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": shards,
        "parallelism": min(workers.parallelism, shards),
        "suspend": context.suspend,
        "backoffLimitPerIndex": workers.retries_per_shard,
        # The other shards go on: what they deliver is of use without the lost one.
        "maxFailedIndexes": shards,
        "podFailurePolicy": {"rules": _failure_rules()},
        # The successor of a pod starts when the pod has ended: never two producers of a shard at once.
        "podReplacementPolicy": "Failed",
        "template": _template(context),
    }
    live = context.live_spec("Job", name)
    if live:
        fixed = {key: live[key] for key in spec if key in live and key not in _MUTABLE}
        fixed["template"] = _without_labels_of_the_job(fixed.get("template"))
        spec = fixed | {key: spec[key] for key in _MUTABLE}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": context.metadata(name, "worker"),
        "spec": spec,
    }


def _without_labels_of_the_job(template: Any) -> dict[str, Any]:
    """A template as we would have written it: what Kubernetes puts into its labels is not ours to apply."""
    metadata = reading.mapping(template, "metadata")
    labels = {
        key: value
        for key, value in reading.mapping(metadata, "labels").items()
        if key not in _LABELS_OF_THE_JOB and not key.startswith("batch.kubernetes.io/")
    }
    return {"metadata": {"labels": labels}, "spec": reading.get(template, "spec")}


def _failure_rules() -> list[dict[str, Any]]:
    return [
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        {"action": "FailIndex", "onExitCodes": _exit_code(EXIT_BAD_INPUT)},
        # Told to stop, by a suspension say: nothing failed.
        {"action": "Ignore", "onExitCodes": _exit_code(EXIT_CANCELED)},
    ]


def _exit_code(code: int) -> dict[str, Any]:
    return {"containerName": "worker", "operator": "In", "values": [code]}


def _template(context: Context) -> dict[str, Any]:
    workers = context.plan.workers
    container: dict[str, Any] = {
        "args": ["producer", "run", "--config", f"{CONFIG_FOLDER}/{names.PRODUCER_KEY}"],
        # Locks need to write, and the data are mounted read-only.
        "env": [{"name": "HDF5_USE_FILE_LOCKING", "value": "FALSE"}],
        "resources": worker_resources(context.worker_resources, context.site).model_dump(),
    }
    if workers.image:
        container["image"] = workers.image
    volumes = []
    if workers.volume:
        container["volumeMounts"] = [{"name": "data", "mountPath": DATA_FOLDER, "readOnly": True}]
        volumes.append({"name": "data", **_source(workers.volume)})
    certificate = names.secret(context.name, workers.certificate.name)
    template = pod_template(context, "worker", container, certificate=certificate, volumes=volumes)
    template["spec"]["restartPolicy"] = "Never"
    return template


def _source(volume: Volume) -> dict[str, Any]:
    """The volume of a Dataset as a pod writes it: exactly one of these is given."""
    source: dict[str, Any] = volume.model_dump(by_alias=True, exclude_none=True)
    if "hostPath" in source:
        # A folder that isn't there is an error, not a new and empty one.
        source["hostPath"]["type"] = "Directory"
    return source
