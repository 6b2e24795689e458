"""A buffer that delivers by lease, over real sockets with real TLS."""

import dataclasses

import pytest

from buffer_rig import Clock, Rig, batch, seen, shard_end
from lclstream.pki import Authority
from lclstream.protocol import Attach, Fetch, Hello, LoseShard, Stop
from lclstream.transport import Requester, Untrusted
from lclstream.wire import HEADER_SIZE

SIZE = 1_000
MESSAGE = HEADER_SIZE + SIZE


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def refusal(answer):
    assert answer.ok == "refused", answer
    return answer.reason


def numbers(count, shard=0):
    return [(shard, sequence) for sequence in range(count)]


def test_every_batch_is_delivered_in_order_and_then_the_end(rig):
    rig.start(shards=2)
    workers = [rig.worker(0), rig.worker(1)]
    consumer = rig.consumer()
    for sequence in range(5):
        for worker in workers:
            worker.send(sequence)
    for worker in workers:
        worker.end(5)
    got, end = consumer.drain()
    assert [one for one in got if one[0] == 0] == numbers(5, 0)
    assert [one for one in got if one[0] == 1] == numbers(5, 1)
    assert (end.outcome, end.reason, end.batches, end.events) == ("completed", "", 10, 40)
    consumer.leave()
    assert rig.end().outcome == "completed"
    counters = rig.counters
    assert (counters.delivered, counters.buffered, counters.redelivered) == (10, 0, 0)


def test_a_batch_sent_twice_is_stored_once(rig):
    rig.start()
    worker = rig.worker()
    worker.send(0, 1, 0, 1, 2)
    worker.end(3)
    worker.end(3)
    worker.send(2)
    got, _ = rig.consumer().drain()
    assert got == numbers(3)
    assert (rig.counters.duplicates, rig.counters.batches) == (3, 3)


def test_hello_tells_a_restarted_worker_where_its_shard_stands(rig):
    rig.start()
    first = rig.worker()
    assert first.hello().position is None
    first.send(0, 1)
    first.requester.close()
    there = rig.worker().hello()
    assert (there.sequence, there.position, there.events, there.ended) == (2, 8, 8, False)
    assert there.max_message == 1 << 20


def test_a_full_store_blocks_and_nothing_is_lost(rig):
    rig.start(memory=3 * MESSAGE)
    worker = rig.worker()
    replies = [worker.requester.submit(batch(sequence, size=SIZE)) for sequence in range(10)]
    for reply in replies[:3]:
        reply.wait()
    # Hello passes those that wait, and tells that no more was taken in.
    assert worker.hello().sequence == 3
    assert not any(reply.ready for reply in replies[3:])
    end = worker.requester.submit(shard_end(10))
    got, _ = rig.consumer().drain()
    for reply in replies[3:]:
        reply.wait()
    end.wait()
    assert got == numbers(10)
    assert rig.counters.peak_bytes == 3 * MESSAGE


def test_a_full_store_spills_and_the_segments_go(rig, tmp_path):
    rig.start(memory=3 * MESSAGE, spill=40 * MESSAGE)
    worker = rig.worker()
    worker.send(*range(30), size=SIZE)
    worker.end(30)
    store = rig.buffer.snapshot().store
    assert (store.memory, store.spill) == (3 * MESSAGE, 27 * MESSAGE)
    assert len(list((tmp_path / "spill").iterdir())) == store.segments > 1
    consumer = rig.consumer()
    got, end = consumer.drain()
    assert got == numbers(30)
    assert end.outcome == "completed"
    assert list((tmp_path / "spill").iterdir()) == []
    consumer.leave()
    rig.end()
    assert not (tmp_path / "spill").exists()


def test_a_spill_that_can_not_be_read_fails_the_stream(rig):
    rig.start(memory=MESSAGE, spill=40 * MESSAGE)
    worker = rig.worker()
    worker.send(0, 1, size=SIZE)
    segment = next((rig.folder / "spill").iterdir())
    segment.write_bytes(b"")
    consumer = rig.consumer()
    assert consumer.fetch() == (0, 0)
    end = consumer.fetch((0, 0))
    assert end.outcome == "failed"
    assert "ends after 0 bytes" in end.reason
    assert rig.end().outcome == "failed"


def test_drop_oldest_counts_what_it_drops_and_spares_what_is_leased(rig):
    rig.start(memory=3 * MESSAGE, onFull="dropOldest")
    worker, consumer = rig.worker(), rig.consumer()
    worker.send(0, size=SIZE)
    assert consumer.fetch() == (0, 0)
    worker.send(*range(1, 6), size=SIZE)
    worker.end(6)
    assert consumer.fetch((0, 0)) == (0, 4)
    assert consumer.fetch((0, 4)) == (0, 5)
    assert consumer.fetch((0, 5)).outcome == "completed"
    counters = rig.counters
    assert (counters.dropped, counters.delivered, counters.batches) == (3, 3, 6)


