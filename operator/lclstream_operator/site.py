"""What a cluster's administrator decides about streams: images, limits, defaults, placement.

The chart renders this as a file; the operator reads it once, when it starts.
"""

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from lclstream.spec import Model, Quantity
from lclstream.spec.stream import Resources


class Limits(Model):
    """What streams may take at most; absent: no limit."""

    streams_per_namespace: int | None = Field(default=None, ge=0)
    """Streams at work at once in a namespace."""
    workers_per_stream: int | None = Field(default=None, ge=0)
    """Producers of a stream that run at once."""
    workers_per_namespace: int | None = Field(default=None, ge=0)
    """Producers of all streams of a namespace that run at once."""
    memory_per_namespace: Quantity | None = None
    """Memory that producers and buffers of a namespace may reserve together."""


class Defaults(Model):
    """Resources of pods, where the request says nothing."""

    workers: Resources = Field(
        default_factory=lambda: Resources(requests={"cpu": "500m", "memory": "1Gi"}, limits={"memory": "1Gi"})
    )
    """Of a producer; a request's own values take their place one by one."""
    buffer: Resources = Field(default_factory=lambda: Resources(requests={"cpu": "500m"}))
    """Of a buffer; its memory is computed from the request and can't be set here."""


class Network(Model):
    """Who may talk to whom, beside a stream's own pods."""

    policies: bool = True
    """Make a NetworkPolicy for each stream."""
    consumer_peers: list[dict[str, Any]] = Field(default_factory=list)
    """NetworkPolicyPeers let through to every buffer's consumers' port, such as a gateway."""
    worker_egress: list[dict[str, Any]] = Field(default_factory=list)
    """NetworkPolicyEgressRules for producers, such as to a calibration database."""


class Placement(Model):
    """Where pods go."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes."""
    tolerations: list[dict[str, Any]] = Field(default_factory=list)
    """Taints tolerated."""
    priority_class_name: str | None = None
    """PriorityClass."""
    supplemental_groups: list[int] = Field(default_factory=list)
    """Groups of the producers' user, for files that a group may read."""


class SiteConfig(Model):
    """Configuration of the operator that concerns streams."""

    image: str = "lclstream:latest"
    """Container image of buffers and producers."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """As Kubernetes has it; absent: Kubernetes decides by the tag."""
    image_pull_secrets: list[str] = Field(default_factory=list)
    """Secrets to pull images with, in the namespace of the stream."""
    operator_namespace: str = "lclstream-system"
    """Where the operator runs; its pods may talk to every buffer."""
    allowed_namespaces: list[str] | None = None
    """Namespaces in which streams may run; absent: all."""
    limits: Limits = Field(default_factory=Limits)
    """What streams may take."""
    defaults: Defaults = Field(default_factory=Defaults)
    """Resources where the request says nothing."""
    network: Network = Field(default_factory=Network)
    """Who may talk to whom."""
    placement: Placement = Field(default_factory=Placement)
    """Where pods go."""
    issuer: Literal["auto", "cert-manager", "builtin"] = "auto"
    """Who issues certificates; auto: cert-manager where it is installed."""
    certificate_seconds: int = Field(default=86400, ge=3600)
    """How long a component's certificate is valid; it is renewed after two thirds of that."""
    authority_seconds: int = Field(default=365 * 86400, ge=86400)
    """How long the certificate of a stream's CA is valid."""
    spill_storage_class: str | None = None
    """StorageClass of volumes for batches on disk; absent: the node's own disk (emptyDir)."""
    protect_buffers: bool = True
    """Refuse to evict a buffer while its stream runs: what it holds in memory would have to be read again."""
    provisioning_seconds: int = Field(default=600, ge=1)
    """A stream whose components don't run after so long fails."""
    drain_seconds: int = Field(default=60, ge=0)
    """How long the end of a stream waits for its buffers to tell their consumers."""
    poll_seconds: float = Field(default=5, gt=0)
    """How often buffers are asked for their progress."""

    @property
    def certificate_lifetime(self) -> timedelta:
        """Of a component's certificate."""
        return timedelta(seconds=self.certificate_seconds)

    @property
    def authority_lifetime(self) -> timedelta:
        """Of the certificate of a stream's CA."""
        return timedelta(seconds=self.authority_seconds)
