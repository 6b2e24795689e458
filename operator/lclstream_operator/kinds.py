"""The kinds of objects the operator deals with, and where the API server keeps them.

A fixed table instead of discovery: what the operator touches is what its role allows, and both are few.
"""

from dataclasses import dataclass
from typing import Final

from lclstream.spec.base import API_VERSION

CERT_MANAGER: Final = "cert-manager.io/v1"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object.

    Attributes:
        api_version: group and version, such as ``apps/v1``; ``v1`` for the core group.
        kind: such as ``StatefulSet``.
        plural: its name in addresses, such as ``statefulsets``.
    """

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Address of an object, or of all of them, at the API server; no namespace stands for every one."""
        prefix = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        where = f"/namespaces/{namespace}" if namespace else ""
        parts = [prefix + where, self.plural, name, subresource]
        return "/".join(part for part in parts if part)


STREAM_REQUEST: Final = Kind(API_VERSION, "StreamRequest", "streamrequests")
DATASET: Final = Kind(API_VERSION, "Dataset", "datasets")
NAMESPACE: Final = Kind("v1", "Namespace", "namespaces")
POD: Final = Kind("v1", "Pod", "pods")
SECRET: Final = Kind("v1", "Secret", "secrets")
JOB: Final = Kind("batch/v1", "Job", "jobs")
STATEFUL_SET: Final = Kind("apps/v1", "StatefulSet", "statefulsets")
EVENT: Final = Kind("events.k8s.io/v1", "Event", "events")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")

CHILDREN: Final = (
    SECRET,
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("v1", "Service", "services"),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    STATEFUL_SET,
    JOB,
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
)
"""What a stream is made of."""

CERT_MANAGER_CHILDREN: Final = (
    Kind(CERT_MANAGER, "Issuer", "issuers"),
    Kind(CERT_MANAGER, "Certificate", "certificates"),
)
"""What a stream is made of as well where cert-manager issues its certificates."""

_BY_NAME: Final = {
    (kind.api_version, kind.kind): kind
    for kind in (STREAM_REQUEST, DATASET, POD, EVENT, LEASE, *CHILDREN, *CERT_MANAGER_CHILDREN)
}


def children_of(issuer: str) -> tuple[Kind, ...]:
    """The kinds a stream is made of with this issuer of certificates."""
    return CHILDREN + (CERT_MANAGER_CHILDREN if issuer == "cert-manager" else ())


def kind_of(api_version: str, kind: str) -> Kind:
    """A kind by its name.

    Raises:
        LookupError: the operator has nothing to do with such objects.
    """
    try:
        return _BY_NAME[api_version, kind]
    except KeyError:
        raise LookupError(f"{api_version} {kind}: not a kind the operator deals with") from None
