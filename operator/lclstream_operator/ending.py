"""How a stream ends: by itself, by a deadline, or because its request is deleted; and what is left of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from lclstream.protocol import Stop
from lclstream_operator import certificates, conditions, facts, names, reading, report
from lclstream_operator.case import Case
from lclstream_operator.desired.context import ChildKey
from lclstream_operator.desired.job import build_job
from lclstream_operator.facts import TERMINAL
from lclstream_operator.model import Decision, Manifest, Ref

_LOOK_AGAIN_SECONDS = 2.0
_AT_ONCE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stream has ended."""

    phase: str
    reason: str
    message: str


def deleted(case: Case) -> Decision | None:
    """A request that is being deleted: stop its producers, then its buffers, then let it go.

    The buffers tell their consumers that the stream was canceled; who can't be reached, or takes too long,
    is not waited for. Everything else goes with the request, as it owns it.
    """
    if not reading.get(case.metadata, "deletionTimestamp"):
        return None
    if not case.has_finalizer:
        return Decision()
    patience = case.site.drain_seconds
    left = case.left(reading.instant(case.metadata, "deletionTimestamp"), patience)
    workers = facts.alive(facts.of_component(case.observed.pods, "worker"))
    if not left or not (workers or case.talking()):
        return Decision(finalizer=False, prune=orphans(case))
    phase, message = "Canceled", "the request was deleted"
    drafts = report.ended(phase, "Deleted", message)
    if case.phase in TERMINAL:
        phase, drafts = case.phase, ()
    job: ChildKey = ("Job", names.workers(case.name))
    return Decision(
        prune=prune(case, (key for key in case.children if key != job)),
        # Producers first: one that still sends would find that the stream is over. But not for ever.
        tell=_stop(case, "canceled", message) if not workers or left < patience / 2 else {},
        status=report.compose(
            case,
            phase,
            drafts,
            started_at=case.since("startedAt"),
            finished_at=case.since("finishedAt") or case.now,
        ),
        notes=report.turned(case, phase, message),
        requeue_after=min(left, _LOOK_AGAIN_SECONDS),
    )


def finished(case: Case) -> Decision | None:
    """A stream that has ended: take it down, keep what is known of it, and delete it in due time."""
    if case.phase not in TERMINAL:
        return None
    finished_at = case.since("finishedAt") or case.now
    status = report.compose(case, case.phase, (), started_at=case.since("startedAt"), finished_at=finished_at)
    reason = conditions.message_of(reading.items(case.status, "conditions"), "Failed")
    decision = _take_down(case, Outcome(case.phase, case.phase, reason), finished_at)
    if decision.requeue_after is not None:  # not over yet
        return replace(decision, status=status)
    ttl = reading.get(case.observed.request, "spec", "ttlSecondsAfterFinished")
    left = case.left(finished_at, ttl if isinstance(ttl, int) else None)
    return replace(decision, status=status, delete=left == 0, requeue_after=left or None)


def ending(case: Case) -> Decision | None:
    """A stream that ends now: that is written down before anything is taken down.

    Were the operator killed in between, it would otherwise find a stream without its components, and begin it
    anew.
    """
    outcome = _by_buffers(case) or _by_deadline(case)
    if outcome is None:
        return None
    status = report.compose(
        case,
        outcome.phase,
        report.ended(outcome.phase, outcome.reason, outcome.message),
        started_at=case.since("startedAt") or case.now,
        finished_at=case.now,
    )
    notes = (*report.lost_shards(case), *report.turned(case, outcome.phase, outcome.message))
    return Decision(status=status, notes=notes, requeue_after=_AT_ONCE_SECONDS)


def orphans(case: Case) -> tuple[Ref, ...]:
    """What would stay behind when the request goes: cert-manager's Secrets that we don't own yet."""
    return tuple(
        facts.ref(child)
        for child in case.children.values()
        if all(owner.get("uid") != case.uid for owner in reading.items(child, "metadata", "ownerReferences"))
    )


def prune(case: Case, keep: Iterable[ChildKey]) -> tuple[Ref, ...]:
    """What there is and should not be; what is on its way out already needs no push."""
    kept = set(keep)
    return tuple(
        facts.ref(child)
        for key, child in sorted(case.children.items())
        if key not in kept and not reading.get(child, "metadata", "deletionTimestamp")
    )


def _by_buffers(case: Case) -> Outcome | None:
    """All buffers have ended; the worst of them is how the stream has."""
    if not case.all_buffers(*TERMINAL):
        return None
    said = [(buffer["phase"], reading.text(buffer, "reason")) for buffer in case.buffers.values()]
    for phase in ("Failed", "Canceled"):
        reasons = dict.fromkeys(why for was, why in said if was == phase)
        if reasons:
            if phase == "Failed" and case.job.failed:
                return Outcome(phase, "ShardsLost", f"Given up: {report.failures(case)}")
            message = reading.listing(why or "the buffer does not say why" for why in reasons)
            return Outcome(phase, f"Buffer{phase}", message)
    events = sum(reading.number(buffer, "events") for buffer in case.buffers.values())
    return Outcome("Completed", "Delivered", f"{events} events in {case.batches} batches were delivered.")


def _by_deadline(case: Case) -> Outcome | None:
    if case.suspended or not case.started:
        return None
    started = case.since("startedAt")
    limit = reading.get(case.observed.request, "spec", "activeDeadlineSeconds")
    if case.left(started, limit if isinstance(limit, int) else None) == 0:
        message = f"it lasted longer than spec.activeDeadlineSeconds, {limit} s"
        return Outcome("Failed", "DeadlineExceeded", message)
    patience = case.site.provisioning_seconds
    if case.phase == "Provisioning" and not case.job.begun and case.left(started, patience) == 0:
        drafts = [report.of_buffers(case), report.of_workers(case)]
        if case.context:
            drafts.insert(0, report.of_certificates(certificates.state(case.context, case.now)))
        why = next((draft.message for draft in drafts if draft.status != "True"), "no producer runs")
        message = f"it did not run after {patience} s: {why}"
        return Outcome("Failed", "ProvisioningDeadlineExceeded", message)
    return None


def _take_down(case: Case, outcome: Outcome, finished_at: datetime) -> Decision:
    """Stop the producers; then the buffers, when they have told their consumers or took too long."""
    keep, apply = _kept_job(case) if outcome.phase == "Failed" else ((), ())
    left = case.left(finished_at, case.site.drain_seconds) or 0
    if left and case.talking():
        is_failed = outcome.phase == "Failed"
        job: ChildKey = ("Job", names.workers(case.name))
        return Decision(
            apply=apply,
            prune=prune(case, (key for key in case.children if key != job or key in keep)),
            tell=_stop(case, "failed" if is_failed else "canceled", outcome.message),
            requeue_after=min(left, _LOOK_AGAIN_SECONDS),
        )
    return Decision(finalizer=False if case.has_finalizer else None, apply=apply, prune=prune(case, keep))


def _kept_job(case: Case) -> tuple[tuple[ChildKey, ...], tuple[Manifest, ...]]:
    """The Job of a failed stream: its pods have the logs that say why. None of them runs on."""
    job, context = case.job, case.context
    if not job.exists or job.deleting:
        return (), ()
    key: tuple[ChildKey, ...] = (("Job", names.workers(case.name)),)
    if job.finished or job.suspended:
        return key, ()
    return (key, (build_job(replace(context, suspend=True)),)) if context else ((), ())


def _stop(case: Case, outcome: Literal["failed", "canceled"], reason: str) -> dict[int, tuple[Stop, ...]]:
    return {index: (Stop(outcome=outcome, reason=reason),) for index in case.talking()}
