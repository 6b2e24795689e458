"""How far a stream is: the numbers of its buffers, kept when a buffer can't be asked, and their sums."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lclstream_operator import reading
from lclstream_operator.facts import TERMINAL

COUNTERS = ("events", "batches", "bytes", "delivered", "buffered", "dropped", "skipped", "consumers")
_PHASES = ("Streaming", "Draining", *TERMINAL)


def known_buffers(
    status: Mapping[str, Any], said: Mapping[int, Mapping[str, Any]], count: int
) -> dict[int, dict[str, Any]]:
    """What is known of each buffer, as it stands in the status.

    A buffer that has ended stays so: one that starts again in its place knows nothing of the stream.

    Args:
        status: of the request, as it was left.
        said: what the buffers say now.
        count: how many there are; 0: unknown, those of the status.
    """
    before = {reading.number(item, "index"): dict(item) for item in reading.items(status, "buffers")}
    known: dict[int, dict[str, Any]] = {}
    for index in range(count) if count else sorted(before):
        old, new = before.get(index), said.get(index)
        if old and reading.text(old, "phase") in TERMINAL:
            known[index] = old
        elif new is not None and reading.text(new, "phase") in _PHASES:
            known[index] = _entry(index, new)
        elif old and reading.text(old, "phase") in _PHASES:
            known[index] = old
    return known


def report(
    status: Mapping[str, Any], buffers: Mapping[int, Mapping[str, Any]], now: datetime, every: float
) -> dict[str, Any]:
    """The parts ``buffers`` and ``progress`` of a status.

    They change only when a number did, and not more often than `every` seconds; but at once when a buffer
    comes into another phase, since that is what decisions are made from.
    """
    fresh = {"buffers": [dict(buffers[index]) for index in sorted(buffers)]}
    old = reading.mapping(status, "progress")
    before = {"buffers": reading.items(status, "buffers"), "progress": dict(old)}
    sampled = reading.instant(old, "sampledAt")
    if not buffers:
        return {"progress": dict(old)} if old else {}
    if sampled is not None:
        elapsed = (now - sampled).total_seconds()
        same = fresh["buffers"] == before["buffers"]
        if same and reading.text(old, "rate") in ("", "0"):
            return before
        if elapsed < every and _phases(fresh["buffers"]) == _phases(before["buffers"]):
            return before
    sums = {key: sum(reading.number(buffer, key) for buffer in buffers.values()) for key in COUNTERS}
    rate = _rate(sums["events"] - reading.number(old, "events"), sampled, now)
    return {**fresh, "progress": {**sums, "rate": rate, "sampledAt": reading.stamp(now)}}


def _entry(index: int, said: Mapping[str, Any]) -> dict[str, Any]:
    counters = {key: max(0, reading.number(said, "counters", key)) for key in COUNTERS}
    reason = reading.text(said, "reason")
    return {"index": index, "phase": reading.text(said, "phase"), "reason": reason[:1024], **counters}


def _phases(buffers: Any) -> list[tuple[Any, Any]]:
    return [(item.get("index"), item.get("phase")) for item in reading.items({"all": buffers}, "all")]


def _rate(events: int, since: datetime | None, now: datetime) -> str:
    """Events per second, three digits at most after which it says nothing."""
    elapsed = (now - since).total_seconds() if since else 0.0
    if events <= 0 or elapsed <= 0:
        return "0"
    rate = events / elapsed
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
