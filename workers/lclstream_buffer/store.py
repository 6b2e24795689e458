"""The store: batches between workers and consumers, bounded in bytes, in memory first and then on disk.

A batch stays where it was put; it is never copied between memory and disk again. What is in memory is
the received message itself. Every operation costs the same whatever the backlog: what grows with it is
found by key, and what has to be looked through (leases to expire, the oldest batch to drop) starts at
its end or is bounded by the leases that are out.

Groups exist from the first consumer that attaches. Until there is one, nothing is freed; then a batch is
freed as soon as every group has acknowledged it, unless all are retained. A group starts at the oldest
batch still held. A batch that is leased is never dropped to make room: its consumer is at work on it.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from structlog import get_logger

from lclstream.protocol import BatchId
from lclstream.wire import ReadableBuffer
from lclstream_buffer.groups import Group
from lclstream_buffer.spill import Location, Spill, SpillError

_log = get_logger(component="store")


class Sealed(Exception):
    """Nothing is taken in any more."""


class NotAttached(Exception):
    """This connection is not, or not any more, a member of the group."""


@dataclass(slots=True)
class _Entry:
    batch: BatchId
    size: int
    place: ReadableBuffer | Location
    acknowledged: int = 0
    leased: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch leased to a connection.

    Attributes:
        batch: which one.
        place: where it lies.
    """

    batch: BatchId
    place: ReadableBuffer | Location

    def read(self) -> ReadableBuffer:
        """The message. Raises `SpillError` when it lies on disk and can't be read."""
        return self.place.read() if isinstance(self.place, Location) else self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """Where a group stands, in batches; produced = acknowledged + leased + waiting + dropped."""

    produced: int
    acknowledged: int
    leased: int
    waiting: int
    dropped: int
    redelivered: int
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """What is held and what became of the rest; produced = delivered + buffered + dropped.

    Attributes:
        produced: batches put.
        delivered: batches that every group acknowledged.
        buffered: batches held that some group, or a first one to come, still needs.
        held: batches held, retained ones included.
        dropped: batches that made room before every group had them.
        redelivered: leases of batches that had been leased before.
        memory: bytes held in memory.
        memory_bound: at most so many.
        memory_peak: most there ever were.
        spill: bytes that segments on disk occupy.
        spill_bound: at most so many.
        spill_peak: most there ever were.
        peak: most bytes there ever were in both.
        segments: files on disk.
        spill_failure: why the disk is not written to any more.
        groups: where each group stands.
    """

    produced: int
    delivered: int
    buffered: int
    held: int
    dropped: int
    redelivered: int
    memory: int
    memory_bound: int
    memory_peak: int
    spill: int
    spill_bound: int
    spill_peak: int
    peak: int
    segments: int
    spill_failure: str | None
    groups: dict[str, GroupState]


