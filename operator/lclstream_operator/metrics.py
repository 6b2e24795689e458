"""What Prometheus sees of the operator.

Names are those of controllers written in Go where they mean the same, so that their dashboards fit.
"""

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from lclstream_operator.queue import QueueObserver

_QUEUE_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 60, 300, 1800)
_RECONCILE_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics(QueueObserver):
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._depth = Gauge("workqueue_depth", "Streams waiting for a worker.", registry=registry)
        self._adds = Counter("workqueue_adds", "Streams put into the queue.", registry=registry)
        self._retries = Counter("workqueue_retries", "Streams put back after a failure.", registry=registry)
        self._waits = Histogram(
            "workqueue_queue_duration_seconds",
            "How long streams waited for a worker.",
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )
        self.longest_running = Gauge(
            "workqueue_longest_running_processor_seconds",
            "For how long the slowest worker has been at it.",
            registry=registry,
        )
        self._reconciles = Counter(
            "lclstream_reconcile",
            "Looks at a stream, by result: ok, conflict, transient, rejected, error.",
            ["result"],
            registry=registry,
        )
        self._durations = Histogram(
            "lclstream_reconcile_duration_seconds",
            "How long a look at a stream took.",
            buckets=_RECONCILE_BUCKETS,
            registry=registry,
        )
        self._requests = Counter(
            "rest_client_requests",
            "Requests to the API server; code 0: no answer.",
            ["code", "method"],
            registry=registry,
        )
        self.leader = Gauge("leader_election_master_status", "1 while this replica leads.", registry=registry)
        self.loop_lag = Gauge(
            "lclstream_event_loop_lag_seconds", "How late the event loop was, lately.", registry=registry
        )
        self._streams = Gauge("lclstream_streams", "Streams by phase.", ["phase"], registry=registry)

    def added(self) -> None:
        """A stream was put into the queue."""
        self._adds.inc()

    def retried(self) -> None:
        """A stream was put back after a failure."""
        self._retries.inc()

    def waited(self, seconds: float) -> None:
        """A stream waited so long for a worker."""
        self._waits.observe(seconds)

    def depth(self, keys: int) -> None:
        """So many streams wait for a worker."""
        self._depth.set(keys)

    def requested(self, method: str, code: int) -> None:
        """A request to the API server was answered, or not (code 0)."""
        self._requests.labels(code=str(code), method=method).inc()

    def reconciled(self, result: str, seconds: float) -> None:
        """A look at a stream took so long and ended so."""
        self._reconciles.labels(result=result).inc()
        self._durations.observe(seconds)

    def phases(self, phases: Iterable[str]) -> None:
        """The phases of all streams there are."""
        self._streams.clear()
        for phase, count in Tally(phases).items():
            self._streams.labels(phase=phase).set(count)
