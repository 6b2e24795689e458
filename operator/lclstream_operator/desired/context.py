"""What every builder of a child needs, and what every child's metadata has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lclstream.plan import Plan
from lclstream.spec.base import API_VERSION
from lclstream.spec.stream import Resources
from lclstream_operator import names
from lclstream_operator.model import IssuerKind, Manifest
from lclstream_operator.names import Component
from lclstream_operator.site import SiteConfig

ChildKey = tuple[str, str]
"""Kind and name of a child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A stream that is to be built.

    Attributes:
        plan: what runs.
        uid: of the request, the owner of everything.
        site: where it runs.
        issuer: who issues certificates.
        worker_resources: what the request asks for its producers.
        suspend: no producer runs.
        children: what there is already, by kind and name; what can't be changed is taken from here.
    """

    plan: Plan
    uid: str
    site: SiteConfig
    issuer: IssuerKind = "builtin"
    worker_resources: Resources = field(default_factory=Resources)
    suspend: bool = False
    children: Mapping[ChildKey, Manifest] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the stream."""
        return self.plan.name

    def owner(self) -> dict[str, Any]:
        """The owner reference that makes a child ours, and has it deleted with its stream."""
        return {
            "apiVersion": API_VERSION,
            "kind": "StreamRequest",
            "name": self.plan.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    def labels(self, component: Component) -> dict[str, str]:
        """Labels of a child, or of its pods."""
        return names.labels(self.name, self.uid, component)

    def selector(self, component: Component) -> dict[str, str]:
        """Labels by which its pods are selected."""
        return names.selector(self.name, self.uid, component)

    def metadata(self, name: str, component: Component) -> dict[str, Any]:
        """Of a child."""
        return {
            "name": name,
            "namespace": self.plan.namespace,
            "labels": self.labels(component),
            "ownerReferences": [self.owner()],
        }

    def live_spec(self, kind: str, name: str) -> Mapping[str, Any]:
        """The spec of a child as it is; empty when there is none."""
        spec = self.children.get((kind, name), {}).get("spec")
        return spec if isinstance(spec, Mapping) else {}


def child_key(manifest: Mapping[str, Any]) -> ChildKey:
    """Kind and name of a manifest."""
    metadata = manifest.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, Mapping) else ""
    return str(manifest.get("kind", "")), str(name)
