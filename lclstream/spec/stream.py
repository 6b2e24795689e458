"""StreamRequest: what a user asks for, and what the system says about it."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from lclstream.spec.base import (
    API_VERSION,
    MAX_NAME,
    DType,
    FieldName,
    Model,
    Quantity,
    quantity_bytes,
)
from lclstream.spec.source import Fields, Source
from lclstream.spec.steps import Batch, Step

Compression = Literal["none", "gzip", "gzip-shuffle", "bitshuffle-lz4", "bitshuffle-zstd", "zfp"]

DEFAULT_BATCH = Batch(events=16)


class Encoding(Model):
    """How a batch is written into a message."""

    format: str = Field(default="hdf5", pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=63)
    """hdf5, or an encoder registered by another distribution (entry point group lclstream.encoders)."""
    compression: Compression = "none"
    """Compression of the arrays inside the message."""
    level: int | None = Field(default=None, ge=0, le=22)
    """Compression level of gzip (0 to 9) and bitshuffle-zstd (1 to 22); absent: the codec's default."""
    paths: dict[FieldName, Annotated[str, Field(pattern=r"^/?[^/].*$")]] = Field(
        default_factory=dict, max_length=256
    )
    """Field -> place in the message; absent: ``/<field>``."""

    @model_validator(mode="after")
    def _level_fits(self) -> Self:
        bounds = {"gzip": (0, 9), "gzip-shuffle": (0, 9), "bitshuffle-zstd": (1, 22)}
        if self.level is not None:
            if self.compression not in bounds:
                raise ValueError(f"level {self.level} given, but {self.compression} has no levels")
            low, high = bounds[self.compression]
            if not low <= self.level <= high:
                raise ValueError(f"level {self.level} is not within {low}..{high} of {self.compression}")
        return self


class Delivery(Model):
    """How batches are kept and handed to consumers."""

    mode: Literal["lease", "push"] = "lease"
    """lease: at least once, acknowledged, shared among consumers; push: at most once, any nng PULL client."""
    buffers: int = Field(default=1, ge=1, le=64)
    """How many buffers stand beside each other; shard i belongs to buffer i mod buffers."""
    memory: Quantity = "1Gi"
    """Batches a buffer holds in memory, at most; larger than one batch."""
    spill: Quantity | None = None
    """Batches a buffer holds on disk when memory is full, at most; absent: none."""
    on_full: Literal["block", "dropOldest"] = "block"
    """When all is full: make producers wait, or drop the oldest batch and count it."""
    retain: bool = False
    """Keep every batch until the stream is deleted, so that a new consumer group starts from the first."""
    lease_seconds: int = Field(default=300, ge=1, le=86400)
    """After so long without acknowledgement a batch goes to another consumer; at once when the connection
    of its consumer is lost."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if quantity_bytes(self.memory) < 1:
            raise ValueError(f"memory {self.memory} is not > 0")
        if self.retain and self.mode == "push":
            raise ValueError("retain true needs mode lease, not push")
        if self.retain and self.on_full == "dropOldest":
            raise ValueError("retain true needs onFull block, not dropOldest")
        return self


class Resources(Model):
    """Compute resources of a pod, as Kubernetes has them; without effect on one machine."""

    requests: dict[str, Quantity] = Field(default_factory=dict, max_length=16)
    """What is reserved."""
    limits: dict[str, Quantity] = Field(default_factory=dict, max_length=16)
    """What is not exceeded."""


class Workers(Model):
    """How the work is divided among producers."""

    shards: int = Field(default=1, ge=1, le=10000)
    """Parts the events are divided into, one producer each; fixed once started."""
    parallelism: int | None = Field(default=None, ge=0, le=10000)
    """Shards that run at once; absent: all."""
    retries_per_shard: int = Field(default=3, ge=0, le=100)
    """How often a shard's producer is started again before the shard counts as lost."""
    resources: Resources = Field(default_factory=Resources)
    """Compute resources of each producer's pod."""


class StreamSpec(Model):
    """What is asked for."""

    source: Source
    """Where the events come from."""
    fields: Fields = Field(default_factory=dict)
    """What a batch carries; empty: everything the source offers."""
    steps: list[Step] = Field(default_factory=list, max_length=64)
    """What is done to each event, in this order; ends with batch, or batches of 16 events are made."""
    encoding: Encoding = Field(default_factory=Encoding)
    """How a batch is written into a message."""
    delivery: Delivery = Field(default_factory=Delivery)
    """How batches are kept and handed to consumers."""
    workers: Workers = Field(default_factory=Workers)
    """How the work is divided among producers."""
    suspend: bool = False
    """True: nothing runs."""
    active_deadline_seconds: int | None = Field(default=None, ge=1)
    """A stream that lasts longer fails, in seconds; absent: no limit."""
    idle_timeout_seconds: int | None = Field(default=None, ge=1)
    """A stream without any consumer for so long fails, in seconds; absent: no limit."""
    ttl_seconds_after_finished: int | None = Field(default=None, ge=0)
    """A finished stream is deleted after so many seconds (on Kubernetes); absent: never."""

    @model_validator(mode="after")
    def _batch_is_last(self) -> Self:
        for i, step in enumerate(self.steps[:-1]):
            if step.batch is not None:
                raise ValueError(f"steps[{i}] is batch, expected it to be the last step")
        return self

    @property
    def batch(self) -> Batch:
        """The batch step, or its default."""
        last = self.steps[-1].batch if self.steps else None
        return last or DEFAULT_BATCH

    @property
    def event_steps(self) -> list[Step]:
        """The steps before batching."""
        return [step for step in self.steps if step.batch is None]


