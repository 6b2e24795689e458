"""What every part of a specification shares: the model base, quantities, names and readable errors."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

API_GROUP = "lclstream.io"
API_VERSION: Final = "lclstream.io/v1alpha1"

MAX_NAME = 45
"""Longest name of a stream: a pod named ``<name>-workers-<index>`` has to fit a 63-character DNS label."""

DType = Literal[
    "bool", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
]  # fmt: skip
"""A numpy scalar type by its name."""


class SpecError(ValueError):
    """A request or dataset that cannot be used as it stands.

    Each line of the message names the field, the value found and what was expected.
    """


class Model(BaseModel):
    """A frozen piece of a specification, written in camelCase, that refuses what it doesn't know."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        use_attribute_docstrings=True,
    )


class OneOf(Model):
    """A union written as a map with exactly one key, as Kubernetes writes them.

    Every field of a subclass is optional; exactly one is given.
    """

    common: ClassVar[frozenset[str]] = frozenset()
    """Fields that may stand beside the chosen one."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        self.check_choice()
        return self

    def check_choice(self) -> None:
        """See that exactly one is given. Raises ValueError."""
        given = [name for name in self.members() if getattr(self, name) is not None]
        if len(given) != 1:
            names = ", ".join(to_camel(name) for name in self.members())
            found = " and ".join(to_camel(name) for name in given) or "none"
            raise ValueError(f"{found} given, expected exactly one of {names}")

    @classmethod
    def members(cls) -> tuple[str, ...]:
        """The fields of which exactly one is given."""
        return tuple(name for name in cls.model_fields if name not in cls.common)

    @property
    def choice(self) -> str:
        """Name of the field that is given."""
        return next(name for name in self.members() if getattr(self, name) is not None)


class Plugin(Model):
    """Something registered by another distribution under a Python entry point."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=63)]
    """The name it is registered under."""
    options: dict[str, Any] = Field(default_factory=dict, alias="with")
    """Its options, as it documents them."""


_SUFFIXES = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip
_QUANTITY_PATTERN = r"^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_QUANTITY_LENGTH = 32


def parse_quantity(text: str) -> Decimal:
    """The value of a Kubernetes quantity: ``2Gi`` is 2147483648, ``500m`` is 0.5.

    Source: the Kubernetes API conventions on ``resource.Quantity`` (without exponents).

    Raises:
        ValueError: the text is not a quantity.
    """
    match = re.fullmatch(_QUANTITY_PATTERN.strip("^$"), text)
    if not match:
        raise ValueError(f"{text!r} is not a quantity such as 512Mi, 2Gi or 4")
    number, suffix = Decimal(match[1]), match[2] or ""
    return number / 1000 if suffix == "m" else number * _SUFFIXES[suffix]


def quantity_bytes(text: str) -> int:
    """The value of a Kubernetes quantity in whole bytes."""
    return int(parse_quantity(text))


def _check_quantity(text: str) -> str:
    parse_quantity(text)
    return text


def _number_to_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    Field(max_length=_QUANTITY_LENGTH),
    BeforeValidator(_number_to_text),
    AfterValidator(_check_quantity),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": _QUANTITY_PATTERN,
            "maxLength": _QUANTITY_LENGTH,
            "minimum": 0,
        }
    ),
]
"""A Kubernetes quantity, kept as it was written; `quantity_bytes` gives its value."""

FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]*$", max_length=253)]
"""Name of a field of a batch."""

M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], data: object, *, where: str = "") -> M:
    """Build a model from plain data.

    Args:
        model: the model to build.
        data: what a YAML or JSON parser returned.
        where: put in front of the path in error messages.

    Raises:
        SpecError: a line for each thing that is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SpecError("\n".join(describe(error.errors(), where))) from None


def describe(errors: Iterable[ErrorDetails], where: str = "") -> list[str]:
    """Validation errors as lines of the form ``spec.steps[1].pad.height: 0 is not > 0``."""
    return [f"{_path(where, e['loc'])}: {_expectation(e)}" for e in errors]


def _path(where: str, loc: tuple[int | str, ...]) -> str:
    path = where
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part}" if path else part
    return path or "document"


def _expectation(error: ErrorDetails) -> str:
    value, context = error.get("input"), error.get("ctx") or {}
    shown = repr(value) if not isinstance(value, dict | list) else type(value).__name__
    if len(shown) > 80:
        shown = shown[:77] + "..."
    match error["type"]:
        case "greater_than":
            return f"{shown} is not > {context['gt']}"
        case "greater_than_equal":
            return f"{shown} is not >= {context['ge']}"
        case "less_than":
            return f"{shown} is not < {context['lt']}"
        case "less_than_equal":
            return f"{shown} is not <= {context['le']}"
        case "missing":
            return "missing, expected a value"
        case "extra_forbidden":
            return f"{shown} given, but there is no such field"
        case "literal_error":
            return f"{shown} is not one of {context['expected']}"
        case "value_error":
            return str(context["error"])
        case "string_pattern_mismatch":
            return f"{shown} does not match {context['pattern']}"
        case _:
            return f"{shown}: {error['msg'][:1].lower()}{error['msg'][1:]}"
