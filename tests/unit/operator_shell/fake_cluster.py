"""A place that keeps objects as the API server does, as far as the pure pieces of the shell can tell.

For what a real one can't be made to do at will: conflicts at a given moment, no answer, time that passes.
"""

import copy
import itertools
from typing import Any

from lclstream_operator.cluster import Cluster
from lclstream_operator.errors import ApiError, Conflict, Gone
from lclstream_operator.kinds import Kind, kind_of
from lclstream_operator.model import Manifest, Ref

_Place = tuple[str, str, str]


class FakeCluster(Cluster):
    """Keeps objects, and remembers what it was asked."""

    def __init__(self) -> None:
        self.objects: dict[_Place, Manifest] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.failure: ApiError | None = None
        self.failing_verb = ""  # empty: all
        self._versions = itertools.count(1)

    def put(self, manifest: Manifest) -> Manifest:
        """Have an object, as somebody else would make it."""
        return self._store(copy.deepcopy(manifest))

    def verbs(self, kind: str) -> list[str]:
        return [verb for verb, asked, _ in self.asked if asked == kind]

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        self._ask("get", kind.kind, name)
        try:
            return copy.deepcopy(self.objects[kind.kind, namespace, name])
        except KeyError:
            raise Gone(f"GET {name}", "not found", status=404) from None

    async def list(self, kind: Kind, namespace: str | None, selector: str = "") -> tuple[Manifest, ...]:
        self._ask("list", kind.kind, selector)
        wanted = dict(part.split("=") for part in selector.split(",") if part)
        return tuple(
            copy.deepcopy(manifest)
            for (known, where, _), manifest in self.objects.items()
            if known == kind.kind
            and where == namespace
            and wanted.items() <= manifest["metadata"].get("labels", {}).items()
        )

    async def create(self, manifest: Manifest) -> Manifest:
        self._ask("create", manifest["kind"], manifest["metadata"]["name"])
        if _place(manifest) in self.objects:
            raise Conflict("POST", "already exists", status=409)
        return self._store(manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        self._ask("replace", manifest["kind"], manifest["metadata"]["name"])
        known = self.objects[_place(manifest)]["metadata"]
        if manifest["metadata"].get("resourceVersion") not in (None, known["resourceVersion"]):
            raise Conflict("PUT", "it was modified", status=409)
        return self._store(manifest)

    async def apply(self, manifest: Manifest) -> Manifest:
        self._ask("apply", manifest["kind"], manifest["metadata"]["name"])
        known = self.objects.get(_place(manifest))
        if known and all(known.get(key) == value for key, value in manifest.items() if key != "metadata"):
            return copy.deepcopy(known)
        return self._store(manifest)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        self._ask("status", manifest["kind"], manifest["metadata"]["name"])
        known = self.objects[_place(manifest)]
        if manifest["metadata"]["uid"] != known["metadata"]["uid"]:
            raise Conflict("PATCH", "another uid", status=409)
        return self._store({**known, "status": manifest["status"]})

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        self._ask("merge", kind.kind, name)
        known = self.objects[kind.kind, namespace, name]
        metadata = patch.get("metadata", {})
        for field in ("uid", "resourceVersion"):
            if metadata.get(field, known["metadata"][field]) != known["metadata"][field]:
                raise Conflict("PATCH", f"another {field}", status=409)
        rest = {key: value for key, value in patch.items() if key != "metadata"}
        return self._store({**known, **rest, "metadata": {**known["metadata"], **metadata}})

    async def delete(self, ref: Ref) -> None:
        self._ask("delete", ref.kind, ref.name)
        place = kind_of(ref.api_version, ref.kind).kind, ref.namespace, ref.name
        if place not in self.objects:
            raise Gone("DELETE", "not found", status=404)
        if self.objects[place]["metadata"]["uid"] != ref.uid:
            raise Conflict("DELETE", "another uid", status=409)
        del self.objects[place]

    def _ask(self, verb: str, kind: str, name: str) -> None:
        self.asked.append((verb, kind, name))
        if self.failure and self.failing_verb in ("", verb):
            raise self.failure

    def _store(self, manifest: Manifest) -> Manifest:
        place, version = _place(manifest), str(next(self._versions))
        known: dict[str, Any] = self.objects.get(place, {}).get("metadata", {})
        kept = {"uid": known.get("uid", f"uid-{version}"), "resourceVersion": version}
        stored = {**manifest, "metadata": {**manifest["metadata"], **kept}}
        self.objects[place] = copy.deepcopy(stored)
        return copy.deepcopy(stored)


def _place(manifest: Manifest) -> _Place:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata["namespace"], metadata["name"]
