"""The steps do what the specification says of them, and refuse what they can't do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lclstream import spec
from lclstream.spec import SpecError, parse
from lclstream_producer.interfaces import FieldType
from lclstream_producer.pipeline import Chain, types_of
from lclstream_producer.plugins import make_steps

images = hnp.arrays(
    st.sampled_from(["uint8", "uint16", "int32", "float32", "bool"]),
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=12),
    elements={"min_value": 0, "max_value": 100},
)


def chain(*steps):
    return Chain(make_steps([parse(spec.Step, step) for step in steps]))


def do(step, value):
    """The field x after a step; its type is the one the step announced."""
    steps, event = chain(step), {"x": value, "other": np.asarray("text")}
    announced = steps.prepare(types_of(event))
    before = value.copy()
    result = steps.apply(event)
    np.testing.assert_array_equal(value, before)
    if result is None:
        return None
    assert types_of(result) == announced
    assert list(result) == list(event)
    return result["x"]


def refused(step, value, match):
    with pytest.raises(SpecError, match=match):
        chain(step).prepare({"x": FieldType.of(value)})


@given(images, st.data())
def test_crop(image, data):
    height, width = (data.draw(st.integers(1, side)) for side in image.shape[-2:])
    top = data.draw(st.integers(0, image.shape[-2] - height))
    left = data.draw(st.integers(0, image.shape[-1] - width))
    result = do({"crop": {"field": "x", "top": top, "left": left, "height": height, "width": width}}, image)
    np.testing.assert_array_equal(result, image[..., top : top + height, left : left + width])


@given(images, st.integers(0, 5), st.integers(0, 5), st.sampled_from(["center", "bottom-right"]))
def test_pad_keeps_the_image_and_fills_the_rest(image, more_rows, more_columns, style):
    rows, columns = image.shape[-2:]
    settings = {"height": rows + more_rows, "width": columns + more_columns, "style": style, "value": 1}
    result = do({"pad": {"field": "x", **settings}}, image)
    top, left = (more_rows // 2, more_columns // 2) if style == "center" else (0, 0)
    np.testing.assert_array_equal(result[..., top : top + rows, left : left + columns], image)
    assert result.astype(float).sum() == pytest.approx(
        image.astype(float).sum() + (result.size - image.size), rel=1e-6
    )


@given(images, st.integers(2, 4), st.sampled_from(["sum", "mean"]))
def test_bin(image, factor, reduce):
    image = np.repeat(np.repeat(image, factor, -1), factor, -2)
    result = do({"bin": {"field": "x", "factor": factor, "reduce": reduce}}, image)
    expected = image[..., ::factor, ::factor].astype(float) * (factor**2 if reduce == "sum" else 1)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "total", "mean"),
    [("bool", "uint8", "float32"), ("uint16", "uint32", "float32"), ("int32", "int64", "float32"),
     ("uint64", "uint64", "float32"), ("float32", "float32", "float32"), ("float64", "float64", "float64")],
)  # fmt: skip
def test_types_of_bin(dtype, total, mean):
    image = np.ones((4, 4), dtype)
    assert do({"bin": {"field": "x", "factor": 2}}, image).dtype == total
    assert do({"bin": {"field": "x", "factor": 2, "reduce": "mean"}}, image).dtype == mean


def test_the_largest_sums_do_not_overflow():
    assert do({"bin": {"field": "x", "factor": 16}}, np.full((16, 16), 255, "uint8")).item() == 65280
    assert do({"bin": {"field": "x", "factor": 16}}, np.full((16, 16), -128, "int8")).item() == -32768
    refused({"bin": {"field": "x", "factor": 17}}, np.zeros((17, 17), "uint8"), "factor: 17 lets sums")


@given(images, st.data())
def test_mask(tmp_path_factory, image, data):
    mask = data.draw(hnp.arrays("uint8", image.shape, elements=st.integers(0, 2)))
    path = tmp_path_factory.mktemp("mask") / "mask.npy"
    np.save(path, mask)
    result = do({"mask": {"field": "x", "file": str(path), "value": 1}}, image)
    np.testing.assert_array_equal(result, np.where(mask == 0, 1, image))


@given(images, st.integers(0, 50), st.integers(50, 100))
def test_threshold(image, low, high):
    result = do({"threshold": {"field": "x", "minimum": low, "maximum": high, "value": 1}}, image)
    expected = [value if low <= value <= high else 1 for value in image.astype(float).ravel().tolist()]
    assert result.astype(float).ravel().tolist() == expected


def test_threshold_out_of_the_range_of_the_type():
    image = np.array([[0, 200]], "uint8")
    assert do({"threshold": {"field": "x", "minimum": -5, "maximum": 1e9}}, image).tolist() == [[0, 200]]


def test_cast():
    result = do({"cast": {"field": "x", "dtype": "uint8"}}, np.array([-1, 3.9, 300, np.nan]))
    assert result.tolist() == [0, 3, 255, 0]
    assert result.dtype == "uint8"


@pytest.mark.parametrize(
    ("statistic", "within", "outside"),
    [("sum", (10, 10), (11, None)), ("mean", (2.5, 2.5), (2.6, None)), ("min", (1, 1), (None, 0.5)),
     ("max", (4, 4), (4.5, None))],
)  # fmt: skip
def test_filter_on_a_statistic(statistic, within, outside):
    def keeps(bounds):
        given_bounds = dict(zip(("minimum", "maximum"), bounds, strict=True))
        bounds = {name: bound for name, bound in given_bounds.items() if bound is not None}
        step = {"filter": {"field": "x", "statistic": statistic, **bounds}}
        return do(step, np.array([[1, 2], [3, 4]], "uint8")) is not None

    assert keeps(within)
    assert not keeps(outside)


def test_filter_on_a_value():
    step = {"filter": {"field": "x", "minimum": 5}}
    assert do(step, np.asarray(5.0)) is not None
    assert do(step, np.asarray(4.9)) is None
    assert do(step, np.asarray(np.nan)) is None


def test_sums_do_not_overflow_the_type():
    step = {"filter": {"field": "x", "statistic": "sum", "minimum": 500}}
    assert do(step, np.full((2, 2), 255, "uint8")) is not None


IMAGE, SCALAR, TEXT = np.zeros((4, 6), "uint16"), np.asarray(1.0), np.asarray("a")


@pytest.mark.parametrize(
    ("step", "value", "match"),
    [
        (
            {"crop": {"field": "x", "top": 2, "height": 3, "width": 1}},
            IMAGE,
            r"steps\[0\].crop.height: .*at most 4",
        ),
        (
            {"crop": {"field": "x", "height": 1, "width": 7}},
            IMAGE,
            r"crop.width: .* at 7, expected at most 6",
        ),
        (
            {"crop": {"field": "y", "height": 1, "width": 1}},
            IMAGE,
            r"crop.field: 'y' is not a field, expected .* x",
        ),
        ({"bin": {"field": "x", "factor": 4}}, IMAGE, r"bin.factor: 4 does not divide the 4 x 6 pixels"),
        ({"pad": {"field": "x", "height": 3, "width": 6}}, IMAGE, r"pad.height: 3 is not >= 4"),
        ({"pad": {"field": "x", "height": 4, "width": 5}}, IMAGE, r"pad.width: 5 is not >= 6"),
        (
            {"pad": {"field": "x", "height": 4, "width": 6, "value": -1}},
            IMAGE,
            r"pad.value: -1 does not fit uint16",
        ),
        ({"pad": {"field": "x", "height": 4, "width": 6}}, SCALAR, r"pad.field: x is float64 .* two axes"),
        (
            {"threshold": {"field": "x", "minimum": 1, "value": 0.5}},
            IMAGE,
            r"threshold.value: 0.5 does not fit",
        ),
        ({"cast": {"field": "x", "dtype": "int8"}}, TEXT, r"cast.field: x is str .* expected numbers"),
        ({"filter": {"field": "x", "minimum": 1}}, IMAGE, r"filter.statistic: value given, but x has shape"),
    ],
)
def test_what_can_not_be_done_is_refused(step, value, match):
    refused(step, value, match)


def test_masks_that_can_not_be_used(tmp_path):
    path = tmp_path / "mask.npy"
    step = {"mask": {"field": "x", "file": str(path)}}
    refused(step, IMAGE, r"steps\[0\].mask.file: .*mask.npy does not exist")
    path.write_text("no array")
    refused(step, IMAGE, r"mask.file: .*mask.npy cannot be read as a .npy file")
    np.save(path, np.array(["text"]))
    refused(step, IMAGE, r"mask.file: .* does not hold one array of numbers")
    np.save(path, np.ones((6, 4)))
    refused(step, IMAGE, r"mask.file: mask.npy has shape \(6, 4\), expected \(4, 6\) as x has it")


def test_steps_get_ready_again_when_the_shape_changes():
    steps = chain({"pad": {"field": "x", "height": 4, "width": 4}})
    for side in (2, 4, 3):
        assert steps.apply({"x": np.ones((side, side))})["x"].sum() == side * side
    with pytest.raises(SpecError, match=r"pad.height: 4 is not >= 5"):
        steps.apply({"x": np.ones((5, 5))})


def test_a_step_nobody_registered():
    with pytest.raises(SpecError, match=r"spec.steps\[0\].plugin: 'nothing' is not registered.*bin, cast"):
        chain({"plugin": {"name": "nothing"}})