class Metadata(Model):
    """What names an object; Kubernetes keeps more here than we read."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=MAX_NAME)
    """Name: lower-case letters, digits and dashes."""
    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)
    """Namespace it lives in."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations."""


Phase = Literal[
    "Pending", "Provisioning", "Streaming", "Draining",
    "Completed", "Suspended", "Failed", "Canceled",
]  # fmt: skip


class Condition(Model):
    """One aspect of the state, for programs."""

    type: str = Field(max_length=316)
    """Which aspect."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: int | None = Field(default=None, ge=0)
    """Generation of the request this speaks of."""
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})
    """When the status last changed."""
    reason: str = Field(min_length=1, max_length=1024)
    """Why, in one CamelCase word."""
    message: str = Field(max_length=32768)
    """Why, and what to do."""


class Progress(Model):
    """How far the stream is."""

    events: int = 0
    """Events taken in by the buffers."""
    batches: int = 0
    """Batches taken in by the buffers."""
    bytes: int = 0
    """Bytes taken in by the buffers."""
    delivered: int = 0
    """Batches acknowledged by consumers (lease) or handed to them (push)."""
    buffered: int = 0
    """Batches waiting in the buffers."""
    dropped: int = 0
    """Batches dropped because the buffers were full (onFull: dropOldest)."""
    skipped: int = 0
    """Events left out by a filter or for missing values."""
    rate: str = "0"
    """Events per second, lately."""
    consumers: int = 0
    """Consumers connected."""
    sampled_at: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    """When these numbers were read."""


class BufferStatus(Model):
    """What a buffer last said."""

    index: int = Field(ge=0)
    """Which one."""
    phase: Phase
    """Where it stands."""
    reason: str = Field(default="", max_length=32768)
    """Why it failed or was canceled."""
    events: int = 0
    """Events taken in."""
    batches: int = 0
    """Batches taken in."""
    bytes: int = 0
    """Bytes taken in."""
    delivered: int = 0
    """Batches acknowledged by consumers (lease) or handed to them (push)."""
    buffered: int = 0
    """Batches waiting."""
    dropped: int = 0
    """Batches dropped."""
    skipped: int = 0
    """Events left out."""
    consumers: int = 0
    """Consumers connected."""


class Connection(Model):
    """How a consumer within the cluster connects."""

    mode: Literal["lease", "push"]
    """How batches are handed out."""
    addresses: list[str] = Field(default_factory=list, max_length=64)
    """The buffers; a consumer dials all."""
    server_name: str
    """Name that the certificates of all buffers carry."""
    secret: str
    """Secret with a consumer's certificate, in the namespace of the request."""


class StreamStatus(Model):
    """What the system says about a stream."""

    phase: Phase | None = None
    """Where the stream stands, for people; programs read the conditions."""
    observed_generation: int | None = None
    """Generation of the request that was last acted upon."""
    conditions: list[Condition] = Field(default_factory=list, max_length=16)
    """Accepted, CertificatesReady, BufferReady, WorkersReady, Streaming, Complete, Failed."""
    progress: Progress | None = None
    """How far the stream is."""
    active_workers: int | None = None
    """Producers running."""
    completed_shards: int | None = None
    """Shards whose producer has finished."""
    failed_shards: int | None = None
    """Shards given up after all their retries."""
    selector: str | None = None
    """Label selector of the producers' pods, for the scale subresource."""
    buffers: list[BufferStatus] = Field(default_factory=list, max_length=64)
    """What each buffer last said."""
    connection: Connection | None = None
    """Where to connect, while there is something to connect to."""
    started_at: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    """When its first components were made; the deadlines count from here."""
    finished_at: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    """When it was completed, failed or canceled."""


class StreamRequest(Model):
    """A request to stream the data of an experiment.

    The operator starts producers that read, reduce and encode the events, puts a buffer in front
    of them, gives every component its own certificate, and hands out an address to fetch batches.
    """

    api_version: Literal["lclstream.io/v1alpha1"] = API_VERSION
    """lclstream.io/v1alpha1"""
    kind: Literal["StreamRequest"] = "StreamRequest"
    """StreamRequest"""
    metadata: Metadata
    """Name and namespace."""
    spec: StreamSpec
    """What is asked for."""
    status: dict[str, Any] | None = None
    """Written by the operator."""


__all__ = [
    "DEFAULT_BATCH", "BufferStatus", "Compression", "Condition", "Connection", "DType", "Delivery",
    "Encoding", "Metadata",
    "Phase", "Progress", "Resources", "StreamRequest", "StreamSpec", "StreamStatus", "Workers",
]  # fmt: skip
