"""Conversion clips, cuts off and never wraps around."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lclstream.spec import SpecError
from lclstream_producer.values import convert, fitting, limits

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]


def exact(value, dtype):
    """What a value becomes, in exact Python numbers."""
    low, high = limits(dtype)
    if isinstance(value, float):
        if math.isnan(value):
            return 0
        value = math.trunc(value) if math.isfinite(value) else (high if value > 0 else low)
    return min(max(int(value), low), high)


@given(
    st.sampled_from(INTEGERS + FLOATS).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 20))),
    st.sampled_from(INTEGERS),
)
def test_into_integers(values, dtype):
    converted = convert(values, dtype)
    assert converted.dtype == dtype
    assert converted.tolist() == [exact(value, dtype) for value in values.tolist()]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("source", FLOATS)
def test_the_edges_of_integers(source, dtype):
    low, high = limits(dtype)
    with np.errstate(over="ignore"):
        values = np.array([low, high, low * 2.0, high * 2.0, math.nan, math.inf, -math.inf]).astype(source)
    assert convert(values, dtype).tolist() == [exact(value, dtype) for value in values.tolist()]


@given(
    st.sampled_from(INTEGERS + FLOATS).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(1, 20))),
    st.sampled_from(FLOATS),
)
def test_into_floats_finite_stays_finite(values, dtype):
    converted = convert(values, dtype)
    assert converted.dtype == dtype
    assert np.isfinite(converted).tolist() == np.isfinite(values).tolist()
    largest = float(np.finfo(dtype).max)
    with np.errstate(over="ignore"):
        expected = np.clip(values.astype("float64"), -largest, largest).astype(dtype)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(converted[finite], expected[finite])


def test_the_same_type_is_no_copy():
    values = np.arange(3, dtype="uint16")
    assert convert(values, "uint16") is values


def test_into_booleans():
    assert convert(np.array([0, 2, 0.5]), "bool").tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(math.nan, "uint16"), (math.inf, "int8"), (-1, "uint8"), (256, "uint8"), (1.5, "int32"), (2, "bool"),
     (1e6, "float16")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(value, dtype):
    with pytest.raises(SpecError, match=rf"here: .* does not fit {dtype}, expected"):
        fitting(value, dtype, "here")


@pytest.mark.parametrize(("value", "dtype"), [(255, "uint8"), (-128, "int8"), (1, "bool"), (0.5, "float16")])
def test_what_fits(value, dtype):
    scalar = fitting(value, dtype, "here")
    assert scalar == value
    assert scalar.dtype == dtype


def test_nan_fits_floats():
    assert math.isnan(fitting(math.nan, "float32", "here"))
