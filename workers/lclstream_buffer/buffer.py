"""A buffer as a whole: its parts put together, and the decision when and how its stream has ended.

Whatever may bring the end nearer (a shard closes, the last batch is acknowledged, a consumer comes or
leaves, the runtime or a signal says stop) sets one event; one thread, that of `Buffer.run`, looks at how
things stand whenever it is set, and decides.
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from structlog import get_logger

from lclstream.config import BufferConfig
from lclstream.pki import Credentials, read_credentials, server_context
from lclstream.protocol import Outcome, Stop, StreamEnd
from lclstream.wire import MAX_MESSAGE
from lclstream_buffer.delivery import Way
from lclstream_buffer.ingest import Ingest
from lclstream_buffer.lease import Lease
from lclstream_buffer.metrics import registry
from lclstream_buffer.push import Push
from lclstream_buffer.shards import Shards, ShardsState
from lclstream_buffer.snapshot import Phase, Snapshot
from lclstream_buffer.spill import Spill
from lclstream_buffer.status import Status
from lclstream_buffer.store import Store

LINGER_SECONDS = 10.0
"""How long the end waits for consumers and workers to hang up by themselves."""

OPERATOR_LINGER_SECONDS = 1.0
"""How long it waits for the runtime to do so; what it asked has been answered by then."""

_PHASES: dict[Outcome, Phase] = {"completed": "Completed", "failed": "Failed", "canceled": "Canceled"}

_log = get_logger(component="buffer")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the stream has ended, and why unless it is complete."""

    outcome: Outcome
    reason: str = ""


