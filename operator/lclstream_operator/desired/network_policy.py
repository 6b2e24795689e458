"""NetworkPolicies: who may connect to a stream's pods, and where they may connect to.

Kubelets are always let through to the pods of their own node, so probes need no rule.
"""

from typing import Any

from lclstream_operator import names
from lclstream_operator.desired.context import Context
from lclstream_operator.desired.service import listened
from lclstream_operator.model import Manifest
from lclstream_operator.names import Component

_DNS = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
"""To any address: a node's own name cache has one outside every pod and namespace."""


def build_network_policies(context: Context) -> tuple[Manifest, ...]:
    """One for the buffers and one for the workers; none where the site wants none."""
    if not context.site.network.policies:
        return ()
    return (_of_buffers(context), _of_workers(context))


def _of_buffers(context: Context) -> Manifest:
    ports = listened(context)
    way = next(name for name in ports if name not in ("ingest", "status"))
    consumers = {"podSelector": {"matchLabels": {names.CONSUMER_OF: context.name}}}
    ingress = [
        _rule([_pods(context, "worker")], ports["ingest"]),
        _rule([consumers, *context.site.network.consumer_peers], ports[way]),
        # Words to a buffer go the way of batches.
        _rule([_operator(context)], ports["status"], ports["ingest"]),
    ]
    return _policy(context, names.buffer(context.name), "buffer", {"ingress": ingress})


def _of_workers(context: Context) -> Manifest:
    to_buffers = {
        "to": [_pods(context, "buffer")],
        "ports": [{"protocol": "TCP", "port": listened(context)["ingest"]}],
    }
    egress = [_DNS, to_buffers, *context.site.network.worker_egress]
    return _policy(context, names.workers(context.name), "worker", {"egress": egress})


def _policy(context: Context, name: str, component: Component, rules: dict[str, list[Any]]) -> Manifest:
    """A policy for both directions; one without rules is closed.

    It is left out rather than empty: the API server drops an empty list, and would see a change each time.
    """
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": context.metadata(name, component),
        "spec": {
            "podSelector": {"matchLabels": context.selector(component)},
            "policyTypes": ["Ingress", "Egress"],
            **rules,
        },
    }


def _rule(peers: list[dict[str, Any]], *ports: int) -> dict[str, Any]:
    return {"from": peers, "ports": [{"protocol": "TCP", "port": port} for port in ports]}


def _pods(context: Context, component: Component) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": context.selector(component)}}


def _operator(context: Context) -> dict[str, Any]:
    return {
        "namespaceSelector": {
            "matchLabels": {"kubernetes.io/metadata.name": context.site.operator_namespace}
        },
        "podSelector": {
            "matchLabels": {
                "app.kubernetes.io/name": names.OPERATOR_NAME,
                names.COMPONENT: names.OPERATOR_COMPONENT,
            }
        },
    }
