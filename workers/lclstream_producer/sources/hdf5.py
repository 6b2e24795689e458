"""HDF5 files: CXI, NeXus or plain, one after the other, read in slices.

The events of the files are counted through, in the order in which the request lists the files, and sorted
where it gives a pattern. A field is a dataset whose first axis is the event; a dataset without any axes is
the same for all events of its file. A file without the dataset has no value of it in any of its events.
"""

import glob
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters that files of detectors are compressed with
import numpy as np

from lclstream.config import SourceConfig
from lclstream.spec import FieldSource, SpecError
from lclstream_producer.interfaces import TEXT, Array, FieldType, FieldTypes, RawEvent
from lclstream_producer.sources import hdf5_layout as layout
from lclstream_producer.sources.base import Wanted, collected, unknown

BLOCK_BYTES = 32 * 2**20
"""Bytes read at once, unless one event alone is larger."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One file: its events, and which fields it has, each per event (True) or the same in all (False)."""

    path: Path
    events: int
    has: Mapping[str, bool]


class Hdf5Source:
    """Reads datasets of HDF5 files as fields.

    Args:
        config: with ``hdf5`` set; paths are absolute or relative to the working folder.
        wanted: fields with a path each, or empty for one that is offered; None: all that are offered
            (see `lclstream_producer.sources.hdf5_layout.offered`).

    Raises:
        SpecError: no file matches, one can't be read, or a field can't be had from them.
    """

    def __init__(self, config: SourceConfig, wanted: Wanted) -> None:
        self._where = "spec.source"
        patterns = config.hdf5.files if config.hdf5 else []
        files = _find(patterns, self._where)
        self._wanted = wanted
        self._paths = _paths(files[0], wanted, self._where)
        self._types: FieldTypes = {}
        self._parts = [self._examine(path) for path in files]
        self._check_found()
        self._starts = [0, *accumulate(part.events for part in self._parts)]

    @property
    def events(self) -> int:
        """Of all files together."""
        return self._starts[-1]

    @property
    def types(self) -> FieldTypes:
        """Of the first file that has the field."""
        return {name: self._types[name] for name in self._paths}

    @property
    def rate(self) -> float | None:
        """As fast as possible."""
        return None

    def close(self) -> None:
        """Files are open only while they are read."""

    def read(self, indices: range) -> Iterator[RawEvent]:
        """Read events, in blocks of bounded size, file by file."""
        at = 0
        while at < len(indices):
            number = bisect_right(self._starts, indices[at]) - 1
            first = self._starts[number]
            end = at + len(range(indices[at], min(indices.stop, self._starts[number + 1]), indices.step))
            mine = range(indices[at] - first, indices[end - 1] - first + 1, indices.step)
            yield from self._read_part(self._parts[number], mine)
            at = end

    def _read_part(self, part: _Part, indices: range) -> Iterator[RawEvent]:
        with layout.open_file(part.path, self._where) as file:
            found = {name: file[self._paths[name]] for name in part.has}
            size = max(1, BLOCK_BYTES // max(1, sum(_event_bytes(item) for item in found.values())))
            for start in range(0, len(indices), size):
                block = indices[start : start + size]
                values = {name: _read(item, block, part.has[name]) for name, item in found.items()}
                yield from self._events(part, values, len(block))

    def _events(self, part: _Part, values: Mapping[str, Array], count: int) -> Iterator[RawEvent]:
        for at in range(count):
            yield {
                name: None
                if name not in values
                else np.asarray(values[name][at])
                if part.has[name]
                else values[name]
                for name in self._paths
            }

    def _examine(self, path: Path) -> _Part:
        with layout.open_file(path, self._where) as file:
            found, problems = self._look_up(file)
            collected(problems)
            counting = layout.main_dataset(found) if found else None
            if counting is None:
                counting = layout.main_dataset(layout.datasets(file))
            events = counting.shape[0] if counting is not None else 1
            name = next((name for name, item in found.items() if item == counting), "the largest dataset")
            collected(
                [
                    f"spec.fields.{field}: {item.name} has {item.shape[0]} events in {path.name}, "
                    f"expected {events} as {name}"
                    for field, item in found.items()
                    if item.ndim and item.shape[0] != events
                ]
            )
            has = {field: item.ndim > 0 for field, item in found.items()}
            for field, item in found.items():
                self._types.setdefault(field, layout.field_type(item, per_event=has[field]))
            return _Part(path, events, has)

    def _look_up(self, file: h5py.File) -> tuple[dict[str, h5py.Dataset], list[str]]:
        """The datasets of the fields in one file, and what is wrong with them."""
        found: dict[str, h5py.Dataset] = {}
        problems: list[str] = []
        for name, path in self._paths.items():
            where = f"spec.fields.{name}.path"
            try:
                item = file.get(path)
            except OSError:
                item = None  # an external link to a file that is not there
            if item is None:
                if self._must_have(name):
                    problems.append(_not_there(where, path, file))
            elif not isinstance(item, h5py.Dataset):
                problems.append(_not_there(where, path, file, "is a group in"))
            elif not layout.readable(item):
                problems.append(f"{where}: {path} holds {item.dtype}, expected numbers or text")
            elif lost := layout.missing_parts(item):
                problems.append(f"{where}: {path} is made of files that do not exist: {', '.join(lost[:5])}")
            else:
                found[name] = item
        return found, problems

    def _must_have(self, name: str) -> bool:
        if self._wanted is None:
            return True
        policy = self._wanted[name].on_missing
        return policy.skip is None and policy.fill is None

    def _check_found(self) -> None:
        """A field may be missing in some files when it says so, but not in all."""
        collected(
            [
                f"spec.fields.{name}.path: {path} is in none of the {len(self._parts)} files, "
                f"such as {self._parts[0].path.name}"
                for name, path in self._paths.items()
                if name not in self._types
            ]
        )


def _find(patterns: list[str], where: str) -> list[Path]:
    """The files that paths and patterns stand for, in their order, sorted within a pattern."""
    files: list[Path] = []
    problems: list[str] = []
    if not patterns:
        problems.append(f"{where}: none given, expected at least one file")
    for pattern in patterns:
        found = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
        files += [Path(name) for name in found]
        if not found:
            problems.append(f"{where}: {pattern} matches no file, expected at least one")
    collected(problems)
    return files


def _paths(first: Path, wanted: Wanted, where: str) -> dict[str, str]:
    """Name -> path of the fields asked for."""
    if wanted is not None and all(field.path for field in wanted.values()):
        return {name: field.path or "" for name, field in wanted.items()}
    with layout.open_file(first, where) as file:
        offered = layout.offered(layout.datasets(file))
    if wanted is None:
        if not offered:
            raise SpecError(f"{where}: {first.name} holds no dataset with events, expected at least one")
        return offered
    paths: dict[str, str] = {}
    problems: list[str] = []
    for name, field in wanted.items():
        path = _path(name, field, offered)
        if path is None:
            problems.append(str(unknown(name, field, offered, "hdf5")))
        else:
            paths[name] = path
    collected(problems)
    return paths


def _path(name: str, field: FieldSource, offered: Mapping[str, str]) -> str | None:
    if field.offered:
        return offered.get(name)
    return field.path


def _not_there(where: str, path: str, file: h5py.File, what: str = "is not in") -> str:
    known = layout.listed(layout.datasets(file))
    return f"{where}: {path} {what} {Path(file.filename).name}; there are {known}"


def _event_bytes(dataset: h5py.Dataset) -> int:
    return dataset.nbytes // max(1, dataset.shape[0]) if dataset.ndim else 0


def _read(dataset: h5py.Dataset, block: range, per_event: bool) -> Array:
    """Values of a block of events (events, ...), or the one value of all, in native byte order."""
    part = slice(block.start, block.stop, block.step) if per_event else ()
    kind: FieldType = layout.field_type(dataset, per_event=per_event)
    if kind.dtype == TEXT:
        return np.asarray(dataset.asstr(errors="replace")[part]).astype(str)
    values = np.asarray(dataset[part])
    return values.astype(values.dtype.newbyteorder("="), copy=False)
