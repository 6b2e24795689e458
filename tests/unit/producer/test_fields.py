"""Generic fields, conversion, and what happens to missing values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstream.spec import FieldSource, RandomField, SpecError, parse
from lclstream_producer.fields import random_values, resolve
from lclstream_producer.interfaces import FieldType


class FakeSource:
    """One field x, int16 of shape (2,), whose values are missing in odd events."""

    events = 6
    rate = None
    types = {"x": FieldType((2,), "int16")}  # noqa: RUF012

    def read(self, indices):
        for index in indices:
            yield {"x": None if index % 2 else np.full(2, index - 2, "int16")}

    def close(self):
        pass


def events(make_config, **fields):
    resolved = resolve(make_config(fields=fields), FakeSource())
    return resolved, list(resolved.read(FakeSource(), range(4)))


def test_skip_leaves_the_event_out(make_config):
    _, found = events(make_config, x={"onMissing": {"skip": {}}})
    assert [(index, event is None) for index, event in found] == [
        (0, False),
        (1, True),
        (2, False),
        (3, True),
    ]


def test_fill_takes_the_place_in_the_type_of_the_field(make_config):
    _, found = events(make_config, x={"onMissing": {"fill": 7}, "dtype": "uint8"})
    assert [event["x"].tolist() for _, event in found] == [[0, 0], [7, 7], [0, 0], [7, 7]]
    assert {event["x"].dtype.name for _, event in found} == {"uint8"}


def test_fail_names_event_and_field(make_config):
    with pytest.raises(SpecError, match=r"spec.fields.x: event 1 has no value"):
        events(make_config, x={})


def test_constants_and_identifier(make_config):
    resolved, found = events(
        make_config,
        number={"constant": {"value": 3}, "dtype": "int8"},
        curve={"constant": {"value": [1, 2.5]}},
        text={"constant": {"value": "hello"}},
        origin={"sourceIdentifier": {}},
    )
    event = found[-1][1]
    assert event["number"] == 3
    assert event["number"].dtype == "int8"
    assert event["curve"].tolist() == [1, 2.5]
    assert (event["text"].item(), event["origin"].item()) == ("hello", "made-up")
    assert resolved.types["origin"] == FieldType((), "str")


@given(st.integers(0, 100), st.sampled_from(["uint8", "int8", "uint64", "float32", "float64", "bool"]))
def test_random_values_repeat_and_stay_in_range(index, dtype):
    settings, kind = RandomField(shape=[20, 2]), FieldType((20, 2), dtype)
    values = random_values(settings, kind, "x", index)
    assert FieldType.of(values) == kind
    np.testing.assert_array_equal(values, random_values(settings, kind, "x", index))
    assert values.min() >= 0
    assert values.max() < 1 if dtype.startswith("float") else values.max() <= 254
    if dtype != "bool":
        assert not np.array_equal(values, random_values(settings, kind, "x", index + 1))
        assert not np.array_equal(values, random_values(RandomField(seed=1), kind, "x", index))
        assert not np.array_equal(values, random_values(settings, kind, "y", index))


def test_random_is_float32_by_default(make_config):
    resolved, _ = events(make_config, x={"onMissing": {"skip": {}}}, r={"random": {"shape": [3]}})
    assert resolved.types["r"] == FieldType((3,), "float32")


@pytest.mark.parametrize(
    ("field", "match"),
    [
        (
            {"constant": {"value": -1}, "dtype": "uint8"},
            r"fields.f.constant.value: -1 does not fit",
        ),
        (
            {"constant": {"value": "a"}, "dtype": "uint8"},
            r"fields.f.dtype: uint8 given, but the field is a text",
        ),
        ({"sourceIdentifier": {}, "dtype": "int8"}, r"fields.f.dtype: int8 given, but the field is a text"),
        (
            {"random": {}, "dtype": "int8", "onMissing": {"fill": 200}},
            r"fields.f.onMissing.fill: 200 does not fit",
        ),
    ],
)
def test_fields_that_can_not_be(make_config, field, match):
    parse(FieldSource, field)
    with pytest.raises(SpecError, match=match):
        events(make_config, f=field)


def test_every_problem_is_said(make_config):
    bad = {"constant": {"value": "a"}, "dtype": "uint8"}
    with pytest.raises(SpecError) as caught:
        events(make_config, a=bad, b=bad)
    assert len(str(caught.value).splitlines()) == 2
