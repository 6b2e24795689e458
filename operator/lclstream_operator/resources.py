"""Compute resources of pods.

A buffer's memory, reserved and limited:

    delivery.memory                                     batches held
  + delivery.memory / 8                                 what the allocator can't give back at once
  + min(delivery.memory, workers x window x message)    batches on their way in, not acknowledged yet
  + 256 MiB                                             interpreter, nng, TLS sessions

with the workers of this buffer that run at once, a worker's window of 4 unacknowledged batches, and a
message of 16 MiB (or the largest that fits the buffer, if smaller). What is on its way is bounded by what a
buffer may hold because workers wait when it is full.
"""

from lclstream.spec.stream import Resources
from lclstream_operator.site import SiteConfig

WINDOW = 4
TYPICAL_MESSAGE = 16 << 20
BASE = 256 << 20
SPILL_SLACK = 128 << 20
"""A spill grows by whole segments; a volume of exactly its bound would be too small."""


def buffer_memory(memory: int, workers: int) -> int:
    """Bytes of memory a buffer's pod needs.

    Args:
        memory: delivery.memory, bytes.
        workers: how many send to it at once, at most.
    """
    incoming = workers * WINDOW * min(memory, TYPICAL_MESSAGE)
    return memory + memory // 8 + min(memory, incoming) + BASE


def workers_of_a_buffer(shards: int, buffers: int, parallelism: int) -> int:
    """How many producers send to a buffer at once, at most; shard i belongs to buffer i mod buffers."""
    return min(parallelism, -(-shards // buffers))


def worker_resources(asked: Resources, site: SiteConfig) -> Resources:
    """Resources of a producer: the site's, where the request doesn't say otherwise.

    A limit below the reserve would be refused by Kubernetes, and it is the request that meant it.
    """
    defaults = site.defaults.workers
    requests, limits = dict(asked.requests), dict(asked.limits)
    for name, value in defaults.requests.items():
        requests.setdefault(name, limits.get(name, value))
    for name, value in defaults.limits.items():
        if name not in limits:
            limits[name] = asked.requests.get(name, value)
    return Resources(requests=requests, limits=limits)
