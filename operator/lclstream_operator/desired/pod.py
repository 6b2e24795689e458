"""What the pods of buffers and workers have in common: the *restricted* Pod Security Standard and more."""

from typing import Any

from lclstream_operator import names
from lclstream_operator.desired.context import Context
from lclstream_operator.names import Component

USER = 65532
CONFIG_FOLDER = "/etc/lclstream/config"
TLS_FOLDER = "/etc/lclstream/tls"

GRACE_SECONDS = 30
"""For a component told to stop; a buffer gives its consumers 10 s to hang up, a worker its buffer 5."""

_TMP_BYTES = 256 << 20


def pod_template(
    context: Context,
    component: Component,
    container: dict[str, Any],
    *,
    certificate: str,
    volumes: list[dict[str, Any]],
) -> dict[str, Any]:
    """The template of a pod with one container.

    Args:
        context: the stream.
        component: buffer or worker.
        container: what is particular to it.
        certificate: name of the Secret with its certificate.
        volumes: beside configuration, certificate and /tmp.
    """
    placement = context.site.placement
    spec: dict[str, Any] = {
        "serviceAccountName": names.account(context.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": _pod_security(context, component),
        "topologySpreadConstraints": [_spread(context, component)],
        "containers": [_container(context, component, container)],
        "volumes": [*_volumes(context, certificate), *volumes],
    }
    if placement.node_selector:
        spec["nodeSelector"] = placement.node_selector
    if placement.tolerations:
        spec["tolerations"] = placement.tolerations
    if placement.priority_class_name:
        spec["priorityClassName"] = placement.priority_class_name
    if context.site.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in context.site.image_pull_secrets]
    return {"metadata": {"labels": context.labels(component)}, "spec": spec}


def _container(context: Context, component: Component, own: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": component,
        "image": context.site.image,
        "command": ["lclstream"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The last lines of a failed component say why, in one line for people; they end up in our status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **own,
    }
    if context.site.image_pull_policy:
        container["imagePullPolicy"] = context.site.image_pull_policy
    container["volumeMounts"] = [
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
        # A whole folder, not single files: those would not follow a renewal.
        {"name": "tls", "mountPath": TLS_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        *own.get("volumeMounts", ()),
    ]
    return container


def _volumes(context: Context, certificate: str) -> list[dict[str, Any]]:
    return [
        {"name": "config", "configMap": {"name": names.config(context.name), "defaultMode": 0o444}},
        {"name": "tls", "secret": {"secretName": certificate, "defaultMode": 0o440}},
        {"name": "tmp", "emptyDir": {"sizeLimit": str(_TMP_BYTES)}},
    ]


def _pod_security(context: Context, component: Component) -> dict[str, Any]:
    security: dict[str, Any] = {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        # Or every start would walk through all files of the volume.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    groups = context.site.placement.supplemental_groups
    if component == "worker" and groups:
        security["supplementalGroups"] = groups
    return security


def _spread(context: Context, component: Component) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": context.selector(component)},
    }
