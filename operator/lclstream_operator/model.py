"""What the operator knows about a stream, and what it decides: the border between deciding and doing.

`observe` fills an `Observed` from the API server and the buffers, `lclstream_operator.decide` turns it into a
`Decision` without any input or output, and `act` carries that out. Nothing else crosses the border.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from lclstream.plan import Certificate
from lclstream.protocol import LoseShard, Stop

Manifest = dict[str, Any]
"""A Kubernetes object as plain data."""

IssuerKind = Literal["cert-manager", "builtin"]


@dataclass(frozen=True, slots=True)
class Key:
    """Which stream: what the work queue holds."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Ref:
    """An object, by identity: a successor of the same name has another uid."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What the other streams of a namespace take, for the limits of a site."""

    streams: int = 0
    workers: int = 0
    memory: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything a decision is made from.

    Attributes:
        request: the StreamRequest as it is now, status included.
        dataset: the Dataset it names, if it names one and there is one.
        children: objects that carry the label `names.UID` with the request's uid (an owner reference alone
            doesn't do: cert-manager's Secrets have none until we add it): Secrets, ConfigMaps, Services,
            StatefulSets, Jobs, NetworkPolicies, PodDisruptionBudgets, ServiceAccounts, and cert-manager's
            Issuers and Certificates. A Secret's data are there.
        pods: the stream's pods.
        buffers: what each buffer's status endpoint said, by index; one that could not be reached is absent.
        usage: of the other streams in the namespace, as `limits.usage` counts it.
        issuer: who issues certificates here.
        now: the time, UTC.
    """

    request: Manifest
    dataset: Manifest | None
    children: tuple[Manifest, ...]
    pods: tuple[Manifest, ...]
    buffers: Mapping[int, Mapping[str, Any]]
    usage: Usage
    issuer: IssuerKind
    now: datetime


@dataclass(frozen=True, slots=True)
class Note:
    """A Kubernetes Event to record about the request."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Issue:
    """A Secret that the built-in issuer has to fill: keys are random, so deciding can't make them.

    Attributes:
        secret: the Secret without its data.
        certificate: what to issue from the stream's CA; None: the CA itself.
        lifetime: how long it is to be valid.
    """

    secret: Manifest
    certificate: Certificate | None
    lifetime: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do about a stream now.

    It is carried out in the order of the attributes, but that our finalizer is taken away last.

    Attributes:
        finalizer: whether the request is to carry our finalizer; None: leave it as it is.
        issue: Secrets for the built-in issuer to make.
        apply: objects to apply (server-side apply), in this order.
        prune: objects to delete, with their pods (propagation Background), if they still have this uid.
        tell: what to tell buffers, by index, in order; a refusal means that it was known already.
        status: the whole status the request is to have; None: leave it as it is.
        annotations: annotations to change on the request; None as a value removes one.
        notes: Events to record.
        delete: delete the request itself (its time to live after the end is over).
        requeue_after: seconds until it must be looked at again even if nothing happens; None: no need.
    """

    finalizer: bool | None = None
    issue: tuple[Issue, ...] = ()
    apply: tuple[Manifest, ...] = ()
    prune: tuple[Ref, ...] = ()
    tell: Mapping[int, Sequence[Stop | LoseShard]] = field(default_factory=dict)
    status: Manifest | None = None
    annotations: Mapping[str, str | None] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    delete: bool = False
    requeue_after: float | None = None
