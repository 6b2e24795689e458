"""The fields of a batch: read by the source, or made here; converted, and completed when missing."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lclstream.config import ProducerConfig
from lclstream.spec import FieldSource, RandomField, SpecError
from lclstream_producer.interfaces import Array, Event, FieldType, FieldTypes, RawEvent, Source
from lclstream_producer.values import convert, fitting, limits

GENERIC = frozenset({"constant", "random", "source_identifier"})
"""Choices of a field that need no source."""

RANDOM_DTYPE = "float32"
"""Type of a random field that names none."""


def is_generic(field: FieldSource) -> bool:
    """Whether a field is made here, for any source."""
    return not field.offered and field.choice in GENERIC


def asked_of_source(fields: Mapping[str, FieldSource]) -> dict[str, FieldSource] | None:
    """The fields a source has to read; None: everything it offers, as none was named."""
    if not fields:
        return None
    return {name: field for name, field in fields.items() if not is_generic(field)}


@dataclass(frozen=True, slots=True)
class Fields:
    """Makes complete events out of what a source reads. Make one with `resolve`.

    Attributes:
        wanted: name -> where it comes from, in the order of the batch.
        types: name -> type, as known before reading.
        constants: name -> value of the fields that are the same in every event.
        native: the names that the source reads.
    """

    wanted: Mapping[str, FieldSource]
    types: FieldTypes
    constants: Event
    native: frozenset[str]

    def read(self, source: Source, indices: range) -> Iterator[tuple[int, Event | None]]:
        """Events with the source's count of each; None for one that is left out for a missing value.

        Raises:
            SpecError: a value is missing in a field that says fail.
        """
        for index, raw in zip(indices, source.read(indices), strict=True):
            yield index, self.complete(index, raw)

    def complete(self, index: int, raw: RawEvent) -> Event | None:
        """One event with every field, or None when it is left out. Raises SpecError."""
        event: Event = {}
        for name, field in self.wanted.items():
            value = self._value(name, field, index, raw)
            if value is None:
                return None
            event[name] = value
        return event

    def _value(self, name: str, field: FieldSource, index: int, raw: RawEvent) -> Array | None:
        if name in self.constants:
            return self.constants[name]
        if name not in self.native:
            return random_values(field.random or RandomField(), self.types[name], name, index)
        value = raw[name]
        if value is None:
            return self._missing(name, field, index)
        return convert(value, field.dtype) if field.dtype else value

    def _missing(self, name: str, field: FieldSource, index: int) -> Array | None:
        if field.on_missing.fill is not None:
            return self._filled(name, field.on_missing.fill)
        if field.on_missing.skip is not None:
            return None
        raise SpecError(
            f"spec.fields.{name}: event {index} has no value, expected one; "
            "onMissing skip or fill would go on without it"
        )

    def _filled(self, name: str, fill: float) -> Array:
        kind = self.types[name]
        if kind.is_text:
            return np.full(kind.shape, f"{fill:g}")
        return np.full(kind.shape, fill, kind.dtype)


def resolve(config: ProducerConfig, source: Source) -> Fields:
    """Settle what the fields of a configuration are, now that the source is open.

    Raises:
        SpecError: a line for each field that can't be had as asked for.
    """
    wanted = config.fields or {name: FieldSource() for name in source.types}
    types, constants, problems = FieldTypes(), Event(), []
    for name, field in wanted.items():
        try:
            types[name] = _type(name, field, source)
            value = _constant(field, config.source.identifier, types[name], f"spec.fields.{name}")
        except SpecError as error:
            problems.append(str(error))
        else:
            constants |= {} if value is None else {name: value}
    if problems:
        raise SpecError("\n".join(problems))
    native = frozenset(name for name, field in wanted.items() if not is_generic(field))
    return Fields(wanted, types, constants, native)


def _type(name: str, field: FieldSource, source: Source) -> FieldType:
    where = f"spec.fields.{name}"
    if not is_generic(field):
        kind = source.types[name]
    elif field.random is not None:
        kind = FieldType(tuple(field.random.shape), RANDOM_DTYPE)
    else:
        value = field.constant.value if field.constant is not None else ""
        kind = FieldType.of(np.asarray(value))
    if field.dtype is not None and kind.is_text:
        raise SpecError(f"{where}.dtype: {field.dtype} given, but the field is a text, expected no dtype")
    kind = FieldType(kind.shape, field.dtype or kind.dtype)
    if field.on_missing.fill is not None and not kind.is_text:
        fitting(field.on_missing.fill, kind.dtype, f"{where}.onMissing.fill")
    return kind


def _constant(field: FieldSource, identifier: str, kind: FieldType, where: str) -> Array | None:
    if not field.offered and field.source_identifier is not None:
        return np.asarray(identifier)
    if field.constant is None:
        return None
    value = np.asarray(field.constant.value)
    if kind.is_text:
        return value
    numbers = [fitting(number, kind.dtype, f"{where}.constant.value") for number in value.ravel().tolist()]
    return np.asarray(numbers, kind.dtype).reshape(kind.shape)


def random_values(settings: RandomField, kind: FieldType, name: str, index: int) -> Array:
    """Random values of one event, the same for the same seed, name and event.

    Returns:
        Integers uniform in 0..254 (or to the largest their type holds), floats in [0, 1).
    """
    rng = np.random.default_rng((settings.seed, zlib.crc32(name.encode()), index))
    dtype = np.dtype(kind.dtype)
    if dtype.kind == "f":
        return np.asarray(rng.random(kind.shape, np.float32)).astype(dtype, copy=False)
    high = min(255, limits(kind.dtype)[1] + 1)
    return np.asarray(rng.integers(0, high, kind.shape)).astype(dtype, copy=False)
