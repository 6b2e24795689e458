"""Fills an `Observed`: what is known of a stream, from the API server and its buffers.

The events of watches are hints: they say which kind of a stream's objects to list again. What was listed is
kept in between, so that a stream of which only the progress is asked costs no list at all. Everything is
listed afresh the first time, after `FRESH_SECONDS`, and whenever a decision that can't be undone hangs on it.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from lclstream_operator import names
from lclstream_operator.buffers import Buffers
from lclstream_operator.cluster import Cluster
from lclstream_operator.kinds import DATASET, NAMESPACE, POD, SECRET, STREAM_REQUEST, Kind, children_of
from lclstream_operator.limits import usage
from lclstream_operator.model import IssuerKind, Key, Manifest, Observed, Usage
from lclstream_operator.site import SiteConfig

FRESH_SECONDS: Final = 300.0
"""What was listed counts for so long without being listed again."""


@dataclass(slots=True)
class _Known:
    """What was listed of a stream."""

    uid: str = ""
    listed: float = float("-inf")
    objects: dict[Kind, tuple[Manifest, ...]] = field(default_factory=dict)
    stale: set[Kind] = field(default_factory=set)


class Observer:
    """Observes streams.

    Args:
        cluster: the API server.
        buffers: the way to the buffers.
        issuer: who issues certificates here.
        site: what the administrator decided.
        now: the time, UTC.
    """

    def __init__(
        self,
        cluster: Cluster,
        buffers: Buffers,
        issuer: IssuerKind,
        site: SiteConfig,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster, self._buffers, self._issuer = cluster, buffers, issuer
        self._site, self._now = site, now
        self._kinds = (*children_of(issuer), POD)
        self._known: dict[Key, _Known] = {}
        self._time = asyncio.get_running_loop().time

    def mark(self, key: Key, kind: Kind) -> None:
        """Note that an object of a stream changed, so that its kind is listed again."""
        if known := self._known.get(key):
            known.stale.add(kind)

    def forget(self, key: Key) -> None:
        """Drop what is known of a stream."""
        if known := self._known.pop(key, None):
            for secret in known.objects.get(SECRET, ()):
                self._buffers.forget(secret)

    async def observe(self, key: Key, *, afresh: bool = False) -> Observed | None:
        """What there is of a stream; None if there is no such request.

        Args:
            key: the stream.
            afresh: list everything again.

        Raises:
            ApiError: the API server could not be asked.
        """
        request = await self._cluster.find(STREAM_REQUEST, key.namespace, key.name)
        if request is None:
            self.forget(key)
            return None
        uid = request["metadata"]["uid"]
        known = await self._list(key, uid, afresh=afresh)
        pods = known.objects[POD]
        operator_secret = names.secret(key.name, "operator")
        secret = next((s for s in known.objects[SECRET] if s["metadata"]["name"] == operator_secret), None)
        dataset, used, progress = await asyncio.gather(
            self._dataset(request),
            self._usage(key, uid),
            self._buffers.progress(_of_buffers(pods), secret),
        )
        return Observed(
            request=request,
            dataset=dataset,
            children=tuple(child for kind in self._kinds[:-1] for child in known.objects[kind]),
            pods=pods,
            buffers=progress,
            usage=used,
            issuer=self._issuer,
            now=self._now(),
        )

    async def is_doomed(self, observed: Observed) -> bool:
        """Whether a stream's namespace is being deleted, and the request will be but is not yet.

        Kubernetes 1.34 deletes the pods of such a namespace before anything else, and waits for them. A Job
        with `backoffLimitPerIndex` keeps a failed pod until it has made its successor, which is forbidden
        there: both wait for ever, unless the Job goes.
        """
        if is_leaving(observed.request) or not any(map(is_leaving, observed.pods)):
            return False
        namespace = await self._cluster.find(NAMESPACE, "", observed.request["metadata"]["namespace"])
        return namespace is None or is_leaving(namespace)

    async def _list(self, key: Key, uid: str, *, afresh: bool) -> _Known:
        known = self._known.setdefault(key, _Known())
        if afresh or known.uid != uid or self._time() - known.listed > FRESH_SECONDS:
            known.uid, known.listed = uid, self._time()
            known.stale.update(self._kinds)
        # Taken before asking: what changes meanwhile is stale again.
        stale = [kind for kind in self._kinds if kind in known.stale]
        known.stale.clear()
        try:
            selector = names.selector_text({names.UID: uid})
            lists = (self._cluster.list(kind, key.namespace, selector) for kind in stale)
            found = await asyncio.gather(*lists)
        except BaseException:
            known.stale.update(stale)
            raise
        known.objects.update(zip(stale, found, strict=True))
        return known

    async def _dataset(self, request: Manifest) -> Manifest | None:
        name = dataset_name(request)
        if not name:
            return None
        return await self._cluster.find(DATASET, request["metadata"]["namespace"], name)

    async def _usage(self, key: Key, uid: str) -> Usage:
        limits = self._site.limits
        bounds = (limits.streams_per_namespace, limits.workers_per_namespace, limits.memory_per_namespace)
        if all(bound is None for bound in bounds):
            return Usage()
        return usage(await self._cluster.list(STREAM_REQUEST, key.namespace), self._site, but=uid)


def is_leaving(manifest: Manifest) -> bool:
    """Whether an object is being deleted."""
    return bool(manifest["metadata"].get("deletionTimestamp"))


def dataset_name(request: Manifest) -> str:
    """Name of the Dataset a request reads; empty if it reads none."""
    source = request.get("spec", {}).get("source") or {}
    name: str = (source.get("dataset") or {}).get("name") or ""
    return name


def _of_buffers(pods: Iterable[Manifest]) -> list[Manifest]:
    return [pod for pod in pods if pod["metadata"]["labels"].get(names.COMPONENT) == "buffer"]
