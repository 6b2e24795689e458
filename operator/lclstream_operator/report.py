"""The status of a stream, and the events that tell its story."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lclstream.config import BUFFER_SERVER_NAME
from lclstream_operator import conditions, facts, names, progress, reading
from lclstream_operator.case import Case
from lclstream_operator.certificates import State
from lclstream_operator.conditions import Draft, false, true, unknown
from lclstream_operator.model import Manifest, Note

SILENCE_SECONDS = 60
"""A buffer that is ready but could not be asked for so long is worth a word."""

_STORY = {
    "Pending": "The request waits.",
    "Provisioning": "Certificates, buffers and producers are started.",
    "Streaming": "Producers run, and consumers can connect.",
    "Draining": "All shards are in; consumers fetch what is left.",
    "Completed": "Everything was delivered.",
    "Suspended": "Nothing is produced until spec.suspend is false.",
    "Canceled": "The stream was canceled.",
    "Failed": "The stream failed.",
}


def compose(
    case: Case,
    phase: str,
    drafts: Sequence[Draft],
    *,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
    connect: bool = False,
    forget: bool = False,
) -> Manifest | None:
    """The whole status; None when it is what the request has already.

    Args:
        case: the stream.
        phase: where it stands.
        drafts: the conditions that are known; the others stay.
        started_at: when its components were made.
        finished_at: when it ended.
        connect: whether there is something to connect to.
        forget: whether its numbers count no more, since it starts anew.
    """
    before = reading.get(case.status, "conditions")
    status: dict[str, Any] = {
        "phase": phase,
        "observedGeneration": case.generation,
        "conditions": conditions.merge(
            before if isinstance(before, list) else [], drafts, generation=case.generation, now=case.now
        ),
        "activeWorkers": case.job.active,
    }
    if not forget:
        every = case.site.poll_seconds if phase == case.phase else 0.0
        status |= progress.report(case.status, case.buffers, case.now, every)
    if case.job.exists or "completedShards" in case.status:
        status |= _shards(case)
    if case.uid:
        labels = names.selector(case.name, case.uid, "worker")
        status["selector"] = names.selector_text(labels)
    if connect and case.plan:
        status["connection"] = _connection(case)
    for field, moment in (("startedAt", started_at), ("finishedAt", finished_at)):
        if moment:
            status[field] = reading.stamp(moment)
    return None if status == dict(case.status) else status


def turned(case: Case, phase: str, message: str = "") -> tuple[Note, ...]:
    """The event of a stream that comes into another phase."""
    if phase == case.phase:
        return ()
    words = message or _STORY.get(phase, phase)
    return (Note("Warning" if phase == "Failed" else "Normal", phase, words),)


def of_certificates(state: State) -> Draft:
    """Condition CertificatesReady."""
    draft = true if state.ready else false
    return draft("CertificatesReady", state.reason, state.message)


def of_buffers(case: Case) -> Draft:
    """Condition BufferReady."""
    count, stateful_set = case.buffer_count, case.set
    if case.all_buffers(*facts.TERMINAL):
        return false("BufferReady", "Ended", "The buffers have ended.")
    if not stateful_set.exists:
        return false("BufferReady", "Waiting", "The buffers start when the certificates are there.")
    if stateful_set.all_ready:
        return true("BufferReady", "Ready", f"{_count(count, 'buffer')} ready.")
    wrong = facts.troubles(facts.of_component(case.observed.pods, "buffer"))
    return false("BufferReady", "NotReady", _with(f"{stateful_set.ready} of {count} buffers ready", wrong))


def of_workers(case: Case) -> Draft:
    """Condition WorkersReady."""
    job, shards = case.job, case.shards
    done = f"{len(job.completed)} of {_count(shards, 'shard')} done"
    if job.failed:
        done += f", {len(job.failed)} failed ({failures(case)})"
    if not job.exists:
        return false("WorkersReady", "Waiting", "The producers start when the buffers are ready.")
    if job.finished or len(job.completed) == shards:
        return true("WorkersReady", "Done", f"{done}.")
    if case.suspended:
        return false("WorkersReady", "Suspended", f"spec.suspend is true; {done}.")
    if job.ready:
        return true("WorkersReady", "Running", f"{_count(job.ready, 'producer')} running, {done}.")
    if case.plan and case.plan.workers.parallelism == 0:
        why = "no producer may run: spec.workers.parallelism, or this site's limit, is 0"
        return false("WorkersReady", "ScaledToZero", f"{why}; {done}.")
    wrong = facts.troubles(facts.alive(facts.of_component(case.observed.pods, "worker")))
    return false("WorkersReady", "NotRunning", _with(f"No producer runs, {done}", wrong))


def of_streaming(case: Case, phase: str) -> Draft:
    """Condition Streaming of a stream that has not ended."""
    if phase == "Suspended":
        return false("Streaming", "Suspended", _STORY[phase])
    if phase not in ("Streaming", "Draining"):
        return false("Streaming", phase, _STORY[phase])
    if silent := _silent(case):
        why = (
            f"buffer {', '.join(map(str, silent))} is ready but the operator can't reach its status; "
            "is there a NetworkPolicy in between, or does the operator run in another namespace than "
            f"operatorNamespace, {case.site.operator_namespace}?"
        )
        return unknown("Streaming", "BufferUnreachable", why)
    return true("Streaming", phase, _STORY[phase])


def going_on() -> tuple[Draft, ...]:
    """Conditions Complete and Failed of a stream that has not ended."""
    return (
        false("Complete", "NotFinished", "The stream has not ended."),
        false("Failed", "NoFailure", "Nothing failed."),
    )


def ended(phase: str, reason: str, message: str) -> tuple[Draft, ...]:
    """All conditions of a stream that has ended."""
    over = tuple(
        false(kind, "Ended", f"The stream has ended: {phase}.")
        for kind in ("BufferReady", "WorkersReady", "Streaming")
    )
    whole = phase == "Completed"
    complete = (
        true("Complete", reason, message)
        if whole
        else false("Complete", reason, f"The stream has ended: {phase}; not everything was delivered.")
    )
    failed = (true if phase == "Failed" else false)("Failed", reason, "Nothing failed." if whole else message)
    return (*over, complete, failed)


def lost_shards(case: Case) -> tuple[Note, ...]:
    """The event of shards that were given up since the last time."""
    known = reading.number(case.status, "failedShards")
    if len(case.job.failed) <= known:
        return ()
    return (Note("Warning", "ShardFailed", f"Given up: {failures(case)}"),)


def failure_of(case: Case, shard: int) -> str:
    """Why a shard was given up."""
    return case.shard_troubles.get(shard, "its producer failed too often; its pods and their logs are gone")


def failures(case: Case) -> str:
    """Why shards were given up, once for those with the same reason."""
    shards: dict[str, list[int]] = {}
    for shard in sorted(case.job.failed):
        shards.setdefault(failure_of(case, shard), []).append(shard)
    return reading.listing(f"{_shards_named(those)}: {why}" for why, those in shards.items())


def _shards_named(shards: list[int], limit: int = 5) -> str:
    named = ", ".join(str(shard) for shard in shards[:limit])
    if len(shards) > limit:
        named += f" and {len(shards) - limit} more"
    return f"shards {named}" if len(shards) > 1 else f"shard {named}"


def _shards(case: Case) -> dict[str, int]:
    """Shards done and failed; of a Job that is gone, what it said last."""
    if case.job.exists:
        return {"completedShards": len(case.job.completed), "failedShards": len(case.job.failed)}
    fields = ("completedShards", "failedShards")
    return {field: reading.number(case.status, field) for field in fields}


def _silent(case: Case) -> list[int]:
    """Buffers that are ready but could not be asked for a while."""
    if not case.set.all_ready:
        return []
    last = case.since("progress", "sampledAt") or case.since("startedAt")
    if last is None or (case.now - last).total_seconds() < SILENCE_SECONDS:
        return []
    return [
        index
        for index in range(case.buffer_count)
        if index not in case.observed.buffers
        and reading.text(case.buffers.get(index), "phase") not in facts.TERMINAL
    ]


def _connection(case: Case) -> dict[str, Any]:
    assert case.plan is not None  # noqa: S101 - the caller has looked
    config = case.plan.buffers[0].config
    port = config.listen.lease if config.mode == "lease" else config.listen.push
    namespace = case.plan.namespace
    hosts = (names.buffer_host(namespace, case.name, index) for index in range(len(case.plan.buffers)))
    return {
        "mode": config.mode,
        "addresses": [f"tls+tcp://{host}:{port}" for host in hosts],
        "serverName": BUFFER_SERVER_NAME,
        "secret": names.secret(case.name, case.plan.consumer.name),
    }


def _with(message: str, wrong: list[str]) -> str:
    return f"{message}: {reading.listing(wrong)}" if wrong else f"{message}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
