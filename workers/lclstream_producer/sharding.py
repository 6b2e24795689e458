"""Which events a shard owns, and which are left after an interruption. Pure."""

from lclstream.spec import EventRange, SpecError


def select(events: EventRange, total: int) -> range:
    """The events taken of a source that has so many.

    Raises:
        SpecError: none are.
    """
    stop = total if events.stop is None else min(events.stop, total)
    selected = range(events.start, stop, events.step)
    if not selected:
        raise SpecError(
            f"spec.source.events.start: {events.start} selects no events, expected less than the "
            f"{total} events of the source"
        )
    return selected


def shard_of(selected: range, shard: int, shards: int) -> range:
    """The contiguous part of the selected events that shard ``shard`` of ``shards`` owns.

    Every event belongs to exactly one shard, and sizes differ by one at most.

    Raises:
        SpecError: there is no such shard.
    """
    if not 0 <= shard < shards:
        raise SpecError(f"--shard: {shard} is not within 0..{shards - 1}")
    count = len(selected)
    return selected[shard * count // shards : (shard + 1) * count // shards]


def remaining(owned: range, position: int | None) -> range:
    """The events of a shard at or after a position in the source's count; None: all of them."""
    if position is None or position <= owned.start:
        return owned
    done = -(-(position - owned.start) // owned.step)
    return owned[done:]
