"""Names and labels of everything a stream has on Kubernetes.

A request's name has 45 characters at most, so that the longest name made from it (the label with which a
StatefulSet marks its pods' revision: ``<name>-buffer-<10 characters>``) fits 63.
"""

from collections.abc import Mapping
from typing import Any, Literal

from lclstream.spec import API_GROUP

FIELD_MANAGER = "lclstream-operator"
"""Owner of the fields we apply."""

FINALIZER = f"{API_GROUP}/drain"
"""Keeps a request until its buffers were told to stop; bounded in time."""

STREAM = f"{API_GROUP}/stream"
"""Label: name of the request an object belongs to."""

UID = f"{API_GROUP}/request-uid"
"""Label: uid of that request; a successor of the same name has another."""

CONSUMER_OF = f"{API_GROUP}/consumer-of"
"""Label a consumer's pod carries, with the name of the stream, to be let through to its buffers."""

COMPONENT = "app.kubernetes.io/component"
OPERATOR_NAME, OPERATOR_COMPONENT = "lclstream", "operator"
"""Labels app.kubernetes.io/name and component of the operator's own pods."""

PLAN_KEY, PRODUCER_KEY = "plan.json", "producer.json"
"""Keys of the ConfigMap."""

Component = Literal["buffer", "worker", "certificates", "stream"]


def buffer(stream: str) -> str:
    """StatefulSet, headless Service and PodDisruptionBudget; its pods are this, a dash and their index."""
    return f"{stream}-buffer"


def workers(stream: str) -> str:
    """Job of the producers."""
    return f"{stream}-workers"


def config(stream: str) -> str:
    """ConfigMap."""
    return f"{stream}-config"


def account(stream: str) -> str:
    """ServiceAccount of all pods."""
    return f"{stream}-stream"


def authority(stream: str) -> str:
    """Secret of the stream's CA; also cert-manager's Issuer from it, and the CA's Certificate."""
    return f"{stream}-ca"


def self_signed(stream: str) -> str:
    """cert-manager's Issuer of the CA."""
    return f"{stream}-selfsigned"


def secret(stream: str, certificate: str) -> str:
    """Secret of a component's certificate: buffer, worker, consumer or operator."""
    return f"{stream}-{certificate}"


def buffer_key(index: int | str) -> str:
    """Key of a buffer's configuration in the ConfigMap."""
    return f"buffer-{index}.json"


def buffer_host(namespace: str, stream: str, index: int) -> str:
    """DNS name of a buffer; the shell dials it for status and words."""
    service = buffer(stream)
    return f"{service}-{index}.{service}.{namespace}.svc"


def labels(stream: str, uid: str, component: Component) -> dict[str, str]:
    """Labels every object of a stream carries."""
    return {
        "app.kubernetes.io/name": "lclstream",
        "app.kubernetes.io/instance": stream,
        COMPONENT: component,
        "app.kubernetes.io/part-of": "lclstream",
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
        STREAM: stream,
        UID: uid,
    }


def selector(stream: str, uid: str, component: Component) -> dict[str, str]:
    """Labels by which the pods of a component are selected: of this request, not of a predecessor."""
    return {STREAM: stream, COMPONENT: component, UID: uid}


def selector_text(labels: Mapping[str, str]) -> str:
    """A selector as a query writes it."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def belongs(manifest: Mapping[str, Any], uid: str) -> bool:
    """Whether an object is of the request with this uid."""
    metadata = manifest.get("metadata")
    found = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return isinstance(found, Mapping) and bool(uid) and found.get(UID) == uid
