"""Batches hold the right events, and an interrupted shard goes on as if nothing had happened."""

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lclstream_producer import job as jobs
from lclstream_producer.interfaces import Standing
from lclstream_producer.main import Stopped, interruptible, shard_batches
from lclstream_producer.pipeline import batches
from lclstream_producer.sharding import remaining, shard_of


def event(number, shape):
    return {"number": np.asarray(number), "image": np.full((shape, 2), number, "uint16")}


@given(st.lists(st.sampled_from([None, 1, 1, 1, 2])), st.integers(1, 5), st.data())
def test_batches_after_an_interruption_are_those_without(shapes, size, data):
    indices = range(3, 3 + 2 * len(shapes), 2)
    all_events = {i: None if s is None else event(i, s) for i, s in zip(indices, shapes, strict=True)}

    def read(position, sequence):
        events = ((i, all_events[i]) for i in remaining(indices, position))
        return [
            (b.sequence, b.start, b.stop, b.events, b.arrays["number"].tolist(), b.arrays["image"].shape)
            for b in batches(events, size, sequence=sequence)
        ]

    whole = read(None, 0)
    assert [n for batch in whole for n in batch[4]] == [i for i, e in all_events.items() if e is not None]
    assert all(start == numbers[0] and stop == numbers[-1] + 1 for _, start, stop, _, numbers, _ in whole)
    done = data.draw(st.integers(0, len(whole)))
    if done:
        assert whole[:done] + read(whole[done - 1][2], done) == whole


@given(st.integers(0, 30), st.integers(1, 7))
def test_batches_are_full_but_for_the_last(count, size):
    sizes = [batch.events for batch in batches(((i, event(i, 1)) for i in range(count)), size)]
    assert sum(sizes) == count
    assert all(n == size for n in sizes[:-1])


def test_a_change_of_type_closes_the_batch():
    values = [np.uint8(1), np.uint8(2), np.uint16(3), np.uint16(4)]
    made = list(batches(((i, {"x": np.asarray(v)}) for i, v in enumerate(values)), 4))
    assert [(b.start, b.stop, b.arrays["x"].dtype.name) for b in made] == [(0, 2, "uint8"), (2, 4, "uint16")]


def test_texts_of_different_length_share_a_batch():
    made = list(batches(((i, {"x": np.asarray(t)}) for i, t in enumerate(["a", "abc", ""])), 3))
    assert [b.arrays["x"].tolist() for b in made] == [["a", "abc", ""]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(shards=st.integers(1, 3), step=st.integers(1, 3), data=st.data())
def test_messages_after_an_interruption_are_the_same_byte_for_byte(make_config, shards, step, data):
    config = make_config(
        shards=shards,
        source={"events": {"start": 1, "step": step}},
        steps=[{"filter": {"field": "photon_energy", "minimum": 9495}}],
        batchEvents=3,
    )
    job = jobs.prepare(config)
    for shard in range(shards):
        owned = shard_of(job.selected, shard, shards)

        def produce(standing, owned=owned):
            made = shard_batches(job, owned, standing, threading.Event())
            return [(b.sequence, b.start, b.stop, bytes(jobs.encode(job, b.arrays))) for b in made]

        whole = produce(Standing())
        done = data.draw(st.integers(0, len(whole)))
        if done:
            again = produce(Standing(sequence=done, position=whole[done - 1][2]))
            assert whole[:done] + again == whole


def test_told_to_stop_no_short_batch_is_made():
    stop = threading.Event()

    def events():
        yield 0, event(0, 1)
        yield 1, event(1, 1)
        stop.set()
        yield 2, event(2, 1)

    made = batches(interruptible(events(), None, stop), 2)
    assert next(made).events == 2
    with pytest.raises(Stopped):
        next(made)


def test_a_stop_ends_the_wait_for_the_next_event():
    stop = threading.Event()
    paced = interruptible(range(5), 1e-6, stop)
    assert next(paced) == 0
    threading.Timer(0, stop.set).start()
    with pytest.raises(Stopped):
        next(paced)
