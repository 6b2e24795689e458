"""A buffer's counters as Prometheus metrics, read off a snapshot at each scrape and kept nowhere else."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lclstream_buffer.snapshot import Snapshot

_PREFIX = "lclstream_buffer_"


class _Buffer(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> list[Metric]:
        """Nothing: registering must not take a snapshot of a buffer that is only being built."""
        return []

    def collect(self) -> Iterator[Metric]:
        now = self._snapshot()
        yield from _intake(now)
        yield from _store(now)
        yield from _groups(now)
        yield _gauge("consumers", "Consumers attached.", now.consumers)
        yield _gauge("workers", "Workers connected.", now.workers)


def registry(snapshot: Callable[[], Snapshot]) -> CollectorRegistry:
    """A registry of its own, with what the snapshot says."""
    out = CollectorRegistry(auto_describe=False)
    out.register(_Buffer(snapshot))
    return out


def _intake(now: Snapshot) -> Iterator[Metric]:
    count = now.counters
    yield _counter("events_received", "Events in the batches taken in.", count.events)
    yield _counter("batches_received", "Batches taken in.", count.batches)
    yield _counter("bytes_received", "Bytes of the batches taken in.", count.bytes)
    yield _counter("batches_duplicates", "Batches received again and not stored again.", count.duplicates)
    yield _counter("events_skipped", "Events that are in no batch.", count.skipped)
    shards = GaugeMetricFamily(_PREFIX + "shards", "Shards of this buffer by state.", labels=["state"])
    shards.add_metric(["open"], count.shards - count.shards_ended - count.shards_lost)
    shards.add_metric(["ended"], count.shards_ended)
    shards.add_metric(["lost"], count.shards_lost)
    yield shards


def _store(now: Snapshot) -> Iterator[Metric]:
    store = now.store
    yield _counter("batches_dropped", "Batches dropped to make room.", store.dropped)
    yield _gauge("stored_batches", "Batches held and not yet delivered to every group.", store.buffered)
    for name, text, memory, disk in (
        ("stored_bytes", "Bytes held.", store.memory, store.spill),
        ("stored_bytes_limit", "Bytes that may be held.", store.memory_bound, store.spill_bound),
        ("stored_bytes_peak", "Most bytes that were held.", store.memory_peak, store.spill_peak),
    ):
        tiers = GaugeMetricFamily(_PREFIX + name, text, labels=["tier"])
        tiers.add_metric(["memory"], memory)
        tiers.add_metric(["spill"], disk)
        yield tiers


def _groups(now: Snapshot) -> Iterator[Metric]:
    delivered = CounterMetricFamily(
        _PREFIX + "batches_delivered", "Batches acknowledged, or handed to a connection.", labels=["group"]
    )
    redelivered = CounterMetricFamily(
        _PREFIX + "batches_redelivered", "Deliveries of batches delivered before.", labels=["group"]
    )
    waiting = GaugeMetricFamily(_PREFIX + "batches_waiting", "Batches nobody has yet.", labels=["group"])
    leased = GaugeMetricFamily(_PREFIX + "batches_leased", "Batches with a consumer.", labels=["group"])
    for name, group in now.store.groups.items():
        delivered.add_metric([name], group.acknowledged)
        redelivered.add_metric([name], group.redelivered)
        waiting.add_metric([name], group.waiting)
        leased.add_metric([name], group.leased)
    yield from (delivered, redelivered, waiting, leased)


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(_PREFIX + name, text, value=value)


def _gauge(name: str, text: str, value: int) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value=value)
