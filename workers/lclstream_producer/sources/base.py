"""What sources share: refusing fields they don't have."""

from collections.abc import Iterable, Mapping

from lclstream.spec import FieldSource, SpecError


def unknown(name: str, field: FieldSource, offered: Iterable[str], reader: str) -> SpecError:
    """The error for a field a source does not read, saying what it offers."""
    what = f"{name!r}" if field.offered else f"{field.choice.replace('_', ' ')} given, which"
    known = ", ".join(offered) or "nothing"
    return SpecError(
        f"spec.fields.{name}: {what} is not read by source {reader}, expected one of the fields it offers: "
        f"{known}"
    )


def collected(problems: list[str]) -> None:
    """Raise what was found wrong, if anything, as one error."""
    if problems:
        raise SpecError("\n".join(problems))


Wanted = Mapping[str, FieldSource] | None
"""The fields asked of a source; None: all it offers."""