class Store:
    """Bounded, shared by groups of consumers; safe to use from many threads, filled from one.

    Args:
        memory: bytes held in memory, at most.
        lease_seconds: after which a batch not acknowledged is delivered again; infinity: never.
        spill: room on disk for what memory does not hold.
        on_full: what happens when all is full: wait, or drop the oldest batch that is not leased.
        retain: keep what was delivered.
        clock: monotonic time in seconds.
        on_drained: called, with the store's lock held, whenever a sealed store has nothing left to deliver.
    """

    def __init__(
        self,
        memory: int,
        lease_seconds: float,
        *,
        spill: Spill | None = None,
        on_full: Literal["block", "dropOldest"] = "block",
        retain: bool = False,
        clock: Callable[[], float] = time.monotonic,
        on_drained: Callable[[], None] = lambda: None,
    ) -> None:
        self.memory_bound, self._spill = memory, spill
        self._lease_seconds, self._clock = lease_seconds, clock
        self._drop, self._retain, self._on_drained = on_full == "dropOldest", retain, on_drained
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._timer = threading.Condition(self._lock)
        self._timer_is_set = False
        # By ordinal, oldest first. Not a dict: finding the first of one costs what was deleted before it.
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._ordinals: dict[BatchId, int] = {}
        self._groups: dict[str, Group] = {}
        self._sealed = self._over = False
        self._produced = self._undelivered = self._dropped = 0
        self._memory = self._memory_peak = self._peak = 0

    def put(self, batch: BatchId, message: ReadableBuffer) -> None:
        """Take in a batch; waits while there is no room. One thread at a time.

        Raises:
            Sealed: nothing is taken in any more.
        """
        size = len(message)
        while True:
            with self._lock:
                in_memory = self._wait_for_room(size)
                if in_memory:
                    self._insert(_Entry(batch, size, message))
                    return
            location = self._write(message)
            if location is None:
                continue
            with self._lock:
                if not self._sealed:
                    self._insert(_Entry(batch, size, location))
                    return
            self._disk.release(location)
            raise Sealed

    def seal(self) -> None:
        """Take in no more; a put that waits raises `Sealed`."""
        with self._lock:
            self._sealed = True
            self._room.notify_all()
            self._wake_groups()
            self._tell_drained()

    def end(self) -> None:
        """Hand out no more; whoever waits for a batch is told that it is over."""
        with self._lock:
            self._sealed = self._over = True
            self._room.notify_all()
            self._timer.notify_all()
            self._wake_groups()

    def close(self) -> None:
        """End, and give back memory and disk."""
        self.end()
        with self._lock:
            self._entries.clear()
            self._ordinals.clear()
            self._memory = 0
        if self._spill:
            self._spill.close()

    def attach(self, group: str, member: int) -> None:
        """Make a connection a member of a group, which begins with its first member."""
        with self._lock:
            if group not in self._groups:
                first = next(iter(self._entries), self._produced)
                ready = threading.Condition(self._lock)
                self._groups[group] = Group(first, len(self._entries), ready)
                self._undelivered = len(self._entries)
            self._groups[group].join(member)

    def detach(self, group: str, member: int) -> None:
        """Forget a connection; what it had leased goes to others at once."""
        with self._lock:
            known = self._groups[group]
            self._returned(known.leave(member))
            known.ready.notify_all()

    def lease(self, group: str, member: int, *, wait: bool = True) -> Delivery | None:
        """The group's next batch, leased to this connection.

        Args:
            group: the group.
            member: the connection.
            wait: for a batch, when there is none.

        Returns:
            The batch; None when it is over, or when there is none and we don't wait.

        Raises:
            NotAttached: the connection is not, or not any more, a member.
        """
        with self._lock:
            known = self._groups[group]
            while True:
                if not known.has(member):
                    # The notification that woke us may have been meant for a member.
                    known.ready.notify()
                    raise NotAttached
                if self._over:
                    return None
                expires = self._expire() + self._lease_seconds
                ordinal = known.take(member, expires, self._entries.__contains__)
                if ordinal is not None:
                    return self._leased(ordinal)
                if not wait or (self._retain and self._sealed and known.drained):
                    return None
                known.ready.wait()

    def acknowledge(self, group: str, batches: Iterable[BatchId]) -> int:
        """Note that a group needs these batches no more, whoever has them leased by now.

        What is not held any more, or was never leased to the group, is passed over.

        Returns:
            How many of them that was news for.
        """
        news = 0
        with self._lock:
            known = self._groups[group]
            for batch in batches:
                ordinal = self._ordinals.get(batch)
                if ordinal is None:
                    continue
                is_news, was_leased = known.acknowledge(ordinal)
                if not is_news:
                    continue
                news += 1
                entry = self._entries[ordinal]
                entry.leased -= was_leased
                entry.acknowledged += 1
                self._delivered(ordinal, entry)
            if news:
                self._room.notify()
                self._tell_drained()
                if self._sealed and self._retain and known.drained:
                    known.ready.notify_all()
        return news

    def expire(self) -> None:
        """Take back leases that are overdue."""
        with self._lock:
            self._expire()

    def watch_leases(self) -> None:
        """Take back each lease when it is overdue, until it is over; for a thread of its own."""
        with self._lock:
            while not self._over:
                timeout = self._until_expiry(self._expire())
                # Leases last equally long, so one that is made while we wait ends after those we wait for.
                self._timer_is_set = timeout is not None
                self._timer.wait(timeout)

    @property
    def drained(self) -> bool:
        """Whether every batch put was delivered to every group there is, or dropped."""
        with self._lock:
            return not self._undelivered

    def state(self) -> StoreState:
        """What is held and what became of the rest, at one moment."""
        with self._lock:
            self._expire()
            spill = self._spill
            return StoreState(
                produced=self._produced,
                delivered=self._produced - self._undelivered - self._dropped,
                buffered=self._undelivered,
                held=len(self._entries),
                dropped=self._dropped,
                redelivered=sum(group.redelivered for group in self._groups.values()),
                memory=self._memory,
                memory_bound=self.memory_bound,
                memory_peak=self._memory_peak,
                spill=spill.used if spill else 0,
                spill_bound=spill.bound if spill else 0,
                spill_peak=spill.peak if spill else 0,
                peak=self._peak,
                segments=spill.segments if spill else 0,
                spill_failure=spill.failure if spill else None,
                groups={name: _group_state(group) for name, group in self._groups.items()},
            )

    @property
    def _disk(self) -> Spill:
        if self._spill is None:
            raise RuntimeError("there is no spill")
        return self._spill

    def _wait_for_room(self, size: int) -> bool:
        """Wait until a message fits; whether it does so in memory."""
        while not self._sealed:
            if self._memory + size <= self.memory_bound:
                return True
            if self._spill and self._spill.fits(size):
                return False
            if not (self._drop and self._drop_oldest()):
                self._room.wait()
        raise Sealed

    def _write(self, message: ReadableBuffer) -> Location | None:
        """Append to the disk, without the lock: consumers don't wait for it."""
        try:
            return self._disk.append(message)
        except SpillError as error:
            _log.error("spill stops, memory goes on", error=str(error))
            return None

    def _insert(self, entry: _Entry) -> None:
        ordinal = self._produced
        self._produced += 1
        self._undelivered += 1
        self._entries[ordinal] = entry
        self._ordinals[entry.batch] = ordinal
        if not isinstance(entry.place, Location):
            self._memory += entry.size
            self._memory_peak = max(self._memory_peak, self._memory)
        self._peak = max(self._peak, self._memory + (self._spill.used if self._spill else 0))
        for group in self._groups.values():
            group.added()

    def _leased(self, ordinal: int) -> Delivery:
        entry = self._entries[ordinal]
        entry.leased += 1
        if not self._timer_is_set:
            self._timer.notify()
        return Delivery(entry.batch, entry.place)

    def _delivered(self, ordinal: int, entry: _Entry) -> None:
        if entry.acknowledged == len(self._groups):
            self._undelivered -= 1
            if not self._retain:
                self._free(ordinal, entry)

    def _free(self, ordinal: int, entry: _Entry) -> None:
        del self._entries[ordinal], self._ordinals[entry.batch]
        if isinstance(entry.place, Location):
            self._disk.release(entry.place)
        else:
            self._memory -= entry.size

    def _drop_oldest(self) -> bool:
        unleased = ((ordinal, entry) for ordinal, entry in self._entries.items() if not entry.leased)
        ordinal, entry = next(unleased, (None, None))
        if ordinal is None or entry is None:
            return False
        for group in self._groups.values():
            group.drop(ordinal)
        # Retained and delivered to all: making room for others, it is not missed.
        if not self._groups or entry.acknowledged < len(self._groups):
            self._undelivered -= 1
            self._dropped += 1
        self._free(ordinal, entry)
        return True

    def _expire(self) -> float:
        now = self._clock()
        for group in self._groups.values():
            self._returned(group.expire(now))
        return now

    def _returned(self, ordinals: list[int]) -> None:
        for ordinal in ordinals:
            if entry := self._entries.get(ordinal):  # none: the store is closed
                entry.leased -= 1
        if ordinals and self._drop:
            self._room.notify()

    def _until_expiry(self, now: float) -> float | None:
        ends = [end for group in self._groups.values() if (end := group.next_expiry) is not None]
        first = min(ends, default=math.inf)
        return None if math.isinf(first) else max(0.0, first - now)

    def _wake_groups(self) -> None:
        for group in self._groups.values():
            group.ready.notify_all()

    def _tell_drained(self) -> None:
        if self._sealed and not self._undelivered:
            self._on_drained()


def _group_state(group: Group) -> GroupState:
    return GroupState(
        produced=group.produced,
        acknowledged=group.acknowledged,
        leased=group.leased,
        waiting=group.waiting,
        dropped=group.dropped,
        redelivered=group.redelivered,
        members=group.members,
    )
