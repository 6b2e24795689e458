"""The books of a buffer's shards."""

import pytest

from lclstream.protocol import Hello, LoseShard, ShardEnd
from lclstream.wire import WHOLE_STREAM, Header, Kind
from lclstream_buffer.shards import Refused, Shards

STREAM = "beamline/run-44"


@pytest.fixture
def closed():
    return []


@pytest.fixture
def shards(closed):
    return Shards(STREAM, [1, 3], 4, max_message=10_000, on_closed=lambda: closed.append(True))


def header(shard=1, sequence=0, events=10, stream=STREAM, kind=Kind.DATA):
    return Header(
        stream=stream,
        shard=shard,
        sequence=sequence,
        start=sequence * 10,
        stop=sequence * 10 + 10,
        events=events,
        encoding="raw",
        kind=kind,
    )


def store(shards, *sequences, shard=1):
    for sequence in sequences:
        assert shards.is_new(header(shard, sequence), 1_000)
        shards.stored(header(shard, sequence), 1_000)


def end(shards, batches, events, skipped=0, shard=1):
    shards.end(
        header(shard, batches, 0, kind=Kind.END), ShardEnd(events=events, batches=batches, skipped=skipped)
    )


def refusal(call, *arguments, **options):
    with pytest.raises(Refused) as caught:
        call(*arguments, **options)
    return caught.value.refusal.reason, caught.value.refusal.message


def hello(shard=1, shards=4, stream=STREAM, version=1):
    return Hello(stream=stream, shard=shard, shards=shards, version=version)


def test_hello_tells_where_a_shard_stands(shards):
    fresh = shards.welcome(hello())
    assert (fresh.sequence, fresh.position, fresh.events, fresh.ended) == (0, None, 0, False)
    store(shards, 0, 1)
    there = shards.welcome(hello())
    assert (there.sequence, there.position, there.events, there.ended) == (2, 20, 20, False)
    end(shards, 2, 20)
    assert shards.welcome(hello()).ended
    assert shards.welcome(hello(3)).sequence == 0


@pytest.mark.parametrize(
    ("words", "reason", "message"),
    [
        (hello(shard=4), "invalid", "shard 4 is not < 4"),
        (hello(shard=2), "invalid", "shard 2 belongs to another buffer, here are 1, 3"),
        (hello(shards=5), "conflict", "the worker counts 5 shards, expected 4"),
        (hello(stream="a/b"), "stream", "stream 'a/b', expected 'beamline/run-44'"),
        (hello(version=2), "version", "version 2, expected 1"),
    ],
)
def test_a_worker_that_is_not_ours_is_refused(shards, words, reason, message):
    assert refusal(shards.welcome, words) == (reason, message)


def test_a_batch_that_is_there_is_a_duplicate(shards):
    store(shards, 0, 1)
    assert not shards.is_new(header(sequence=0), 1_000)
    assert not shards.is_new(header(sequence=1), 1_000)
    assert (shards.state().duplicates, shards.state().batches) == (2, 2)


def test_a_gap_is_refused(shards):
    store(shards, 0)
    assert refusal(shards.is_new, header(sequence=2), 1) == ("conflict", "shard 1: batch 2, expected 1")


def test_batches_that_are_not_for_us_are_refused(shards):
    assert refusal(shards.is_new, header(shard=0), 1)[0] == "invalid"
    assert refusal(shards.is_new, header(shard=WHOLE_STREAM), 1)[0] == "invalid"
    assert refusal(shards.is_new, header(stream="a/b"), 1)[0] == "stream"
    assert refusal(shards.is_new, header(), 10_001) == (
        "too-large",
        "message of 10001 bytes is not <= 10000",
    )
    assert refusal(shards.is_new, header(events=11), 1)[0] == "invalid"


def test_the_end_has_to_say_what_was_stored(shards, closed):
    store(shards, 0, 1)
    wrong = "shard 1: its end says {} {}, stored are {}".format
    assert refusal(end, shards, 3, 20) == ("conflict", wrong(3, "batches", 2))
    assert refusal(end, shards, 2, 19) == ("conflict", wrong(19, "events", 20))
    end(shards, 2, 20, skipped=4)
    end(shards, 2, 20, skipped=4)
    assert refusal(end, shards, 2, 20, skipped=5)[0] == "conflict"
    state = shards.state()
    assert (state.ended, state.skipped, state.closed, closed) == (1, 4, False, [])


def test_nothing_comes_after_the_end_but_duplicates(shards):
    store(shards, 0)
    end(shards, 1, 10)
    assert not shards.is_new(header(), 1_000)
    assert refusal(shards.is_new, header(sequence=1), 1) == (
        "conflict",
        "shard 1: batch 1 after the shard was ended",
    )


def test_a_lost_shard_keeps_its_first_reason(shards, closed):
    shards.lose(LoseShard(shard=1, reason="out of memory"))
    shards.lose(LoseShard(shard=1, reason="something else"))
    assert shards.state().lost == {1: "out of memory"}
    assert refusal(shards.welcome, hello()) == ("conflict", "shard 1 was given up: out of memory")
    assert refusal(shards.is_new, header(), 1)[0] == "conflict"
    assert refusal(end, shards, 0, 0)[0] == "conflict"
    assert not closed
    end(shards, 0, 0, shard=3)
    assert closed
    assert shards.state().closed


def test_a_shard_that_ended_can_not_be_lost(shards):
    end(shards, 0, 0)
    assert refusal(shards.lose, LoseShard(shard=1, reason="late"))[0] == "conflict"
    assert refusal(shards.lose, LoseShard(shard=0, reason="foreign"))[0] == "invalid"
