"""What is done to each event, in order, on its way into a batch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lclstream.spec.base import DType, FieldName, Model, OneOf, Plugin

Pixels = Annotated[int, Field(gt=0, le=1_000_000)]


class OnField(Model):
    """A step that works on one field."""

    field: FieldName
    """The field it works on."""


class Crop(OnField):
    """Cuts a rectangle out of the last two axes."""

    top: int = Field(default=0, ge=0)
    """First row kept."""
    left: int = Field(default=0, ge=0)
    """First column kept."""
    height: Pixels
    """Number of rows kept."""
    width: Pixels
    """Number of columns kept."""


class Bin(OnField):
    """Combines factor x factor pixels of the last two axes into one.

    Both axes must be divisible by the factor. A sum of integers has the next wider integer type,
    a mean of integers is float32.
    """

    factor: int = Field(gt=1, le=4096)
    """Pixels on a side that become one."""
    reduce: Literal["sum", "mean"] = "sum"
    """sum or mean."""


class Pad(OnField):
    """Enlarges the last two axes to a fixed size."""

    height: Pixels
    """Rows afterwards."""
    width: Pixels
    """Columns afterwards."""
    style: Literal["center", "bottom-right"] = "center"
    """center: the image is in the middle; bottom-right: the padding is at the bottom and right."""
    value: float = 0
    """Value of the padding."""


class Mask(OnField):
    """Sets the pixels where the mask is 0 (bad) to a value."""

    file: str = Field(min_length=1)
    """A .npy file with the shape of the field in one event; 0 is bad, anything else is good."""
    value: float = 0
    """Value that bad pixels get."""


class Threshold(OnField):
    """Sets values outside [minimum, maximum] to a value."""

    minimum: float | None = None
    """Smaller values are replaced."""
    maximum: float | None = None
    """Larger values are replaced."""
    value: float = 0
    """What replaces them."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        _check_bounds(self)
        return self


class Cast(OnField):
    """Converts the values to another type; values that don't fit are clipped, fractions cut off."""

    dtype: DType
    """The type afterwards."""


class Filter(OnField):
    """Keeps the events in which a statistic of the field lies within [minimum, maximum]."""

    statistic: Literal["value", "sum", "mean", "min", "max"] = "value"
    """value for scalars, else sum, mean, min or max over the field."""
    minimum: float | None = None
    """Events below are left out."""
    maximum: float | None = None
    """Events above are left out."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        _check_bounds(self)
        return self


class Batch(Model):
    """How many events travel together; the last step."""

    events: int = Field(gt=0, le=1_000_000)
    """Events in a batch; the last batch of a shard may have fewer."""


class Step(OneOf):
    """One step."""

    crop: Crop | None = None
    bin: Bin | None = None
    pad: Pad | None = None
    mask: Mask | None = None
    threshold: Threshold | None = None
    cast: Cast | None = None
    filter: Filter | None = None
    batch: Batch | None = None
    plugin: Plugin | None = None
    """A step registered by another distribution (entry point group lclstream.steps)."""


def _check_bounds(step: Threshold | Filter) -> None:
    if step.minimum is None and step.maximum is None:
        raise ValueError("none given, expected minimum, maximum or both")
    if step.minimum is not None and step.maximum is not None and step.maximum < step.minimum:
        raise ValueError(f"maximum {step.maximum} is not >= minimum {step.minimum}")
