"""The port to the API server: the few requests the operator makes, on plain data, with a taxonomy of errors.

Nothing is tried again here. The work queue does that, after a fresh look at what there is; a retry in
between would act on old knowledge.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from kubernetes.aio.client import ApiClient, ApiException, Configuration

from lclstream_operator.errors import Conflict, Gone, classify, unreachable
from lclstream_operator.kinds import Kind, kind_of
from lclstream_operator.model import Manifest, Ref
from lclstream_operator.names import FIELD_MANAGER

STATUS_MANAGER: Final = f"{FIELD_MANAGER}-status"

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
_PAGE: Final = 500
_APPLY, _MERGE, _JSON = "application/apply-patch+yaml", "application/merge-patch+json", "application/json"

OnRequest = Callable[[str, int], None]
"""Told of every request: method, and HTTP status (0: no answer)."""


class Cluster:
    """An API server.

    Args:
        configuration: where it is, and who we are.
        on_request: told of every request.

    Every method raises `lclstream_operator.errors.ApiError`, by kind of failure.
    """

    def __init__(self, configuration: Configuration, on_request: OnRequest | None = None) -> None:
        self._client = ApiClient(configuration)
        self._on_request = on_request

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """An object."""
        return await self._request("GET", kind.path(namespace, name))

    async def find(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """An object; None if there is none."""
        try:
            return await self.get(kind, namespace, name)
        except Gone:
            return None

    async def list(self, kind: Kind, namespace: str | None, selector: str = "") -> tuple[Manifest, ...]:
        """The objects with these labels; no namespace stands for every one."""
        query = {"limit": str(_PAGE)}
        if selector:
            query["labelSelector"] = selector
        found: list[Manifest] = []
        while True:
            try:
                page = await self._request("GET", kind.path(namespace), query)
            except Gone as error:
                # The rest of a list that took too long to read (410): not the object, our view is gone.
                raise Conflict(f"GET {kind.plural}", error.message, status=error.status) from error
            # The items of a list do not say what they are.
            found += [{"apiVersion": kind.api_version, "kind": kind.kind} | item for item in page["items"]]
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                return tuple(found)

    async def apply(self, manifest: Manifest) -> Manifest:
        """Create an object or change it to be so, by server-side apply; ours wins over other managers'."""
        return await self._apply(manifest, FIELD_MANAGER)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Give an object that exists this status, as a whole."""
        return await self._apply(manifest, STATUS_MANAGER, "status")

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object; `Conflict` if there is one of this name."""
        kind, metadata = _kind(manifest), manifest["metadata"]
        return await self._request("POST", kind.path(metadata["namespace"]), {}, manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object; `Conflict` if it is no longer the version that the manifest names."""
        kind, metadata = _kind(manifest), manifest["metadata"]
        return await self._request("PUT", kind.path(metadata["namespace"], metadata["name"]), {}, manifest)

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        """Change an object by a JSON merge patch; a resourceVersion or uid in it is a precondition."""
        return await self._request("PATCH", kind.path(namespace, name), {}, patch, _MERGE)

    async def delete(self, ref: Ref) -> None:
        """Delete an object and what it owns, unless it is another by now (`Conflict`)."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": ref.uid},
            "propagationPolicy": "Background",
        }
        path = kind_of(ref.api_version, ref.kind).path(ref.namespace, ref.name)
        await self._request("DELETE", path, {}, body)

    async def served(self, api_version: str) -> frozenset[str]:
        """Plural names of the kinds in a group and version; none if it is not served."""
        try:
            found = await self._request("GET", f"/apis/{api_version}")
        except Gone:
            return frozenset()
        return frozenset(resource["name"] for resource in found["resources"])

    async def allowed(self, verb: str, kind: Kind, namespace: str | None, subresource: str = "") -> bool:
        """Whether we may do something to objects of a kind."""
        attributes = {
            "verb": verb,
            "group": kind.group,
            "resource": kind.plural,
            "subresource": subresource,
            "namespace": namespace or "",
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await self._request("POST", path, {}, review)
        return bool(answer["status"]["allowed"])

    async def _apply(self, manifest: Manifest, manager: str, subresource: str = "") -> Manifest:
        kind, metadata = _kind(manifest), manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"], subresource)
        query = {"fieldManager": manager, "force": "true"}
        return await self._request("PATCH", path, query, manifest, _APPLY)

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = _JSON,
    ) -> Manifest:
        request = await self._client.param_serialize(
            method,
            path,
            query_params=[(name, value) for name, value in (query or {}).items() if value],
            header_params={"Accept": _JSON, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        what, status = f"{method} {path}", 0
        try:
            response = await self._client.call_api(*request, _request_timeout=_TIMEOUT)
            status = response.status
            text: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError, ApiException) as error:
            raise unreachable(what, error) from error
        finally:
            if self._on_request:
                self._on_request(method, status)
        answer = _json(text)
        if status >= 400:
            raise classify(what, status, answer, response.headers)
        return answer


def _json(text: bytes) -> dict[str, Any]:
    """The object in an answer; empty when a proxy in between has put something else there."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _kind(manifest: Manifest) -> Kind:
    return kind_of(manifest["apiVersion"], manifest["kind"])
