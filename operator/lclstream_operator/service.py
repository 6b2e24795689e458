"""The operator as a whole: what is started in which order, and how it ends.

Start: answer probes, see that we may do what we must, lead, begin to work, watch. End, by a signal or
because a part of it failed: take no more work, finish what is in hand, stop watching, give up the lease.
"""

import asyncio
import functools
import os
import platform
import threading
import uuid
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import kopf
from structlog import get_logger

from lclstream.process import EXIT_FAILED, EXIT_OK
from lclstream_operator import access, permissions
from lclstream_operator.act import Actor
from lclstream_operator.buffers import Buffers
from lclstream_operator.cluster import Cluster
from lclstream_operator.decide import decide
from lclstream_operator.handlers import Informer, registry, watched
from lclstream_operator.health import Health
from lclstream_operator.issuer import choose
from lclstream_operator.kinds import DATASET, STREAM_REQUEST
from lclstream_operator.leader import Elector
from lclstream_operator.metrics import Metrics
from lclstream_operator.model import IssuerKind, Key
from lclstream_operator.observe import Observer
from lclstream_operator.queue import WorkQueue
from lclstream_operator.reconcile import Reconciler
from lclstream_operator.recorder import Recorder
from lclstream_operator.settings import operator_settings
from lclstream_operator.site import SiteConfig

GRACE_SECONDS: Final = 20.0
"""Work in hand may take so long at the end; less than what a pod is given to terminate."""

_log = get_logger(component="service")


class NotInstalled(Exception):
    """The CustomResourceDefinitions are missing."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the operator is run.

    Attributes:
        site: what the administrator decided.
        namespaces: those looked after; none: all.
        lease: namespace and name of the Lease by which replicas agree who acts; None: there is one replica.
        health_port: of probes and metrics; None: none are answered.
        workers: streams worked on at once.
    """

    site: SiteConfig
    namespaces: Sequence[str] = ()
    lease: tuple[str, str] | None = None
    health_port: int | None = None
    workers: int = 8


def run(options: Options, stop: threading.Event) -> int:
    """Run the operator until told to stop; returns the exit code."""
    try:
        return asyncio.run(_Service(options).serve(stop))
    finally:
        stop.set()  # lets the thread go that waits for it


