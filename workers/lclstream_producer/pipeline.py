"""From events to batches: the steps in order, then stacking. Pure; reading and sending are elsewhere.

A batch depends on nothing but the events from its first on: whoever goes on after its last event gets the
batches an uninterrupted run would have made, also when steps leave out events or shapes change in between.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lclstream_producer.interfaces import Array, Batch, Event, FieldType, FieldTypes, Step


class Chain:
    """Steps one after another, made ready for the types that arrive.

    Args:
        steps: in the order in which they are done.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._types: FieldTypes | None = None

    def prepare(self, types: FieldTypes) -> FieldTypes:
        """Get ready for events of these types; returns those after the last step. Raises SpecError."""
        self._types = types
        for step in self._steps:
            types = step.prepare(types)
        return types

    def apply(self, event: Event) -> Event | None:
        """The event after all steps, or None when one leaves it out. Raises SpecError."""
        types = types_of(event)
        if types != self._types:
            self.prepare(types)
        result: Event | None = event
        for step in self._steps:
            if result is None:
                break
            result = step.apply(result)
        return result


def types_of(event: Event) -> FieldTypes:
    """The types of an event's fields."""
    return {name: FieldType.of(value) for name, value in event.items()}


def batches(events: Iterable[tuple[int, Event | None]], size: int, *, sequence: int = 0) -> Iterator[Batch]:
    """Put events into batches.

    A batch is closed when it is full, when an event of other types follows, and at the end.

    Args:
        events: the source's count of each event, and the event or None when it is left out.
        size: events in a full batch.
        sequence: number of the first batch.
    """
    held: list[tuple[int, Event]] = []
    types: FieldTypes = {}
    for index, event in events:
        if event is None:
            continue
        arriving = types_of(event)
        if held and arriving != types:
            yield _stack(held, sequence)
            sequence, held = sequence + 1, []
        types = arriving
        held.append((index, event))
        if len(held) == size:
            yield _stack(held, sequence)
            sequence, held = sequence + 1, []
    if held:
        yield _stack(held, sequence)


def _stack(held: Sequence[tuple[int, Event]], sequence: int) -> Batch:
    first = held[0][1]
    arrays: dict[str, Array] = {name: np.stack([event[name] for _, event in held]) for name in first}
    return Batch(sequence=sequence, start=held[0][0], stop=held[-1][0] + 1, events=len(held), arrays=arrays)
