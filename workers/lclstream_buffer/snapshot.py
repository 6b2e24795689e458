"""A buffer at one moment: the counters it reports, and its status as JSON."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic.alias_generators import to_camel

from lclstream_buffer.shards import ShardsState
from lclstream_buffer.store import StoreState

Phase = Literal["Streaming", "Draining", "Completed", "Failed", "Canceled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a buffer counts; batches = delivered + buffered + dropped.

    Attributes:
        events: events in the batches taken in.
        batches: batches taken in.
        bytes: bytes of their messages.
        delivered: batches that every group acknowledged, or that were handed to a connection (push).
        redelivered: deliveries of batches that had been delivered before without being acknowledged.
        duplicates: batches received again, and not stored again.
        dropped: batches that made room before every group had them.
        skipped: events that the ends of shards say are in no batch.
        buffered: batches held that were not delivered to every group yet.
        buffered_bytes: bytes held, in memory and on disk.
        peak_bytes: most that ever were.
        consumers: consumers attached.
        workers: workers connected.
        shards: shards of this buffer.
        shards_ended: shards whose end is in.
        shards_lost: shards that were given up.
    """

    events: int
    batches: int
    bytes: int
    delivered: int
    redelivered: int
    duplicates: int
    dropped: int
    skipped: int
    buffered: int
    buffered_bytes: int
    peak_bytes: int
    consumers: int
    workers: int
    shards: int
    shards_ended: int
    shards_lost: int

    def as_json(self) -> dict[str, int]:
        """With the names they have outside."""
        return {to_camel(name): value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that can be asked of a buffer."""

    stream: str
    phase: Phase
    reason: str
    shards: ShardsState
    store: StoreState
    consumers: int
    workers: int

    @property
    def counters(self) -> Counters:
        """The sums."""
        shards, store = self.shards, self.store
        return Counters(
            events=shards.events,
            batches=shards.batches,
            bytes=shards.bytes,
            delivered=store.delivered,
            redelivered=store.redelivered,
            duplicates=shards.duplicates,
            dropped=store.dropped,
            skipped=shards.skipped,
            buffered=store.buffered,
            buffered_bytes=store.memory + store.spill,
            peak_bytes=store.peak,
            consumers=self.consumers,
            workers=self.workers,
            shards=len(shards.shards),
            shards_ended=shards.ended,
            shards_lost=len(shards.lost),
        )

    def as_json(self) -> dict[str, Any]:
        """What ``/status`` shows."""
        store = self.store
        return {
            "stream": self.stream,
            "phase": self.phase,
            "reason": self.reason,
            "counters": self.counters.as_json(),
            "memory": {"used": store.memory, "bound": store.memory_bound, "peak": store.memory_peak},
            "spill": {
                "used": store.spill,
                "bound": store.spill_bound,
                "peak": store.spill_peak,
                "segments": store.segments,
                "failure": store.spill_failure,
            },
            "groups": {name: asdict(group) for name, group in store.groups.items()},
            "shards": {
                str(number): {
                    "state": shard.status,
                    "batches": shard.batches,
                    "events": shard.events,
                    "bytes": shard.bytes,
                    "position": shard.position,
                    "skipped": shard.ended.skipped if shard.ended else 0,
                    "reason": shard.lost or "",
                }
                for number, shard in sorted(self.shards.shards.items())
            },
        }
