"""kopf as informer: every event of a watch becomes the key of a stream, and nothing else.

No handler that looks for changes, no daemon and no timer: those would make kopf write annotations and
finalizers of its own into the requests. Whatever happened, `reconcile` looks at what there is.
"""

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from lclstream_operator import names
from lclstream_operator.kinds import DATASET, POD, STREAM_REQUEST, Kind, children_of
from lclstream_operator.model import IssuerKind, Key
from lclstream_operator.observe import dataset_name

Login = Callable[..., Any]
Touched = Callable[[Key, Kind], None]
"""Told of an object of a stream that changed."""


class Informer:
    """Knows which requests there are, and maps what changes to them.

    Args:
        touched: told of everything that concerns a stream.
    """

    def __init__(self, touched: Touched) -> None:
        self._touched = touched
        self._datasets: dict[Key, str] = {}
        self._phases: dict[Key, str] = {}

    def counted(self) -> list[str]:
        """The phase of every stream."""
        return list(self._phases.values())

    def request(self, event: Mapping[str, Any]) -> None:
        """A StreamRequest appeared, changed or went."""
        request = event["object"]
        key = Key(request["metadata"]["namespace"], request["metadata"]["name"])
        if event["type"] == "DELETED":
            self._datasets.pop(key, None)
            self._phases.pop(key, None)
        else:
            self._datasets[key] = dataset_name(request)
            self._phases[key] = (request.get("status") or {}).get("phase") or "Pending"
        self._touched(key, STREAM_REQUEST)

    def dataset(self, event: Mapping[str, Any]) -> None:
        """A Dataset appeared, changed or went: it concerns the requests that name it."""
        metadata = event["object"]["metadata"]
        for key, name in self._datasets.items():
            if name == metadata["name"] and key.namespace == metadata["namespace"]:
                self._touched(key, DATASET)

    def child(self, kind: Kind, event: Mapping[str, Any]) -> None:
        """An object of a stream appeared, changed or went."""
        metadata = event["object"]["metadata"]
        stream = (metadata.get("labels") or {}).get(names.STREAM)
        if stream:
            self._touched(Key(metadata["namespace"], stream), kind)


def watched(issuer: IssuerKind) -> tuple[Kind, ...]:
    """The kinds of objects whose changes concern a stream, beside requests and Datasets."""
    return (*children_of(issuer), POD)


def registry(informer: Informer, issuer: IssuerKind, login: Login) -> kopf.OperatorRegistry:
    """The handlers, in a registry of their own: the default one is shared by a whole process.

    Args:
        informer: told of every event.
        issuer: who issues certificates here.
        login: kopf's way to the API server.
    """
    made = kopf.OperatorRegistry()
    kopf.on.login(registry=made, id="login")(login)

    async def request(event: Mapping[str, Any], **_: Any) -> None:
        informer.request(event)

    async def dataset(event: Mapping[str, Any], **_: Any) -> None:
        informer.dataset(event)

    _watch(made, STREAM_REQUEST, request)
    _watch(made, DATASET, dataset)
    for kind in watched(issuer):
        _watch(made, kind, _child_handler(informer, kind))
    return made


def _child_handler(informer: Informer, kind: Kind) -> Callable[..., Any]:
    async def child(event: Mapping[str, Any], **_: Any) -> None:
        informer.child(kind, event)

    return child


def _watch(made: kopf.OperatorRegistry, kind: Kind, handler: Callable[..., Any]) -> None:
    group, _, version = kind.api_version.rpartition("/")
    kopf.on.event(group, version, kind.plural, registry=made, id=kind.plural)(handler)