def test_two_groups_get_everything_each_and_members_share(rig):
    rig.start()
    worker = rig.worker()
    first, second, third = rig.consumer("a"), rig.consumer("a"), rig.consumer("b")
    worker.send(*range(6))
    worker.end(6)
    shared = [(each, each.fetch()) for each in (first, second, first, second, first, second)]
    assert sorted(what for _, what in shared) == numbers(6)
    for each, what in shared:
        each.acknowledge(what)
    got, end = third.drain()
    assert got == numbers(6)
    assert (end.outcome, first.fetch(), second.fetch()) == ("completed", end, end)
    assert rig.counters.delivered == 6


def test_nothing_is_freed_until_every_group_has_it(rig):
    rig.start()
    worker, first, second = rig.worker(), rig.consumer("a"), rig.consumer("b")
    worker.send(0)
    first.fetch()
    first.acknowledge((0, 0))
    assert (rig.counters.buffered, rig.counters.delivered) == (1, 0)
    second.fetch()
    second.acknowledge((0, 0))
    assert (rig.counters.buffered, rig.counters.delivered) == (0, 1)


def test_what_a_lost_consumer_held_goes_to_another(rig):
    rig.start()
    worker, killed = rig.worker(), rig.consumer()
    worker.send(0, 1, 2)
    worker.end(3)
    assert [killed.fetch() for _ in range(3)] == numbers(3)
    other = rig.consumer()
    waiting = other.submit()
    killed.requester.close()
    assert seen(waiting.wait()) == (0, 0)
    assert other.fetch((0, 0)) == (0, 1)
    assert other.fetch((0, 1)) == (0, 2)
    assert other.fetch((0, 2)).outcome == "completed"
    assert rig.counters.redelivered == 3


def test_a_lease_expires_and_a_late_acknowledgement_still_counts(rig):
    clock = Clock()
    rig.start(clock=clock, leaseSeconds=60)
    worker, stuck, other = rig.worker(), rig.consumer(), rig.consumer()
    worker.send(0, 1)
    worker.end(2)
    assert [stuck.fetch(), stuck.fetch()] == numbers(2)
    waiting = other.submit()
    clock.now += 59.9
    rig.buffer.store.expire()
    stuck.acknowledge((0, 1))
    assert not waiting.ready
    clock.now += 0.1
    rig.buffer.store.expire()
    assert seen(waiting.wait()) == (0, 0)
    stuck.acknowledge((0, 0))
    assert other.fetch().outcome == "completed"
    assert rig.counters.redelivered == 1


def test_who_waits_gets_an_expired_lease_without_being_asked(rig):
    rig.start(leaseSeconds=1)
    worker, stuck, other = rig.worker(), rig.consumer(), rig.consumer()
    waiting = other.submit()
    worker.send(0)
    assert seen(waiting.wait()) == (0, 0)
    assert stuck.fetch() == (0, 0)


def test_the_end_comes_after_the_last_acknowledgement(rig):
    rig.start()
    worker, slow, idle = rig.worker(), rig.consumer(), rig.consumer()
    worker.send(0)
    assert slow.fetch() == (0, 0)
    waiting = idle.submit()
    worker.end(1)
    assert rig.buffer.snapshot().phase == "Draining"
    idle.acknowledge()
    assert not waiting.ready
    slow.acknowledge((0, 0))
    assert seen(waiting.wait()).outcome == "completed"
    assert slow.fetch().outcome == "completed"


def test_a_consumer_that_comes_after_the_end_is_told(rig):
    rig.start()
    worker, first = rig.worker(), rig.consumer()
    worker.send(0)
    worker.end(1)
    first.drain()
    assert rig.consumer().fetch().outcome == "completed"


def test_a_stream_without_batches_needs_no_consumer(rig):
    rig.start()
    rig.worker().end(0)
    assert rig.end().outcome == "completed"


def test_nobody_to_deliver_to_fails_when_it_has_been_long_enough(rig):
    clock = Clock()
    rig.start(clock=clock, idleTimeoutSeconds=60)
    worker = rig.worker()
    worker.send(0)
    worker.end(1)
    consumer = rig.consumer()
    clock.now += 100
    rig.buffer.workers_changed()
    consumer.leave()
    worker.send(0)
    assert rig.buffer.ready
    clock.now += 60
    rig.buffer.workers_changed()
    verdict = rig.end()
    assert (verdict.outcome, verdict.reason) == ("failed", "no consumer for 60 s")


def test_a_lost_shard_fails_the_stream_after_the_rest_is_delivered(rig):
    rig.start(shards=2)
    workers = [rig.worker(0), rig.worker(1)]
    workers[0].send(0, 1)
    workers[0].end(2)
    workers[1].send(0)
    assert rig.operator().ask(LoseShard(shard=1, reason="killed 4 times").encode()).ok == "stored"
    got, end = rig.consumer().drain()
    assert sorted(got) == [(0, 0), (0, 1), (1, 0)]
    assert (end.outcome, end.reason) == ("failed", "shard 1 was lost: killed 4 times")
    assert rig.end().outcome == "failed"
    assert (rig.counters.shards_lost, rig.counters.shards_ended) == (1, 1)


