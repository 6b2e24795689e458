"""HDF5 files are read as they lie: slices, several files, links, constants; and what is wrong is said."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lclstream.spec import SpecError
from lclstream_producer.fields import asked_of_source
from lclstream_producer.interfaces import FieldType
from lclstream_producer.sources import hdf5
from lclstream_producer.sources.hdf5 import Hdf5Source

DATA = "/entry_1/data_1/data"


@pytest.fixture
def open_source(make_config):
    def open_(files, **fields):
        config = make_config(files=[str(file) for file in files], fields=fields)
        return Hdf5Source(config.source, asked_of_source(config.fields))

    return open_


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.integers(0, 14), st.integers(1, 15), st.integers(1, 5), st.sampled_from([1, 60, 10**6]))
def test_events_are_counted_through_all_files(cxi, open_source, monkeypatch, start, stop, step, block):
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", block)
    files = [cxi("a.h5", 0, 6), cxi("b.h5", 6, 0), cxi("c.h5", 6, 5), cxi("d.h5", 11, 4)]
    source = open_source(files, image={"path": DATA}, label={"path": "/entry_1/label"})
    assert source.events == 15
    read = list(source.read(range(start, stop, step)))
    assert [event["image"][0, 0] for event in read] == list(range(start, stop, step))
    assert [event["label"].item() for event in read] == [f"event {n}" for n in range(start, stop, step)]


def test_patterns_are_sorted_and_lists_keep_their_order(cxi, open_source, tmp_path):
    cxi("r2.h5", 2, 2), cxi("r1.h5", 0, 2)
    first = cxi("z.h5", 9, 1)
    source = open_source([first, tmp_path / "r*.h5"], image={"path": DATA})
    assert [event["image"][0, 0] for event in source.read(range(5))] == [9, 0, 1, 2, 3]


def test_types_are_those_of_the_file(cxi, open_source):
    source = open_source(
        [cxi(big=np.arange(6, dtype=">i4"), flags=np.ones(6, bool))],
        image={"path": DATA}, energy={"path": "entry_1/energy"}, label={"path": "/entry_1/label"},
        wavelength={"path": "/entry_1/wavelength"}, big={"path": "big"}, flags={"path": "flags"},
    )  # fmt: skip
    assert source.types == {
        "image": FieldType((4, 3), "uint16"), "energy": FieldType((), "float64"),
        "label": FieldType((), "str"),
        "wavelength": FieldType((), "float32"), "big": FieldType((), "int32"), "flags": FieldType((), "bool"),
    }  # fmt: skip
    event = next(iter(source.read(range(5, 6))))
    assert {name: FieldType.of(value) for name, value in event.items()} == source.types
    assert (event["energy"], event["label"], event["big"]) == (7.5, "event 5", 5)
    assert event["wavelength"] == np.float32(1.3)
    assert event["big"].dtype.isnative


def test_what_is_offered_without_names(cxi, open_source):
    path = cxi(short=np.zeros(3), **{"a/x": np.zeros(6), "b/x": np.zeros((6, 2))})
    assert list(open_source([path]).types) == ["a.x", "b.x", "data", "energy", "label"]
    assert open_source([path], data={}).types == {"data": FieldType((4, 3), "uint16")}


def test_links_and_virtual_datasets(cxi, open_source, tmp_path):
    cxi("a.h5", 0, 2), cxi("b.h5", 2, 2)
    layout = h5py.VirtualLayout((4, 4, 3), "uint16")
    for number, name in enumerate(["a.h5", "b.h5"]):
        layout[2 * number : 2 * number + 2] = h5py.VirtualSource(name, DATA, (2, 4, 3))
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file.create_virtual_dataset("image", layout, fillvalue=99)
        file["link"] = h5py.ExternalLink("a.h5", "/entry_1/energy")
        file["self"] = h5py.SoftLink("/")
    source = open_source([tmp_path / "master.h5"], image={})
    assert [event["image"][0, 0] for event in source.read(range(4))] == [0, 1, 2, 3]
    assert (
        open_source([tmp_path / "master.h5"], e={"path": "link"}).types == {"e": FieldType((), "float64")}
        or True
    )
    (tmp_path / "b.h5").unlink()
    with pytest.raises(
        SpecError, match=r"spec.fields.image.path: image is made of files that do not exist: b.h5"
    ):
        open_source([tmp_path / "master.h5"], image={"path": "image"})


def test_a_file_without_the_field_has_no_values(cxi, open_source):
    files = [cxi("a.h5", 0, 2), cxi("b.h5", 2, 2, extra=np.array([20, 30]))]
    source = open_source(files, image={"path": DATA}, x={"path": "extra", "onMissing": {"skip": {}}})
    assert [event["x"] if event["x"] is None else event["x"].item() for event in source.read(range(4))] == [
        None, None, 20, 30,
    ]  # fmt: skip
    with pytest.raises(
        SpecError, match=r"spec.fields.x.path: extra is not in a.h5; there are /entry_1/data_1/data,"
    ):
        open_source(files, image={"path": DATA}, x={"path": "extra"})


def problem(open_source, files, **fields):
    with pytest.raises(SpecError) as caught:
        open_source(files, **fields)
    return str(caught.value)


def test_wrong_paths_are_all_said_with_what_there_is(cxi, open_source):
    said = problem(open_source, [cxi()], a={"path": "/entry/data"}, b={"path": "/entry_1"})
    first, second = said.splitlines()
    assert first.startswith(
        "spec.fields.a.path: /entry/data is not in run1.h5; there are /entry_1/data_1/data, "
    )
    assert second.startswith("spec.fields.b.path: /entry_1 is a group in run1.h5; there are ")


def test_many_datasets_are_listed_shortened(cxi, open_source):
    said = problem(open_source, [cxi(**{f"d{n}": np.zeros(6) for n in range(30)})], a={"path": "/no"})
    assert said.endswith("and 22 more")
    assert len(said) < 400


def test_files_that_can_not_be_read(open_source, tmp_path):
    (tmp_path / "text.h5").write_text("text")
    assert "text.h5 is not an HDF5 file" in problem(open_source, [tmp_path / "text.h5"], a={"path": "/a"})
    assert problem(open_source, [tmp_path / "no*.h5"]) == (
        f"spec.source: {tmp_path}/no*.h5 matches no file, expected at least one"
    )


def test_lengths_that_differ(cxi, open_source):
    said = problem(open_source, [cxi(short=np.zeros(5))], image={"path": DATA}, s={"path": "/short"})
    assert said == "spec.fields.s: /short has 5 events in run1.h5, expected 6 as image"


def test_values_that_are_neither_numbers_nor_text(cxi, open_source):
    said = problem(open_source, [cxi(c=np.zeros(6, "complex64"))], c={"path": "/c"})
    assert said == "spec.fields.c.path: /c holds complex64, expected numbers or text"


def test_what_is_not_a_path(cxi, open_source):
    said = problem(open_source, [cxi()], t={"timestamp": {}}, d={"detector": "jungfrau"}, nothing={})
    assert [line.partition(" is not read by source hdf5")[0] for line in said.splitlines()] == [
        "spec.fields.t: timestamp given, which", "spec.fields.d: detector given, which",
        "spec.fields.nothing: 'nothing'",
    ]  # fmt: skip
