"""What can go wrong with a request to the API server, by what to do about it."""

from collections.abc import Mapping
from typing import Any

# 401: a token that was just rotated; the next request carries the new one.
_TRANSIENT = frozenset({401, 408, 425, 429, 500, 502, 503, 504})


class ApiError(Exception):
    """A request to the API server failed.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        reason: the API server's word for it, such as ``AlreadyExists``; empty without one.
        message: the API server's sentence.
    """

    def __init__(self, what: str, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(f"{what}: {message}")
        self.status, self.reason, self.message = status, reason, message


class Transient(ApiError):
    """It may go well later: overload, no connection, an error inside the API server.

    Attributes:
        retry_after: seconds the API server asks us to wait; None when it does not say.
    """

    retry_after: float | None = None


class Conflict(ApiError):
    """What we knew is out of date (409): look again, now."""


class Gone(ApiError):
    """The object is not there, or not any more (404, 410)."""


class Rejected(ApiError):
    """The API server understands and refuses (400, 403, 422): the same request will not do better."""


def classify(what: str, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> ApiError:
    """The error for an answer of the API server.

    Args:
        what: what was tried, for the message.
        status: HTTP status, 400 or more.
        body: the ``Status`` object of the answer; empty if it was something else.
        headers: of the answer.
    """
    message = str(body.get("message") or f"HTTP {status}")
    reason = str(body.get("reason") or "")
    if status in _TRANSIENT or status >= 500:
        error = Transient(what, message, status=status, reason=reason)
        error.retry_after = _retry_after(headers, body)
        return error
    # A namespace on its way out refuses new objects with 403; there is nothing to correct.
    causes = (body.get("details") or {}).get("causes") or ()
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return Gone(what, message, status=status, reason=reason)
    kind = {404: Gone, 410: Gone, 409: Conflict}.get(status, Rejected)
    return kind(what, message, status=status, reason=reason)


def unreachable(what: str, error: BaseException) -> Transient:
    """The error for a request that got no answer."""
    return Transient(what, f"no answer: {str(error) or type(error).__name__}")


def _retry_after(headers: Mapping[str, str], body: Mapping[str, Any]) -> float | None:
    said = headers.get("Retry-After") or (body.get("details") or {}).get("retryAfterSeconds")
    try:
        return float(said) if said is not None else None
    except (TypeError, ValueError):
        return None  # HTTP allows a date there; the API server sends seconds
