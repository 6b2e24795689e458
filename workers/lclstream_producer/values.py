"""Values and numpy types: what fits where, and conversion without surprises. Pure."""

from typing import Any

import numpy as np

from lclstream.spec import SpecError
from lclstream_producer.interfaces import TEXT, Array


def fitting(value: float, dtype: str, where: str) -> Any:
    """A number as a scalar of a type.

    Raises:
        SpecError: the type can't hold it, such as nan in uint16.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            scalar = kind.type(value)
        if np.isinf(scalar) and not np.isinf(value):
            raise SpecError(f"{where}: {value:g} does not fit {dtype}, expected at most {np.finfo(kind).max}")
        return scalar
    low, high = limits(dtype)
    if not np.isfinite(value) or value != int(value) or not low <= int(value) <= high:
        raise SpecError(f"{where}: {value:g} does not fit {dtype}, expected a whole number in {low}..{high}")
    return kind.type(int(value))


def limits(dtype: str) -> tuple[int, int]:
    """Smallest and largest value of an integer or Boolean type."""
    kind = np.dtype(dtype)
    return (0, 1) if kind.kind == "b" else (int(np.iinfo(kind).min), int(np.iinfo(kind).max))


def convert(values: Array, dtype: str) -> Array:
    """Values in another type: what doesn't fit is clipped, fractions are cut off, nan becomes 0.

    Args:
        values: numbers of any shape.
        dtype: the type afterwards.

    Returns:
        The same array when it has that type already. As Boolean, anything but 0 is true.
    """
    target = np.dtype(dtype)
    if values.dtype == target:
        return values
    if target.kind in "fb":
        with np.errstate(over="ignore"):
            return _into_float(values, target) if target.kind == "f" else values != 0
    return _into_integer(values, target)


def _into_float(values: Array, target: np.dtype[Any]) -> Array:
    """Finite values beyond the range become the largest ones, infinities stay."""
    out = np.asarray(values.astype(target))
    beyond = np.isinf(out) & ~np.isinf(values) if values.dtype.itemsize >= target.itemsize else None
    if beyond is not None and beyond.any():
        out[beyond] = np.copysign(np.finfo(target).max, out[beyond])
    return out


def _into_integer(values: Array, target: np.dtype[Any]) -> Array:
    low, high = limits(target.name)
    if values.dtype.kind == "f":
        return _float_into_integer(values, target, low, high)
    if values.dtype.kind == "b":
        return np.asarray(values.astype(target))
    source_low, source_high = limits(values.dtype.name)
    # Bounds outside the source's own range need no clipping, and numpy would refuse them.
    clipped = np.clip(values, max(low, source_low), min(high, source_high))
    return np.asarray(clipped.astype(target))


def _float_into_integer(values: Array, target: np.dtype[Any], low: int, high: int) -> Array:
    # A float may round high up to a value just outside; those positions are set exactly.
    wide = np.asarray(values if values.dtype.itemsize >= 4 else values.astype(np.float32))
    below, above = wide <= low, wide >= float(high)
    inside = ~(below | above | np.isnan(wide))
    out = np.where(inside, wide, wide.dtype.type(0)).astype(target)
    out[below], out[above] = low, high
    return out


def is_number(dtype: str) -> bool:
    """Whether a type is one of the numbers or Booleans that a field may have."""
    return dtype != TEXT and np.dtype(dtype).kind in "biuf"
