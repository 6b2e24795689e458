"""The loop: what is looked at afresh, what is tried again and when."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from lclstream.pki import PkiError
from lclstream_operator import names
from lclstream_operator.act import Actor
from lclstream_operator.buffers import Buffers
from lclstream_operator.errors import ApiError, Conflict, Rejected, Transient
from lclstream_operator.kinds import JOB, POD, SECRET, STREAM_REQUEST
from lclstream_operator.metrics import Metrics
from lclstream_operator.model import Decision, Key, Manifest, Observed, Ref
from lclstream_operator.observe import FRESH_SECONDS, Observer
from lclstream_operator.queue import Backoff, WorkQueue
from lclstream_operator.reconcile import REJECTED_SECONDS, RESYNC_SECONDS, Reconciler
from lclstream_operator.recorder import Recorder
from lclstream_operator.site import SiteConfig
from unit.operator_shell.fake_cluster import FakeCluster
from unit.operator_shell.fake_time import run

KEY = Key("x", "stream")
START = datetime(2026, 1, 1, tzinfo=UTC)


class Stage:
    """An operator whose decisions the test makes."""

    def __init__(self) -> None:
        self.cluster, self.metrics = FakeCluster(), Metrics()
        self.request = self.cluster.put(
            {
                "apiVersion": "lclstream.io/v1alpha1",
                "kind": "StreamRequest",
                "metadata": {"namespace": "x", "name": "stream"},
                "spec": {"source": {"synthetic": {"events": 1}}},
            }
        )
        self.seen: list[tuple[float, Observed]] = []
        self.decisions: list[Decision | Exception] = []
        loop = asyncio.get_running_loop()
        self.queue: WorkQueue[Key] = WorkQueue(Backoff(first=1, longest=300, jitter=0), self.metrics)
        now = lambda: START + timedelta(seconds=loop.time())  # noqa: E731
        self.buffers = Buffers()
        self.observer = Observer(self.cluster, self.buffers, "builtin", SiteConfig(), now)
        recorder = Recorder(self.cluster, "me")
        self.reconciler = Reconciler(
            self.queue, self.observer, self.decide, Actor(self.cluster, recorder), recorder, self.metrics
        )

    def decide(self, observed: Observed) -> Decision:
        self.seen.append((asyncio.get_running_loop().time(), observed))
        decision = self.decisions.pop(0) if self.decisions else Decision()
        if isinstance(decision, Exception):
            raise decision
        return decision

    def times(self) -> list[float]:
        return [round(time, 3) for time, _ in self.seen]

    def child(self, kind: str, name: str) -> Manifest:
        labels = {names.UID: self.request["metadata"]["uid"], names.STREAM: "stream"}
        version = {"Secret": "v1", "Job": "batch/v1"}[kind]
        metadata = {"namespace": "x", "name": name, "labels": labels}
        return self.cluster.put({"apiVersion": version, "kind": kind, "metadata": metadata})

    def results(self) -> dict[str, float]:
        samples = (s for metric in self.metrics.registry.collect() for s in metric.samples)
        return {s.labels["result"]: s.value for s in samples if s.name == "lclstream_reconcile_total"}


def on_stage(test: Callable[[Stage], Awaitable[None]]) -> None:
    async def inside() -> None:
        stage = Stage()
        worker = asyncio.create_task(stage.reconciler.work())
        try:
            await test(stage)
            stage.queue.close()
            await worker
        finally:
            await stage.buffers.close()

    run(inside())


def test_a_decision_says_when_to_look_again() -> None:
    async def test(stage: Stage) -> None:
        stage.decisions = [Decision(requeue_after=5), Decision(requeue_after=7)]
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(13)
        assert stage.times() == [0, 5, 12]

    on_stage(test)


def test_a_stream_at_rest_is_looked_at_now_and_then_and_one_that_is_over_is_not() -> None:
    async def test(stage: Stage) -> None:
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(1)
        stage.decisions = [Decision(status={"phase": "Completed"})]
        await asyncio.sleep(1e6)
        assert len(stage.seen) == 2
        assert 0.8 * RESYNC_SECONDS <= stage.times()[1] <= RESYNC_SECONDS

    on_stage(test)


def test_only_what_changed_is_listed_again() -> None:
    async def test(stage: Stage) -> None:
        stage.child("Secret", "stream-ca")
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(1)
        assert set(stage.cluster.verbs("Secret")) == set(stage.cluster.verbs("Job")) == {"list"}
        stage.cluster.asked.clear()

        stage.child("Job", "stream-workers")
        stage.reconciler.touched(KEY, JOB)
        await asyncio.sleep(1)
        assert stage.cluster.asked[1:] == [("list", "Job", f"{names.UID}={stage.request['metadata']['uid']}")]
        assert {child["kind"] for child in stage.seen[-1][1].children} == {"Secret", "Job"}
        stage.cluster.asked.clear()

        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(1)
        assert stage.cluster.asked == [("get", "StreamRequest", "stream")]
        stage.cluster.asked.clear()

        await asyncio.sleep(FRESH_SECONDS)
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(1)
        assert len(stage.cluster.asked) > 5

    on_stage(test)


def test_what_can_not_be_undone_is_decided_on_a_fresh_look() -> None:
    """A watch may have lost the word that an object went and came back as another."""

    async def test(stage: Stage) -> None:
        job = stage.child("Job", "stream-workers")
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(1)
        del stage.cluster.objects["Job", "x", "stream-workers"]
        again = stage.child("Job", "stream-workers")
        stage.decisions = [
            Decision(prune=(Ref("batch/v1", "Job", "x", "stream-workers", job["metadata"]["uid"]),)),
            Decision(),
        ]
        stage.reconciler.touched(KEY, SECRET)
        await asyncio.sleep(1)
        assert not stage.decisions
        assert [child["metadata"]["uid"] for child in stage.seen[-1][1].children] == [
            again["metadata"]["uid"]
        ]
        assert stage.cluster.verbs("Job")[-1] == "list"

    on_stage(test)


def test_a_successor_of_the_same_name_is_another_stream() -> None:
    async def test(stage: Stage) -> None:
        stage.child("Job", "stream-workers")
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(1)
        before = stage.cluster.objects.pop(("StreamRequest", "x", "stream"))
        stage.cluster.put({**before, "metadata": {"namespace": "x", "name": "stream"}})
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(1)
        assert [len(observed.children) for _, observed in stage.seen] == [1, 0]

    on_stage(test)


def test_a_request_that_is_gone_is_left_alone() -> None:
    async def test(stage: Stage) -> None:
        stage.cluster.objects.clear()
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(1e5)
        assert not stage.seen
        sweep = ("list", "Secret", f"{names.STREAM}=stream")
        assert stage.cluster.asked == [("get", "StreamRequest", "stream"), sweep]

    on_stage(test)


def test_a_secret_that_nobody_owns_goes_after_its_request() -> None:
    async def test(stage: Stage) -> None:
        for name, owners in (("left", []), ("owned", [{"uid": "u"}])):
            secret = stage.child("Secret", name)
            secret["metadata"]["ownerReferences"] = owners
            stage.cluster.put(secret)
        stage.cluster.put(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "x", "name": "other"}}
        )
        del stage.cluster.objects["StreamRequest", "x", "stream"]
        stage.reconciler.touched(KEY, SECRET)
        await asyncio.sleep(1)
        assert sorted(name for _, _, name in stage.cluster.objects) == ["other", "owned"]

    on_stage(test)


def test_a_request_goes_with_its_namespace_before_its_pods_wait_for_ever() -> None:
    async def test(stage: Stage) -> None:
        leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"namespace": "", "name": "x"}}
        stage.cluster.put(namespace)
        labels = {names.UID: stage.request["metadata"]["uid"], names.COMPONENT: "worker"}
        metadata = {"namespace": "x", "name": "stream-workers-0", "labels": labels, **leaving}
        stage.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
        stage.reconciler.touched(KEY, POD)
        await asyncio.sleep(1)
        assert len(stage.seen) == 1  # a pod may go for other reasons
        stage.cluster.put({**namespace, "metadata": {**namespace["metadata"], **leaving}})
        stage.reconciler.touched(KEY, POD)
        await asyncio.sleep(1)
        assert len(stage.seen) == 1
        assert stage.cluster.verbs("StreamRequest")[-1] == "delete"

    on_stage(test)


def failing(error: Exception, times: list[float], result: str) -> None:
    async def test(stage: Stage) -> None:
        stage.decisions = [error] * (len(times) - 1)
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(times[-1] + 0.5)
        assert stage.times() == times
        assert stage.results() == {result: len(times) - 1, "ok": 1}

    on_stage(test)


def test_an_api_server_in_trouble_is_asked_less_and_less() -> None:
    failing(Transient("GET", "no answer"), [0, 1, 3, 7, 15], "transient")


def test_an_api_server_that_asks_for_time_gets_it() -> None:
    error = Transient("GET", "too many requests", status=429)
    error.retry_after = 20
    failing(error, [0, 20, 40], "transient")


def test_a_conflict_is_looked_at_again_soon() -> None:
    failing(Conflict("PATCH", "it was modified", status=409), [0, 1, 3], "conflict")


def test_a_bug_does_not_stop_the_worker() -> None:
    failing(ZeroDivisionError("bug"), [0, REJECTED_SECONDS, 2 * REJECTED_SECONDS], "error")


def test_what_is_refused_is_told_to_the_user_and_tried_again_slowly() -> None:
    for error in (Rejected("PATCH /x", "spec: no", status=422), PkiError("Secret stream-ca: expired")):
        failing(error, [0, REJECTED_SECONDS], "rejected")

    async def test(stage: Stage) -> None:
        stage.decisions = [Rejected("PATCH /x", "spec: no", status=422)]
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(1)
        (event,) = [one for (kind, *_), one in stage.cluster.objects.items() if kind == "Event"]
        assert (event["type"], event["reason"]) == ("Warning", "Refused")
        assert event["note"].startswith("PATCH /x: spec: no")

    on_stage(test)


def test_a_list_that_failed_is_made_again() -> None:
    async def test(stage: Stage) -> None:
        stage.child("Job", "stream-workers")
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(1)
        stage.reconciler.touched(KEY, JOB)
        failure: ApiError = Transient("GET", "no answer")
        stage.cluster.failure, stage.cluster.failing_verb = failure, "list"
        await asyncio.sleep(0.5)
        stage.cluster.failure = None
        stage.child("Job", "another")
        await asyncio.sleep(1)
        assert len(stage.seen[-1][1].children) == 2

    on_stage(test)


def test_a_success_counts_failures_from_none_again() -> None:
    async def test(stage: Stage) -> None:
        trouble = Transient("GET", "no answer")
        stage.decisions = [trouble, trouble, Decision(requeue_after=10), trouble]
        stage.reconciler.touched(KEY, STREAM_REQUEST)
        await asyncio.sleep(14.5)
        assert stage.times() == [0, 1, 3, 13, 14]

    on_stage(test)
