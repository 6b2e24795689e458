"""What an HDF5 file holds: its datasets, the number of its events, the fields it offers by default."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py

from lclstream.spec import SpecError
from lclstream_producer.interfaces import TEXT, FieldType

_MOST_OBJECTS = 20_000
"""Objects of a file that are looked at, at most; files with more are addressed by path."""
_MOST_LISTED = 12


def open_file(path: Path, where: str) -> h5py.File:
    """Open a file for reading.

    Raises:
        SpecError: it is missing, unreadable, or not HDF5.
    """
    try:
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        raise SpecError(f"{where}: {path} does not exist, expected an HDF5 file") from None
    except PermissionError:
        raise SpecError(f"{where}: {path} may not be read, expected a readable HDF5 file") from None
    except OSError as error:
        reason = str(error).partition("(")[2].rstrip(")") or str(error)
        raise SpecError(f"{where}: {path} is not an HDF5 file that can be read: {reason}") from None


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Every dataset of numbers or text by its path, links followed, each object once."""
    found: dict[str, h5py.Dataset] = {}
    for path, item in _walk(file, "", set()):
        if isinstance(item, h5py.Dataset) and readable(item):
            found[path] = item
        if len(found) >= _MOST_OBJECTS:
            break
    return found


def _walk(group: h5py.Group, at: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, object]]:
    for name in group:
        try:
            item = group[name]
        except (KeyError, OSError):
            continue  # a link to nowhere is nothing to offer
        info = h5py.h5o.get_info(item.id)
        if (identity := (info.fileno, info.addr)) in seen:
            continue
        seen.add(identity)
        path = f"{at}/{name}"
        yield path, item
        if isinstance(item, h5py.Group):
            yield from _walk(item, path, seen)


def readable(dataset: h5py.Dataset) -> bool:
    """Whether it holds numbers, Booleans or text (not compounds, references or complex numbers)."""
    if dataset.shape is None:
        return False
    return dataset.dtype.kind in "biufS" or h5py.check_string_dtype(dataset.dtype) is not None


def listed(found: Mapping[str, h5py.Dataset]) -> str:
    """The paths that exist, shortened, for a message; large datasets first, as they are looked for."""
    paths = sorted(found, key=lambda path: -found[path].ndim)
    more = f" and {len(paths) - _MOST_LISTED} more" if len(paths) > _MOST_LISTED else ""
    return (", ".join(paths[:_MOST_LISTED]) or "no datasets") + more


def main_dataset(found: Mapping[str, h5py.Dataset]) -> h5py.Dataset | None:
    """The dataset whose first axis counts the events: the largest with three or more axes.

    Without any such, the largest with at least one axis; None when there is none either.
    """
    images = [item for item in found.values() if item.ndim >= 3]
    others = [item for item in found.values() if item.ndim >= 1]
    return max(images or others, key=lambda item: item.nbytes, default=None)


def offered(found: Mapping[str, h5py.Dataset]) -> dict[str, str]:
    """Name -> path of the fields offered when the Dataset names none.

    They are the datasets whose first axis is as long as that of the main dataset, named by the last
    component of their path, and by more of it (joined by dots) where that is not unique.
    """
    main = main_dataset(found)
    if main is None:
        return {}
    paths = [path for path, item in found.items() if item.ndim and item.shape[0] == main.shape[0]]
    return {_shortest(path, paths): path for path in paths}


def _shortest(path: str, paths: Sequence[str]) -> str:
    parts = path.strip("/").split("/")
    for count in range(1, len(parts)):
        ending = "/" + "/".join(parts[-count:])
        if sum(other.endswith(ending) for other in paths) == 1:
            return ".".join(parts[-count:])
    return ".".join(parts)


def field_type(dataset: h5py.Dataset, *, per_event: bool) -> FieldType:
    """Shape in one event, and type, of a dataset."""
    shape = dataset.shape[1:] if per_event else dataset.shape
    is_text = dataset.dtype.kind == "S" or h5py.check_string_dtype(dataset.dtype) is not None
    return FieldType(tuple(shape), TEXT if is_text else dataset.dtype.newbyteorder("=").name)


def missing_parts(dataset: h5py.Dataset) -> list[str]:
    """Files a virtual dataset is made of that don't exist; HDF5 would read zeros in their place."""
    if not dataset.is_virtual:
        return []
    folder = Path(dataset.file.filename).parent
    names = {source.file_name for source in dataset.virtual_sources()} - {"."}
    # A name with a % stands for a series of files, of which HDF5 takes those that exist.
    return sorted(
        name for name in names if "%" not in name and not ((folder / name).exists() or Path(name).exists())
    )
