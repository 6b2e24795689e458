"""What the children and pods of a stream say about it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lclstream_operator import names, reading
from lclstream_operator.model import Manifest, Ref

TERMINAL = ("Completed", "Failed", "Canceled")
"""Phases of a stream, and of a buffer, that are never left."""

SHARD = "batch.kubernetes.io/job-completion-index"
"""Label by which an indexed Job says whose pod it is."""

_STARTING = ("ContainerCreating", "PodInitializing", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """The producers' Job.

    Attributes:
        exists: it is there.
        deleting: it is on its way out.
        active: pods that run or are about to.
        ready: pods that run.
        completed: shards that are done.
        failed: shards that were given up.
        finished: nothing more will run.
        suspended: it was told to run nothing.
        created: when it was made.
    """

    exists: bool = False
    deleting: bool = False
    active: int = 0
    ready: int = 0
    completed: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()
    finished: bool = False
    suspended: bool = False
    created: datetime | None = None

    @property
    def begun(self) -> bool:
        """Whether some producer runs or did."""
        return bool(self.ready or self.completed or self.failed or self.finished)


def job_facts(job: Manifest | None, shards: int) -> JobFacts:
    """What a Job says; none, or one that says nothing yet, is fine."""
    if job is None:
        return JobFacts()
    completed = reading.indexes(reading.text(job, "status", "completedIndexes"))
    failed = reading.indexes(reading.text(job, "status", "failedIndexes"))
    is_failed = reading.holds(job, "Failed")
    if is_failed:
        # For whatever reason: what is not done by now will not be.
        failed = frozenset(range(shards)) - completed
    return JobFacts(
        exists=True,
        deleting=bool(reading.get(job, "metadata", "deletionTimestamp")),
        active=reading.number(job, "status", "active"),
        ready=reading.number(job, "status", "ready"),
        completed=frozenset(shard for shard in completed if shard < shards),
        failed=frozenset(shard for shard in failed if shard < shards),
        finished=is_failed or reading.holds(job, "Complete"),
        suspended=reading.get(job, "spec", "suspend") is True,
        created=reading.instant(job, "metadata", "creationTimestamp"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFacts:
    """The buffers' StatefulSet.

    Attributes:
        exists: it is there.
        ready: pods that are ready.
        wanted: pods there are to be.
        current: its status speaks of its present specification.
    """

    exists: bool = False
    ready: int = 0
    wanted: int = 0
    current: bool = False

    @property
    def all_ready(self) -> bool:
        """Whether every buffer is."""
        return self.current and self.wanted > 0 and self.ready >= self.wanted


def set_facts(stateful_set: Manifest | None) -> SetFacts:
    """What a StatefulSet says; none, or one that says nothing yet, is fine."""
    if stateful_set is None or reading.get(stateful_set, "metadata", "deletionTimestamp"):
        return SetFacts()
    generation = reading.number(stateful_set, "metadata", "generation")
    return SetFacts(
        exists=True,
        ready=reading.number(stateful_set, "status", "readyReplicas"),
        wanted=reading.number(stateful_set, "spec", "replicas"),
        current=reading.number(stateful_set, "status", "observedGeneration") >= generation,
    )


def of_component(pods: Iterable[Manifest], component: names.Component) -> list[Manifest]:
    """The pods of a component."""
    return [pod for pod in pods if reading.get(pod, "metadata", "labels", names.COMPONENT) == component]


def alive(pods: Iterable[Manifest]) -> list[Manifest]:
    """The pods that have not ended."""
    return [pod for pod in pods if reading.text(pod, "status", "phase") not in ("Succeeded", "Failed")]


def troubles(pods: Iterable[Manifest]) -> list[str]:
    """Why pods don't run: a line for each that says so."""
    found = ((reading.text(pod, "metadata", "name"), _trouble(pod)) for pod in pods)
    return [f"pod {name}: {why}" for name, why in sorted(found) if why]


def shard_troubles(pods: Iterable[Manifest]) -> dict[int, str]:
    """How the last producer of each shard failed, as far as pods still tell."""
    found: dict[int, str] = {}
    by_age = sorted(pods, key=lambda pod: reading.text(pod, "metadata", "creationTimestamp"))
    for pod in of_component(by_age, "worker"):
        shard = reading.text(pod, "metadata", "labels", SHARD)
        if shard.isdecimal() and (why := _ended(pod)):
            found[int(shard)] = why
    return found


def buffer_restarted(pods: Iterable[Manifest], name: str, since: datetime) -> bool:
    """Whether the buffer that runs now began after a moment, and so knows nothing from before."""
    pod = next((pod for pod in pods if reading.text(pod, "metadata", "name") == name), None)
    statuses = reading.items(pod, "status", "containerStatuses")
    begins = (reading.instant(status, "state", "running", "startedAt") for status in statuses)
    return any(begin is not None and begin > since for begin in begins)


def ref(manifest: Mapping[str, Any]) -> Ref:
    """The identity of an object."""
    return Ref(
        api_version=reading.text(manifest, "apiVersion"),
        kind=reading.text(manifest, "kind"),
        namespace=reading.text(manifest, "metadata", "namespace"),
        name=reading.text(manifest, "metadata", "name"),
        uid=reading.text(manifest, "metadata", "uid"),
    )


def _trouble(pod: Manifest) -> str:
    scheduled = reading.condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"{reading.text(scheduled, 'reason')}: {reading.text(scheduled, 'message')}"
    for status in reading.items(pod, "status", "containerStatuses"):
        waiting = reading.mapping(status, "state", "waiting")
        reason = reading.text(waiting, "reason")
        if reason not in _STARTING:
            why = reading.text(waiting, "message")
            last = _termination(reading.mapping(status, "lastState", "terminated"))
            return ": ".join(part for part in (reason, last or why) if part)
    return _ended(pod)


def _ended(pod: Manifest) -> str:
    for status in reading.items(pod, "status", "containerStatuses"):
        if why := _termination(reading.mapping(status, "state", "terminated")):
            return why
    if reading.text(pod, "status", "phase") == "Failed":
        parts = (reading.text(pod, "status", "reason"), reading.text(pod, "status", "message"))
        return ": ".join(part for part in parts if part) or "failed"
    return ""


def _termination(terminated: Mapping[str, Any]) -> str:
    code = reading.number(terminated, "exitCode")
    if not terminated or code == 0:
        return ""
    reason = reading.text(terminated, "reason")
    what = f"exit code {code}" + (f" ({reason})" if reason not in ("", "Error") else "")
    line = reading.last_line(reading.text(terminated, "message"))
    return f"{what}: {line}" if line else what
