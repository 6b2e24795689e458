"""Conditions of a stream: what programs read, with a message that tells people what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from lclstream_operator import reading

Type = Literal[
    "Accepted", "CertificatesReady", "BufferReady", "WorkersReady", "Streaming", "Complete", "Failed"
]  # fmt: skip
TYPES: tuple[Type, ...] = (
    "Accepted", "CertificatesReady", "BufferReady", "WorkersReady", "Streaming", "Complete", "Failed",
)  # fmt: skip
"""In the order in which a stream comes by them."""

_MAX_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Draft:
    """A condition before it has a time."""

    type: Type
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def true(kind: Type, reason: str, message: str) -> Draft:
    """It holds."""
    return Draft(kind, "True", reason, message)


def false(kind: Type, reason: str, message: str) -> Draft:
    """It doesn't hold."""
    return Draft(kind, "False", reason, message)


def unknown(kind: Type, reason: str, message: str) -> Draft:
    """Nobody knows."""
    return Draft(kind, "Unknown", reason, message)


def merge(
    previous: Iterable[Any], drafts: Sequence[Draft], *, generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Conditions with their times, in the order of `TYPES`.

    The time of a condition changes with its status only. A condition without a draft stays as it was.

    Args:
        previous: the conditions as they were.
        drafts: what is known now, at most one of a type.
        generation: of the request they speak of.
        now: the time.
    """
    before = {reading.text(item, "type"): item for item in reading.items({"all": list(previous)}, "all")}
    after = {draft.type: _timed(draft, before.get(draft.type), generation, now) for draft in drafts}
    merged = {kind: after.get(kind) or _kept(before.get(kind)) for kind in TYPES}
    return [item for item in merged.values() if item]


def message_of(previous: Iterable[Any], kind: Type) -> str:
    """Message of a condition as it was."""
    found = (item for item in previous if reading.text(item, "type") == kind)
    return next((reading.text(item, "message") for item in found), "")


def _timed(draft: Draft, before: Any, generation: int, now: datetime) -> dict[str, Any]:
    since = reading.instant(before, "lastTransitionTime")
    if since is None or reading.text(before, "status") != draft.status:
        since = now
    message = (
        draft.message if len(draft.message) <= _MAX_MESSAGE else draft.message[: _MAX_MESSAGE - 3] + "..."
    )
    return {
        "type": draft.type,
        "status": draft.status,
        "observedGeneration": generation,
        "lastTransitionTime": reading.stamp(since),
        "reason": draft.reason,
        "message": message,
    }


def _kept(before: Any) -> dict[str, Any] | None:
    """A condition of ours that can stand as it is; what the schema would refuse goes."""
    whole = all(reading.text(before, key) for key in ("status", "reason", "lastTransitionTime"))
    return dict(before) if before and whole and isinstance(before.get("message"), str) else None
