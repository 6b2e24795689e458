"""Steps that decide on whole events: filter."""

import numpy as np

from lclstream.spec import Filter as FilterSpec
from lclstream.spec import SpecError
from lclstream_producer.interfaces import Array, Event, FieldTypes
from lclstream_producer.steps.base import numbers


class Filter:
    """Keeps the events in which a statistic of a field lies within [minimum, maximum]; nan does not.

    Sums and means are taken in float64 for floating-point numbers and in 64-bit integers for integers.
    """

    def __init__(self, settings: FilterSpec, where: str) -> None:
        self._settings, self._where = settings, where

    def prepare(self, types: FieldTypes) -> FieldTypes:
        """Check that the statistic can be taken of the field."""
        its = self._settings
        kind = numbers(types, its.field, self._where)
        if its.statistic == "value" and kind.shape != ():
            raise SpecError(
                f"{self._where}.statistic: value given, but {its.field} has shape {kind.shape}, "
                "expected sum, mean, min or max"
            )
        if 0 in kind.shape:
            raise SpecError(f"{self._where}.field: {its.field} has shape {kind.shape}, expected values")
        return types

    def apply(self, event: Event) -> Event | None:
        """The event, or None when it is left out."""
        its = self._settings
        value = statistic(event[its.field], its.statistic)
        # One bound at least is given, and nan is neither above nor below any.
        above = its.minimum is None or value >= its.minimum
        below = its.maximum is None or value <= its.maximum
        return event if above and below else None


def statistic(values: Array, name: str) -> float:
    """value, sum, mean, min or max of an array, as a Python number."""
    if name == "value":
        number: float = values.item()
        return number
    if name in ("sum", "mean"):
        wide = np.float64 if values.dtype.kind == "f" or name == "mean" else None
        total: float = getattr(values, name)(dtype=wide).item()
        return total
    extreme: float = getattr(values, name)().item()
    return extreme
