"""Every selected event belongs to exactly one shard, and an interruption changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstream.spec import EventRange, SpecError
from lclstream_producer.sharding import remaining, select, shard_of

ranges = st.builds(range, st.integers(0, 50), st.integers(0, 500), st.integers(1, 7))


@given(ranges, st.integers(1, 40))
def test_shards_are_contiguous_disjoint_and_complete(selected, shards):
    parts = [shard_of(selected, shard, shards) for shard in range(shards)]
    assert [event for part in parts for event in part] == list(selected)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(ranges, st.integers(-1, 600))
def test_what_remains_is_what_is_at_or_after_the_position(owned, position):
    assert list(remaining(owned, position)) == [event for event in owned if event >= position]


@given(ranges)
def test_without_a_position_everything_remains(owned):
    assert remaining(owned, None) == owned


def test_selection_ends_with_the_source():
    assert select(EventRange(start=2, stop=100, step=3), 10) == range(2, 10, 3)
    assert select(EventRange(start=2, stop=5), 10) == range(2, 5)


def test_nothing_selected_is_said():
    with pytest.raises(SpecError, match=r"spec.source.events.start: 10 selects no events.* the 10 events"):
        select(EventRange(start=10), 10)


@pytest.mark.parametrize("shard", [-1, 3])
def test_a_shard_that_does_not_exist(shard):
    with pytest.raises(SpecError, match=rf"--shard: {shard} is not within 0..2"):
        shard_of(range(9), shard, 3)
