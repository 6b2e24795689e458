"""The work queue: which streams are to be looked at, and when.

The rules are those of Kubernetes' own controllers (client-go's workqueue): a key that waits is there once
however often it is put; a key that is being worked on is not handed out a second time at once, but comes back
afterwards if it was put meanwhile. Time is the event loop's, so that a test's loop can make it pass.

Source: kubernetes/community, contributors/devel/sig-api-machinery/controllers.md.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)


class Closed(Exception):
    """The queue is closed and empty: there is no more work."""


class QueueObserver(Protocol):
    """Whoever counts what happens in a queue."""

    def added(self) -> None:
        """A key was put that was not waiting."""

    def retried(self) -> None:
        """A key was put back after a failure."""

    def waited(self, seconds: float) -> None:
        """A key was handed out that had waited so long."""

    def depth(self, keys: int) -> None:
        """So many keys wait for a worker."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a key waits after its n-th failure in a row: ``first * 2**(n-1)`` seconds, at most `longest`.

    Attributes:
        first: seconds after the first failure.
        longest: bound, in seconds.
        jitter: part of the delay that is left to chance, so that failures of many keys spread out.
        chance: random numbers in [0, 1).
    """

    first: float = 0.5
    longest: float = 300.0
    jitter: float = 0.2
    chance: Callable[[], float] = field(default=random.random)

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, at least one."""
        # The exponent is bounded because a float overflows at 2**1024.
        full = min(self.first * 2.0 ** min(failures - 1, 64), self.longest)
        return full * (1 - self.jitter * self.chance())


class WorkQueue(Generic[K]):
    """Keys to be worked on, for the workers of one event loop.

    Args:
        backoff: how long a failed key waits.
        observer: who counts.
    """

    def __init__(self, backoff: Backoff | None = None, observer: QueueObserver | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._backoff = backoff or Backoff()
        self._observer = observer
        self._due: deque[K] = deque()
        self._available = asyncio.Semaphore(0)  # as many as there are keys due
        self._dirty: dict[K, float] = {}  # due, or to be due after the work in hand; since when
        self._working: dict[K, float] = {}  # since when
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._closed = False

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._due)

    def longest_working(self) -> float:
        """For how many seconds the slowest worker has had its key; 0 when none has one."""
        return max((self._loop.time() - since for since in self._working.values()), default=0.0)

    def put(self, key: K) -> None:
        """Have a key worked on as soon as a worker is free."""
        if self._closed or key in self._dirty:
            return
        self._dirty[key] = self._loop.time()
        if self._observer:
            self._observer.added()
        if key not in self._working:
            self._make_due(key)

    def put_after(self, key: K, seconds: float) -> None:
        """Have a key worked on after some time; of several such times the earliest counts."""
        when = self._loop.time() + seconds
        timer = self._timers.get(key)
        if self._closed or (timer and timer.when() <= when):
            return
        if timer:
            timer.cancel()
        self._timers[key] = self._loop.call_at(when, self._ring, key)

    def retry(self, key: K, at_least: float = 0.0) -> float:
        """Have a key that failed worked on again.

        Args:
            key: which.
            at_least: seconds to wait even after a first failure.

        Returns:
            Seconds until then.
        """
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(self._backoff.delay(self._failures[key]), at_least)
        if self._observer:
            self._observer.retried()
        self.put_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Count the failures of a key from none again: it succeeded, or is no more."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key; `done` must be called when the work is.

        Times set before are void: whoever works on the key says when it is due again.

        Raises:
            Closed: there is none, and never will be.
        """
        await self._available.acquire()
        if not self._due:
            self._available.release()  # for the next who waits
            raise Closed
        key = self._due.popleft()
        now = self._loop.time()
        self._working[key] = now
        if timer := self._timers.pop(key, None):
            timer.cancel()
        waited = now - self._dirty.pop(key)
        if self._observer:
            self._observer.waited(waited)
            self._observer.depth(len(self._due))
        return key

    def done(self, key: K) -> None:
        """The work on a key is over; it is due again if it was put meanwhile."""
        del self._working[key]
        if key in self._dirty:
            self._make_due(key)

    def close(self) -> None:
        """Take no more keys and drop those that wait; work in hand goes on."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._due.clear()
        self._dirty.clear()
        self._available.release()

    def _ring(self, key: K) -> None:
        del self._timers[key]
        self.put(key)

    def _make_due(self, key: K) -> None:
        self._due.append(key)
        self._available.release()
        if self._observer:
            self._observer.depth(len(self._due))
