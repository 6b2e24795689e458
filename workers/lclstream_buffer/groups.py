"""A consumer group's place in the stream: what is leased, what has to go out again, what comes next.

Batches are known here by their ordinal, the number in which the store took them in. Of a batch that
is held, a group knows without a list whether it acknowledged it: its ordinal lies before the cursor
and it is neither leased nor returned. Nothing here locks; the store does.
"""

import heapq
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """One batch in the hands of one member.

    Attributes:
        member: connection that holds it.
        expires: when it is taken back, on the store's clock.
    """

    member: int
    expires: float


class Group:
    """Hands out each ordinal once among its members, and again what was not acknowledged.

    Args:
        cursor: ordinal of the first batch it gets.
        fresh: how many batches from there on are held already.
        ready: notified when there is something to take.
    """

    def __init__(self, cursor: int, fresh: int, ready: threading.Condition) -> None:
        self.ready = ready
        self.produced = fresh
        self.acknowledged = 0
        self.redelivered = 0
        self.dropped = 0
        self._cursor = cursor
        self._fresh = fresh
        # Every lease lasts equally long, so the order of leasing is the order of expiry.
        self._leases: OrderedDict[int, Lease] = OrderedDict()
        self._members: dict[int, set[int]] = {}
        # Oldest first; an ordinal that has left the set in the meantime is passed over.
        self._returned: set[int] = set()
        self._queue: list[int] = []

    @property
    def members(self) -> int:
        """How many connections share the work."""
        return len(self._members)

    @property
    def leased(self) -> int:
        """Batches in the hands of members."""
        return len(self._leases)

    @property
    def waiting(self) -> int:
        """Batches that nobody holds."""
        return self._fresh + len(self._returned)

    @property
    def drained(self) -> bool:
        """Whether everything held so far is acknowledged."""
        return not self._leases and not self.waiting

    @property
    def next_expiry(self) -> float | None:
        """When the oldest lease ends."""
        return next(iter(self._leases.values())).expires if self._leases else None

    def join(self, member: int) -> None:
        """Let a connection share the work."""
        self._members.setdefault(member, set())

    def has(self, member: int) -> bool:
        """Whether this connection is a member."""
        return member in self._members

    def leave(self, member: int) -> list[int]:
        """Forget a member; what it held goes to others. Returns those ordinals."""
        held = sorted(self._members.pop(member, ()))
        for ordinal in held:
            del self._leases[ordinal]
            self._return(ordinal)
        return held

    def added(self) -> None:
        """One more batch is held."""
        self.produced += 1
        self._fresh += 1
        self.ready.notify()

    def take(self, member: int, expires: float, is_held: Callable[[int], bool]) -> int | None:
        """Lease the next batch: one that came back, the oldest first, else the next new one."""
        ordinal = self._next_returned()
        if ordinal is None:
            ordinal = self._next_fresh(is_held)
        else:
            self.redelivered += 1
        if ordinal is not None:
            self._leases[ordinal] = Lease(member, expires)
            self._members[member].add(ordinal)
        return ordinal

    def acknowledge(self, ordinal: int) -> tuple[bool, bool]:
        """Note that a held batch need not be delivered again.

        Returns:
            Whether that is news, and whether the batch was leased until now.
        """
        lease = self._leases.pop(ordinal, None)
        if lease:
            self._members[lease.member].discard(ordinal)
        elif ordinal in self._returned:
            self._returned.discard(ordinal)
        else:
            return False, False
        self.acknowledged += 1
        return True, lease is not None

    def drop(self, ordinal: int) -> bool:
        """Forget a batch that is not leased. Returns whether the group had not acknowledged it."""
        if ordinal >= self._cursor:
            self._fresh -= 1
        elif ordinal in self._returned:
            self._returned.discard(ordinal)
        else:
            return False
        self.dropped += 1
        return True

    def expire(self, now: float) -> list[int]:
        """Take back what is overdue. Returns those ordinals."""
        overdue: list[int] = []
        while self._leases:
            ordinal, lease = next(iter(self._leases.items()))
            if lease.expires > now:
                break
            del self._leases[ordinal]
            self._members[lease.member].discard(ordinal)
            self._return(ordinal)
            overdue.append(ordinal)
        return overdue

    def _return(self, ordinal: int) -> None:
        self._returned.add(ordinal)
        heapq.heappush(self._queue, ordinal)
        self.ready.notify()

    def _next_returned(self) -> int | None:
        while self._queue:
            ordinal = heapq.heappop(self._queue)
            if ordinal in self._returned:
                self._returned.discard(ordinal)
                return ordinal
        return None

    def _next_fresh(self, is_held: Callable[[int], bool]) -> int | None:
        if not self._fresh:
            return None
        # Ordinals that were dropped are passed over, each once in the group's life.
        while not is_held(self._cursor):
            self._cursor += 1
        self._cursor += 1
        self._fresh -= 1
        return self._cursor - 1
