"""A configuration made ready to work: everything opened and checked, nothing produced yet."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lclstream.config import ProducerConfig
from lclstream.spec import SpecError
from lclstream.wire import WritableBuffer
from lclstream_producer.fields import Fields, asked_of_source, resolve
from lclstream_producer.interfaces import Array, Encoder, FieldType, FieldTypes, Source
from lclstream_producer.pipeline import Chain, types_of
from lclstream_producer.plugins import make_encoder, make_source, make_steps
from lclstream_producer.sharding import select


@dataclass(frozen=True, slots=True)
class Job:
    """What every shard of a stream has in common.

    Attributes:
        config: what was asked for.
        source: open; to be closed.
        fields: what a batch carries.
        chain: the steps, ready for the types of the source.
        types: of the fields after the steps.
        encoder: writes the batches.
        selected: the events taken, over all shards.
    """

    config: ProducerConfig
    source: Source
    fields: Fields
    chain: Chain
    types: FieldTypes
    encoder: Encoder
    selected: range


def prepare(config: ProducerConfig) -> Job:
    """Open the source and see that fields, steps and encoding fit each other.

    Raises:
        SpecError: they don't, one line for each thing that is wrong.
    """
    steps, encoder = make_steps(config.steps), make_encoder(config.encoding)
    source = make_source(config.source, asked_of_source(config.fields))
    try:
        fields = resolve(config, source)
        if not fields.types:
            raise SpecError("spec.fields: the source offers none, expected at least one field")
        selected = select(config.source.events, source.events)
        chain = Chain(steps)
        types = chain.prepare(fields.types)
        encoder.check(types)
    except BaseException:
        source.close()
        raise
    return Job(config, source, fields, chain, types, encoder, selected)


def check(config: ProducerConfig) -> dict[str, Any]:
    """Take one event through everything.

    Returns:
        ``events`` (selected in all), ``fields`` (name -> ``shape`` in one event and ``dtype``, after the
        steps) and ``batchBytes`` (largest size of a message).

    Raises:
        SpecError: the request can't be served, one line for each thing that is wrong.
    """
    job = prepare(config)
    try:
        arrays = _one_event(job)
    finally:
        job.source.close()
    types = types_of({name: values[0] for name, values in arrays.items()})
    job.encoder.check(types)
    in_batch = min(config.batch_events, -(-len(job.selected) // config.shards))
    size = job.encoder.bound(arrays, in_batch)
    check_size(size, config)
    shown = {name: {"shape": list(kind.shape), "dtype": kind.dtype} for name, kind in types.items()}
    return {"events": len(job.selected), "fields": shown, "batchBytes": size}


def check_size(size: int, config: ProducerConfig) -> None:
    """See that the buffers can hold a batch of so many bytes. Raises SpecError."""
    if size > config.max_message:
        raise SpecError(
            f"spec.steps.batch.events: batches of {config.batch_events} events take up to {size} bytes, "
            f"expected at most the {config.max_message} bytes a buffer holds; take fewer events or more "
            "delivery.memory"
        )


def _one_event(job: Job) -> dict[str, Array]:
    """A batch of the first event; of zeros where it is left out, as the types are known all the same."""
    _, event = next(job.fields.read(job.source, job.selected[:1]))
    result = job.chain.apply(event) if event is not None else None
    if result is None:
        return {name: _zeros(kind)[np.newaxis] for name, kind in job.types.items()}
    return {name: np.asarray(value)[np.newaxis] for name, value in result.items()}


def _zeros(kind: FieldType) -> Array:
    return np.full(kind.shape, "") if kind.is_text else np.zeros(kind.shape, kind.dtype)


def encode(job: Job, arrays: dict[str, Array]) -> WritableBuffer:
    """A message of a batch, without its envelope. Raises SpecError when it is too large for the buffers."""
    message = job.encoder.encode(arrays)
    check_size(len(message), job.config)
    return message
