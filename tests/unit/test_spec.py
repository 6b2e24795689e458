"""What people write is understood, and what is wrong with it is said in one line."""

import json
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lclstream.spec import (
    Batch,
    Dataset,
    FieldSource,
    Model,
    OnMissing,
    SpecError,
    Step,
    StreamRequest,
    jsonable,
    parse,
    parse_quantity,
    quantity_bytes,
)

FIRST_LIGHT = """
apiVersion: lclstream.io/v1alpha1
kind: StreamRequest
metadata: {name: first-light}
spec:
  source: {dataset: {name: lysozyme, run: "44"}}
"""

LYSOZYME = """
apiVersion: lclstream.io/v1alpha1
kind: StreamRequest
metadata: {name: lysozyme-44}
spec:
  source:
    dataset: {name: lysozyme, run: "44"}
    events: {start: 0, stop: 100000, step: 1}
  fields:
    detector_data: {detector: jungfrau.raw.calib, dtype: float32}
    photon_energy: {detector: ebeamh.raw.ebeamPhotonEnergy, onMissing: {fill: 0}}
    timestamp: {timestamp: {}}
  steps:
    - mask: {field: detector_data, file: mask.npy}
    - pad: {field: detector_data, height: 1920, width: 1920, style: center}
    - batch: {events: 16}
  encoding:
    format: hdf5
    compression: bitshuffle-lz4
    paths: {detector_data: /data/detector}
  delivery:
    mode: lease
    buffers: 1
    memory: 2Gi
    spill: 20Gi
    onFull: block
    retain: false
  workers:
    shards: 16
    parallelism: 4
    retriesPerShard: 3
    resources: {requests: {cpu: "1", memory: 2Gi}, limits: {memory: 2Gi}}
  suspend: false
  activeDeadlineSeconds: 7200
  idleTimeoutSeconds: 1800
  ttlSecondsAfterFinished: 86400
"""

DATASET = """
apiVersion: lclstream.io/v1alpha1
kind: Dataset
metadata: {name: lysozyme}
spec:
  description: Lysozyme microcrystals, MFX, March
  reader: hdf5
  volume: {persistentVolumeClaim: {claimName: mfx-data, readOnly: true}}
  runs:
    - {name: "44", files: ["run0044/*.h5"]}
  fields:
    detector_data: {path: /entry_1/data_1/data}
  image: null
"""

EXAMPLES = [(StreamRequest, FIRST_LIGHT), (StreamRequest, LYSOZYME), (Dataset, DATASET)]


def request(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "spec": {"source": {"synthetic": {"events": 10}}, **spec}}


def dataset(**spec: Any) -> dict[str, Any]:
    volume, runs = {"hostPath": {"path": "data"}}, [{"name": "1", "files": ["*.h5"]}]
    return {"metadata": {"name": "x"}, "spec": {"volume": volume, "runs": runs, **spec}}


def errors(model: type[Model], data: object) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(model, data)
    return str(caught.value).splitlines()


def test_the_shortest_request_has_useful_defaults() -> None:
    spec = parse(StreamRequest, yaml.safe_load(FIRST_LIGHT)).spec
    assert spec.source.choice == "dataset"
    assert (spec.batch.events, spec.workers.shards, spec.delivery.mode) == (16, 1, "lease")
    assert quantity_bytes(spec.delivery.memory) == 2**30
    assert spec.delivery.spill is None


def test_the_long_request_is_understood() -> None:
    spec = parse(StreamRequest, yaml.safe_load(LYSOZYME)).spec
    assert [step.choice for step in spec.event_steps] == ["mask", "pad"]
    assert spec.batch == Batch(events=16)
    assert spec.fields["photon_energy"].on_missing.fill == 0
    assert spec.fields["timestamp"].choice == "timestamp"
    assert spec.workers.resources.limits == {"memory": "2Gi"}


def test_a_dataset_knows_its_runs() -> None:
    data = parse(Dataset, yaml.safe_load(DATASET))
    assert data.run("44").files == ["run0044/*.h5"]
    with pytest.raises(SpecError, match=r"'45' is not a run of Dataset lysozyme, expected one of 44"):
        data.run("45")


@pytest.mark.parametrize(("model", "text"), EXAMPLES)
def test_an_example_survives_json_and_yaml(model: type[Model], text: str) -> None:
    first = parse(model, yaml.safe_load(text))
    assert parse(model, json.loads(json.dumps(jsonable(first)))) == first
    assert parse(model, yaml.safe_load(yaml.safe_dump(jsonable(first)))) == first


