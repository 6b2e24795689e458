"""What a stream on one machine does next."""

import pytest

from lclstream.local.state import (
    Announce,
    Asked,
    Exited,
    Finish,
    LocalStream,
    LoseShard,
    Said,
    StartBuffers,
    StartWorker,
    StopBuffers,
    StopWorkers,
)
from lclstream.plan import Site, plan
from lclstream.spec import StreamRequest, parse


def stream(*, shards=2, buffers=1, parallelism=None, retries=1) -> LocalStream:
    request = parse(
        StreamRequest,
        {
            "metadata": {"name": "s"},
            "spec": {
                "source": {"synthetic": {"events": 10}},
                "delivery": {"buffers": buffers},
                "workers": {"shards": shards, "parallelism": parallelism, "retriesPerShard": retries},
            },
        },
    )
    return LocalStream(plan(request, None, Site()))


def listening(i: int) -> Said:
    return Said(f"buffer-{i}", {"event": "listening", "ingest": f"tls+tcp://127.0.0.1:{i + 1}"})


def finished(i: int, outcome="completed", reason="") -> Said:
    words = {"event": "finished", "outcome": outcome, "reason": reason, "events": 5}
    return Said(f"buffer-{i}", words)


def started(**settings) -> LocalStream:
    one = stream(**settings)
    assert one.begin() == [StartBuffers()]
    for i in range(len(one.plan.buffers)):
        one.handle(listening(i))
    return one


def test_workers_start_once_every_buffer_listens():
    one = stream(buffers=2)
    one.begin()
    assert one.phase == "Provisioning"
    assert one.handle(listening(1)) == []
    assert one.handle(listening(0)) == [Announce(), StartWorker(0), StartWorker(1)]
    assert one.phase == "Streaming"


def test_no_more_shards_at_once_than_asked_for():
    one = stream(shards=3, parallelism=1)
    one.begin()
    assert one.handle(listening(0)) == [Announce(), StartWorker(0)]
    assert one.handle(Exited("worker-0", 0)) == [StartWorker(1)]
    assert one.handle(Exited("worker-1", 0)) == [StartWorker(2)]
    assert one.handle(Exited("worker-2", 0)) == []
    assert one.phase == "Draining"


def test_a_crashed_producer_is_started_again_and_later_each_time():
    one = started(retries=3)
    delays = []
    for _ in range(3):
        (again,) = one.handle(Exited("worker-1", -9))
        assert isinstance(again, StartWorker)
        assert again.shard == 1
        delays.append(again.delay)
    assert delays[0] == 0
    assert delays == sorted(delays)


def test_a_producer_that_keeps_dying_costs_its_shard_and_says_why():
    one = started(retries=1)
    one.handle(Exited("worker-1", -9))
    (lost,) = one.handle(Exited("worker-1", 1, ("reading", "disk on fire")))
    assert isinstance(lost, LoseShard)
    assert lost.shard == 1
    assert lost.reason == "worker-1 ended with exit code 1 (tried 2 times): disk on fire"
    assert one.last_lines == ("reading", "disk on fire")


def test_a_lost_shard_makes_room_for_the_next():
    one = started(shards=2, parallelism=1, retries=0)
    lost, after = one.handle(Exited("worker-0", 1, ("broken",)))
    assert isinstance(lost, LoseShard)
    assert after == StartWorker(1)


def test_bad_input_of_a_producer_is_final():
    one = started(retries=5)
    (lost,) = one.handle(Exited("worker-0", 2, ("spec.fields.x: unknown",)))
    assert isinstance(lost, LoseShard)


def test_it_is_over_when_every_buffer_has_finished_and_gone():
    one = started(buffers=2)
    one.handle(finished(0))
    assert one.handle(Exited("buffer-0", 0)) == []
    one.handle(finished(1, "failed", "shard 1 lost"))
    assert one.handle(Exited("buffer-1", 1)) == [StopWorkers(), Finish("failed", "shard 1 lost")]
    assert one.progress["events"] == 10
    assert one.handle(Exited("worker-0", 1)) == []


def test_a_buffer_that_dies_fails_the_stream():
    one = started()
    stop, finish = one.handle(Exited("buffer-0", -11, ("boom",)))
    assert stop == StopWorkers()
    assert finish == Finish("failed", "buffer-0 was killed by signal 11: boom")


def test_a_buffer_refusing_its_configuration_is_bad_input():
    one = stream()
    one.begin()
    _, finish = one.handle(Exited("buffer-0", 2, ("127.0.0.1:80: address in use",)))
    assert finish == Finish("failed", "127.0.0.1:80: address in use", bad_input=True)


@pytest.mark.parametrize("outcome", ["canceled", "failed"])
def test_asked_to_end_it_stops_workers_and_tells_buffers(outcome):
    one = started()
    assert one.handle(Asked(outcome, "enough")) == [StopWorkers(), StopBuffers(outcome, "enough")]
    assert one.handle(Exited("worker-0", 143)) == []
    one.handle(finished(0, outcome, "enough"))
    assert one.handle(Exited("buffer-0", 3))[-1] == Finish(outcome, "enough")


def test_asked_to_end_before_buffers_listen_it_ends_at_once():
    one = stream()
    one.begin()
    assert one.handle(Asked("canceled", "interrupted"))[-1] == Finish("canceled", "interrupted")
