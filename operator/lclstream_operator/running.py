"""A stream that has not ended: refused, suspended, or on its way."""

from collections.abc import Mapping
from datetime import datetime

from lclstream.protocol import LoseShard
from lclstream_operator import certificates, conditions, desired, facts, names, reading, report
from lclstream_operator.case import Case
from lclstream_operator.conditions import Draft, false, true
from lclstream_operator.desired import child_key, secret_names
from lclstream_operator.desired.context import ChildKey, Context
from lclstream_operator.ending import prune
from lclstream_operator.facts import TERMINAL
from lclstream_operator.model import Decision, Manifest, Note

ORDER = ("Pending", "Provisioning", "Streaming", "Draining")
"""Phases a stream goes through; it doesn't go back by itself."""

_FOR_ROOM_SECONDS = 30.0
_FOR_A_CURE_SECONDS = 300.0
"""Whatever cures a refused request is watched; this is in case a word of it was lost."""


def refused(case: Case) -> Decision | None:
    """A request that can't be served as it stands: say what is wrong; it starts once that is cured."""
    refusal = case.refusal
    if refusal is None:
        return None
    phase = case.phase if case.started and case.phase else "Pending"
    before = conditions.message_of(reading.items(case.status, "conditions"), "Accepted")
    is_news = before != refusal.message
    status = report.compose(
        case,
        phase,
        (false("Accepted", refusal.reason, refusal.message), *report.going_on()),
        started_at=case.since("startedAt"),
    )
    room = refusal.reason == "LimitExceeded"
    return Decision(
        finalizer=False if case.has_finalizer and not case.started and not case.children else None,
        status=status,
        notes=(Note("Warning", refusal.reason, refusal.message),) if is_news else (),
        requeue_after=_FOR_ROOM_SECONDS if room else _FOR_A_CURE_SECONDS,
    )


def suspended(case: Case) -> Decision | None:
    """A request that nothing is to run for.

    Before any batch there is nothing to keep: its components go, and the request may be changed. Afterwards
    the buffers stay with what they hold, and consumers can fetch it.
    """
    if not case.suspended:
        return None
    if case.set.exists and case.context and not _untouched(case):
        return _hold(case, case.context)
    status = report.compose(
        case,
        "Suspended",
        (
            _accepted(case),
            *(
                false(kind, "Suspended", "spec.suspend is true, and nothing was started.")
                for kind in ("BufferReady", "WorkersReady", "Streaming")
            ),
            *report.going_on(),
        ),
        forget=True,
    )
    return Decision(
        finalizer=False if case.has_finalizer and not case.children else None,
        prune=prune(case, ()),
        status=status,
        notes=report.turned(case, "Suspended"),
    )


def on_its_way(case: Case) -> Decision:
    """A stream to be brought forward: certificates, then buffers, then producers."""
    context = case.context
    if context is None:  # a refusal would have said why
        return Decision(requeue_after=_FOR_A_CURE_SECONDS)
    issued = certificates.state(context, case.now)
    again = _lost_with_a_buffer(case)
    phase = _phase(case)
    drafts = (
        _accepted(case),
        report.of_certificates(issued),
        report.of_buffers(case),
        report.of_workers(case),
        report.of_streaming(case, phase),
        *report.going_on(),
    )
    started_at = case.since("startedAt") or case.now
    status = report.compose(
        case, phase, drafts, started_at=started_at, connect=case.set.all_ready and issued.ready
    )
    keep = _keys(context)
    job: ChildKey = ("Job", names.workers(case.name))
    return Decision(
        finalizer=None if case.has_finalizer else True,
        issue=issued.issue,
        apply=_stages(case, context, issued.ready, again=bool(again)),
        prune=prune(case, (key for key in keep if not (again and key == job))),
        tell=_lost(case),
        status=status,
        notes=(*report.lost_shards(case), *again, *report.turned(case, phase)),
        requeue_after=_look_again(case, started_at, issued.next_due),
    )


def _hold(case: Case, context: Context) -> Decision:
    """Suspended with batches in the buffers."""
    issued = certificates.state(context, case.now)
    status = report.compose(
        case,
        "Suspended",
        (
            _accepted(case),
            report.of_certificates(issued),
            report.of_buffers(case),
            report.of_workers(case),
            report.of_streaming(case, "Suspended"),
            *report.going_on(),
        ),
        connect=case.set.all_ready and issued.ready,
    )
    return Decision(
        finalizer=None if case.has_finalizer else True,
        issue=issued.issue,
        apply=_stages(case, context, issued.ready, again=False),
        prune=prune(case, _keys(context)),
        tell=_lost(case),
        status=status,
        notes=report.turned(case, "Suspended"),
        requeue_after=_look_again(case, None, issued.next_due),
    )


