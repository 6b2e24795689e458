"""What components say to each other: small JSON objects beside the batches.

A worker (or the runtime) talks to a buffer's *ingest* address, a consumer to its *lease* address,
both by request and reply. A request is either a message with an envelope (`lclstream.wire`) or one
of the JSON objects below; so is an answer. Nothing here does any input or output.

Ingest::

    Hello        -> Welcome      where the shard stands, so that a restarted worker goes on from there
    data message -> Stored       once it is in the store; no answer until then is the backpressure
    end message  -> Stored       payload ShardEnd; refused unless the totals are what was stored
    LoseShard    -> Stored       from the runtime: this shard will not be completed
    Stop         -> Stored       from the runtime: the stream ends now, as canceled or failed

Lease::

    Attach       -> Attached     joins a consumer group
    Fetch        -> data message, when there is one, or an end message (payload StreamEnd)
    Acknowledge  -> Stored       these batches need not be delivered to the group again
    Detach       -> Stored       the consumer has seen the end, or leaves

Anything that can't be done is answered by a Refusal.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lclstream.wire import ReadableBuffer

VERSION = 1

Outcome = Literal["completed", "failed", "canceled"]
Reason = Literal["role", "stream", "version", "invalid", "conflict", "too-large", "not-attached", "over"]
BatchId = tuple[int, int]
"""(shard, sequence) of a batch within its stream."""


class Words(BaseModel):
    """A JSON object of the protocol."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def encode(self) -> bytes:
        """As it travels."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class Hello(Words):
    """A worker introduces its shard."""

    op: Literal["hello"] = "hello"
    version: int = VERSION
    stream: str
    shard: int = Field(ge=0)
    shards: int = Field(ge=1)


class LoseShard(Words):
    """A shard will not be completed: its worker died for good."""

    op: Literal["lose"] = "lose"
    shard: int = Field(ge=0)
    reason: str


class Stop(Words):
    """The stream ends now; batches not delivered are given up."""

    op: Literal["stop"] = "stop"
    outcome: Literal["failed", "canceled"]
    reason: str


class Attach(Words):
    """A consumer joins a group; the members of a group share its batches."""

    op: Literal["attach"] = "attach"
    version: int = VERSION
    stream: str
    group: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=63)
    consumer: str = Field(min_length=1, max_length=253)


class Fetch(Words):
    """Asks for the next batch and acknowledges earlier ones."""

    op: Literal["fetch"] = "fetch"
    acknowledge: list[BatchId] = []


class Acknowledge(Words):
    """The group needs these batches no more."""

    op: Literal["acknowledge"] = "acknowledge"
    acknowledge: list[BatchId]


class Detach(Words):
    """The consumer leaves, acknowledging a last time; what it holds beyond that goes to others."""

    op: Literal["detach"] = "detach"
    acknowledge: list[BatchId] = []


class Welcome(Words):
    """Where a shard stands.

    Attributes:
        sequence: number of the next batch to send.
        position: event of the source's count to go on from; None: from the shard's first.
        events: events stored so far.
        ended: the shard's end is in; there is nothing left to send.
        max_message: largest message in bytes that is taken.
    """

    ok: Literal["welcome"] = "welcome"
    sequence: int
    position: int | None = None
    events: int
    ended: bool
    max_message: int


class Stored(Words):
    """Done, and durable as far as the delivery policy says."""

    ok: Literal["stored"] = "stored"


class Attached(Words):
    """The consumer is a member of the group."""

    ok: Literal["attached"] = "attached"
    shards: int
    lease_seconds: int


class Refusal(Words):
    """Why a request can't be done.

    Attributes:
        reason: ``role`` (the certificate's role may not do this), ``stream`` (another stream's),
            ``version``, ``invalid`` (not understood), ``conflict`` (contradicts what is stored),
            ``too-large``, ``not-attached`` (the connection is new: attach, then ask again), ``over`` (the
            stream has ended).
        message: one line for people.
    """

    ok: Literal["refused"] = "refused"
    reason: Reason
    message: str


class ShardEnd(Words):
    """Payload of a shard's end: its totals.

    Attributes:
        events: events in the shard's batches.
        batches: number of its batches.
        skipped: events of the shard that are in no batch (filtered, or a value was missing).
    """

    events: int = Field(ge=0)
    batches: int = Field(ge=0)
    skipped: int = Field(ge=0)


class StreamEnd(Words):
    """Payload of a stream's end: how it ended and what there was.

    Attributes:
        outcome: completed only when every shard is in and everything was delivered.
        reason: why it failed or was canceled; empty when completed.
        events: events taken in by this buffer.
        batches: batches taken in by this buffer.
    """

    outcome: Outcome
    reason: str = ""
    events: int = 0
    batches: int = 0


IngestRequest = Annotated[Hello | LoseShard | Stop, Field(discriminator="op")]
LeaseRequest = Annotated[Attach | Fetch | Acknowledge | Detach, Field(discriminator="op")]
Answer = Annotated[Welcome | Stored | Attached | Refusal, Field(discriminator="ok")]

_INGEST: TypeAdapter[Hello | LoseShard | Stop] = TypeAdapter(IngestRequest)
_LEASE: TypeAdapter[Attach | Fetch | Acknowledge | Detach] = TypeAdapter(LeaseRequest)
_ANSWER: TypeAdapter[Welcome | Stored | Attached | Refusal] = TypeAdapter(Answer)


class ProtocolError(ValueError):
    """A request or answer that is not understood."""


def _read(adapter: TypeAdapter[Words], data: ReadableBuffer) -> Words:
    try:
        return adapter.validate_json(bytes(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProtocolError(f"{where or 'request'}: {first['msg']}") from None


def read_ingest(data: ReadableBuffer) -> Hello | LoseShard | Stop:
    """A request to the ingest address. Raises `ProtocolError`."""
    return _read(_INGEST, data)  # type: ignore[arg-type, return-value]


def read_lease(data: ReadableBuffer) -> Attach | Fetch | Acknowledge | Detach:
    """A request to the lease address. Raises `ProtocolError`."""
    return _read(_LEASE, data)  # type: ignore[arg-type, return-value]


def read_answer(data: ReadableBuffer) -> Welcome | Stored | Attached | Refusal:
    """An answer. Raises `ProtocolError`."""
    return _read(_ANSWER, data)  # type: ignore[arg-type, return-value]
