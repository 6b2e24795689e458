"""A decision is carried out in its order, and no more is written than has changed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lclstream.plan import Certificate
from lclstream_operator import names
from lclstream_operator.act import PROGRESS_SECONDS, TELL_AGAIN_SECONDS, Actor
from lclstream_operator.errors import Conflict, Rejected
from lclstream_operator.model import Decision, Issue, Key, Manifest, Note, Observed, Ref, Usage
from lclstream_operator.recorder import Recorder
from unit.operator_shell.fake_cluster import FakeCluster
from unit.operator_shell.fake_time import run

KEY = Key("x", "stream")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST: Manifest = {
    "apiVersion": "lclstream.io/v1alpha1",
    "kind": "StreamRequest",
    "metadata": {"namespace": "x", "name": "stream"},
    "spec": {},
}


def config_map(text: str = "1") -> Manifest:
    metadata = {"namespace": "x", "name": "stream-config"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": text}}


def secret(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "x", "name": name}}


class Stage:
    """A request, and whoever acts on it."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.cluster.put(REQUEST)
        self.actor = Actor(self.cluster, Recorder(self.cluster, "me"))

    async def act(self, decision: Decision) -> float | None:
        return await self.actor.act(KEY, self.observed(), decision)

    def observed(self) -> Observed:
        objects = self.cluster.objects
        request = objects["StreamRequest", "x", "stream"]
        children = tuple(v for (kind, *_), v in objects.items() if kind not in ("StreamRequest", "Event"))
        return Observed(
            request=request, dataset=None, children=children, pods=(), buffers={}, usage=Usage(),
            issuer="builtin", now=NOW,
        )  # fmt: skip

    @property
    def request(self) -> Manifest:
        return self.cluster.objects["StreamRequest", "x", "stream"]


def on_stage(test: Callable[[Stage], Awaitable[None]]) -> None:
    async def inside() -> None:
        await test(Stage())

    run(inside())


def test_the_order_is_that_of_the_attributes() -> None:
    async def test(stage: Stage) -> None:
        old = stage.cluster.put(secret("old"))
        request = stage.request
        decision = Decision(
            finalizer=True,
            issue=(Issue(secret(names.authority("stream")), None),),
            apply=(config_map(),),
            prune=(Ref("v1", "Secret", "x", "old", old["metadata"]["uid"]),),
            status={"phase": "Provisioning"},
            notes=(Note("Normal", "Provisioning", "it begins"),),
            requeue_after=7,
        )
        assert await stage.act(decision) == 7
        assert [(verb, kind) for verb, kind, _ in stage.cluster.asked] == [
            ("merge", "StreamRequest"), ("create", "Secret"), ("apply", "ConfigMap"), ("delete", "Secret"),
            ("status", "StreamRequest"), ("create", "Event"),
        ]  # fmt: skip
        assert stage.request["metadata"]["finalizers"] == [names.FINALIZER]
        assert stage.request["metadata"]["uid"] == request["metadata"]["uid"]

    on_stage(test)


def test_what_is_as_applied_is_not_applied_again() -> None:
    async def test(stage: Stage) -> None:
        for _ in range(3):
            await stage.act(Decision(apply=(config_map(),)))
        assert stage.cluster.verbs("ConfigMap") == ["apply"]

    on_stage(test)


def test_what_somebody_touched_or_what_is_to_be_otherwise_is_applied_again() -> None:
    async def test(stage: Stage) -> None:
        await stage.act(Decision(apply=(config_map(),)))
        stage.cluster.put(config_map("by hand"))
        await stage.act(Decision(apply=(config_map(),)))
        await stage.act(Decision(apply=(config_map("2"),)))
        del stage.cluster.objects["ConfigMap", "x", "stream-config"]
        await stage.act(Decision(apply=(config_map("2"),)))
        assert stage.cluster.verbs("ConfigMap") == ["apply"] * 4

    on_stage(test)


def test_a_status_in_which_only_times_are_new_is_not_written() -> None:
    async def test(stage: Stage) -> None:
        def status(time: str, order: int = 1) -> Manifest:
            conditions = [
                {"type": "A", "status": "True", "lastTransitionTime": time},
                {"type": "B", "status": "True", "lastTransitionTime": time},
            ]
            return {"phase": "Streaming", "conditions": conditions[::order]}

        await stage.act(Decision(status=status("1")))
        await stage.act(Decision(status=status("2")))
        await stage.act(Decision(status=status("1", order=-1)))
        assert stage.cluster.verbs("StreamRequest") == ["status"]

    on_stage(test)


def test_mere_progress_is_held_back_and_then_written() -> None:
    async def test(stage: Stage) -> None:
        def status(events: int, phase: str = "Streaming") -> Decision:
            return Decision(status={"phase": phase, "progress": {"events": events}}, requeue_after=60)

        assert await stage.act(status(1)) == 60
        await asyncio.sleep(1)
        assert await stage.act(status(2)) == PROGRESS_SECONDS - 1
        assert stage.request["status"]["progress"] == {"events": 1}
        assert await stage.act(status(3, "Draining")) == 60  # news is not held back
        await asyncio.sleep(PROGRESS_SECONDS)
        assert await stage.act(status(4, "Draining")) == 60
        assert stage.request["status"]["progress"] == {"events": 4}

    on_stage(test)


