"""What a stream takes, and whether a site lets it."""

from collections.abc import Iterable

from lclstream.spec import SpecError, StreamSpec, parse, quantity_bytes
from lclstream_operator.model import Manifest, Usage
from lclstream_operator.resources import buffer_memory, worker_resources, workers_of_a_buffer
from lclstream_operator.site import SiteConfig

STARTED = ("Provisioning", "Streaming", "Draining")
"""Phases in which a stream counts; one that waits for room must not take any."""


def demand(spec: StreamSpec, site: SiteConfig) -> Usage:
    """What a stream takes while it runs."""
    shards, buffers, memory = spec.workers.shards, spec.delivery.buffers, quantity_bytes(spec.delivery.memory)
    running = shards if spec.workers.parallelism is None else min(spec.workers.parallelism, shards)
    worker = worker_resources(spec.workers.resources, site).requests.get("memory", "0")
    buffer = buffer_memory(memory, workers_of_a_buffer(shards, buffers, running))
    return Usage(streams=1, workers=running, memory=running * quantity_bytes(worker) + buffers * buffer)


def usage(requests: Iterable[Manifest], site: SiteConfig, *, but: str) -> Usage:
    """What the streams of a namespace take that are at work.

    Args:
        requests: the StreamRequests of the namespace.
        site: for defaults.
        but: uid of the one that is not counted.
    """
    total = Usage()
    for manifest in requests:
        phase = (manifest.get("status") or {}).get("phase")
        if phase not in STARTED or manifest.get("metadata", {}).get("uid") == but:
            continue
        taken = _taken(manifest, site)
        total = Usage(
            streams=total.streams + taken.streams,
            workers=total.workers + taken.workers,
            memory=total.memory + taken.memory,
        )
    return total


def refusal(namespace: str, spec: StreamSpec, others: Usage, site: SiteConfig) -> str | None:
    """Why the site doesn't let a stream run now; None: it does."""
    limits, wanted = site.limits, demand(spec, site)
    allowed = site.allowed_namespaces
    if allowed is not None and namespace not in allowed:
        return f"namespace {namespace!r} is not among this site's allowedNamespaces, expected one of " + (
            ", ".join(allowed) or "none: streams are switched off"
        )
    most = limits.workers_per_stream
    if most is not None and wanted.workers > most:
        return (
            f"spec.workers.parallelism: {wanted.workers} is not <= {most}, "
            "this site's limit workersPerStream; set it to fewer"
        )
    for name, limit, taken, more in (
        ("streamsPerNamespace", limits.streams_per_namespace, others.streams, wanted.streams),
        ("workersPerNamespace", limits.workers_per_namespace, others.workers, wanted.workers),
        ("memoryPerNamespace", _bytes(limits.memory_per_namespace), others.memory, wanted.memory),
    ):
        if limit is not None and taken + more > limit:
            return (
                f"this site's limit {name} is {limit}: streams at work here take {taken}, this one would "
                f"take {more}; it starts by itself when others have ended"
                + ("" if more <= limit else " (not as it is: it alone asks for too much)")
            )
    return None


def _taken(manifest: Manifest, site: SiteConfig) -> Usage:
    try:
        return demand(parse(StreamSpec, manifest.get("spec")), site)
    except SpecError:
        return Usage(streams=1)


def _bytes(quantity: str | None) -> int | None:
    return None if quantity is None else quantity_bytes(quantity)
