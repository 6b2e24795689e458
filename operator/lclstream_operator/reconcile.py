"""The loop: take a stream from the queue, look at it, decide, act, and say when to look again."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from structlog import get_logger
from structlog.contextvars import bound_contextvars

from lclstream.pki import PkiError
from lclstream_operator.act import Actor
from lclstream_operator.errors import ApiError, Conflict, Gone, Rejected, Transient
from lclstream_operator.kinds import STREAM_REQUEST, Kind
from lclstream_operator.metrics import Metrics
from lclstream_operator.model import Decision, Key, Note, Observed
from lclstream_operator.observe import Observer
from lclstream_operator.queue import Closed, WorkQueue
from lclstream_operator.recorder import Recorder

RESYNC_SECONDS: Final = 600.0
"""A stream that is not over is looked at at least so often."""

REJECTED_SECONDS: Final = 30.0
"""What the API server refuses is not tried sooner, unless something changes."""

_OVER = ("Completed", "Failed", "Canceled")
_log = get_logger(component="reconcile")

Decide = Callable[[Observed], Decision]


class Reconciler:
    """Works on streams.

    Args:
        queue: the streams to look at.
        observer: says what there is.
        decide: says what to do.
        actor: does it.
        recorder: for what goes wrong.
        metrics: counts.
    """

    def __init__(
        self,
        queue: WorkQueue[Key],
        observer: Observer,
        decide: Decide,
        actor: Actor,
        recorder: Recorder,
        metrics: Metrics,
    ) -> None:
        self._queue, self._observer, self._decide = queue, observer, decide
        self._actor, self._recorder, self._metrics = actor, recorder, metrics
        self._time = asyncio.get_running_loop().time

    def touched(self, key: Key, kind: Kind) -> None:
        """Something about a stream changed."""
        if kind != STREAM_REQUEST:
            self._observer.mark(key, kind)
        self._queue.put(key)

    async def work(self) -> None:
        """Work on streams until the queue is closed."""
        while True:
            try:
                key = await self._queue.get()
            except Closed:
                return
            started = self._time()
            with bound_contextvars(namespace=key.namespace, stream=key.name):
                result = await self._try(key)
            self._queue.done(key)
            self._metrics.reconciled(result, self._time() - started)

    async def _try(self, key: Key) -> str:
        """Look at a stream, and see to what goes wrong; how it went, in a word."""
        try:
            later = await self._reconcile(key)
        except (Conflict, Gone) as error:
            # What we knew is out of date.
            self._observer.forget(key)
            _log.info("looking again", error=str(error), seconds=self._queue.retry(key))
            return "conflict"
        except Transient as error:
            seconds = self._queue.retry(key, at_least=error.retry_after or 0)
            _log.warning("to be tried again", error=str(error), seconds=seconds)
            return "transient"
        except (Rejected, PkiError) as error:
            seconds = self._queue.retry(key, at_least=REJECTED_SECONDS)
            _log.error("refused", error=str(error), seconds=seconds)
            await self._note(key, error)
            return "rejected"
        except Exception:  # noqa: BLE001
            # The top of the loop: a stream we can't handle must not keep us from the others.
            _log.exception("internal error", seconds=self._queue.retry(key, at_least=REJECTED_SECONDS))
            return "error"
        self._queue.forget(key)
        if later is not None:
            self._queue.put_after(key, later)
        return "ok"

    async def _reconcile(self, key: Key) -> float | None:
        observed = await self._observer.observe(key)
        if observed is None:
            self._actor.forget(key)
            await self._actor.sweep(key)
            return None
        decision = await self._choose(observed)
        if _hard_to_undo(decision):
            observed = await self._observer.observe(key, afresh=True)
            if observed is None:
                return None
            decision = await self._choose(observed)
        later = await self._actor.act(key, observed, decision)
        status = decision.status or observed.request.get("status") or {}
        if status.get("phase") in _OVER:
            return later
        resync = RESYNC_SECONDS * (1 - 0.2 * random.random())  # noqa: S311 - spreads the load
        return resync if later is None else min(later, resync)

    async def _choose(self, observed: Observed) -> Decision:
        if await self._observer.is_doomed(observed):
            _log.info("its namespace is being deleted")
            return Decision(delete=True)
        return self._decide(observed)

    async def _note(self, key: Key, error: Exception) -> None:
        """Tell the user what the API server refuses."""
        try:
            observed = await self._observer.observe(key)
        except ApiError:
            return
        if observed:
            note = Note("Warning", "Refused", f"{error}; it is tried again")
            await self._recorder.record(observed.request, note, datetime.now(UTC))


def _hard_to_undo(decision: Decision) -> bool:
    """Whether a decision must not be made on what may be out of date."""
    ending = decision.finalizer is False or decision.delete
    return bool(ending or decision.prune or decision.tell or decision.issue)
