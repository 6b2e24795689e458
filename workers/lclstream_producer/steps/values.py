"""Steps on the values of a field, whatever its shape: cast, mask and threshold."""

from pathlib import Path
from typing import Any

import numpy as np

from lclstream.spec import Cast as CastSpec
from lclstream.spec import Mask as MaskSpec
from lclstream.spec import SpecError
from lclstream.spec import Threshold as ThresholdSpec
from lclstream_producer.interfaces import Array, Event, FieldType, FieldTypes
from lclstream_producer.steps.base import numbers, replaced, with_value
from lclstream_producer.values import convert, fitting


class Cast:
    """Converts to another type; what doesn't fit is clipped, fractions are cut off, nan becomes 0."""

    def __init__(self, settings: CastSpec, where: str) -> None:
        self._settings, self._where = settings, where

    def prepare(self, types: FieldTypes) -> FieldTypes:
        """Check that the field has numbers."""
        its = self._settings
        kind = numbers(types, its.field, self._where)
        return replaced(types, its.field, FieldType(kind.shape, its.dtype))

    def apply(self, event: Event) -> Event:
        """The same values in the other type."""
        its = self._settings
        return with_value(event, its.field, convert(event[its.field], its.dtype))


class Mask:
    """Sets bad pixels to a value; the mask has the shape of the field in one event, 0 is bad."""

    def __init__(self, settings: MaskSpec, where: str) -> None:
        self._settings, self._where = settings, where
        self._bad = _read_mask(Path(settings.file), f"{where}.file")
        self._value: Any = 0

    def prepare(self, types: FieldTypes) -> FieldTypes:
        """Check that mask and field have the same shape."""
        its = self._settings
        kind = numbers(types, its.field, self._where)
        if kind.shape != self._bad.shape:
            raise SpecError(
                f"{self._where}.file: {Path(its.file).name} has shape {self._bad.shape}, "
                f"expected {kind.shape} as {its.field} has it"
            )
        self._value = fitting(its.value, kind.dtype, f"{self._where}.value")
        return types

    def apply(self, event: Event) -> Event:
        """A copy with the bad pixels replaced."""
        its = self._settings
        values = event[its.field].copy()
        np.copyto(values, self._value, where=self._bad)
        return with_value(event, its.field, values)


class Threshold:
    """Sets values outside [minimum, maximum] to a value; nan is neither and stays."""

    def __init__(self, settings: ThresholdSpec, where: str) -> None:
        self._settings, self._where = settings, where
        self._value: Any = 0

    def prepare(self, types: FieldTypes) -> FieldTypes:
        """Check that the field has numbers that the value fits."""
        its = self._settings
        kind = numbers(types, its.field, self._where)
        self._value = fitting(its.value, kind.dtype, f"{self._where}.value")
        return types

    def apply(self, event: Event) -> Event:
        """A copy with the values outside replaced."""
        its = self._settings
        values = event[its.field]
        outside = np.zeros(values.shape, bool)
        # np.float64 bounds: a Python int or float out of the type's range would be refused.
        if its.minimum is not None:
            outside |= values < np.float64(its.minimum)
        if its.maximum is not None:
            outside |= values > np.float64(its.maximum)
        return with_value(event, its.field, np.where(outside, self._value, values))


def _read_mask(path: Path, where: str) -> Array:
    """True where a pixel is bad."""
    try:
        mask = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise SpecError(f"{where}: {path} does not exist, expected a .npy file") from None
    except (OSError, ValueError, EOFError) as error:
        raise SpecError(f"{where}: {path} cannot be read as a .npy file: {error}") from None
    if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "biuf":
        raise SpecError(f"{where}: {path} does not hold one array of numbers, expected a .npy file")
    return np.asarray(mask == 0)
