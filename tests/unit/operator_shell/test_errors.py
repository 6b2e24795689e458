"""Answers of the API server become the error that says what to do."""

import pytest

from lclstream_operator.errors import ApiError, Conflict, Gone, Rejected, Transient, classify


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected), (401, Transient), (403, Rejected), (404, Gone), (405, Rejected), (409, Conflict),
        (410, Gone), (422, Rejected), (429, Transient), (500, Transient), (503, Transient), (504, Transient),
        (599, Transient),
    ],
)  # fmt: skip
def test_by_status(status: int, kind: type[ApiError]) -> None:
    error = classify("GET /x", status, {"message": "no", "reason": "Why"}, {})
    assert type(error) is kind
    assert (error.status, error.reason, str(error)) == (status, "Why", "GET /x: no")


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({"Retry-After": "3"}, {}, 3.0),
        ({}, {"retryAfterSeconds": 7}, 7.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_time_an_overloaded_server_asks_for(
    headers: dict[str, str], details: dict[str, int], seconds: float | None
) -> None:
    error = classify("GET /x", 429, {"details": details}, headers)
    assert isinstance(error, Transient)
    assert error.retry_after == seconds


def test_a_namespace_on_its_way_out_is_nothing_to_correct() -> None:
    details = {"causes": [{"reason": "NamespaceTerminating", "message": "it is being terminated"}]}
    error = classify("POST /x", 403, {"reason": "Forbidden", "details": details}, {})
    assert isinstance(error, Gone)


def test_an_answer_without_words_says_its_status() -> None:
    assert str(classify("GET /x", 502, {}, {})) == "GET /x: HTTP 502"
