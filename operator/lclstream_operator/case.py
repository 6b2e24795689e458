"""What is observed about a stream, read once and put in the words that decisions are made in."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from lclstream.plan import Plan, Site, plan
from lclstream.spec import Dataset, SpecError, StreamRequest, StreamSpec, parse
from lclstream.spec.stream import Resources
from lclstream_operator import facts, limits, names, progress, reading
from lclstream_operator.desired import Context, child_key
from lclstream_operator.desired.config_map import check_size, read
from lclstream_operator.desired.context import ChildKey
from lclstream_operator.facts import TERMINAL, JobFacts, SetFacts
from lclstream_operator.model import Manifest, Observed
from lclstream_operator.site import SiteConfig

NOT_STARTED = ("", "Pending", "Suspended")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request can't be served as it stands."""

    reason: str
    message: str


@dataclass(frozen=True)
class Case:
    """A stream to decide about.

    The Plan of a stream that has started is the one it was started with, kept in its ConfigMap; of the
    request only what may change afterwards is looked at: parallelism, suspension, deadlines.
    """

    observed: Observed
    site: SiteConfig

    @property
    def now(self) -> datetime:
        """The time."""
        return self.observed.now

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """Of the request."""
        return reading.mapping(self.observed.request, "metadata")

    @property
    def name(self) -> str:
        """Of the request."""
        return reading.text(self.metadata, "name")

    @property
    def uid(self) -> str:
        """Of the request."""
        return reading.text(self.metadata, "uid")

    @property
    def generation(self) -> int:
        """Of the request."""
        return max(0, reading.number(self.metadata, "generation"))

    @cached_property
    def status(self) -> Mapping[str, Any]:
        """Of the request, as it was left."""
        return reading.mapping(self.observed.request, "status")

    @property
    def phase(self) -> str:
        """As it was left; empty at first."""
        return reading.text(self.status, "phase")

    @property
    def has_finalizer(self) -> bool:
        """Whether the request carries ours."""
        found = reading.get(self.metadata, "finalizers")
        return isinstance(found, list) and names.FINALIZER in found

    @cached_property
    def children(self) -> dict[ChildKey, Manifest]:
        """What belongs to this request, by kind and name."""
        return {child_key(child): child for child in self.observed.children if names.belongs(child, self.uid)}

    @cached_property
    def stored_plan(self) -> Plan | None:
        """The Plan the stream was started with."""
        found = read(reading.get(self.children.get(("ConfigMap", names.config(self.name))), "data"))
        namespace = reading.text(self.metadata, "namespace")
        return found if found and (found.name, found.namespace) == (self.name, namespace) else None

    @cached_property
    def spec(self) -> StreamSpec | None:
        """What is asked for, if it is understood."""
        return self._parsed.spec if isinstance(self._parsed, StreamRequest) else None

    @cached_property
    def _parsed(self) -> StreamRequest | SpecError:
        named = {key: self.metadata[key] for key in ("name", "namespace") if key in self.metadata}
        document = {"metadata": named, "spec": self.observed.request.get("spec")}
        try:
            return parse(StreamRequest, document)
        except SpecError as error:
            return error

    @cached_property
    def _planned(self) -> Plan | Refusal:
        if isinstance(self._parsed, SpecError):
            return Refusal("InvalidSpec", str(self._parsed))
        try:
            planned = plan(self._parsed, self._dataset(), Site.kubernetes())
            check_size(planned)
        except SpecError as error:
            return Refusal(_reason(str(error)), str(error))
        return planned

    @cached_property
    def fresh_plan(self) -> Plan | None:
        """The Plan of the request as it is now, were it started now."""
        return self._planned if isinstance(self._planned, Plan) else None

    @cached_property
    def plan(self) -> Plan | None:
        """What runs or is to run; None: it can't be told, see `refusal`."""
        base = self.stored_plan or self.fresh_plan
        if base is None:
            return None
        workers = base.workers.model_copy(update={"parallelism": self._parallelism(base)})
        return base.model_copy(update={"workers": workers})

    @cached_property
    def fixed_plan(self) -> Plan | None:
        """The Plan the stream was started with, with what may change as it is asked for now."""
        stored, fresh = self.stored_plan, self.fresh_plan
        if stored is None or fresh is None:
            return stored
        same = {"parallelism": fresh.workers.parallelism}
        return stored.model_copy(
            update={
                "workers": stored.workers.model_copy(update=same),
                "suspend": fresh.suspend,
                "active_deadline_seconds": fresh.active_deadline_seconds,
            }
        )

    @cached_property
    def refusal(self) -> Refusal | None:
        """Why nothing is started; None: nothing speaks against it, or it has started already."""
        if self.started and self.plan is not None:
            return None
        if isinstance(self._planned, Refusal):
            return self._planned
        if not self.started and not self.suspended and self.spec is not None:
            why = limits.refusal(self._planned.namespace, self.spec, self.observed.usage, self.site)
            if why:
                return Refusal("NamespaceNotAllowed" if "allowedNamespaces" in why else "LimitExceeded", why)
        return None

    @property
    def started(self) -> bool:
        """Whether components were made for it already."""
        return self.set.exists or self.phase not in NOT_STARTED

    @property
    def suspended(self) -> bool:
        """Whether nothing is to run."""
        return reading.get(self.observed.request, "spec", "suspend") is True

    @cached_property
    def context(self) -> Context | None:
        """What manifests are built from; None: there is no Plan."""
        if self.plan is None:
            return None
        return Context(
            plan=self.plan,
            uid=self.uid,
            site=self.site,
            issuer=self.observed.issuer,
            worker_resources=self.spec.workers.resources if self.spec else Resources(),
            suspend=self.suspended,
            children=self.children,
        )

    @property
    def shards(self) -> int:
        """How many there are; 0: unknown."""
        return self.plan.workers.config.shards if self.plan else 0

    @property
    def buffer_count(self) -> int:
        """How many buffers there are to be; without a Plan, those that were heard of."""
        return len(self.plan.buffers) if self.plan else len(self.buffers)

    @cached_property
    def job(self) -> JobFacts:
        """The producers' Job."""
        return facts.job_facts(self.children.get(("Job", names.workers(self.name))), self.shards)

    @cached_property
    def shard_troubles(self) -> dict[int, str]:
        """How producers of shards failed, as far as their pods still tell."""
        return facts.shard_troubles(self.observed.pods)

    @cached_property
    def set(self) -> SetFacts:
        """The buffers' StatefulSet."""
        return facts.set_facts(self.children.get(("StatefulSet", names.buffer(self.name))))

    @cached_property
    def buffers(self) -> dict[int, dict[str, Any]]:
        """What is known of each buffer: what it says now, or else what it said last."""
        count = len(self.plan.buffers) if self.plan else 0
        return progress.known_buffers(self.status, self.observed.buffers, count)

    @property
    def batches(self) -> int:
        """Batches taken in so far."""
        return sum(reading.number(buffer, "batches") for buffer in self.buffers.values())

    def all_buffers(self, *phases: str) -> bool:
        """Whether every buffer was heard of and is in one of these phases."""
        count = self.buffer_count
        return 0 < count == len(self.buffers) and all(b["phase"] in phases for b in self.buffers.values())

    def talking(self) -> list[int]:
        """Buffers that can be told something and have not ended."""
        return sorted(
            index
            for index, said in self.observed.buffers.items()
            if reading.text(said, "phase") not in TERMINAL
        )

    def since(self, *path: str) -> datetime | None:
        """A time of the status."""
        return reading.instant(self.status, *path)

    def left(self, since: datetime | None, seconds: float | None) -> float | None:
        """Seconds left of a time limit, 0 when it is over; None: there is no limit."""
        if since is None or seconds is None:
            return None
        return max(0.0, (since + timedelta(seconds=seconds) - self.now).total_seconds())

    def _parallelism(self, base: Plan) -> int:
        """How many shards run at once: as asked now, within the site's limits."""
        shards = base.workers.config.shards
        if self.spec is None:
            return base.workers.parallelism
        asked = shards if self.spec.workers.parallelism is None else self.spec.workers.parallelism
        site = self.site.limits
        bounds = [min(asked, shards)]
        if site.workers_per_stream is not None:
            bounds.append(site.workers_per_stream)
        if site.workers_per_namespace is not None:
            bounds.append(max(0, site.workers_per_namespace - self.observed.usage.workers))
        return min(bounds)

    def _dataset(self) -> Dataset | None:
        if self.observed.dataset is None:
            return None
        try:
            return parse(Dataset, self.observed.dataset)
        except SpecError as error:
            name = reading.text(self.observed.dataset, "metadata", "name")
            lines = str(error).splitlines()
            raise SpecError("\n".join(f"Dataset {name}: {line}" for line in lines)) from None


def _reason(message: str) -> str:
    if message.startswith("spec.source.dataset.name"):
        return "DatasetNotFound"
    if message.startswith("spec.source.dataset.run"):
        return "RunNotFound"
    return "InvalidDataset" if message.startswith("Dataset ") else "InvalidSpec"
