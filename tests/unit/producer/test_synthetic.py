"""Synthetic events are the same for the same seed, in any shape and type."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstream.config import SourceConfig
from lclstream.spec import SpecError, parse
from lclstream_producer.fields import asked_of_source
from lclstream_producer.sources.synthetic import EPOCH_NS, SyntheticSource, frame

DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
          "float16", "float32", "float64"]  # fmt: skip


def source(wanted=None, **settings):
    data = {"reader": "synthetic", "identifier": "x", "events": {}, "synthetic": {"events": 9, **settings}}
    return SyntheticSource(parse(SourceConfig, data), wanted)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=3), st.sampled_from(DTYPES), st.integers(0, 10**9))
def test_frames_of_any_shape_and_type(shape, dtype, index):
    image = frame(3, index, shape, dtype)
    assert image.shape == tuple(shape)
    assert image.dtype == dtype
    assert image.min() >= 0
    np.testing.assert_array_equal(image, frame(3, index, shape, dtype))


def test_frames_have_peaks_on_a_background():
    image = frame(0, 0, (512, 512), "uint16")
    assert 2 < np.median(image) < 4
    assert image.max() > 200
    assert 20 < (image > 50).sum() < 5000


def test_seed_and_event_make_a_difference():
    one = frame(0, 0, (32, 32), "uint16")
    assert not np.array_equal(one, frame(1, 0, (32, 32), "uint16"))
    assert not np.array_equal(one, frame(0, 1, (32, 32), "uint16"))


def test_what_it_offers():
    events = list(source(shape=[2, 3, 4], dtype="int32", rate=1000).read(range(1, 9, 3)))
    assert [event["timestamp"].item() for event in events] == [EPOCH_NS + n * 10**6 for n in (1, 4, 7)]
    assert events[0]["timestamp"].dtype == "uint64"
    assert all(abs(event["photon_energy"] - 9500) < 200 for event in events)
    assert events[0]["photon_energy"].dtype == "float64"
    assert events[0]["detector_data"].shape == (2, 3, 4)


def test_any_part_may_be_read_at_any_time():
    whole = list(source(shape=[8, 8]).read(range(9)))
    for at, event in zip(range(4, 9, 2), source(shape=[8, 8]).read(range(4, 9, 2)), strict=True):
        for name, value in event.items():
            np.testing.assert_array_equal(value, whole[at][name])


def test_fields_under_other_names(make_config):
    fields = make_config(fields={"t": {"timestamp": {}}, "image": {"detector": "detector_data"}}).fields
    assert list(source(asked_of_source(fields)).types) == ["t", "image"]


def test_unknown_fields_are_refused_with_what_there_is(make_config):
    fields = make_config(fields={"energy": {}, "image": {"path": "/data"}}).fields
    with pytest.raises(SpecError) as caught:
        source(asked_of_source(fields))
    first, second = str(caught.value).splitlines()
    assert first.startswith("spec.fields.energy: 'energy' is not read by source synthetic")
    assert first.endswith("detector_data, photon_energy, timestamp")
    assert second.startswith("spec.fields.image: path given, which is not read")