WRONG_REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({"nope": 1}, "spec.nope: 1 given, but there is no such field"),
    ({"steps": [{"crop": {"field": "a", "height": 0, "width": 1}}]},
     "spec.steps[0].crop.height: 0 is not > 0"),
    ({"steps": [{"crop": {"field": "a", "height": 1}}]},
     "spec.steps[0].crop.width: missing, expected a value"),
    ({"workers": {"shards": 10001}}, "spec.workers.shards: 10001 is not <= 10000"),
    ({"delivery": {"buffers": 0}}, "spec.delivery.buffers: 0 is not >= 1"),
    ({"delivery": {"mode": "fax"}}, "spec.delivery.mode: 'fax' is not one of 'lease' or 'push'"),
    ({"delivery": {"memory": "2GiB"}},
     "spec.delivery.memory: '2GiB' is not a quantity such as 512Mi, 2Gi or 4"),
    ({"delivery": {"memory": "500m"}}, "spec.delivery: memory 500m is not > 0"),
    ({"delivery": {"retain": True, "mode": "push"}}, "spec.delivery: retain true needs mode lease, not push"),
    ({"delivery": {"retain": True, "onFull": "dropOldest"}},
     "spec.delivery: retain true needs onFull block, not dropOldest"),
    ({"suspend": "yes"}, "spec.suspend: 'yes': input should be a valid boolean"),
    ({"workers": {"shards": "4"}}, "spec.workers.shards: '4': input should be a valid integer"),
    ({"fields": {"1a": {}}}, "spec.fields.1a: '1a' does not match ^[A-Za-z_][A-Za-z0-9_.:-]*$"),
    ({"fields": {"a": {"constant": {"value": {}}}}},
     "spec.fields.a.constant.value: {} is not a number, a text or a list of numbers"),
    ({"fields": {"a": {"path": "/a", "detector": "b"}}},
     ("spec.fields.a: path and detector given, expected exactly one of "
      "path, detector, timestamp, sourceIdentifier, constant, random")),
    ({"steps": [{"batch": {"events": 2}}, {"cast": {"field": "a", "dtype": "int8"}}]},
     "spec: steps[0] is batch, expected it to be the last step"),
    ({"steps": [{"bin": {"field": "a", "factor": 2, "reduce": "max"}}]},
     "spec.steps[0].bin.reduce: 'max' is not one of 'sum' or 'mean'"),
    ({"steps": [{"threshold": {"field": "a"}}]},
     "spec.steps[0].threshold: none given, expected minimum, maximum or both"),
    ({"steps": [{"filter": {"field": "a", "minimum": 2, "maximum": 1}}]},
     "spec.steps[0].filter: maximum 1.0 is not >= minimum 2.0"),
    ({"encoding": {"level": 3}}, "spec.encoding: level 3 given, but none has no levels"),
    ({"encoding": {"compression": "gzip", "level": 10}},
     "spec.encoding: level 10 is not within 0..9 of gzip"),
    ({"encoding": {"compression": "bitshuffle-zstd", "level": 0}},
     "spec.encoding: level 0 is not within 1..22 of bitshuffle-zstd"),
    ({"source": {}}, "spec.source: none given, expected exactly one of dataset, synthetic, hdf5, plugin"),
    ({"source": {"synthetic": {"events": 1}, "hdf5": {"files": ["a"]}}},
     "spec.source: synthetic and hdf5 given, expected exactly one of dataset, synthetic, hdf5, plugin"),
    ({"source": {"synthetic": {"events": 1}, "events": {"start": 3, "stop": 3}}},
     "spec.source.events: stop 3 is not > start 3"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "line"), WRONG_REQUESTS)
def test_a_wrong_request_gets_one_line(spec: dict[str, Any], line: str) -> None:
    assert errors(StreamRequest, request(**spec)) == [line]


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"volume": None}, "spec: volume missing, expected one for reader hdf5"),
        ({"runs": [{"name": "1"}]}, "spec: runs[0].files missing, expected at least one for reader hdf5"),
        (
            {"runs": [{"name": "1", "files": ["a"]}] * 2},
            "spec: runs named twice: 1",
        ),
        (
            {"reader": "synthetic", "runs": [{"name": "1"}]},
            "spec: runs[0].synthetic missing, expected for reader synthetic",
        ),
        (
            {"volume": {"nfs": {"server": "s", "path": "/p"}, "persistentVolumeClaim": {"claimName": "c"}}},
            (
                "spec.volume: persistentVolumeClaim and nfs given, "
                "expected exactly one of persistentVolumeClaim, hostPath, nfs"
            ),
        ),
    ],
)
def test_a_wrong_dataset_gets_one_line(spec: dict[str, Any], line: str) -> None:
    assert errors(Dataset, dataset(**spec)) == [line]


