"""What the operator must be allowed to do; `manifests/operator/rbac.yaml` grants exactly this.

It is asked for at the start, because a watch that is forbidden later would be tried in vain for a while.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from lclstream_operator.cluster import Cluster
from lclstream_operator.kinds import DATASET, EVENT, LEASE, NAMESPACE, POD, STREAM_REQUEST, Kind, children_of
from lclstream_operator.model import IssuerKind

WATCH: Final = ("list", "watch")
OWN: Final = ("create", "delete", "list", "patch", "watch")


class Forbidden(Exception):
    """We may not do what we must; the message says what is missing, and how to grant it."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Verbs on a kind, or on a subresource of it."""

    kind: Kind
    verbs: tuple[str, ...]
    subresource: str = ""

    @property
    def resource(self) -> str:
        """As a role names it."""
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


def needed(issuer: IssuerKind) -> tuple[Permission, ...]:
    """Permissions in every namespace with streams."""
    return (
        Permission(STREAM_REQUEST, ("delete", "get", "list", "patch", "watch")),
        Permission(STREAM_REQUEST, ("patch",), "status"),
        # Where owner references are checked (OpenShift), to make one that blocks deletion.
        Permission(STREAM_REQUEST, ("update",), "finalizers"),
        Permission(DATASET, ("get", *WATCH)),
        # Of a namespace on its way out; allowed in a Role too, for the namespace the Role is in.
        Permission(NAMESPACE, ("get",)),
        Permission(POD, WATCH),
        Permission(EVENT, ("create", "get", "patch")),
        *(Permission(kind, OWN) for kind in children_of(issuer)),
    )


def needed_to_lead() -> tuple[Permission, ...]:
    """Permissions in the namespace of the Lease."""
    return (Permission(LEASE, ("create", "get", "update")),)


async def check(
    cluster: Cluster, issuer: IssuerKind, namespaces: Iterable[str], lease_namespace: str | None
) -> None:
    """See that we may do everything we must.

    Args:
        cluster: the API server.
        issuer: who issues certificates.
        namespaces: in which streams are looked after; none: all.
        lease_namespace: where the Lease is; None: there is none.

    Raises:
        Forbidden: something is missing.
        ApiError: the API server could not be asked.
    """
    everywhere: list[str | None] = [None]
    wanted = [
        (permission, verb, namespace)
        for namespace in (list(namespaces) or everywhere)
        for permission, verb in _each(needed(issuer))
    ]
    if lease_namespace is not None:
        wanted += [(permission, verb, lease_namespace) for permission, verb in _each(needed_to_lead())]
    answers = await asyncio.gather(
        *(cluster.allowed(verb, each.kind, namespace, each.subresource) for each, verb, namespace in wanted)
    )
    missing = [
        f"{verb} {each.resource}{f'.{each.kind.group}' if each.kind.group else ''} in "
        + (f"namespace {namespace}" if namespace else "all namespaces")
        for (each, verb, namespace), allowed in zip(wanted, answers, strict=True)
        if not allowed
    ]
    if missing:
        raise Forbidden(
            "the operator's role lacks: "
            + "; ".join(missing)
            + "; manifests/operator/rbac.yaml has what it needs"
        )


def _each(permissions: Iterable[Permission]) -> Iterator[tuple[Permission, str]]:
    return ((permission, verb) for permission in permissions for verb in permission.verbs)
