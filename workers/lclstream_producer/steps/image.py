"""Steps on the last two axes of a field, rows and columns: bin, crop and pad."""

from typing import Literal

import numpy as np

from lclstream.spec import Bin as BinSpec
from lclstream.spec import Crop as CropSpec
from lclstream.spec import Pad as PadSpec
from lclstream.spec import SpecError
from lclstream_producer.interfaces import Event, FieldType, FieldTypes
from lclstream_producer.steps.base import image, replaced, with_value
from lclstream_producer.values import fitting

_WIDER = {
    "bool": "uint8", "int8": "int16", "int16": "int32", "int32": "int64", "int64": "int64",
    "uint8": "uint16", "uint16": "uint32", "uint32": "uint64", "uint64": "uint64",
    "float16": "float32", "float32": "float32", "float64": "float64",
}  # fmt: skip
_LARGEST_FACTOR = {"bool": 15, "int8": 16, "uint8": 16, "int16": 256, "uint16": 256}
"""Up to which a sum can't overflow the wider type."""


class Crop:
    """Cuts a rectangle out. (..., h, w) becomes (..., height, width); the type stays."""

    def __init__(self, settings: CropSpec, where: str) -> None:
        self._settings, self._where = settings, where

    def prepare(self, types: FieldTypes) -> FieldTypes:
        """Check that the rectangle lies inside."""
        its = self._settings
        kind = image(types, its.field, self._where)
        rows, columns = kind.shape[-2:]
        for name, end, size in (
            ("height", its.top + its.height, rows),
            ("width", its.left + its.width, columns),
        ):
            if end > size:
                raise SpecError(
                    f"{self._where}.{name}: the rectangle ends at {end}, expected at most {size}, "
                    f"as {its.field} has shape {kind.shape}"
                )
        return replaced(types, its.field, FieldType((*kind.shape[:-2], its.height, its.width), kind.dtype))

    def apply(self, event: Event) -> Event:
        """A view of the rectangle."""
        its = self._settings
        rows, columns = slice(its.top, its.top + its.height), slice(its.left, its.left + its.width)
        return with_value(event, its.field, event[its.field][..., rows, columns])


class Bin:
    """Combines factor x factor pixels into one. (..., h, w) becomes (..., h / factor, w / factor).

    A sum of integers has the next wider type (64-bit integers stay and may wrap around; Booleans become
    uint8), a sum of float16 is float32. A mean is float32, or float64 when the values are.
    """

    def __init__(self, settings: BinSpec, where: str) -> None:
        self._settings, self._where = settings, where
        self._dtype = ""

    def prepare(self, types: FieldTypes) -> FieldTypes:
        """Check that both axes are divisible by the factor."""
        its = self._settings
        kind = image(types, its.field, self._where)
        rows, columns = kind.shape[-2:]
        if rows % its.factor or columns % its.factor:
            raise SpecError(
                f"{self._where}.factor: {its.factor} does not divide the {rows} x {columns} pixels of "
                f"{its.field}, expected a common divisor; crop or pad first"
            )
        self._dtype = self._result(kind.dtype)
        shape = (*kind.shape[:-2], rows // its.factor, columns // its.factor)
        return replaced(types, its.field, FieldType(shape, self._dtype))

    def _result(self, dtype: str) -> str:
        if self._settings.reduce == "mean":
            return "float64" if dtype == "float64" else "float32"
        largest = _LARGEST_FACTOR.get(dtype, self._settings.factor)
        if self._settings.factor > largest:
            raise SpecError(
                f"{self._where}.factor: {self._settings.factor} lets sums of {dtype} overflow "
                f"{_WIDER[dtype]}, expected at most {largest}; cast first"
            )
        return _WIDER[dtype]

    def apply(self, event: Event) -> Event:
        """Sum or mean of the pixels, added up one position at a time, which is faster than one reduction."""
        its = self._settings
        values, factor = event[its.field], its.factor
        accumulate = "float64" if its.reduce == "mean" else self._dtype
        total = np.zeros(
            (*values.shape[:-2], values.shape[-2] // factor, values.shape[-1] // factor), accumulate
        )
        for row in range(factor):
            for column in range(factor):
                total += values[..., row::factor, column::factor]
        if its.reduce == "mean":
            total = (total / (factor * factor)).astype(self._dtype)
        return with_value(event, its.field, total)


class Pad:
    """Enlarges to a fixed size. (..., h, w) becomes (..., height, width); the type stays."""

    def __init__(self, settings: PadSpec, where: str) -> None:
        self._settings, self._where = settings, where
        self._value: object = 0
        self._at = (0, 0)

    def prepare(self, types: FieldTypes) -> FieldTypes:
        """Check that the image is not larger than the size asked for."""
        its = self._settings
        kind = image(types, its.field, self._where)
        self._at = (self._before("height", kind), self._before("width", kind))
        self._value = fitting(its.value, kind.dtype, f"{self._where}.value")
        return replaced(types, its.field, FieldType((*kind.shape[:-2], its.height, its.width), kind.dtype))

    def _before(self, name: Literal["height", "width"], kind: FieldType) -> int:
        """Pixels in front of the image; an odd one goes behind."""
        its = self._settings
        asked, has = (its.height, kind.shape[-2]) if name == "height" else (its.width, kind.shape[-1])
        if asked < has:
            raise SpecError(
                f"{self._where}.{name}: {asked} is not >= {has}, the {name} of {its.field} "
                f"with shape {kind.shape}"
            )
        return (asked - has) // 2 if its.style == "center" else 0

    def apply(self, event: Event) -> Event:
        """The image inside a larger one."""
        its = self._settings
        values, (top, left) = event[its.field], self._at
        rows, columns = values.shape[-2:]
        out = np.full((*values.shape[:-2], its.height, its.width), self._value, values.dtype)
        out[..., top : top + rows, left : left + columns] = values
        return with_value(event, its.field, out)
