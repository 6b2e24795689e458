"""The life of a stream as decisions see it, from the request to its end."""

import pytest

from lclstream.protocol import LoseShard, Stop
from lclstream_operator import names
from lclstream_operator.model import Usage
from lclstream_operator.site import SiteConfig
from operator_world import World, dataset, said, stream_request

ISSUERS = ["builtin", "cert-manager"]
OF_DATASET = {"dataset": {"name": "lysozyme", "run": "44"}}


@pytest.mark.parametrize("issuer", ISSUERS)
def test_certificates_come_before_buffers_and_buffers_before_producers(issuer):
    world = World(issuer=issuer)
    first = world.step()
    assert first.finalizer is True
    assert world.phase == "Provisioning"
    assert not {"StatefulSet", "Job", "Service"} & world.kinds()
    assert world.condition("CertificatesReady")["status"] == "False"
    world.settle()
    if issuer == "cert-manager":
        assert world.kinds() == {"Issuer", "Certificate"}
        world.cert_manager_issues()
        world.settle()
    assert {"StatefulSet", "Service", "ConfigMap", "NetworkPolicy", "ServiceAccount"} <= world.kinds()
    assert "Job" not in world.kinds()
    world.buffers_start()
    world.step()
    assert "Job" in world.kinds()
    assert world.phase == "Provisioning"
    world.workers_run()
    world.settle()
    assert world.phase == "Streaming"
    assert all(
        world.condition(kind)["status"] == "True"
        for kind in ("Accepted", "CertificatesReady", "BufferReady", "WorkersReady", "Streaming")
    )


@pytest.mark.parametrize("issuer", ISSUERS)
def test_a_stream_that_was_delivered_completes_and_keeps_its_numbers(issuer):
    world = World(issuer=issuer).streaming()
    for events in (50, 100):
        world.buffers[0] = said(events=events, batches=7, bytes=5, delivered=6, buffered=1)
        world.wait(5)
        world.step()
    assert world.status["progress"]["events"] == 100
    assert world.status["progress"]["rate"] == "10"
    world.buffers[0] = said("Draining", shards={0: "ended"}, events=100, batches=7, delivered=6, buffered=1)
    world.workers_done()
    world.wait(10)
    world.step()
    assert world.phase == "Draining"
    world.buffers[0] = said("Completed", shards={0: "ended"}, events=100, batches=7, delivered=7)
    world.wait(1)
    world.step()
    assert world.phase == "Completed"
    assert world.condition("Complete")["message"] == "100 events in 7 batches were delivered."
    assert "connection" not in world.status
    assert {"StatefulSet", "Job"} <= world.kinds(), "it is written down before anything is taken down"
    world.step()
    assert world.children == {}
    world.buffers.clear()
    world.settle()
    assert world.status["progress"]["delivered"] == 7
    assert world.status["completedShards"] == 1
    assert "finalizers" not in world.request["metadata"]
    assert world.told == []


def test_nothing_is_written_while_nothing_changes():
    world = World().streaming()
    world.settle()
    for _ in range(5):
        world.wait(7)
        decision = world.step()
        assert decision.status is None
        assert not decision.notes
        assert not decision.prune
        assert not decision.issue


def test_everything_is_applied_again_on_every_pass():
    world = World().streaming()
    world.settle()
    there = {key for key in world.children if key[0] != "Secret"}
    for key in there:
        del world.children[key]
        world.settle()
        if key[0] == "StatefulSet":
            world.children[key]["status"] = {"readyReplicas": 1, "observedGeneration": 1}
    assert {key for key in world.children if key[0] != "Secret"} == there


def test_a_shard_given_up_is_told_to_its_buffer_and_fails_the_stream_at_its_end():
    world = World(stream_request(workers={"shards": 4}, delivery={"buffers": 2})).streaming()
    world.workers_run(4)
    world.workers_done(completed="0-2", failed="3")
    world.step()
    why = "exit code 2: spec.fields.x: no such field"
    assert world.told == [(1, LoseShard(shard=3, reason=why))]
    assert why in world.condition("WorkersReady")["message"]
    assert [note.reason for note in world.notes].count("ShardFailed") == 1
    world.buffers[0] = said("Completed", batches=1)
    world.buffers[1] = said("Failed", "shard 3 was lost: because", shards={1: "ended", 3: "lost"})
    world.step()
    assert world.phase == "Failed"
    assert world.condition("Failed") | {"status": "True", "reason": "ShardsLost"} == world.condition("Failed")
    assert world.condition("Failed")["message"] == f"Given up: shard 3: {why}"
    world.settle()
    assert world.kinds() == {"Job"}, "the pods of a failed Job have the logs that say why"


