"""Records Kubernetes Events about a stream: what `kubectl describe` tells.

The same note about the same request is one Event, however often it is made and whichever replica makes it:
its name is made of what it says, and only its count goes up. Losing one is no error.
"""

import hashlib
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final

from structlog import get_logger

from lclstream_operator.cluster import Cluster
from lclstream_operator.errors import ApiError, Conflict
from lclstream_operator.kinds import EVENT
from lclstream_operator.model import Manifest, Note

QUIET_SECONDS: Final = 300.0
"""A note is not repeated for so long."""

CONTROLLER: Final = "lclstream.io/operator"
_REMEMBERED: Final = 4096
_LONGEST_NOTE: Final = 1024  # of the API

_log = get_logger(component="recorder")


class Recorder:
    """Records notes.

    Args:
        cluster: where.
        instance: who we are, among replicas.
    """

    def __init__(self, cluster: Cluster, instance: str) -> None:
        self._cluster, self._instance = cluster, instance
        self._recent: OrderedDict[str, datetime] = OrderedDict()

    async def record(self, request: Manifest, note: Note, now: datetime) -> None:
        """Record a note about a request, unless it was recorded a moment ago."""
        event = event_for(request, note, now, self._instance)
        name = event["metadata"]["name"]
        last = self._recent.get(name)
        if last is not None and (now - last).total_seconds() < QUIET_SECONDS:
            return
        self._recent[name] = now
        self._recent.move_to_end(name)
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        try:
            await self._write(event)
        except ApiError as error:
            _log.warning("event lost", reason=note.reason, error=str(error))

    async def _write(self, event: Manifest) -> None:
        try:
            await self._cluster.create(event)
        except Conflict:
            metadata = event["metadata"]
            known = await self._cluster.get(EVENT, metadata["namespace"], metadata["name"])
            count = (known.get("series") or {}).get("count", 1) + 1
            series = {"count": count, "lastObservedTime": event["eventTime"]}
            await self._cluster.merge(EVENT, metadata["namespace"], metadata["name"], {"series": series})


def event_for(request: Manifest, note: Note, now: datetime, instance: str) -> Manifest:
    """The Event that says a note about a request."""
    about = request["metadata"]
    said = "\0".join((about["uid"], note.type, note.reason, note.message))
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{about['name']}.{digest}", "namespace": about["namespace"]},
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": note.type,
        "reason": note.reason,
        "note": note.message[:_LONGEST_NOTE],
        "action": "Reconcile",
        "regarding": {
            "apiVersion": request["apiVersion"],
            "kind": request["kind"],
            "namespace": about["namespace"],
            "name": about["name"],
            "uid": about["uid"],
            "resourceVersion": about["resourceVersion"],
        },
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
    }
