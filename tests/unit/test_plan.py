"""Deciding what runs: pure, and the same for the same input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstream.plan import Plan, Ports, Site, plan, with_ingest
from lclstream.spec import Dataset, SpecError, StreamRequest, parse


def request(source=None, **spec) -> StreamRequest:
    return parse(
        StreamRequest,
        {
            "metadata": {"name": "first-light"},
            "spec": {"source": source or {"synthetic": {"events": 100}}, **spec},
        },
    )


def dataset(**spec) -> Dataset:
    return parse(
        Dataset,
        {
            "metadata": {"name": "lysozyme"},
            "spec": {
                "volume": {"hostPath": {"path": "data"}},
                "runs": [{"name": "44", "files": ["run0044/*.h5"]}],
                "fields": {
                    "detector_data": {"path": "/entry_1/data_1/data"},
                    "timestamp": {"path": "/LCLS/timestamp"},
                },
                **spec,
            },
        },
    )


OF_DATASET = {"dataset": {"name": "lysozyme", "run": "44"}}
HERE = Site(folder="/here")


@given(
    shards=st.integers(1, 50),
    buffers=st.integers(1, 8),
    parallelism=st.none() | st.integers(0, 60),
    mode=st.sampled_from(["lease", "push"]),
    runtime=st.sampled_from(["local", "kubernetes"]),
)
def test_same_input_same_plan_to_the_byte(shards, buffers, parallelism, mode, runtime):
    spec = {
        "workers": {"shards": max(shards, buffers), "parallelism": parallelism},
        "delivery": {"buffers": buffers, "mode": mode},
    }
    first, second = (plan(request(**spec), None, Site(runtime=runtime)) for _ in range(2))
    assert first.model_dump_json() == second.model_dump_json()
    assert Plan.model_validate_json(first.model_dump_json(by_alias=True)) == first


@given(shards=st.integers(1, 200), buffers=st.integers(1, 64))
def test_every_shard_belongs_to_exactly_one_buffer(shards, buffers):
    shards = max(shards, buffers)
    made = plan(request(workers={"shards": shards}, delivery={"buffers": buffers}), None, HERE)
    owned = [shard for buffer in made.buffers for shard in buffer.config.shards]
    assert sorted(owned) == list(range(shards))
    assert all(shard % buffers == i for i, b in enumerate(made.buffers) for shard in b.config.shards)


def test_every_component_has_a_certificate_of_its_role():
    made = plan(request(delivery={"buffers": 2}, workers={"shards": 2}), None, HERE)
    roles = [b.certificate.role for b in made.buffers]
    assert roles == ["buffer", "buffer"]
    assert len({b.certificate.name for b in made.buffers}) == 2
    assert made.workers.certificate.role == "worker"
    assert made.consumer.role == "consumer"
    assert made.workers.certificate.dns_names == []


def test_a_dataset_gives_files_and_fields():
    made = plan(request(OF_DATASET), dataset(), HERE)
    source = made.workers.config.source
    assert source.reader == "hdf5"
    assert source.hdf5 is not None
    assert source.hdf5.files == ["/here/data/run0044/*.h5"]
    assert source.identifier == "lysozyme:44"
    assert set(made.workers.config.fields) == {"detector_data", "timestamp"}


def test_a_request_chooses_among_published_fields_and_adds_its_own_type():
    wanted = {"detector_data": {"dtype": "float32"}, "name": {"sourceIdentifier": {}}}
    made = plan(request(OF_DATASET, fields=wanted), dataset(), HERE).workers.config.fields
    assert made["detector_data"].path == "/entry_1/data_1/data"
    assert made["detector_data"].dtype == "float32"
    assert made["name"].source_identifier is not None
    assert set(made) == {"detector_data", "name"}


def test_relative_files_are_taken_from_the_requests_folder():
    made = plan(
        request(
            {"hdf5": {"files": ["a.h5", "/abs/b.h5", "../c.h5"]}},
            steps=[{"mask": {"field": "x", "file": "mask.npy"}}],
        ),
        None,
        HERE,
    )
    config = made.workers.config
    assert config.source.hdf5 is not None
    assert config.source.hdf5.files == ["/here/a.h5", "/abs/b.h5", "/c.h5"]
    assert config.steps[0].mask is not None
    assert config.steps[0].mask.file == "/here/mask.npy"


def test_batch_is_taken_out_of_the_steps():
    made = plan(request(steps=[{"batch": {"events": 7}}]), None, HERE).workers.config
    assert made.batch_events == 7
    assert made.steps == []
    assert plan(request(), None, HERE).workers.config.batch_events == 16


def test_a_message_fits_the_buffers_memory():
    assert plan(request(delivery={"memory": "1Mi"}), None, HERE).workers.config.max_message == 2**20
    assert plan(request(delivery={"memory": "9Gi"}), None, HERE).workers.config.max_message == 2**30


def test_fixed_ports_differ_between_buffers_and_free_ones_stay_free():
    site = Site(ports=Ports(ingest=30001, lease=30002, push=30003, status=0))
    made = plan(request(delivery={"buffers": 2}, workers={"shards": 2}), None, site)
    first, second = (buffer.config.listen for buffer in made.buffers)
    assert (first.ingest, first.lease, first.status) == (30001, 30002, 0)
    assert (second.ingest, second.lease, second.status) == (30005, 30006, 0)


def test_addresses_known_later_are_put_in():
    made = plan(request(delivery={"buffers": 2}, workers={"shards": 2}), None, HERE)
    sink = with_ingest(made, ["tls+tcp://a:1", "tls+tcp://b:2"]).workers.config.sink_buffer
    assert sink is not None
    assert [buffer.url for buffer in sink.buffers] == ["tls+tcp://a:1", "tls+tcp://b:2"]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda: plan(request(delivery={"buffers": 3}, workers={"shards": 2}), None, HERE),
            "spec.delivery.buffers: 3 is not <= spec.workers.shards, 2",
        ),
        (
            lambda: plan(request(OF_DATASET), None, HERE),
            "spec.source.dataset.name: there is no Dataset 'lysozyme'",
        ),
        (
            lambda: plan(request({"dataset": {"name": "lysozyme", "run": "45"}}), dataset(), HERE),
            "spec.source.dataset.run: '45' is not a run of Dataset lysozyme, expected one of 44",
        ),
        (
            lambda: plan(request(OF_DATASET, fields={"nope": {}}), dataset(), HERE),
            "spec.fields.nope: not published by the Dataset, expected one of detector_data, timestamp",
        ),
        (
            lambda: plan(
                request(OF_DATASET),
                dataset(volume={"persistentVolumeClaim": {"claimName": "mfx"}}),
                HERE,
            ),
            "Dataset lysozyme: spec.volume: persistentVolumeClaim given, expected hostPath",
        ),
        (
            lambda: plan(request({"hdf5": {"files": ["a.h5"]}}), None, Site(runtime="kubernetes")),
            "spec.source.hdf5: files named directly need the local runtime",
        ),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_line(make, line):
    with pytest.raises(SpecError) as caught:
        make()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