def test_shards_that_fail_for_the_same_reason_are_named_together():
    world = World(stream_request(workers={"shards": 9})).streaming()
    world.workers_run(9)
    world.workers_done(completed="", failed="0-8")
    world.step()
    message = world.notes[-1].message
    assert message == ("Given up: shards 0, 1, 2, 3, 4 and 4 more: exit code 2: spec.fields.x: no such field")


def test_one_buffer_that_has_ended_does_not_end_the_stream():
    world = World(stream_request(workers={"shards": 2}, delivery={"buffers": 2})).streaming()
    world.buffers[0] = said("Completed", batches=3)
    world.step()
    assert world.phase == "Streaming"
    del world.buffers[0]
    world.buffers[1] = said("Completed", shards={1: "ended"}, batches=4)
    world.step()
    assert world.phase == "Completed"
    assert world.status["progress"]["batches"] == 7


def test_numbers_of_a_buffer_that_can_not_be_asked_stay():
    world = World().streaming()
    world.buffers[0] = said(events=50, batches=5)
    world.wait(10)
    world.step()
    world.buffers.clear()
    world.wait(10)
    world.step()
    assert world.status["progress"]["events"] == 50
    world.wait(100)
    world.step()
    assert world.condition("Streaming")["reason"] == "BufferUnreachable"
    assert world.phase == "Streaming"


def test_progress_is_written_only_every_few_seconds():
    world = World().streaming()
    written = 0
    for second in range(20):
        world.buffers[0] = said(events=second * 100, batches=second)
        world.wait(1)
        written += world.step().status is not None
    assert 3 <= written <= 5


# --- refused


@pytest.mark.parametrize(
    ("world", "reason", "words"),
    [
        (World(stream_request(source=OF_DATASET)), "DatasetNotFound", "no Dataset 'lysozyme'"),
        (
            World(stream_request(source={"dataset": {"name": "lysozyme", "run": "9"}}), dataset()),
            "RunNotFound",
            "'9' is not a run",
        ),
        (
            World(stream_request(source=OF_DATASET, fields={"nope": {}}), dataset(fields={"a": {}})),
            "InvalidSpec",
            "spec.fields.nope",
        ),
        (World(stream_request(workers={"shards": 0})), "InvalidSpec", "spec.workers.shards: 0 is not >= 1"),
        (World(stream_request(source=OF_DATASET), dataset(runs=[])), "InvalidDataset", "Dataset lysozyme: "),
        (World(site=SiteConfig(allowedNamespaces=["beam"])), "NamespaceNotAllowed", "allowedNamespaces"),
        (
            World(stream_request(workers={"shards": 9}), site=SiteConfig(limits={"workersPerStream": 8})),
            "LimitExceeded",
            "workersPerStream",
        ),
        (
            World(site=SiteConfig(limits={"streamsPerNamespace": 2}), usage=Usage(streams=2)),
            "LimitExceeded",
            "streamsPerNamespace is 2",
        ),
        (World(site=SiteConfig(limits={"memoryPerNamespace": "1Gi"})), "LimitExceeded", "memoryPerNamespace"),
    ],
)
def test_what_is_wrong_is_said_once_and_nothing_is_made(world, reason, words):
    decision = world.step()
    assert world.phase == "Pending"
    assert world.children == {}
    assert "finalizers" not in world.request["metadata"]
    assert world.condition("Accepted")["reason"] == reason
    assert words in world.condition("Accepted")["message"]
    assert [(note.type, note.reason) for note in world.notes] == [("Warning", reason)]
    assert decision.requeue_after
    assert world.step().status is None
    assert len(world.notes) == 1


def test_a_refused_request_starts_by_itself_once_it_is_right():
    world = World(stream_request(source=OF_DATASET))
    world.step()
    world.dataset = dataset()
    world.step()
    assert world.phase == "Provisioning"
    assert world.condition("Accepted")["status"] == "True"


def test_a_dataset_changed_after_the_start_changes_nothing():
    world = World(stream_request(source=OF_DATASET), dataset()).streaming()
    config = world.children["ConfigMap", names.config("first")]["data"]
    for changed in (dataset(runs=[{"name": "44", "files": ["other/*.h5"]}]), None):
        world.dataset = changed
        world.settle()
        assert world.children["ConfigMap", names.config("first")]["data"] == config
        assert world.phase == "Streaming"
        assert world.condition("Accepted")["reason"] == "ChangeIgnored"


# --- suspended


