"""Reading plain data of other people: whatever is missing or of another type reads as nothing."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_MAX_INDEX = 100_000
"""An indexed Job of Kubernetes has no more completions than that."""


def get(data: Any, *path: str) -> Any:
    """What lies at a path of nested maps; None when there is nothing."""
    for part in path:
        if not isinstance(data, Mapping):
            return None
        data = data.get(part)
    return data


def mapping(data: Any, *path: str) -> Mapping[str, Any]:
    """A map at a path, or an empty one."""
    found = get(data, *path)
    return found if isinstance(found, Mapping) else {}


def items(data: Any, *path: str) -> list[Mapping[str, Any]]:
    """The maps in a list at a path."""
    found = get(data, *path)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def number(data: Any, *path: str) -> int:
    """A whole number at a path, or 0."""
    found = get(data, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def text(data: Any, *path: str) -> str:
    """A text at a path, or an empty one."""
    found = get(data, *path)
    return found if isinstance(found, str) else ""


def instant(data: Any, *path: str) -> datetime | None:
    """A time at a path, as Kubernetes writes it."""
    try:
        found = datetime.fromisoformat(text(data, *path))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def stamp(moment: datetime) -> str:
    """A time as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime(_TIME)


def condition(data: Any, kind: str) -> Mapping[str, Any]:
    """A condition of an object's status by its type, or an empty map."""
    return next((item for item in items(data, "status", "conditions") if item.get("type") == kind), {})


def holds(data: Any, kind: str) -> bool:
    """Whether a condition of an object's status is True."""
    return condition(data, kind).get("status") == "True"


def indexes(ranges: str) -> frozenset[int]:
    """Indexes as a Job writes them, such as ``0-3,7``."""
    found: set[int] = set()
    for part in ranges.split(","):
        if match := _RANGE.fullmatch(part.strip()):
            first = int(match[1])
            last = int(match[2] or first)
            found.update(range(first, min(last, _MAX_INDEX) + 1))
    return frozenset(found)


def last_line(words: str, limit: int = 400) -> str:
    """The last line that says anything, shortened."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    return line if len(line) <= limit else line[: limit - 3] + "..."


def listing(words: Iterable[str], limit: int = 3) -> str:
    """The first few, and how many more there are."""
    known = list(words)
    more = f"; and {len(known) - limit} more" if len(known) > limit else ""
    return "; ".join(known[:limit]) + more
