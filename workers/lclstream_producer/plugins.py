"""Finds sources, steps and encoders by the name they are registered under."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, cast

from lclstream.config import SourceConfig
from lclstream.spec import Encoding, FieldSource, Model, SpecError
from lclstream.spec import Step as StepSpec
from lclstream_producer.interfaces import Encoder, Source, Step

SOURCES, STEPS, ENCODERS = "lclstream.sources", "lclstream.steps", "lclstream.encoders"


def load(group: str, name: str, where: str) -> Callable[..., Any]:
    """What is registered under a name.

    Args:
        group: entry point group.
        name: the name asked for.
        where: the field of the request that names it, for the message.

    Raises:
        SpecError: nothing is, or it can't be imported.
    """
    found = entry_points(group=group)
    for entry in found:
        if entry.name == name:
            try:
                return cast("Callable[..., Any]", entry.load())
            except (ImportError, AttributeError) as error:
                raise SpecError(f"{where}: {name!r} cannot be loaded: {error}") from None
    known = ", ".join(sorted(found.names)) or "none"
    raise SpecError(f"{where}: {name!r} is not registered, expected one of {known}")


def make_source(config: SourceConfig, fields: Mapping[str, FieldSource] | None) -> Source:
    """The source of a configuration; fields None stands for all it offers. Raises SpecError."""
    source: Source = load(SOURCES, config.reader, "spec.source")(config, fields)
    return source


def make_steps(steps: list[StepSpec]) -> list[Step]:
    """The steps of a configuration, in order. Raises SpecError."""
    return [_make_step(step, f"spec.steps[{index}]") for index, step in enumerate(steps)]


def _make_step(spec: StepSpec, where: str) -> Step:
    settings: Model | dict[str, Any] = getattr(spec, spec.choice)
    name, where = spec.choice, f"{where}.{spec.choice}"
    if spec.plugin is not None:
        name, settings = spec.plugin.name, spec.plugin.options
    step: Step = load(STEPS, name, where)(settings, where)
    return step


def make_encoder(encoding: Encoding) -> Encoder:
    """The encoder of a configuration. Raises SpecError."""
    encoder: Encoder = load(ENCODERS, encoding.format, "spec.encoding.format")(encoding)
    return encoder