def test_suspended_before_it_starts_nothing_is_made():
    world = World(stream_request(suspend=True))
    world.settle()
    assert world.phase == "Suspended"
    assert world.children == {}
    world.request["spec"]["suspend"] = False
    world.step()
    assert world.phase == "Provisioning"


def test_suspended_with_batches_the_buffers_stay_and_producers_stop():
    world = World().streaming()
    world.buffers[0] = said(events=50, batches=5, buffered=5)
    world.request["spec"]["suspend"] = True
    world.wait(10)
    world.settle()
    assert world.phase == "Suspended"
    assert world.job["spec"]["suspend"] is True
    assert "StatefulSet" in world.kinds()
    assert world.status["connection"]["secret"] == "first-consumer"
    world.request["spec"]["suspend"] = False
    world.settle()
    assert world.phase == "Streaming"
    assert world.job["spec"]["suspend"] is False


def test_suspended_without_a_batch_all_goes_and_the_request_may_change():
    world = World().streaming()
    world.request["spec"]["suspend"] = True
    world.step()
    assert world.job["spec"]["suspend"] is True
    assert "StatefulSet" in world.kinds(), "a producer may still be at work"
    world.pods.clear()
    world.job["status"] = {}
    world.settle()
    assert world.children == {}
    assert world.phase == "Suspended"
    world.buffers.clear()
    world.request["spec"] = {"source": {"synthetic": {"events": 5}}}
    world.streaming()
    assert '"events":5' in world.children["ConfigMap", names.config("first")]["data"]["producer.json"]


def test_a_suspended_stream_that_was_delivered_completes():
    world = World().streaming()
    world.request["spec"]["suspend"] = True
    world.buffers[0] = said("Completed", batches=5)
    world.step()
    assert world.phase == "Completed"


# --- deadlines


def test_a_stream_that_lasts_too_long_fails_and_its_consumers_are_told():
    world = World(stream_request(activeDeadlineSeconds=60)).streaming()
    decision = world.step()
    assert decision.requeue_after <= 60
    world.wait(60)
    world.step()
    assert world.phase == "Failed"
    assert world.condition("Failed")["reason"] == "DeadlineExceeded"
    world.step()
    assert world.told == [(0, Stop(outcome="failed", reason=world.condition("Failed")["message"]))]
    assert "StatefulSet" in world.kinds()
    assert world.job["spec"]["suspend"] is True
    world.buffers[0] = said("Failed", "it lasted longer")
    world.settle()
    assert world.kinds() == {"Job"}


def test_a_buffer_that_does_not_stop_is_not_waited_for_for_ever():
    world = World(stream_request(activeDeadlineSeconds=60)).streaming()
    world.wait(60)
    world.step()
    world.wait(world.site.drain_seconds)
    world.settle()
    assert world.kinds() == {"Job"}
    assert "finalizers" not in world.request["metadata"]


def test_provisioning_that_takes_too_long_fails_and_says_what_was_missing():
    world = World()
    world.settle()
    world.pods = [
        {
            "metadata": {"name": "first-buffer-0", "labels": names.labels("first", "uid-1", "buffer")},
            "status": {
                "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}]
            },
        }
    ]
    world.step()
    assert "ImagePullBackOff: no" in world.condition("BufferReady")["message"]
    world.wait(world.site.provisioning_seconds)
    world.step()
    assert world.phase == "Failed"
    assert world.condition("Failed")["reason"] == "ProvisioningDeadlineExceeded"
    assert "ImagePullBackOff: no" in world.condition("Failed")["message"]


def test_no_producer_wanted_is_no_trouble_of_provisioning():
    world = World(stream_request(workers={"parallelism": 0}))
    world.settle()
    world.buffers_start()
    world.settle()
    world.wait(world.site.provisioning_seconds + 1)
    world.settle()
    assert world.phase == "Streaming"
    assert world.condition("WorkersReady")["reason"] == "ScaledToZero"


def test_a_finished_stream_is_deleted_when_its_time_is_over():
    world = World(stream_request(ttlSecondsAfterFinished=100)).streaming()
    world.buffers[0] = said("Completed")
    world.step()
    decision = world.settle()
    assert 90 < decision.requeue_after <= 100
    assert not decision.delete
    world.wait(100)
    assert world.step().delete
    assert world.gone


# --- deleted


def test_a_deleted_stream_stops_its_producers_then_its_buffers_then_goes():
    world = World().streaming()
    world.delete()
    world.step()
    assert "Job" not in world.kinds()
    assert world.told == [], "a producer is still at work"
    world.pods = [pod for pod in world.pods if pod["metadata"]["name"].startswith("first-buffer")]
    world.step()
    assert world.told == [(0, Stop(outcome="canceled", reason="the request was deleted"))]
    assert world.phase == "Canceled"
    assert not world.gone
    world.buffers[0] = said("Canceled")
    world.step()
    assert world.gone