class _Service:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._metrics = Metrics()
        self._identity = f"{platform.node()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"

    async def serve(self, stop: threading.Event) -> int:
        asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=_pass_on, args=(stop, asked, self._loop), daemon=True, name="stop").start()
        async with AsyncExitStack() as stack:
            self._health = Health(self._metrics)
            if self._options.health_port is not None:
                await self._health.listen(self._options.health_port)
                stack.push_async_callback(self._health.close)
            beat = asyncio.create_task(self._health.beat(), name="beat")
            stack.callback(beat.cancel)
            cluster = Cluster(await access.configuration(), self._metrics.requested)
            stack.push_async_callback(cluster.close)
            issuer = await self._prepare(cluster)
            elector = self._elector(cluster)
            if elector is None:
                self._metrics.leader.set(1)
                return await self._lead(cluster, issuer, asked, ())
            self._health.state = "standby"
            if not await _first(elector.acquire(), asked):
                return EXIT_OK
            stack.push_async_callback(elector.release)
            return await self._lead(cluster, issuer, asked, (elector.keep(),))

    async def _prepare(self, cluster: Cluster) -> IssuerKind:
        """See that everything is there and allowed."""
        served = await cluster.served(STREAM_REQUEST.api_version)
        if not served >= {STREAM_REQUEST.plural, DATASET.plural}:
            raise NotInstalled(f"{STREAM_REQUEST.api_version} is not served here: apply crds/ first")
        issuer = await choose(cluster, self._options.site.issuer)
        lease = self._options.lease
        await permissions.check(cluster, issuer, self._options.namespaces, lease[0] if lease else None)
        _log.info("starting", issuer=issuer, namespaces=list(self._options.namespaces) or "all")
        return issuer

    def _elector(self, cluster: Cluster) -> Elector | None:
        if self._options.lease is None:
            return None
        namespace, name = self._options.lease
        return Elector(cluster, namespace, name, self._identity, self._metrics.leader.set)

    async def _lead(
        self, cluster: Cluster, issuer: IssuerKind, asked: asyncio.Event, keepers: Sequence[Awaitable[None]]
    ) -> int:
        """Look after streams until told to stop or something fails."""
        buffers = Buffers()
        queue: WorkQueue[Key] = WorkQueue(observer=self._metrics)
        reconciler = self._reconciler(cluster, buffers, issuer, queue)
        informer = Informer(reconciler.touched)
        self._health.longest_working, self._health.phases = queue.longest_working, informer.counted
        stop_watching, watching = asyncio.Event(), asyncio.Event()
        # Before kopf's, because kopf ends every task made after its own.
        parts = {
            asyncio.create_task(_as_coroutine(part), name=name)
            for name, part in (
                *((f"worker {number}", reconciler.work()) for number in range(self._options.workers)),
                *(("lease", keeper) for keeper in keepers),
            )
        }
        workers = {part for part in parts if part.get_name().startswith("worker")}
        await asyncio.sleep(0)
        kopf_task = asyncio.create_task(self._watch(informer, issuer, stop_watching, watching), name="kopf")
        ready = asyncio.create_task(self._when_watching(watching), name="ready")
        told = asyncio.create_task(asked.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({*parts, kopf_task, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._health.state = "stopping"
            queue.close()
            await asyncio.wait(workers, timeout=GRACE_SECONDS)
            stop_watching.set()
            await asyncio.wait({kopf_task}, timeout=GRACE_SECONDS)
            for task in {*parts, kopf_task, ready, told}:
                task.cancel()
            await buffers.close()
        return _verdict(done, told)

    def _reconciler(
        self, cluster: Cluster, buffers: Buffers, issuer: IssuerKind, queue: WorkQueue[Key]
    ) -> Reconciler:
        site, recorder = self._options.site, Recorder(cluster, self._identity)
        observer = Observer(cluster, buffers, issuer, site)
        choice = functools.partial(decide, site=site)
        return Reconciler(queue, observer, choice, Actor(cluster, recorder), recorder, self._metrics)

    async def _watch(
        self, informer: Informer, issuer: IssuerKind, stop: asyncio.Event, ready: asyncio.Event
    ) -> None:
        namespaces = list(self._options.namespaces)
        # Otherwise kopf asks for the name of our user, and a container's user often has none.
        identity: Any = self._identity
        await kopf.operator(
            identity=identity,
            registry=registry(informer, issuer, access.login),
            settings=operator_settings(watched(issuer)),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
            ready_flag=ready,
        )

    async def _when_watching(self, watching: asyncio.Event) -> None:
        await watching.wait()
        self._health.state = "leading"
        _log.info("watching")


def _verdict(done: Iterable[asyncio.Task[Any]], told: object) -> int:
    """The exit code, with the reason logged."""
    failures = [task for task in done if task is not told]
    for task in failures:
        error = None if task.cancelled() else task.exception()
        _log.error("ended", part=task.get_name(), error=str(error) if error else "it ended by itself")
    return EXIT_FAILED if failures else EXIT_OK


async def _first(wanted: Awaitable[None], asked: asyncio.Event) -> bool:
    """Wait until something is done (True) or we are asked to stop (False), whichever comes first."""
    work, told = asyncio.ensure_future(wanted), asyncio.ensure_future(asked.wait())
    try:
        done, _ = await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        if work in done:
            work.result()
        return work in done
    finally:
        work.cancel()
        told.cancel()


async def _as_coroutine(part: Awaitable[None]) -> None:
    await part


def _pass_on(stop: threading.Event, asked: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    stop.wait()
    if not loop.is_closed():
        loop.call_soon_threadsafe(asked.set)
