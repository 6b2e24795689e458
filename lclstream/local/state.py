"""What a stream on one machine does next: events in, actions out.

Pure: the shell in `lclstream.local.runtime` starts processes and reports what becomes of them; everything
that is decided is decided here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lclstream.plan import Plan
from lclstream.process import EXIT_BAD_INPUT, EXIT_OK
from lclstream.protocol import Outcome


@dataclass(frozen=True, slots=True)
class Said:
    """A component said something on its standard output."""

    component: str
    words: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exited:
    """A component's process ended.

    Attributes:
        component: which.
        code: its exit code; negative: the signal that killed it.
        last_lines: what it logged last.
    """

    component: str
    code: int
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """The user or a deadline wants the stream to end."""

    outcome: Outcome
    reason: str


Event = Said | Exited | Asked


@dataclass(frozen=True, slots=True)
class StartBuffers:
    """Start every buffer."""


@dataclass(frozen=True, slots=True)
class Announce:
    """All buffers listen: tell the user how to connect, workers where to send."""


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start the producer of a shard, after a delay in seconds."""

    shard: int
    delay: float = 0


@dataclass(frozen=True, slots=True)
class LoseShard:
    """Tell the shard's buffer that it will not be completed."""

    shard: int
    reason: str


@dataclass(frozen=True, slots=True)
class StopWorkers:
    """Ask all producers to stop."""


@dataclass(frozen=True, slots=True)
class StopBuffers:
    """Tell all buffers to end the stream."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The stream is over."""

    outcome: Outcome
    reason: str
    bad_input: bool = False


Action = StartBuffers | Announce | StartWorker | LoseShard | StopWorkers | StopBuffers | Finish

_RESTART_DELAYS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


@dataclass(slots=True)
class LocalStream:
    """The state of a stream on one machine.

    Attributes:
        plan: what runs.
        listening: what each buffer said about its addresses.
        counters: what each buffer last said about its progress.
        last_lines: what the component logged last that was given up.
    """

    plan: Plan
    listening: dict[str, dict[str, Any]] = field(default_factory=dict)
    counters: dict[str, dict[str, Any]] = field(default_factory=dict)
    last_lines: tuple[str, ...] = ()
    _finished: dict[str, tuple[Outcome, str]] = field(default_factory=dict)
    _waiting: list[int] = field(default_factory=list)
    _running: set[int] = field(default_factory=set)
    _tries: dict[int, int] = field(default_factory=dict)
    _over: bool = False
    _stopping: bool = False

    def begin(self) -> list[Action]:
        """The first thing to do."""
        self._waiting = list(range(self.plan.workers.config.shards))
        return [StartBuffers()]

    def handle(self, event: Event) -> list[Action]:
        """What to do now that this happened."""
        if self._over:
            return []
        match event:
            case Said(component, words):
                return self._said(component, words)
            case Exited(component) if component in self._buffer_names:
                return self._buffer_exited(event)
            case Exited():
                return self._worker_exited(event)
            case Asked(outcome, reason):
                return self._stop(outcome, reason)

    @property
    def phase(self) -> str:
        """Where the stream stands, in the words of the design."""
        if len(self.listening) < len(self.plan.buffers):
            return "Provisioning"
        return "Streaming" if self._waiting or self._running else "Draining"

    @property
    def progress(self) -> dict[str, Any]:
        """The counters of all buffers together."""
        return add_counters(self.counters.values())

    @property
    def _buffer_names(self) -> set[str]:
        return {buffer.name for buffer in self.plan.buffers}

    def _said(self, component: str, words: dict[str, Any]) -> list[Action]:
        what = words.get("event")
        if component not in self._buffer_names:
            return []
        if what == "listening":
            self.listening[component] = words
            if len(self.listening) == len(self.plan.buffers):
                return [Announce(), *self._start_workers()]
        elif what in ("progress", "finished"):
            self.counters[component] = words
        if what == "finished":
            self._finished[component] = (words["outcome"], words["reason"])
        return []

    def _start_workers(self) -> list[Action]:
        room = self.plan.workers.parallelism - len(self._running)
        starting, self._waiting = self._waiting[: max(room, 0)], self._waiting[max(room, 0) :]
        self._running.update(starting)
        return [StartWorker(shard) for shard in starting]

    def _worker_exited(self, event: Exited) -> list[Action]:
        shard = int(event.component.rsplit("-", 1)[1])
        self._running.discard(shard)
        if self._stopping or event.code == EXIT_OK:
            return [] if self._stopping else self._start_workers()
        tries = self._tries[shard] = self._tries.get(shard, 0) + 1
        if event.code == EXIT_BAD_INPUT or tries > self.plan.workers.retries_per_shard:
            self.last_lines = event.last_lines
            return [LoseShard(shard, _why(event, tries)), *self._start_workers()]
        self._running.add(shard)
        delay = _RESTART_DELAYS[min(tries, len(_RESTART_DELAYS)) - 1]
        return [StartWorker(shard, delay)]

    def _buffer_exited(self, event: Exited) -> list[Action]:
        name = event.component
        if name not in self._finished:
            self.last_lines = event.last_lines
            if event.code == EXIT_BAD_INPUT and name not in self.listening:
                return self._finish("failed", "\n".join(event.last_lines[-1:]), bad_input=True)
            return self._finish("failed", _why(event, 1))
        if self._finished.keys() != self._buffer_names:
            return []
        outcome, reason = worst_outcome(self._finished.values())
        return self._finish(outcome, reason)

    def _stop(self, outcome: Outcome, reason: str) -> list[Action]:
        if len(self.listening) < len(self.plan.buffers):
            return self._finish(outcome, reason)
        self._stopping = True
        self._waiting = []
        return [StopWorkers(), StopBuffers(outcome, reason)]

    def _finish(self, outcome: Outcome, reason: str, *, bad_input: bool = False) -> list[Action]:
        self._over = True
        return [StopWorkers(), Finish(outcome, reason, bad_input)]


def add_counters(counters: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Counters of several buffers added up."""
    total: dict[str, Any] = {}
    for one in counters:
        for key, value in one.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                total[key] = total.get(key, 0) + value
    return total


def worst_outcome(ends: Iterable[tuple[Outcome, str]]) -> tuple[Outcome, str]:
    """How a stream ended whose buffers ended so."""
    rank = ("completed", "canceled", "failed")
    return max(ends, key=lambda end: rank.index(end[0]))


def _why(event: Exited, tries: int) -> str:
    how = f"was killed by signal {-event.code}" if event.code < 0 else f"ended with exit code {event.code}"
    times = f" (tried {tries} times)" if tries > 1 else ""
    last = event.last_lines[-1] if event.last_lines else "it logged nothing"
    return f"{event.component} {how}{times}: {last}"