@pytest.mark.parametrize(
    "phase", ["", "Pending", "Provisioning", "Streaming", "Draining", "Suspended", "Failed"]
)
def test_whatever_does_not_answer_a_deleted_request_goes_in_time(phase):
    world = World().streaming()
    world.request["status"]["phase"] = phase
    world.delete()
    for _ in range(int(world.site.drain_seconds)):
        if world.gone:
            break
        decision = world.step()
        assert world.gone or 0 < decision.requeue_after <= 2
        world.wait(decision.requeue_after or 0)
    world.step()
    assert world.gone
    assert (0, Stop(outcome="canceled", reason="the request was deleted")) in world.told


def test_a_deleted_request_without_anything_goes_at_once():
    world = World()
    world.step()
    world.delete()
    world.step()
    assert world.gone


def test_secrets_of_cert_manager_become_ours_and_don_t_stay_behind():
    world = World(issuer="cert-manager")
    world.step()
    world.cert_manager_issues()
    world.delete()
    decision = world.step()
    assert {ref.kind for ref in decision.prune} == {"Secret"}
    assert len(decision.prune) == 5
    world = World(issuer="cert-manager").streaming()
    for key, child in world.children.items():
        assert child["metadata"]["ownerReferences"][0]["uid"] == "uid-1", key


# --- what goes wrong on the way


def test_a_buffer_that_starts_again_has_its_finished_shards_read_again():
    world = World(stream_request(workers={"shards": 2})).streaming()
    world.job["status"] = {"active": 1, "ready": 1, "completedIndexes": "0"}
    world.buffers[0] = said(shards={0: "ended", 1: "open"}, batches=4)
    world.step()
    first = world.job["metadata"]["uid"]
    world.wait(30)
    world.pods = [pod for pod in world.pods if not pod["metadata"]["name"].startswith("first-buffer")]
    world.buffers_start()
    world.step()
    assert "Job" not in world.kinds()
    assert world.notes[-1].reason == "BufferRestarted"
    world.wait(1)
    world.step()
    assert world.job["metadata"]["uid"] != first
    again = world.job["metadata"]["uid"]
    world.job["status"] = {"active": 1, "ready": 1, "completedIndexes": "0"}
    world.step()
    assert world.job["metadata"]["uid"] == again, "once is enough"


def test_a_job_on_its_way_out_is_neither_applied_nor_pruned():
    world = World().streaming()
    world.job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    decision = world.step()
    assert "Job" not in {manifest["kind"] for manifest in decision.apply}
    assert not decision.prune


def test_scaling_changes_parallelism_only_and_stays_within_the_limits():
    site = SiteConfig(limits={"workersPerStream": 4})
    world = World(stream_request(workers={"shards": 8, "parallelism": 2}), site=site).streaming()
    world.request["spec"]["workers"]["parallelism"] = 3
    world.step()
    assert world.job["spec"]["parallelism"] == 3
    assert world.condition("Accepted")["reason"] == "Accepted"
    world.request["spec"]["workers"]["parallelism"] = 8
    world.step()
    assert world.job["spec"]["parallelism"] == 4
    assert world.condition("Accepted")["reason"] == "Limited"


def test_a_changed_site_does_not_touch_what_runs():
    world = World(stream_request(delivery={"spill": "1Gi"})).streaming()
    world.site = SiteConfig(image="new:2", spillStorageClass="fast", certificateSeconds=7200)
    world.step()
    buffer_set = world.children["StatefulSet", "first-buffer"]["spec"]
    assert buffer_set["updateStrategy"] == {"type": "OnDelete"}
    assert "volumeClaimTemplates" not in buffer_set
    assert world.job["spec"]["template"]["spec"]["containers"][0]["image"] == "lclstream:latest"


def test_what_should_not_be_there_is_pruned_and_what_is_not_ours_is_let_be():
    world = World().streaming()
    own = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "old", "namespace": "lab"}}
    own["metadata"]["labels"] = names.labels("first", "uid-1", "buffer")
    world.apply(own)
    other = {**own, "metadata": {**own["metadata"], "name": "other"}}
    other["metadata"]["labels"] = names.labels("first", "uid-0", "buffer")
    world.apply(other)
    world.step()
    assert ("Service", "old") not in world.children
    assert ("Service", "other") in world.children