class Buffer:
    """Listens from the moment it is made; `run` does the rest.

    Args:
        config: what it is started with.
        clock: monotonic time in seconds, for leases and idleness.

    Raises:
        PkiError: the certificate can't be used.
        TransportError: an address can't be listened on; `AddressTaken` when the port is taken.
        OSError: the status address can't be listened on.
        SpillError: the spill directory can't be used.
    """

    def __init__(self, config: BufferConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.config, self._clock = config, clock
        self._turn = threading.Event()
        self._leaving = threading.Event()
        self._left: Verdict | None = None
        self._changed = threading.Event()
        self._lock = threading.Lock()
        self._asked: Verdict | None = None
        self._verdict: Verdict | None = None
        self._last: Snapshot | None = None
        self._consumers_at = clock()
        credentials = read_credentials(Path(config.tls))
        self.shards = Shards(
            config.stream,
            config.shards,
            config.total_shards,
            max_message=min(config.memory, MAX_MESSAGE),
            on_closed=self._intake_closed,
        )
        with ExitStack() as opened:
            self.store = self._open_store()
            opened.callback(self.store.close)
            self.ingest = self._open_ingest(credentials)
            opened.callback(self.ingest.close)
            self.way = self._open_way(credentials)
            opened.callback(self.way.close)
            self.status = self._open_status()
            opened.callback(self.status.close)
            self._opened = opened.pop_all()

    @property
    def ready(self) -> bool:
        """Whether the stream goes on."""
        with self._lock:
            return self._verdict is None and self._asked is None

    def addresses(self) -> dict[str, str | None]:
        """Where it listens, by kind."""
        is_lease = self.config.mode == "lease"
        return {
            "ingest": self.ingest.url,
            "lease": self.way.url if is_lease else None,
            "push": None if is_lease else self.way.url,
            "status": self.status.url,
        }

    def snapshot(self) -> Snapshot:
        """Everything at one moment; after the end, at the last one."""
        if self._last:
            return self._last
        shards = self.shards.state()
        with self._lock:
            verdict = self._verdict
        phase: Phase = "Draining" if shards.closed else "Streaming"
        return Snapshot(
            stream=self.config.stream,
            phase=_PHASES[verdict.outcome] if verdict else phase,
            reason=verdict.reason if verdict else "",
            shards=shards,
            store=self.store.state(),
            consumers=self.way.consumers,
            workers=self.ingest.workers,
        )

    def wait_for_change(self) -> None:
        """Wait until something that is counted has changed since the last time, or the end."""
        self._changed.wait()
        self._changed.clear()

    def run(self) -> Verdict:
        """Take in and deliver until the stream has ended, tell everybody so, and close.

        A buffer that is to stay goes on answering after the end until it is told to `leave`: whoever asks
        late still learns how the stream has ended.
        """
        try:
            self.ingest.start()
            self.way.start()
            self.status.start()
            verdict = self._decide()
            if verdict is self._left:
                # Nobody is told of an end: a successor takes over at this address.
                self.way.hang_up()
                return verdict
            with self._lock:
                self._verdict = verdict
            _log.info("stream ended", outcome=verdict.outcome, reason=verdict.reason)
            self.store.seal()
            self.way.finish()
            self._linger()
            self._last = self.snapshot()
            if self.config.stay:
                self._leaving.wait()
            return verdict
        finally:
            self.close()

    def close(self) -> None:
        """Close everything at once; `run` does so at its end."""
        self.store.end()
        self._opened.close()
        self._changed.set()

    def cancel(self, reason: str) -> None:
        """End the stream now: canceled, unless it is complete."""
        self._ask(Verdict("canceled", reason))

    def leave(self, reason: str) -> None:
        """End the process but not the stream, which goes on elsewhere; after its end, just go."""
        self._left = Verdict("canceled", reason)
        self._leaving.set()
        self._ask(self._left)

    def stop(self, words: Stop) -> None:
        """End the stream now, as the runtime says; canceled is completed when it is complete."""
        self._ask(Verdict(words.outcome, words.reason))

    def fail(self, reason: str) -> None:
        """End the stream now as failed."""
        self._ask(Verdict("failed", reason))

    def end(self) -> StreamEnd:
        """How the stream ends, for a consumer that has everything it will get."""
        shards = self.shards.state()
        with self._lock:
            verdict = self._verdict or self._asked or _of_shards(shards)
        return StreamEnd(
            outcome=verdict.outcome, reason=verdict.reason, events=shards.events, batches=shards.batches
        )

    def progressed(self) -> None:
        """A counter has changed."""
        self._changed.set()

    def workers_changed(self) -> None:
        """A worker, or the runtime, has hung up."""
        self._turn.set()
        self._changed.set()

    def consumers_changed(self) -> None:
        """A consumer came, left or was told the end."""
        with self._lock:
            self._consumers_at = self._clock()
        self._turn.set()
        self._changed.set()

    def _ask(self, verdict: Verdict) -> None:
        with self._lock:
            self._asked = self._asked or verdict
        self._turn.set()

    def _intake_closed(self) -> None:
        self.store.seal()
        self._turn.set()

    def _decide(self) -> Verdict:
        while True:
            # Cleared before looking: what happens while we look makes us look again.
            self._turn.clear()
            verdict = self._look()
            if verdict:
                return verdict
            self._turn.wait(self._idle_left())

    def _look(self) -> Verdict | None:
        shards = self.shards.state()
        done = _of_shards(shards) if shards.closed and self.store.drained else None
        with self._lock:
            asked = self._asked
        if asked:
            return done if done and asked.outcome == "canceled" else asked
        if done and not self.config.retain:
            return done
        left = self._idle_left()
        if left is not None and left <= 0:
            return Verdict("failed", f"no consumer for {self.config.idle_timeout_seconds} s")
        return None

    def _idle_left(self) -> float | None:
        """Seconds until there was no consumer for too long; None: that can't happen as things stand."""
        limit = self.config.idle_timeout_seconds
        if limit is None or self.way.consumers:
            return None
        if self.config.retain and self.shards.state().closed:
            return None  # kept on purpose, for whoever comes
        with self._lock:
            return max(0.0, self._consumers_at + limit - self._clock())

    def _linger(self) -> None:
        """Wait until all have hung up: closing first would drop the last answer to them."""
        ended = self._clock()
        while True:
            self._turn.clear()
            with self._lock:
                since = max(ended, self._consumers_at)
            limit = OPERATOR_LINGER_SECONDS if self.ingest.peers else 0.0
            if self.way.connections or self.ingest.workers:
                limit = LINGER_SECONDS
            left = since + limit - self._clock()
            if limit == 0.0 or left <= 0:
                return
            self._turn.wait(left)

    def _open_store(self) -> Store:
        config = self.config
        return Store(
            config.memory,
            config.lease_seconds if config.mode == "lease" else math.inf,
            spill=Spill(Path(config.spill_directory), config.spill) if config.spill else None,
            on_full=config.on_full,
            retain=config.retain,
            clock=self._clock,
            on_drained=self._turn.set,
        )

    def _open_ingest(self, credentials: Credentials) -> Ingest:
        url = _url(self.config.listen.host, self.config.listen.ingest)
        max_message = min(self.config.memory, MAX_MESSAGE)
        return Ingest(url, credentials, self.shards, self.store, max_message=max_message, owner=self)

    def _open_way(self, credentials: Credentials) -> Way:
        config, listen = self.config, self.config.listen
        if config.mode == "push":
            url = _url(listen.host, listen.push)
            return Push(url, credentials, stream=config.stream, store=self.store, owner=self)
        return Lease(
            _url(listen.host, listen.lease),
            credentials,
            stream=config.stream,
            shards=config.total_shards,
            store=self.store,
            lease_seconds=config.lease_seconds,
            owner=self,
        )

    def _open_status(self) -> Status:
        return Status(
            self.config.listen.host,
            self.config.listen.status,
            server_context(Path(self.config.tls)),
            snapshot=self.snapshot,
            registry=registry(self.snapshot),
            ready=lambda: self.ready,
        )


def _of_shards(shards: ShardsState) -> Verdict:
    """How a stream ends that was delivered as far as it came in."""
    if not shards.lost:
        return Verdict("completed")
    return Verdict(
        "failed", "; ".join(f"shard {shard} was lost: {why}" for shard, why in sorted(shards.lost.items()))
    )


def _url(host: str, port: int) -> str:
    return f"tls+tcp://[{host}]:{port}" if ":" in host else f"tls+tcp://{host}:{port}"
