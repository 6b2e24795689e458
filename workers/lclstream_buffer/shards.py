"""Where each shard of a buffer stands: what comes next, what came so far, and how it ended.

The batches of a shard are numbered without gaps, so a batch is a duplicate exactly when its number is
below the next one expected; nothing has to be remembered per batch.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from lclstream.protocol import VERSION, Hello, LoseShard, Reason, Refusal, ShardEnd, Welcome
from lclstream.wire import Header


class Refused(Exception):
    """A request that can't be done.

    Attributes:
        refusal: the answer to it.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason=reason, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """Where a shard stands.

    Attributes:
        batches: batches stored; also the sequence expected next.
        events: events in them.
        bytes: bytes of their messages.
        position: first event of the source's count after the last batch; None before the first.
        ended: its totals, once its end is in.
        lost: why it will not be completed; None unless given up.
    """

    batches: int = 0
    events: int = 0
    bytes: int = 0
    position: int | None = None
    ended: ShardEnd | None = None
    lost: str | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing more comes."""
        return self.ended is not None or self.lost is not None

    @property
    def status(self) -> str:
        """In a word."""
        if self.lost is not None:
            return "lost"
        return "ended" if self.ended else "open"


@dataclass(slots=True)
class _Totals:
    batches: int = 0
    events: int = 0
    bytes: int = 0
    duplicates: int = 0
    skipped: int = 0
    ended: int = 0
    lost: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsState:
    """Where all shards of the buffer stand, and their sums."""

    shards: dict[int, ShardState]
    batches: int
    events: int
    bytes: int
    duplicates: int
    skipped: int
    ended: int
    lost: dict[int, str]

    @property
    def closed(self) -> bool:
        """Whether nothing more comes."""
        return self.ended + len(self.lost) == len(self.shards)


class Shards:
    """Keeps the books of a buffer's shards; safe to use from many threads.

    Args:
        stream: namespace/name.
        shards: those that belong to this buffer.
        total: number of shards of the stream.
        max_message: largest message in bytes that is taken.
        on_closed: called when the last shard has ended or was given up.
    """

    def __init__(
        self,
        stream: str,
        shards: Iterable[int],
        total: int,
        *,
        max_message: int,
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._stream, self._total, self._max_message = stream, total, max_message
        self._on_closed = on_closed
        self._lock = threading.Lock()
        self._shards = {shard: ShardState() for shard in shards}
        self._totals = _Totals()

    def welcome(self, hello: Hello) -> Welcome:
        """Where a worker's shard stands. Raises `Refused`."""
        if hello.version != VERSION:
            raise Refused("version", f"version {hello.version}, expected {VERSION}")
        self._check_stream(hello.stream)
        if hello.shards != self._total:
            raise Refused("conflict", f"the worker counts {hello.shards} shards, expected {self._total}")
        with self._lock:
            state = self._find(hello.shard)
            if state.lost is not None:
                raise Refused("conflict", f"shard {hello.shard} was given up: {state.lost}")
            return Welcome(
                sequence=state.batches,
                position=state.position,
                events=state.events,
                ended=state.ended is not None,
                max_message=self._max_message,
            )

    def is_new(self, header: Header, size: int) -> bool:
        """Whether a batch is the next of its shard; otherwise it is there already, and is counted so.

        Raises:
            Refused: it is neither, or not for us.
        """
        self._check_stream(header.stream)
        if size > self._max_message:
            raise Refused("too-large", f"message of {size} bytes is not <= {self._max_message}")
        if header.start > header.stop or header.events > header.stop - header.start:
            raise Refused("invalid", f"{header.events} events in the range {header.start} to {header.stop}")
        with self._lock:
            state = self._find(header.shard)
            if header.sequence < state.batches:
                self._totals.duplicates += 1
                return False
            where = f"shard {header.shard}: batch {header.sequence}"
            if state.closed:
                raise Refused("conflict", f"{where} after the shard was {state.status}")
            if header.sequence > state.batches:
                raise Refused("conflict", f"{where}, expected {state.batches}")
            return True

    def stored(self, header: Header, size: int) -> None:
        """Count a batch that was new and is in the store now."""
        with self._lock:
            state = self._shards[header.shard]
            self._shards[header.shard] = replace(
                state,
                batches=state.batches + 1,
                events=state.events + header.events,
                bytes=state.bytes + size,
                position=header.stop,
            )
            self._totals.batches += 1
            self._totals.events += header.events
            self._totals.bytes += size

    def end(self, header: Header, end: ShardEnd) -> None:
        """Close a shard whose totals are what was stored; a second time is fine when it says the same.

        Raises:
            Refused: they are not, or the shard is not for us.
        """
        self._check_stream(header.stream)
        with self._lock:
            state = self._find(header.shard)
            if state.ended == end:
                return
            where = f"shard {header.shard}"
            if state.closed:
                raise Refused("conflict", f"{where}: another end after the shard was {state.status}")
            for what, said, stored in (
                ("batches", end.batches, state.batches),
                ("batches", header.sequence, state.batches),
                ("events", end.events, state.events),
            ):
                if said != stored:
                    raise Refused("conflict", f"{where}: its end says {said} {what}, stored are {stored}")
            self._shards[header.shard] = replace(state, ended=end)
            self._totals.ended += 1
            self._totals.skipped += end.skipped
        self._tell_closed()

    def lose(self, request: LoseShard) -> None:
        """Give up a shard; a second time changes nothing.

        Raises:
            Refused: it has ended as it should, or is not ours.
        """
        with self._lock:
            state = self._find(request.shard)
            if state.ended:
                raise Refused(
                    "conflict",
                    f"shard {request.shard} has ended with {state.batches} batches; nothing of it is lost",
                )
            if state.lost is None:
                self._shards[request.shard] = replace(state, lost=request.reason)
                self._totals.lost[request.shard] = request.reason
        self._tell_closed()

    def state(self) -> ShardsState:
        """All of it at one moment."""
        with self._lock:
            totals = self._totals
            return ShardsState(
                shards=dict(self._shards),
                batches=totals.batches,
                events=totals.events,
                bytes=totals.bytes,
                duplicates=totals.duplicates,
                skipped=totals.skipped,
                ended=totals.ended,
                lost=dict(totals.lost),
            )

    def _tell_closed(self) -> None:
        if self.state().closed:
            self._on_closed()

    def _check_stream(self, stream: str) -> None:
        if stream != self._stream:
            raise Refused("stream", f"stream {stream!r}, expected {self._stream!r}")

    def _find(self, shard: int) -> ShardState:
        state = self._shards.get(shard)
        if state is None:
            if shard >= self._total:
                raise Refused("invalid", f"shard {shard} is not < {self._total}")
            raise Refused("invalid", f"shard {shard} belongs to another buffer, here are {self._names()}")
        return state

    def _names(self) -> str:
        return ", ".join(str(shard) for shard in sorted(self._shards))
