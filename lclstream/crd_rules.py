"""CEL rules of the CustomResourceDefinitions: what a structural schema can't say.

The API server estimates the cost of each rule from the bounds on lists, maps and strings and refuses
a CRD that could be too expensive, so a rule looks only at what is bounded. A rule may meet an object
before its nested defaults are filled in (the default ``{}`` itself is checked), so it tests with
``has`` before it reads. Each rule has its counterpart in a validator of the models.

Source: Kubernetes documentation, "Validation rules" of CustomResourceDefinitions.
"""

from dataclasses import dataclass
from typing import Final

from pydantic.alias_generators import to_camel

from lclstream.spec.base import MAX_NAME, OneOf


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of ``x-kubernetes-validations``.

    Attributes:
        rule: CEL expression that is true for what is allowed.
        message: what was expected, one line.
        field: path of the field the error points at, relative to where the rule stands.
        reason: how clients classify the error.
    """

    rule: str
    message: str
    field: str = ""
    reason: str = ""

    def as_schema(self) -> dict[str, str]:
        """As it stands in a schema."""
        entry = {"rule": self.rule, "message": self.message}
        if self.reason:
            entry["reason"] = self.reason
        if self.field:
            entry["fieldPath"] = self.field
        return entry


def one_of_rule(model: type[OneOf]) -> Rule:
    """Exactly one member of a union is given; or at most one, where the model takes none as well."""
    names = [to_camel(name) for name in model.members()]
    total = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    none_allowed = model.check_choice is not OneOf.check_choice
    bound, words = ("<= 1", "at most one") if none_allowed else ("== 1", "exactly one")
    return Rule(f"{total} {bound}", f"expected {words} of {', '.join(names)}", reason="FieldValueInvalid")


_BOUNDS = (
    Rule("has(self.minimum) || has(self.maximum)", "expected minimum, maximum or both"),
    Rule(
        "!has(self.minimum) || !has(self.maximum) || self.maximum >= self.minimum",
        "maximum must be >= minimum",
        ".maximum",
    ),
)

_LEVELS: Final = "['gzip', 'gzip-shuffle', 'bitshuffle-zstd']"

OBJECT_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "Threshold": _BOUNDS,
    "Filter": _BOUNDS,
    "EventRange": (
        Rule(
            "!has(self.stop) || !has(self.start) || self.stop > self.start",
            "stop must be > start",
            ".stop",
        ),
    ),
    "StreamSpec.steps": (
        Rule(
            "self.filter(s, has(s.batch)).size()"
            " <= (self.size() > 0 && has(self[self.size() - 1].batch) ? 1 : 0)",
            "batch must be the last step, and there may be only one",
        ),
    ),
    "Encoding": (
        Rule(
            f"!has(self.level) || (has(self.compression) && self.compression in {_LEVELS})",
            "level is for compression gzip, gzip-shuffle and bitshuffle-zstd only",
            ".level",
        ),
        Rule(
            "!has(self.level) || !has(self.compression) || !self.compression.startsWith('gzip')"
            " || self.level <= 9",
            "level of gzip must be within 0..9",
            ".level",
        ),
        Rule(
            "!has(self.level) || !has(self.compression) || self.compression != 'bitshuffle-zstd'"
            " || self.level >= 1",
            "level of bitshuffle-zstd must be within 1..22",
            ".level",
        ),
    ),
    "Delivery": (
        Rule(
            "!has(self.memory) || !isQuantity(string(self.memory))"
            " || quantity(string(self.memory)).compareTo(quantity('1')) >= 0",
            "memory must be > 0",
            ".memory",
        ),
        Rule(
            "!has(self.retain) || !self.retain || !has(self.mode) || self.mode == 'lease'",
            "retain true needs mode lease",
            ".retain",
        ),
        Rule(
            "!has(self.retain) || !self.retain || !has(self.onFull) || self.onFull == 'block'",
            "retain true needs onFull block",
            ".retain",
        ),
    ),
    "DatasetSpec": (
        Rule(
            "!has(self.reader) || self.reader != 'hdf5' || has(self.volume)",
            "reader hdf5 needs a volume",
        ),
        Rule(
            "!has(self.reader) || self.reader != 'hdf5'"
            " || self.runs.all(r, has(r.files) && r.files.size() > 0)",
            "reader hdf5 needs at least one of files in each run",
            ".runs",
        ),
        Rule(
            "!has(self.reader) || self.reader != 'synthetic' || self.runs.all(r, has(r.synthetic))",
            "reader synthetic needs synthetic in each run",
            ".runs",
        ),
    ),
}
"""Rules by model, or by model and property."""

MAP_KEYS: Final[dict[str, tuple[Rule, ...]]] = {
    r"^[A-Za-z_][A-Za-z0-9_.:-]*$": (
        Rule("self.all(k, k.size() <= 253)", "a field's name may have 253 characters"),
        Rule(
            "self.all(k, k.matches('^[A-Za-z_][A-Za-z0-9_.:-]*$'))",
            "a field's name starts with a letter or _ and has letters, digits, and _ . : - only",
        ),
    ),
}
"""Rules for the keys of a map, by the pattern the models have for them."""

_NAME = (
    Rule(
        f"self.metadata.name.size() <= {MAX_NAME}",
        f"metadata.name may have {MAX_NAME} characters, as names of pods are made from it",
    ),
    Rule(
        "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must have lower-case letters, digits and dashes only",
    ),
)

_NOT_STARTED: Final = (
    "!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Pending'"
    " || (oldSelf.status.phase == 'Suspended'"
    " && (!has(oldSelf.status.progress) || !has(oldSelf.status.progress.batches)"
    " || oldSelf.status.progress.batches == 0))"
)
"""A suspended stream that has batches already goes on with them, so it counts as started."""


def _fixed(path: str, *, optional: bool = False) -> Rule:
    """A part of the specification doesn't change any more once the stream has started."""
    new, old = f"self.spec.{path}", f"oldSelf.spec.{path}"
    same = f"{new} == {old}"
    if optional:
        same = f"has({new}) == has({old}) && (!has({new}) || {same})"
    return Rule(
        f"{_NOT_STARTED} || ({same})",
        f"{path} is fixed once the stream has started; delete the request and make a new one",
        f".spec.{path}",
        "FieldValueForbidden",
    )


ROOT_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "StreamRequest": (
        *_NAME,
        _fixed("source"),
        _fixed("fields", optional=True),
        _fixed("steps", optional=True),
        _fixed("encoding"),
        _fixed("delivery.mode"),
        _fixed("delivery.buffers"),
        _fixed("workers.shards"),
    ),
    "Dataset": _NAME,
}
"""Rules of the whole object, with its name and its status."""