def test_a_finalizer_goes_last_and_leaves_those_of_others() -> None:
    async def test(stage: Stage) -> None:
        request = {**REQUEST, "metadata": {**REQUEST["metadata"], "finalizers": ["theirs", names.FINALIZER]}}
        stage.cluster.put(request)
        decision = Decision(finalizer=False, status={"phase": "Canceled"}, annotations={"a": "b"})
        await stage.act(decision)
        assert stage.cluster.verbs("StreamRequest") == ["status", "merge", "get", "merge"]
        assert stage.request["metadata"]["finalizers"] == ["theirs"]
        assert stage.request["metadata"]["annotations"] == {"a": "b"}

    on_stage(test)


def test_a_finalizer_is_not_added_to_what_has_changed() -> None:
    async def test(stage: Stage) -> None:
        observed = stage.observed()
        stage.cluster.put({**REQUEST, "spec": {"other": 1}})
        with pytest.raises(Conflict):
            await stage.actor.act(KEY, observed, Decision(finalizer=True))
        assert "finalizers" not in stage.request["metadata"]

    on_stage(test)


def test_a_successor_of_the_same_name_is_not_deleted() -> None:
    async def test(stage: Stage) -> None:
        stage.cluster.put(config_map())
        await stage.act(Decision(prune=(Ref("v1", "ConfigMap", "x", "stream-config", "another"),)))
        await stage.act(Decision(prune=(Ref("v1", "ConfigMap", "x", "missing", "any"),)))
        assert ("ConfigMap", "x", "stream-config") in stage.cluster.objects

    on_stage(test)


def test_a_request_is_deleted_when_that_is_decided() -> None:
    async def test(stage: Stage) -> None:
        await stage.act(Decision(delete=True))
        assert stage.cluster.verbs("StreamRequest") == ["delete"]

    on_stage(test)


def test_the_status_is_written_even_if_a_child_is_refused() -> None:
    async def test(stage: Stage) -> None:
        async def refuse(_: Manifest) -> Manifest:
            raise Rejected("PATCH", "spec: no", status=422)

        stage.cluster.apply = refuse  # type: ignore[method-assign]
        with pytest.raises(Rejected):
            await stage.act(Decision(apply=(config_map(),), status={"phase": "Provisioning"}))
        assert stage.request["status"] == {"phase": "Provisioning"}

    on_stage(test)


def test_a_buffer_that_is_not_there_is_told_again_soon() -> None:
    async def test(stage: Stage) -> None:
        assert await stage.act(Decision(tell={0: ()}, requeue_after=60)) == TELL_AGAIN_SECONDS

    on_stage(test)


def test_certificates_come_from_the_authority_that_is_there_and_it_is_not_replaced() -> None:
    async def test(stage: Stage) -> None:
        ca = Issue(secret(names.authority("stream")), None, timedelta(days=30))
        worker = Issue(secret("stream-worker"), Certificate(name="worker", role="worker"))
        buffer = Issue(secret("stream-buffer"), Certificate(name="buffer", role="buffer"))
        await stage.act(Decision(issue=(ca, worker)))
        await stage.act(Decision(issue=(buffer,)))
        data: list[dict[str, Any]] = [
            stage.cluster.objects["Secret", "x", f"stream-{name}"]["data"]
            for name in ("ca", "worker", "buffer")
        ]
        assert len({one["ca.crt"] for one in data}) == 1
        assert len({one["tls.key"] for one in data}) == 3

        observed = replace(stage.observed(), children=())  # another replica was faster
        with pytest.raises(Conflict):
            await stage.actor.act(KEY, observed, Decision(issue=(ca,)))

    on_stage(test)


def test_a_certificate_without_an_authority_is_looked_at_again() -> None:
    async def test(stage: Stage) -> None:
        issue = Issue(secret("stream-worker"), Certificate(name="worker", role="worker"))
        with pytest.raises(Conflict, match="stream-ca"):
            await stage.act(Decision(issue=(issue,)))

    on_stage(test)


def test_a_note_is_one_event_however_often_it_is_made() -> None:
    async def test(stage: Stage) -> None:
        note = Note("Warning", "Refused", "why " * 1000)
        first = Recorder(stage.cluster, "me")
        for seconds in (0, 10, 299):
            await first.record(stage.request, note, NOW + timedelta(seconds=seconds))
        assert stage.cluster.verbs("Event") == ["create"]
        await Recorder(stage.cluster, "another").record(stage.request, note, NOW)
        (event,) = [one for (kind, *_), one in stage.cluster.objects.items() if kind == "Event"]
        assert event["series"]["count"] == 2
        assert len(event["note"]) == 1024
        assert event["regarding"]["uid"] == stage.request["metadata"]["uid"]

    on_stage(test)
