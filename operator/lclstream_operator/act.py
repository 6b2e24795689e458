"""Carries out a `Decision`, in its order, and writes no more than has changed."""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from structlog import get_logger

from lclstream.pki import PkiError
from lclstream_operator import names
from lclstream_operator.buffers import Unheard, index_of, tell
from lclstream_operator.cluster import Cluster
from lclstream_operator.errors import Conflict, Gone, Rejected
from lclstream_operator.issuer import fill
from lclstream_operator.kinds import SECRET, STREAM_REQUEST
from lclstream_operator.model import Decision, Key, Manifest, Observed, Ref
from lclstream_operator.recorder import Recorder

PROGRESS_SECONDS: Final = 3.0
"""A status in which nothing but the progress is new is not written more often."""

TELL_AGAIN_SECONDS: Final = 5.0

_Identity = tuple[str, str, str]
_log = get_logger(component="act")


class Actor:
    """Changes what there is into what was decided.

    Args:
        cluster: the API server.
        recorder: for Events.
    """

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        self._cluster, self._recorder = cluster, recorder
        self._applied: dict[Key, dict[_Identity, tuple[str, str]]] = {}
        self._reported: dict[Key, float] = {}
        self._time = asyncio.get_running_loop().time

    def forget(self, key: Key) -> None:
        """Drop what is kept of a stream that is no more."""
        self._applied.pop(key, None)
        self._reported.pop(key, None)

    async def sweep(self, key: Key) -> None:
        """Delete the Secrets that a request without successor has left behind.

        cert-manager does not own the Secrets it makes, and may make one just after its Certificate went.
        """
        for secret in await self._cluster.list(SECRET, key.namespace, f"{names.STREAM}={key.name}"):
            metadata = secret["metadata"]
            if not metadata.get("ownerReferences") and names.UID in metadata["labels"]:
                await self._delete(_ref(secret))

    async def act(self, key: Key, observed: Observed, decision: Decision) -> float | None:
        """Carry out a decision.

        Returns:
            Seconds until the stream must be looked at again; None: no need.

        Raises:
            ApiError: the API server could not be asked or refuses; what was observed is reported even so.
            PkiError: the stream's CA can't be used.
        """
        if decision.finalizer:
            await self._set_finalizer(observed.request, present=True)
        try:
            await self._change_children(key, observed, decision)
        except (Rejected, PkiError):
            await self._report(key, observed, decision)
            raise
        heard = await self._tell(observed, decision)
        written = await self._report(key, observed, decision)
        if decision.delete:
            await self._delete(_ref(observed.request))
        if decision.finalizer is False:
            # Last, since it lets the request go.
            await self._set_finalizer(observed.request, present=False)
        later = [decision.requeue_after, written, None if heard else TELL_AGAIN_SECONDS]
        return min((seconds for seconds in later if seconds is not None), default=None)

    async def _change_children(self, key: Key, observed: Observed, decision: Decision) -> None:
        live = {_identity(child): child for child in observed.children}
        for secret in fill(key, decision.issue, observed.children):
            # Created, not applied: two replicas must never replace each other's CA.
            if _identity(secret) in live:
                await self._cluster.apply(secret)
            else:
                await self._cluster.create(secret)
        applied = self._applied.setdefault(key, {})
        for manifest in decision.apply:
            identity, digest = _identity(manifest), _digest(manifest)
            there = live.get(identity)
            if there is not None and applied.get(identity) == (digest, _version(there)):
                continue
            now = await self._cluster.apply(manifest)
            applied[identity] = digest, _version(now)
        for ref in decision.prune:
            await self._delete(ref)
            applied.pop((ref.api_version, ref.kind, ref.name), None)

    async def _tell(self, observed: Observed, decision: Decision) -> bool:
        """Tell buffers what they must know; whether all took it."""
        if not decision.tell:
            return True
        pods = {index_of(pod): pod for pod in observed.pods if _component(pod) == "buffer"}
        name = names.secret(observed.request["metadata"]["name"], "operator")
        secret = next(
            (c for c in observed.children if c["kind"] == SECRET.kind and c["metadata"]["name"] == name), None
        )
        heard = True
        for index, words in decision.tell.items():
            try:
                if index not in pods or secret is None:
                    raise Unheard("its pod or our certificate is not there")
                await tell(pods[index], secret, words)
            except (Unheard, PkiError) as error:
                heard = False
                _log.warning("buffer not told", buffer=index, error=str(error))
        return heard

    async def _report(self, key: Key, observed: Observed, decision: Decision) -> float | None:
        """Write status, annotations and Events; seconds until progress held back now may be written."""
        request, later = observed.request, None
        if decision.status is not None:
            later = await self._write_status(key, request, decision.status)
        if decision.annotations:
            metadata = {"uid": request["metadata"]["uid"], "annotations": dict(decision.annotations)}
            await self._merge(request, metadata)
        for note in decision.notes:
            await self._recorder.record(request, note, observed.now)
        return later

    async def _write_status(self, key: Key, request: Manifest, status: Manifest) -> float | None:
        before = request.get("status") or {}
        if _timeless(before) == _timeless(status):
            return None
        since = self._time() - self._reported.get(key, float("-inf"))
        if since < PROGRESS_SECONDS and _without_progress(before) == _without_progress(status):
            return PROGRESS_SECONDS - since
        metadata = request["metadata"]
        await self._cluster.apply_status(
            {
                "apiVersion": request["apiVersion"],
                "kind": request["kind"],
                # The uid makes it a conflict when the request was deleted and made again.
                "metadata": {name: metadata[name] for name in ("name", "namespace", "uid")},
                "status": status,
            }
        )
        self._reported[key] = self._time()
        return None

    async def _set_finalizer(self, request: Manifest, *, present: bool) -> None:
        metadata = request["metadata"]
        before = metadata.get("finalizers") or []
        if (names.FINALIZER in before) == present:
            return
        others = [name for name in before if name != names.FINALIZER]
        after = [*others, names.FINALIZER] if present else others
        # A merge patch replaces the list; the resourceVersion keeps what others add meanwhile.
        version = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        if not present:
            # The status was written since, by us.
            now = await self._cluster.get(STREAM_REQUEST, metadata["namespace"], metadata["name"])
            version["resourceVersion"] = now["metadata"]["resourceVersion"]
            after = [name for name in now["metadata"].get("finalizers") or [] if name != names.FINALIZER]
        await self._merge(request, {**version, "finalizers": after})

    async def _merge(self, request: Manifest, metadata: Mapping[str, Any]) -> None:
        about = request["metadata"]
        patch = {"metadata": dict(metadata)}
        await self._cluster.merge(STREAM_REQUEST, about["namespace"], about["name"], patch)

    async def _delete(self, ref: Ref) -> None:
        try:
            await self._cluster.delete(ref)
        except (Gone, Conflict) as error:
            _log.debug("gone already", kind=ref.kind, name=ref.name, error=str(error))


def _ref(manifest: Manifest) -> Ref:
    metadata = manifest["metadata"]
    return Ref(
        manifest["apiVersion"], manifest["kind"], metadata["namespace"], metadata["name"], metadata["uid"]
    )


def _identity(manifest: Manifest) -> _Identity:
    return manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]


def _version(manifest: Manifest) -> str:
    """Says that nobody has touched it since."""
    return f"{manifest['metadata']['uid']}/{manifest['metadata']['resourceVersion']}"


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _component(pod: Manifest) -> str:
    return str((pod["metadata"].get("labels") or {}).get(names.COMPONENT, ""))


def _timeless(status: Manifest) -> Manifest:
    """A status without the times of its conditions, and these in an order of their own."""
    conditions: Iterable[Manifest] = status.get("conditions") or ()
    stripped = {c["type"]: {k: v for k, v in c.items() if k != "lastTransitionTime"} for c in conditions}
    return {**status, "conditions": stripped}


def _without_progress(status: Manifest) -> Manifest:
    return {name: value for name, value in _timeless(status).items() if name != "progress"}