@pytest.mark.parametrize("outcome", ["failed", "canceled"])
def test_the_runtime_stops_a_stream_that_is_blocked(rig, outcome):
    rig.start(memory=MESSAGE)
    worker, operator, consumer = rig.worker(), rig.operator(), rig.consumer()
    worker.send(0, size=SIZE)
    assert consumer.fetch() == (0, 0)
    blocked = worker.requester.submit(batch(1, size=SIZE))
    waiting = consumer.submit()
    assert operator.ask(Stop(outcome=outcome, reason="enough").encode()).ok == "stored"
    end = seen(waiting.wait())
    assert (end.outcome, end.reason, end.batches) == (outcome, "enough", 1)
    assert b'"over"' in bytes(blocked.wait())
    assert rig.end().outcome == outcome


def test_a_stop_takes_nothing_from_a_stream_that_is_complete(rig):
    rig.start(retain=True)
    worker, consumer = rig.worker(), rig.consumer()
    worker.send(0, 1)
    worker.end(2)
    assert consumer.drain()[1].outcome == "completed"
    later = rig.consumer("later")
    assert later.drain()[0] == numbers(2)
    assert rig.buffer.ready
    rig.operator().ask(Stop(outcome="canceled", reason="deleted").encode())
    assert rig.end().outcome == "completed"


def test_a_retained_stream_that_a_group_has_not_read_is_canceled(rig):
    rig.start(retain=True)
    worker = rig.worker()
    worker.send(0)
    worker.end(1)
    rig.operator().ask(Stop(outcome="canceled", reason="deleted").encode())
    assert rig.end().outcome == "canceled"


def test_bad_messages_are_refused_and_hold_nobody_up(rig):
    rig.start()
    worker = rig.worker()
    damaged = bytearray(batch(0))
    damaged[-1] ^= 1
    assert refusal(worker.ask(bytes(damaged))) == "invalid"
    assert refusal(worker.ask(batch(0)[:300])) == "invalid"
    assert refusal(worker.ask(b"\x00\xff nonsense")) == "invalid"
    assert refusal(worker.ask(batch(0, stream="beamline/other"))) == "stream"
    assert refusal(worker.ask(batch(1))) == "conflict"
    assert refusal(worker.ask(batch(0, size=(1 << 20) + 1))) == "too-large"
    assert refusal(worker.ask(shard_end(3))) == "conflict"
    assert refusal(worker.ask(Hello(stream="a/b", shard=0, shards=1).encode())) == "stream"
    worker.send(0)
    consumer = rig.requester("lease", "consumer")
    asking = Attach(stream="a/b", group="default", consumer="x")
    for words, reason in (
        (b"{", "invalid"),
        (Fetch().encode(), "not-attached"),
        (asking.encode(), "stream"),
        (asking.model_copy(update={"version": 9}).encode(), "version"),
    ):
        assert f'"{reason}"' in bytes(consumer.request(words)).decode()
    assert rig.consumer().fetch() == (0, 0)


def test_each_address_is_for_its_roles_only(rig):
    rig.start()
    for role in ("consumer", "operator", "buffer"):
        stranger = rig.requester("ingest", role)
        for words in (batch(0), shard_end(0), Hello(stream="beamline/run-44", shard=0, shards=1).encode()):
            assert b'"role"' in bytes(stranger.request(words))
    worker = rig.requester("ingest", "worker")
    for words in (Stop(outcome="failed", reason="x"), LoseShard(shard=0, reason="x")):
        assert b'"role"' in bytes(worker.request(words.encode()))
    for role in ("worker", "operator", "buffer"):
        stranger = rig.requester("lease", role)
        attach = Attach(stream="beamline/run-44", group="default", consumer="x")
        assert b'"role"' in bytes(stranger.request(attach.encode()))
    assert (rig.counters.batches, rig.counters.consumers, rig.buffer.ready) == (0, 0, True)


@pytest.mark.parametrize("address", ["ingest", "lease"])
def test_a_certificate_of_another_stream_is_refused_at_the_handshake(rig, address):
    rig.start()
    other = Authority("beamline", "run-44").issue("worker" if address == "ingest" else "consumer")
    forged = dataclasses.replace(other, ca=rig.authority.pem)
    url = rig.buffer.addresses()[address]
    with pytest.raises(Untrusted), Requester(url, forged, "buffer") as requester:
        requester.request(Fetch().encode())


def test_an_acknowledgement_is_never_behind_a_fetch_that_waits(rig):
    rig.start()
    worker, consumer = rig.worker(), rig.consumer()
    worker.send(0)
    assert consumer.fetch() == (0, 0)
    waiting = [consumer.submit() for _ in range(5)]
    consumer.acknowledge((0, 0))
    assert rig.counters.delivered == 1
    worker.send(1, 2, 3, 4, 5)
    assert [seen(reply.wait()) for reply in waiting] == [(0, n) for n in range(1, 6)]
