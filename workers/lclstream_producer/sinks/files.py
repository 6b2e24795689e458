"""Batches as files, named as LCLStreamer names them; an HDF5 message with its envelope is an HDF5 file."""

import os
from pathlib import Path

from lclstream.config import FilesSink as Settings
from lclstream.wire import WritableBuffer
from lclstream_producer.interfaces import Standing


class FilesSink:
    """Writes ``[prefix_]r{shard}_{sequence}.{suffix}``; a file is there whole or not at all.

    A shard that is started again writes the same files again, from the first.
    """

    def __init__(self, settings: Settings, shard: int) -> None:
        self._settings, self._shard = settings, shard
        self._folder = Path(settings.directory)
        self._sequence = 0

    def open(self) -> Standing:
        """Make the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return Standing()

    def send(self, message: WritableBuffer) -> None:
        """Write the next file under another name, then rename it."""
        prefix = f"{self._settings.prefix}_" if self._settings.prefix else ""
        path = self._folder / f"{prefix}r{self._shard}_{self._sequence}.{self._settings.suffix}"
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(message)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        self._sequence += 1

    def drain(self) -> None:
        """Every file is written when `send` returns."""

    def end(self, message: WritableBuffer) -> None:
        """Nothing marks the end: consumers of files would take the mark for a batch."""

    def close(self, *, patience: float = 0) -> None:
        """Nothing is open."""
