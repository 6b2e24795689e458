"""From the payload of a message to arrays, by the encoding its envelope names."""

import io
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters that batches are compressed with
import numpy as np
from numpy.typing import NDArray

from lclstream.wire import WireError

Arrays = dict[str, NDArray[np.generic]]
Decoder = Callable[[memoryview], Arrays]

DECODERS = "lclstream.decoders"
"""Entry point group of decoders of other encodings: called with the payload, return the arrays."""


def decode_payload(encoding: str, payload: memoryview) -> Arrays:
    """The fields of a batch: name -> array of shape (events, ...).

    Raises:
        WireError: nothing here reads this encoding, or the payload is not what it says.
    """
    if encoding == "hdf5":
        return decode_hdf5(payload)
    for entry in entry_points(group=DECODERS, name=encoding):
        decoder: Decoder = entry.load()
        return decoder(payload)
    raise WireError(f"encoding {encoding!r}: no decoder is installed for it")


class _View(io.RawIOBase):
    """A read-only file over a buffer, without the copy that BytesIO or HDF5's core driver would make."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view.cast("B"), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, len(self._view))[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, target: Any) -> int:
        part = self._view[self._at : self._at + len(target)]
        memoryview(target).cast("B")[: len(part)] = part
        self._at += len(part)
        return len(part)


def decode_hdf5(payload: memoryview) -> Arrays:
    """The datasets of an HDF5 image, by the field each was made from; texts as numpy strings."""
    arrays: Arrays = {}

    def visit(path: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            name = str(item.attrs.get("field", path.rsplit("/", 1)[-1]))
            arrays[name] = item.asstr()[...].astype(str) if h5py.check_string_dtype(item.dtype) else item[...]

    try:
        with h5py.File(_View(payload), "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise WireError(f"payload is not an HDF5 image: {error}") from None
    return arrays
