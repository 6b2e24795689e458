"""Where events come from and which of their fields a batch carries."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from lclstream.spec.base import DType, FieldName, Model, OneOf, Plugin


class Empty(Model):
    """A choice without settings of its own."""


class OnMissing(OneOf):
    """What happens to an event in which a field has no value."""

    skip: Empty | None = None
    """The event is left out and counted as skipped."""
    fill: float | None = None
    """The value that takes the place of every missing element; the event stays."""
    fail: Empty | None = None
    """The shard ends with an error that names the event. This is the default."""


def _one_line(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """One error for the whole union, where pydantic has one for each member."""
    try:
        return validate(value)
    except ValidationError:
        raise ValueError(f"{value!r} is not a number, a text or a list of numbers") from None


class ConstantField(Model):
    """The same value in every event."""

    value: Annotated[float | str | Annotated[list[float], Field(min_length=1)], WrapValidator(_one_line)]
    """A number, a text, or a list of numbers."""


class RandomField(Model):
    """Random values, the same for the same seed and event.

    Integers are uniform in 0..254, floating-point numbers in [0, 1), as LCLStreamer's
    GenericRandomNumpyArray has them.
    """

    shape: list[Annotated[int, Field(gt=0)]] = Field(default_factory=list, max_length=8)
    """Shape of the field in one event; empty for a scalar."""
    seed: int = Field(default=0, ge=0)
    """Two fields with different seeds differ."""


class FieldSource(OneOf):
    """Where one field of the batch comes from.

    An empty map stands for the field of the same name that the source offers.
    """

    common: ClassVar[frozenset[str]] = frozenset({"dtype", "on_missing"})

    path: Annotated[str, Field(min_length=1)] | None = None
    """Path of a dataset in an HDF5 file; its first axis is the event."""
    detector: Annotated[str, Field(min_length=1)] | None = None
    """Name the reader knows it by, such as ``jungfrau.raw.calib``."""
    timestamp: Empty | None = None
    """Time of the event in nanoseconds since 1970, uint64."""
    source_identifier: Empty | None = None
    """A text that names dataset and run."""
    constant: ConstantField | None = None
    """The same value in every event."""
    random: RandomField | None = None
    """Random values, for tests and load."""
    dtype: DType | None = None
    """Type the values are converted to; absent: the type they have at the source."""
    on_missing: OnMissing = Field(default_factory=lambda: OnMissing(fail=Empty()))
    """What happens to an event without this field."""

    def check_choice(self) -> None:
        """An empty map is allowed: it is resolved against what the source offers."""
        if not self.offered:
            super().check_choice()

    @property
    def offered(self) -> bool:
        """Whether this is the field of the same name that the source offers."""
        return all(getattr(self, name) is None for name in self.members())


Fields = Annotated[dict[FieldName, FieldSource], Field(max_length=256)]
"""Name in the batch -> where it comes from."""


class SyntheticSource(Model):
    """Made-up diffraction patterns, the same for the same seed; a source without any files.

    It offers ``detector_data`` (shape and dtype below), ``photon_energy`` (float64, eV) and
    ``timestamp`` (uint64, ns).
    """

    events: int = Field(gt=0, le=10**12)
    """How many events there are in all shards together."""
    shape: list[Annotated[int, Field(gt=0)]] = Field(
        default_factory=lambda: [512, 512], min_length=2, max_length=3
    )
    """Shape of detector_data in one event: (height, width) or (panels, height, width), pixels."""
    dtype: DType = "uint16"
    """Type of detector_data."""
    seed: int = Field(default=0, ge=0)
    """Another seed gives other data."""
    rate: float | None = Field(default=None, gt=0)
    """Events per second and shard; absent: as fast as possible."""


class Hdf5Source(Model):
    """HDF5 files named directly; on one machine only (a cluster publishes a Dataset)."""

    files: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=10000)
    """Paths or glob patterns, relative to the request's own folder."""


class DatasetRef(Model):
    """A run of a published Dataset."""

    name: str = Field(min_length=1, max_length=253)
    """Name of the Dataset, in the namespace of the request."""
    run: str = Field(min_length=1, max_length=253)
    """Name of the run."""


class EventRange(Model):
    """Which events are taken, counted over all files of the run from 0."""

    start: int = Field(default=0, ge=0)
    """First event taken."""
    stop: int | None = Field(default=None, ge=0)
    """First event not taken any more; absent: to the end."""
    step: int = Field(default=1, ge=1)
    """Every step-th event is taken."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"stop {self.stop} is not > start {self.start}")
        return self


class Source(OneOf):
    """Where the events come from, and which of them are taken."""

    common: ClassVar[frozenset[str]] = frozenset({"events"})

    dataset: DatasetRef | None = None
    """A run of a published Dataset."""
    synthetic: SyntheticSource | None = None
    """Made-up diffraction patterns."""
    hdf5: Hdf5Source | None = None
    """HDF5 files named directly, on one machine."""
    plugin: Plugin | None = None
    """A source registered by another distribution (entry point group lclstream.sources)."""
    events: EventRange = Field(default_factory=EventRange)
    """Which events are taken."""


def jsonable(model: Model) -> dict[str, Any]:
    """A model as plain data, without what was left out."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
