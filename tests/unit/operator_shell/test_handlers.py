"""What changes becomes the key of a stream; kopf is told to write nothing."""

import asyncio
from typing import Any

import kopf
import pytest

from lclstream_operator import names
from lclstream_operator.access import login
from lclstream_operator.handlers import Informer, registry, watched
from lclstream_operator.kinds import DATASET, JOB, POD, STREAM_REQUEST, Kind
from lclstream_operator.model import Key
from lclstream_operator.settings import operator_settings

Touches = list[tuple[Key, Kind]]


@pytest.fixture
def touches() -> Touches:
    return []


@pytest.fixture
def informer(touches: Touches) -> Informer:
    return Informer(lambda key, kind: touches.append((key, kind)))


def request(name: str, dataset: str = "", phase: str = "", event: str | None = None) -> dict[str, Any]:
    source = {"dataset": {"name": dataset, "run": "1"}} if dataset else {"synthetic": {"events": 1}}
    status = {"status": {"phase": phase}} if phase else {}
    body = {"metadata": {"namespace": "x", "name": name}, "spec": {"source": source}, **status}
    return {"type": event, "object": body}


def child(labels: dict[str, str]) -> dict[str, Any]:
    return {"type": "MODIFIED", "object": {"metadata": {"namespace": "x", "name": "c", "labels": labels}}}


def test_a_request_concerns_itself(informer: Informer, touches: Touches) -> None:
    informer.request(request("a"))
    assert touches == [(Key("x", "a"), STREAM_REQUEST)]


def test_a_dataset_concerns_the_requests_that_name_it_now(informer: Informer, touches: Touches) -> None:
    informer.request(request("a", dataset="lysozyme"))
    informer.request(request("b", dataset="other"))
    informer.request(request("c", dataset="lysozyme"))
    informer.request(request("c", dataset="other", event="MODIFIED"))
    informer.request(request("d", dataset="lysozyme"))
    informer.request(request("d", dataset="lysozyme", event="DELETED"))
    touches.clear()
    informer.dataset({"type": "ADDED", "object": {"metadata": {"namespace": "x", "name": "lysozyme"}}})
    assert touches == [(Key("x", "a"), DATASET)]
    touches.clear()
    informer.dataset({"type": "ADDED", "object": {"metadata": {"namespace": "y", "name": "lysozyme"}}})
    assert touches == []


def test_a_child_concerns_the_stream_its_label_names(informer: Informer, touches: Touches) -> None:
    informer.child(JOB, child({names.STREAM: "a"}))
    informer.child(POD, child({"job-name": "foreign"}))
    assert touches == [(Key("x", "a"), JOB)]


def test_streams_are_counted_by_phase(informer: Informer) -> None:
    informer.request(request("a", phase="Streaming"))
    informer.request(request("b"))
    informer.request(request("c", phase="Failed"))
    informer.request(request("c", event="DELETED"))
    assert sorted(informer.counted()) == ["Pending", "Streaming"]


@pytest.mark.parametrize("issuer", ["builtin", "cert-manager"])
def test_kopf_only_watches(informer: Informer, issuer: Any) -> None:
    """A handler that looks for changes, or a daemon, would have kopf write into every request."""
    made = registry(informer, issuer, login)
    kinds = {selector.any_name for selector in made._watching.get_all_selectors()}
    assert kinds == {kind.plural for kind in (STREAM_REQUEST, DATASET, *watched(issuer))}
    for handlers in (made._changing, made._spawning, made._webhooks, made._indexing):
        assert not handlers.get_all_handlers()


def test_children_are_selected_by_the_api_server() -> None:
    settings = operator_settings(watched("cert-manager"))
    resource = kopf.Resource("batch", "v1", "jobs", kind="Job", verbs=frozenset(), namespaced=True)
    assert settings.watching.label_selectors.collect(resource) == [names.STREAM]
    own = kopf.Resource("lclstream.io", "v1alpha1", "streamrequests", kind="StreamRequest", namespaced=True)
    assert settings.watching.label_selectors.collect(own) == []


def test_kopf_posts_no_events_and_has_no_peers() -> None:
    settings = operator_settings(())
    assert not settings.posting.enabled
    assert settings.peering.standalone
    assert "kopf" not in settings.persistence.finalizer


def test_a_handler_hands_the_event_over(informer: Informer, touches: Touches) -> None:
    made = registry(informer, "builtin", login)
    for handler in made._watching.get_all_handlers():
        event = request("a") if handler.id == "streamrequests" else child({names.STREAM: "a"})
        asyncio.run(handler.fn(event=event))  # type: ignore[arg-type]
    kinds = {kind for _, kind in touches}
    assert kinds == {STREAM_REQUEST, *watched("builtin")}
