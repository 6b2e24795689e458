"""What is encoded reads back, by our decoder and by plain h5py, and is never larger than said."""

import io

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lclstream.decode import decode_payload
from lclstream.spec import Encoding, SpecError
from lclstream.wire import Header, decode, seal
from lclstream_producer.encoders.hdf5 import Hdf5Encoder
from lclstream_producer.interfaces import FieldType

COMPRESSIONS = ["none", "gzip", "gzip-shuffle", "bitshuffle-lz4", "bitshuffle-zstd", "zfp"]
HEADER = Header(stream="default/x", shard=0, sequence=0, start=0, stop=1, events=1, encoding="hdf5")

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=14)
dtypes = st.sampled_from(
    ["bool", "uint8", "int16", "uint16", "int32", "uint64", "float16", "float32", "float64"]
)


@st.composite
def fields(draw):
    events = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = {}
    for number in range(draw(st.integers(1, 4))):
        shape, dtype = (events, *draw(shapes)), draw(dtypes)
        noise = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), "uint8")
        arrays[f"f{number}"] = (noise[..., 0] > 127) if dtype == "bool" else noise.view(dtype)[..., 0]
    if draw(st.booleans()):
        arrays["name"] = np.array(draw(st.lists(texts, min_size=events, max_size=events)))
    return arrays


def sealed(encoder, arrays):
    message = encoder.encode(arrays)
    seal(message, HEADER)
    return message


@settings(max_examples=60)
@given(fields(), st.sampled_from(COMPRESSIONS))
def test_round_trip_within_the_bound(arrays, compression):
    encoder = Hdf5Encoder(Encoding(compression=compression))
    message = sealed(encoder, arrays)
    _, payload = decode(message)
    back = decode_payload("hdf5", payload)
    assert back.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(back[name], values)
        assert back[name].dtype.kind == values.dtype.kind
        assert values.dtype.kind == "U" or back[name].dtype == values.dtype
    assert len(message) <= encoder.bound(arrays, len(next(iter(arrays.values()))))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("events", [1, 100, 3000])
def test_the_bound_from_one_event_holds_for_many(compression, events):
    rng = np.random.default_rng(1)
    many = {
        "a": rng.random((events, 30, 30)).astype("float32"),
        "b": rng.random(events),
        "c": rng.integers(0, 1 << 30, (events, 7)).astype("int32"),
        "t": np.array(["text"] * events),
    }
    encoder = Hdf5Encoder(Encoding(compression=compression))
    one = {name: values[:1] for name, values in many.items()}
    assert len(encoder.encode(many)) <= encoder.bound(one, events)


def test_the_message_with_its_envelope_is_an_hdf5_file():
    arrays = {"image": np.arange(24, dtype="uint16").reshape(2, 3, 4), "name": np.array(["a", "βγ"])}
    message = sealed(Hdf5Encoder(Encoding(paths={"image": "/data/detector"})), arrays)
    with h5py.File(io.BytesIO(bytes(message)), "r") as file:
        assert file.userblock_size == 512
        np.testing.assert_array_equal(file["/data/detector"][:], arrays["image"])
        assert file["/data/detector"].dtype == "uint16"
        assert file["/data/detector"].attrs["field"] == "image"
        assert file["name"].asstr()[:].tolist() == ["a", "βγ"]
    assert decode_payload("hdf5", decode(message)[1]).keys() == {"image", "name"}


@pytest.mark.parametrize(
    ("compression", "level", "filters"),
    [("gzip", 7, {"1": (7,)}), ("gzip-shuffle", None, {"2": (2,), "1": (4,)}),
     ("bitshuffle-lz4", None, {"32008": None}), ("bitshuffle-zstd", 9, {"32008": None}),
     ("zfp", None, {"32013": None}),
     ("none", None, {})],
)  # fmt: skip
def test_the_compression_asked_for_is_used(compression, level, filters):
    arrays = {"image": np.zeros((3, 128, 256), "float32")}
    message = sealed(Hdf5Encoder(Encoding(compression=compression, level=level)), arrays)
    with h5py.File(io.BytesIO(bytes(message)), "r") as file:
        image = file["image"]
        found = {}
        for number in range(image.id.get_create_plist().get_nfilters()):
            code, _, values, _ = image.id.get_create_plist().get_filter(number)
            found[str(code)] = values if code in (1, 2) else None
            if code == 32008:
                assert values[4:] == ((3, 9) if compression == "bitshuffle-zstd" else (2,))
        assert set(found) == set(filters)
        assert all(found[code] == values for code, values in filters.items() if code == "1")
        assert image.chunks == (None if compression == "none" else (1, 128, 256))


def types(**kinds):
    return {name: FieldType(shape, dtype) for name, (shape, dtype) in kinds.items()}


def test_zfp_of_images_it_does_not_know_is_refused():
    encoder = Hdf5Encoder(Encoding(compression="zfp"))
    encoder.check(types(image=((4, 4), "float32"), time=((), "uint64"), name=((), "str")))
    with pytest.raises(SpecError, match=r"spec.encoding.compression: zfp given, but image is uint16 .*cast"):
        encoder.check(types(image=((4, 4), "uint16")))


@pytest.mark.parametrize(
    ("paths", "match"),
    [
        ({"z": "/a"}, r"spec.encoding.paths.z: 'z' is not a field, expected one of x, y"),
        ({"x": "/a", "y": "a"}, r"spec.encoding.paths.y: /a is where x is \(/a\)"),
        ({"x": "/y"}, r"spec.encoding.paths.y: /y is where x is"),
        ({"x": "/y/in"}, r"spec.encoding.paths.x: /y/in is where y is \(/y\)"),
    ],
)
def test_places_that_can_not_be(paths, match):
    with pytest.raises(SpecError, match=match):
        Hdf5Encoder(Encoding(paths=paths)).check(types(x=((), "uint8"), y=((), "uint8")))
