"""The PodDisruptionBudget of the buffers."""

from lclstream_operator import names
from lclstream_operator.desired.context import Context
from lclstream_operator.model import Manifest


def build_disruption_budget(context: Context) -> Manifest:
    """The PodDisruptionBudget: no buffer is evicted while its stream runs.

    Nobody else has what a buffer holds in memory. A stream ends, and its buffers with it, so a node that is
    drained waits for that; a site that would rather read the shards again says protectBuffers: false.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": context.metadata(names.buffer(context.name), "buffer"),
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": context.selector("buffer")}},
    }
