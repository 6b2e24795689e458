"""What the steps on a field share: finding the field, and saying what is wrong with it."""

from lclstream.spec import SpecError
from lclstream_producer.interfaces import Array, Event, FieldType, FieldTypes
from lclstream_producer.values import is_number


def numbers(types: FieldTypes, field: str, where: str) -> FieldType:
    """The type of a field of numbers.

    Raises:
        SpecError: there is no such field, or it is a text.
    """
    if field not in types:
        raise SpecError(f"{where}.field: {field!r} is not a field, expected one of {', '.join(types)}")
    kind = types[field]
    if not is_number(kind.dtype):
        raise SpecError(f"{where}.field: {field} is {kind}, expected numbers")
    return kind


def image(types: FieldTypes, field: str, where: str) -> FieldType:
    """The type of a field with at least the two axes of an image. Raises SpecError."""
    kind = numbers(types, field, where)
    if len(kind.shape) < 2:
        raise SpecError(f"{where}.field: {field} is {kind}, expected at least two axes")
    return kind


def replaced(types: FieldTypes, field: str, kind: FieldType) -> FieldTypes:
    """The types with that of one field replaced, in the same order."""
    return {**types, field: kind}


def with_value(event: Event, field: str, value: Array) -> Event:
    """The event with the value of one field replaced, in the same order."""
    return {**event, field: value}