def test_each_mistake_has_its_line() -> None:
    found = errors(StreamRequest, request(suspend=3, workers={"shards": 0}))
    assert [line.partition(":")[0] for line in found] == ["spec.workers.shards", "spec.suspend"]


def test_a_long_value_is_shortened() -> None:
    (line,) = errors(StreamRequest, request(delivery={"mode": "x" * 1000}))
    assert len(line) < 200


@pytest.mark.parametrize("document", [None, 3, "text", []])
def test_something_else_than_a_map_is_refused(document: object) -> None:
    (line,) = errors(StreamRequest, document)
    assert line.startswith("document: ")


@pytest.mark.parametrize(("snake", "camel"), [("on_full", "onFull"), ("lease_seconds", "leaseSeconds")])
def test_names_are_written_in_camel_case_only(snake: str, camel: str) -> None:
    value = {"onFull": "block", "leaseSeconds": 5}[camel]
    assert parse(StreamRequest, request(delivery={camel: value}))
    assert "there is no such field" in errors(StreamRequest, request(delivery={snake: value}))[0]


@pytest.mark.parametrize("name", ["a" * 46, "Upper", "a.b", "-a", "a-", ""])
def test_a_name_has_to_fit_the_names_of_pods(name: str) -> None:
    document = request()
    document["metadata"]["name"] = name
    assert errors(StreamRequest, document)[0].startswith("metadata.name: ")


def test_what_kubernetes_keeps_in_metadata_is_ignored() -> None:
    document = request()
    document["metadata"] |= {"uid": "1", "managedFields": [], "name": "a" * 45}
    assert parse(StreamRequest, document).metadata.namespace == "default"


def test_an_empty_map_stands_for_the_field_the_source_offers() -> None:
    field = parse(FieldSource, {})
    assert field.offered
    assert field.on_missing.choice == "fail"
    assert parse(FieldSource, {"dtype": "int8"}).offered
    assert not parse(FieldSource, {"path": "/a"}).offered


def test_a_fill_of_zero_is_a_choice() -> None:
    assert parse(OnMissing, {"fill": 0}).choice == "fill"


def test_a_step_may_come_from_another_distribution() -> None:
    step = parse(Step, {"plugin": {"name": "denoise", "with": {"sigma": [1, {"deep": None}]}}})
    assert step.plugin is not None
    assert step.plugin.options == {"sigma": [1, {"deep": None}]}
    assert parse(Step, jsonable(step)) == step


def test_a_specification_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(StreamRequest, request()).spec.workers.shards = 5  # type: ignore[misc]


def test_the_place_of_a_document_stands_in_front() -> None:
    with pytest.raises(SpecError, match=r"^a\.yaml\.spec: missing"):
        parse(StreamRequest, {"metadata": {"name": "x"}}, where="a.yaml")


SUFFIXES = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


@given(st.integers(0, 10**9), st.sampled_from(sorted(SUFFIXES)), st.booleans())
def test_a_quantity_is_its_number_times_its_suffix(number: int, suffix: str, binary: bool) -> None:
    if binary and suffix:
        text, factor = f"{number}{suffix.upper()}i", 1024 ** SUFFIXES[suffix]
    else:
        text, factor = f"{number}{suffix}", 1000 ** SUFFIXES[suffix]
    assert quantity_bytes(text) == number * factor


@given(st.decimals(0, 10**6, places=3, allow_nan=False))
def test_a_quantity_may_have_decimals(number: Decimal) -> None:
    assert parse_quantity(str(number)) == number
    assert parse_quantity(f"{number}m") * 1000 == number


@given(st.text())
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        assert parse_quantity(text) >= 0
    except ValueError:
        assert errors(StreamRequest, request(delivery={"spill": text}))[0].startswith("spec.delivery.spill: ")


@pytest.mark.parametrize(
    "text", ["", "Gi", "1gi", "-1", "+1", "1e3", " 1", "1 ", "1Gi\n", ".5", "1.", "inf", "nan"]
)
def test_what_is_almost_a_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(("written", "value"), [(4, 4), (1.5, 1), ("3Ki", 3072)])
def test_a_quantity_may_be_written_as_a_number(written: object, value: int) -> None:
    delivery = parse(StreamRequest, request(delivery={"memory": written})).spec.delivery
    assert quantity_bytes(delivery.memory) == value


@pytest.mark.parametrize("written", [True, [], float("inf"), "1" * 33])
def test_anything_else_is_no_quantity(written: object) -> None:
    assert errors(StreamRequest, request(delivery={"memory": written}))[0].startswith(
        "spec.delivery.memory: "
    )
