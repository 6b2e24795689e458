"""What sources, steps, encoders and sinks have to be; plug-ins of other distributions implement these.

A plug-in is registered as an entry point that is called to make one:

* ``lclstream.sources``: ``factory(config: SourceConfig, fields: Mapping[str, FieldSource] | None) -> Source``
* ``lclstream.steps``: ``factory(settings: Model | dict, where: str) -> Step``
* ``lclstream.encoders``: ``factory(encoding: Encoding) -> Encoder``

What the user has to put right is raised as `lclstream.spec.SpecError`, one line per problem, naming the
field of the request, the value found and what was expected.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from numpy.typing import NDArray

from lclstream.wire import WritableBuffer

Array = NDArray[Any]
Event = dict[str, Array]
"""Field name -> value of one event. A scalar is an array of shape (); a text has a numpy ``<U`` dtype."""

RawEvent = Mapping[str, Array | None]
"""What a source reads: as `Event`, where None stands for a value that is missing."""

TEXT = "str"
"""Name of the dtype of texts, whatever their length."""


@dataclass(frozen=True, slots=True)
class FieldType:
    """Shape and type of a field in one event.

    Attributes:
        shape: without the axis of events; () for a scalar or a text.
        dtype: numpy's name of the type, such as ``uint16``; `TEXT` for texts.
    """

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, value: Array) -> Self:
        """The type of a value."""
        return cls(value.shape, TEXT if value.dtype.kind == "U" else value.dtype.name)

    @property
    def is_text(self) -> bool:
        """Whether these are texts."""
        return self.dtype == TEXT

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.shape}"


FieldTypes = dict[str, FieldType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events that travel together.

    Attributes:
        sequence: number within the shard, from 0.
        start: source's count of the first event in it.
        stop: source's count after the last event in it.
        events: number of events in it.
        arrays: field name -> array of shape (events, ...).
    """

    sequence: int
    start: int
    stop: int
    events: int
    arrays: dict[str, Array]


class Source(Protocol):
    """Reads events; made for the fields that are asked of it, or None for all it offers.

    Making one opens what it reads and raises SpecError for whatever can't be served.
    """

    @property
    def events(self) -> int:
        """How many events there are, before any selection; they are counted from 0."""
        ...

    @property
    def types(self) -> FieldTypes:
        """The fields it reads, in order, as they are in the first event."""
        ...

    @property
    def rate(self) -> float | None:
        """Events per second at most; None for as fast as possible."""
        ...

    def read(self, indices: range) -> Iterator[RawEvent]:
        """Read events in the order of the indices, each with every field of `types`.

        Values are in native byte order and are not changed afterwards by the source.

        Raises:
            OSError: the data can't be read any more.
        """
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class Step(Protocol):
    """Changes an event, or leaves it out."""

    def prepare(self, types: FieldTypes) -> FieldTypes:
        """Get ready for events of these types; called again when they change.

        Returns:
            The types after the step.

        Raises:
            SpecError: the step can't be done on such events.
        """
        ...

    def apply(self, event: Event) -> Event | None:
        """The event after the step, or None to leave it out; the arrays given are not changed in place."""
        ...


class Encoder(Protocol):
    """Writes batches into messages."""

    @property
    def name(self) -> str:
        """What the envelope names as the encoding; a decoder is found by it."""
        ...

    def check(self, types: FieldTypes) -> None:
        """See that fields of these types can be written. Raises SpecError."""
        ...

    def encode(self, arrays: Mapping[str, Array]) -> WritableBuffer:
        """Write a batch.

        Returns:
            A message whose first 512 bytes are left for the envelope.
        """
        ...

    def bound(self, arrays: Mapping[str, Array], events: int) -> int:
        """Largest size in bytes, envelope included, of a message of so many events like the given batch."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a shard stands when its producer starts.

    Attributes:
        sequence: number of the next batch.
        position: source's count to go on from; None: from the shard's first event.
        events: events already handed on.
        ended: there is nothing left to do.
    """

    sequence: int = 0
    position: int | None = None
    events: int = 0
    ended: bool = False


class Sink(Protocol):
    """Takes the messages of one shard, in order."""

    def open(self) -> Standing:
        """Say which shard this is, and learn where it stands."""
        ...

    def send(self, message: WritableBuffer) -> None:
        """Hand on a message; may wait for earlier ones to be taken."""
        ...

    def drain(self) -> None:
        """Wait until every message is taken."""
        ...

    def end(self, message: WritableBuffer) -> None:
        """Wait until every message is taken, then hand on the shard's end."""
        ...

    def close(self, *, patience: float = 0) -> None:
        """Let go, after waiting so many seconds for what is on its way; callable from another thread."""
        ...