def _untouched(case: Case) -> bool:
    """Whether a stream was stopped before any batch: no producer is left that could still send one."""
    if facts.alive(facts.of_component(case.observed.pods, "worker")) or case.job.active:
        return False
    if case.job.exists and not (case.job.suspended and len(case.observed.buffers) >= case.buffer_count):
        return False
    return case.batches == 0 and not case.job.completed


def _stages(case: Case, context: Context, issued: bool, *, again: bool) -> tuple[Manifest, ...]:
    """What is applied now: each stage when the one before it is ready, or when it is there already.

    A stage that is there is not taken back: a certificate that is being renewed, or a buffer that starts
    again, is no reason to leave the rest alone.
    """
    manifests = desired.certificates(context)
    if issued or case.set.exists:
        manifests += desired.buffers(context)
    job = case.job
    if again or job.deleting:
        return manifests
    if job.exists or (issued and case.set.all_ready and not case.suspended):
        manifests += desired.workers(context)
    return manifests


def _keys(context: Context) -> set[ChildKey]:
    """All a stream has when it is complete."""
    own = {child_key(manifest) for manifest in desired.desired(context)}
    return own | {("Secret", name) for name in secret_names(context)}


def _phase(case: Case) -> str:
    """Where the stream stands; never behind where it was, but for a suspension."""
    now = "Provisioning"
    if case.all_buffers("Draining", *TERMINAL):
        now = "Draining"
    elif case.batches or case.job.begun or _waits_for_parallelism(case):
        now = "Streaming"
    before = case.phase if case.phase in ORDER else ORDER[0]
    return max(now, before, key=ORDER.index)


def _waits_for_parallelism(case: Case) -> bool:
    """Whether no producer runs because none is wanted; there is no trouble then."""
    return bool(case.job.exists and case.plan and case.plan.workers.parallelism == 0)


def _lost(case: Case) -> Mapping[int, tuple[LoseShard, ...]]:
    """What buffers have to be told about shards that were given up."""
    words: dict[int, tuple[LoseShard, ...]] = {}
    for shard in sorted(case.job.failed):
        index = shard % max(1, case.buffer_count)
        state = reading.get(case.observed.buffers.get(index), "shards", str(shard), "state")
        if state == "open" and index in case.talking():
            lose = LoseShard(shard=shard, reason=report.failure_of(case, shard))
            words[index] = (*words.get(index, ()), lose)
    return words


def _lost_with_a_buffer(case: Case) -> tuple[Note, ...]:
    """Why the producers have to run again: a buffer that started anew misses shards that are done.

    Shards that a buffer has whole are not sent again, so a new Job costs them a greeting only.
    """
    job = case.job
    if not job.exists or job.deleting or job.created is None:
        return ()
    notes = []
    for index in case.talking():
        name = f"{names.buffer(case.name)}-{index}"
        done = [shard for shard in job.completed if shard % max(1, case.buffer_count) == index]
        shards = reading.mapping(case.observed.buffers[index], "shards")
        missing = [shard for shard in done if reading.get(shards, str(shard), "state") == "open"]
        is_over = reading.text(case.buffers.get(index), "phase") in TERMINAL
        if missing and not is_over and facts.buffer_restarted(case.observed.pods, name, job.created):
            what = (
                f"{name} started again without what it had held; {len(missing)} of its shards are read again"
            )
            notes.append(Note("Warning", "BufferRestarted", what))
    return tuple(notes)


def _accepted(case: Case) -> Draft:
    """Condition Accepted of a request that is served."""
    plan, fresh = case.plan, case.fresh_plan
    if plan and fresh and plan.workers.parallelism < min(fresh.workers.parallelism, case.shards):
        what = f"{plan.workers.parallelism} shards run at once instead of {fresh.workers.parallelism}"
        return true("Accepted", "Limited", f"The request is served within this site's limits: {what}.")
    if case.stored_plan and case.set.exists and fresh != case.fixed_plan:
        what = (
            "The request is served as it was when it started. Its Dataset, or a field of spec that is fixed "
            "then, has changed: delete the request and make a new one to have that."
        )
        return true("Accepted", "ChangeIgnored", what)
    return true("Accepted", "Accepted", "The request is served.")


def _look_again(case: Case, started_at: datetime | None, due: datetime | None) -> float | None:
    """Seconds until something happens that nobody tells us."""
    spec = case.spec
    limits = [case.left(started_at, spec.active_deadline_seconds)] if spec else []
    if _phase(case) == "Provisioning" and started_at:
        limits.append(case.left(started_at, case.site.provisioning_seconds))
    if case.set.all_ready or case.observed.buffers:
        limits.append(case.site.poll_seconds)
    if due:
        limits.append(max(1.0, (due - case.now).total_seconds()))
    known = [limit for limit in limits if limit is not None]
    # A deadline is over when it is over: a hair too early would find it not yet so.
    return min(known) + 0.1 if known else None
