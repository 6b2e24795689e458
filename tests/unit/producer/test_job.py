"""What `check` finds out, and which requests it refuses."""

import numpy as np
import pytest

from lclstream.spec import SpecError
from lclstream_producer.job import check, encode, prepare


def test_shapes_and_types_after_the_steps(make_config, cxi):
    config = make_config(
        files=[str(cxi(events=6))],
        fields={"image": {"path": "/entry_1/data_1/data"}, "name": {"sourceIdentifier": {}}},
        steps=[
            {"pad": {"field": "image", "height": 8, "width": 8}},
            {"bin": {"field": "image", "factor": 2, "reduce": "mean"}},
        ],
        source={"events": {"start": 1, "step": 2}},
    )
    said = check(config)
    assert said["events"] == 3
    assert said["fields"] == {
        "image": {"shape": [4, 4], "dtype": "float32"},
        "name": {"shape": [], "dtype": "str"},
    }


def test_batch_bytes_bound_the_batch(make_config):
    config = make_config(batchEvents=16)
    job = prepare(config)
    arrays = {name: np.zeros((16, *kind.shape), kind.dtype) for name, kind in job.types.items()}
    size = len(encode(job, arrays))
    assert size <= check(config)["batchBytes"] < size + 8192


def test_a_first_event_that_is_left_out_is_no_problem(make_config):
    steps = [
        {"filter": {"field": "photon_energy", "minimum": 1e9}},
        {"cast": {"field": "detector_data", "dtype": "float32"}},
    ]
    assert check(make_config(steps=steps))["fields"]["detector_data"] == {"shape": [8, 6], "dtype": "float32"}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"maxMessage": 1000},
            r"spec.steps.batch.events: batches of 4 events take up to \d+ bytes, .* 1000 bytes",
        ),
        ({"source": {"events": {"start": 20}}}, r"spec.source.events.start: 20 selects no events"),
        (
            {"source": {"reader": "psana9"}},
            r"spec.source: 'psana9' is not registered, expected one of .*hdf5",
        ),
        ({"encoding": {"format": "cbor9"}}, r"spec.encoding.format: 'cbor9' is not registered"),
        ({"encoding": {"paths": {"z": "/z"}}}, r"spec.encoding.paths.z: 'z' is not a field"),
        (
            {"encoding": {"compression": "zfp"}},
            r"spec.encoding.compression: zfp given, but detector_data is uint16",
        ),
        ({"fields": {"z": {}}}, r"spec.fields.z: 'z' is not read by source synthetic"),
        (
            {"steps": [{"cast": {"field": "z", "dtype": "int8"}}]},
            r"spec.steps\[0\].cast.field: 'z' is not a field",
        ),
    ],
)
def test_bad_input(make_config, changes, match):
    with pytest.raises(SpecError, match=match):
        check(make_config(**changes))


def test_a_batch_that_turns_out_too_large(make_config):
    job = prepare(make_config(maxMessage=1000))
    with pytest.raises(SpecError, match=r"spec.steps.batch.events"):
        encode(job, {"x": np.zeros(1000)})
