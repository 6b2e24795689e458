"""From a message to arrays."""

import io

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstream.client import Batch
from lclstream.decode import decode_hdf5, decode_payload
from lclstream.wire import Header, WireError, decode, encode


def image(**datasets) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        for path, value in datasets.items():
            h5[path.replace("__", "/")] = value
    return file.getvalue()


def test_datasets_become_arrays_by_their_last_name():
    arrays = decode_hdf5(memoryview(image(data__detector=np.ones((2, 3, 4), np.uint16), t=np.arange(2))))
    assert set(arrays) == {"detector", "t"}
    assert arrays["detector"].dtype == np.uint16
    assert arrays["detector"].shape == (2, 3, 4)


def test_a_dataset_says_which_field_it_was_made_from():
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        h5["data/data"] = np.arange(3)
        h5["data/data"].attrs["field"] = "detector_data"
    assert set(decode_hdf5(memoryview(file.getvalue()))) == {"detector_data"}


def test_texts_become_numpy_texts():
    arrays = decode_hdf5(memoryview(image(name=["run 44", "Größe"])))
    assert arrays["name"].tolist() == ["run 44", "Größe"]


def test_compressed_data_is_read():
    file = io.BytesIO()
    data = np.arange(4096, dtype=np.uint16).reshape(4, 32, 32)
    with h5py.File(file, "w") as h5:
        h5.create_dataset("x", data=data, chunks=(1, 32, 32), **hdf5plugin.Bitshuffle(cname="lz4"))
    assert np.array_equal(decode_hdf5(memoryview(file.getvalue()))["x"], data)


@given(st.binary(max_size=2000))
def test_what_is_no_image_is_a_clear_error(payload):
    with pytest.raises(WireError, match="not an HDF5 image"):
        decode_hdf5(memoryview(payload))


def test_an_unknown_encoding_is_a_clear_error():
    with pytest.raises(WireError, match="encoding 'simplon': no decoder"):
        decode_payload("simplon", memoryview(b""))


def test_a_batch_is_a_mapping_that_knows_where_it_is_from():
    header = Header(stream="default/s", shard=1, sequence=2, start=20, stop=30, events=2, encoding="hdf5")
    message = encode(header, image(x=np.arange(2), y=np.zeros((2, 3))))
    batch = Batch(memoryview(message), *decode(message))
    assert (batch.events, batch.shard, batch.sequence) == (2, 1, 2)
    assert batch.metadata["start"] == 20
    assert sorted(batch) == ["x", "y"]
    assert len(batch) == 2
    assert batch["y"].shape == (2, 3)
    with h5py.File(io.BytesIO(batch.raw)) as file:
        assert file["x"][:].tolist() == [0, 1]
