"""A batch as an HDF5 file in memory, with room for the envelope in its user block.

One dataset a field, its first axis the event, in the dtype of the field. Uncompressed datasets are
contiguous: chunks, which only filters need, cost twice the time for images and 2 ms for twenty scalars.
"""

import io
import math
from collections.abc import Mapping
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from lclstream.spec import Encoding, SpecError
from lclstream.wire import HEADER_SIZE
from lclstream_producer.interfaces import Array, FieldType, FieldTypes

_CHUNK_BYTES = 64 * 1024
"""Events smaller than this share a chunk."""
_WORTH_BYTES = 4096
"""A dataset smaller than this is not compressed."""
_ZFP_DTYPES = frozenset({"float32", "float64", "int32", "int64"})
_ZFP_AXES = 3
"""Of an event: zfp knows four, and several small events share a chunk."""


class Hdf5Encoder:
    """Writes batches as HDF5 (encoding ``hdf5``).

    The dataset of a field is at ``paths[field]``, or ``/<field>``. Where the last component of the path is
    not the field's name, the attribute ``field`` of the dataset says it. Texts are UTF-8 of fixed length.
    Arrays are compressed in chunks of one event (several, when they are small); zfp is reversible, and
    leaves scalars, curves and texts of types it doesn't know uncompressed.

    Args:
        encoding: as the request has it.
    """

    name = "hdf5"

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._filter = _filter(encoding)

    def check(self, types: FieldTypes) -> None:
        """See that every field can be written at its own place. Raises SpecError."""
        problems = [
            f"spec.encoding.paths.{name}: {name!r} is not a field, expected one of {', '.join(types)}"
            for name in self._encoding.paths
            if name not in types
        ]
        problems += _clashes({name: self._path(name) for name in types})
        if self._encoding.compression == "zfp":
            problems += [f"spec.encoding.compression: {p}" for p in map(_zfp_problem, types.items()) if p]
        if problems:
            raise SpecError("\n".join(problems))

    def encode(self, arrays: Mapping[str, Array]) -> memoryview:
        """Write a batch; the payload is copied once, into the message."""
        image = io.BytesIO()
        with h5py.File(image, "w", userblock_size=HEADER_SIZE) as file:
            for name, values in arrays.items():
                self._write(file, name, values)
        return image.getbuffer()

    def bound(self, arrays: Mapping[str, Array], events: int) -> int:
        """Size of a message of so many events like these, at most; texts may not be longer than here."""
        overhead = len(self.encode(arrays)) if not self._filter else self._uncompressed_size(arrays)
        overhead -= sum(_stored(values).nbytes for values in arrays.values())
        return overhead + sum(self._most(_stored(values), events) for values in arrays.values())

    def _most(self, values: Array, events: int) -> int:
        """Bytes that so many events like these take in one dataset, at most."""
        one = -(-values.nbytes // max(1, len(values)))
        if not self._filter:
            return one * events + 512
        rows = _events_in_chunk(one, events)
        chunks = -(-events // rows)
        if self._encoding.compression == "zfp":
            # zfp works on blocks of 4 along every axis that it fills up.
            sides = [-(-side // 4) * 4 for side in (rows, *values.shape[1:]) if side > 1]
            chunk = int(math.prod(sides)) * values.dtype.itemsize
        else:
            chunk = rows * one
        # What a filter adds to data that can't be made smaller, and the index of the chunks.
        return chunks * (chunk + chunk // 16 + 512) + 16384

    def _uncompressed_size(self, arrays: Mapping[str, Array]) -> int:
        plain = self._encoding.model_copy(update={"compression": "none", "level": None})
        return len(Hdf5Encoder(plain).encode(arrays))

    def _path(self, name: str) -> str:
        return "/" + self._encoding.paths.get(name, name).strip("/")

    def _write(self, file: h5py.File, name: str, values: Array) -> None:
        path, stored = self._path(name), _stored(values)
        dataset = file.create_dataset(path, data=stored, **self._storage(stored))
        if path.rsplit("/", 1)[-1] != name:
            dataset.attrs["field"] = name

    def _storage(self, values: Array) -> dict[str, Any]:
        """How a dataset is laid out: contiguous, or in compressed chunks."""
        if not self._filter or values.nbytes < _WORTH_BYTES or values.dtype.kind == "S":
            return {}
        if self._encoding.compression == "zfp" and not _zfp_fits(FieldType.of(values[0])):
            return {}
        events = _events_in_chunk(values.nbytes // len(values), len(values))
        return {"chunks": (events, *values.shape[1:]), **self._filter}


def _events_in_chunk(event_bytes: int, events: int) -> int:
    return max(1, min(events, _CHUNK_BYTES // max(1, event_bytes)))


def _stored(values: Array) -> Array:
    """Texts as UTF-8 of fixed length, which h5py can write; anything else as it is."""
    if values.dtype.kind != "U":
        return values
    encoded = np.char.encode(values, "utf-8")
    # HDF5 has no strings of length 0, and converts none between ASCII and UTF-8.
    return encoded.astype(h5py.string_dtype("utf-8", max(1, encoded.dtype.itemsize)))


def _filter(encoding: Encoding) -> dict[str, Any]:
    """Arguments of h5py that switch on a compression; empty for none."""
    level = encoding.level
    match encoding.compression:
        case "gzip" | "gzip-shuffle":
            shuffle = encoding.compression == "gzip-shuffle"
            return {
                "compression": "gzip",
                "compression_opts": 4 if level is None else level,
                "shuffle": shuffle,
            }
        case "bitshuffle-lz4":
            return dict(hdf5plugin.Bitshuffle(cname="lz4"))
        case "bitshuffle-zstd":
            return dict(hdf5plugin.Bitshuffle(cname="zstd", clevel=3 if level is None else level))
        case "zfp":
            return dict(hdf5plugin.Zfp(reversible=True))
        case _:
            return {}


def _zfp_fits(kind: FieldType) -> bool:
    axes = sum(size > 1 for size in kind.shape)
    return kind.dtype in _ZFP_DTYPES and axes <= _ZFP_AXES


def _zfp_problem(field: tuple[str, FieldType]) -> str | None:
    """Why an image can't be compressed with zfp; what is no image is left uncompressed instead."""
    name, kind = field
    if len(kind.shape) < 2 or kind.is_text or _zfp_fits(kind):
        return None
    return (
        f"zfp given, but {name} is {kind}, expected {', '.join(sorted(_ZFP_DTYPES))} with up to "
        f"{_ZFP_AXES} axes; cast it first"
    )


def _clashes(places: Mapping[str, str]) -> list[str]:
    """Fields that would be written over each other, or inside each other."""
    problems: list[str] = []
    taken: dict[str, str] = {}
    for name, path in sorted(places.items(), key=lambda item: item[1]):
        parents = [path.rsplit("/", up)[0] for up in range(path.count("/"))]
        other = next((taken[place] for place in parents if place in taken), None)
        if other is not None:
            problems.append(
                f"spec.encoding.paths.{name}: {path} is where {other} is ({places[other]}), "
                "expected a place of its own"
            )
        taken[path] = name
    return problems
