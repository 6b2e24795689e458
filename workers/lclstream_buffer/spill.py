"""Batches on disk: append-only segment files, removed as a whole once nothing in them is needed.

A record is the message as it came, so its envelope's checksum covers it on disk too. What counts
against the bound is what the files occupy, not what in them is still needed: a segment gives its
space back when its last record is released. Segments are kept small beside the bound for that.
"""

import contextlib
import os
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

from lclstream.wire import ReadableBuffer

SEGMENT_BYTES = 64 << 20
"""A segment that has grown to this is closed and the next begun; a larger message has its own."""

_SEGMENTS_IN_BOUND = 16
_SUFFIX = ".segment"


class SpillError(Exception):
    """The disk did not do what was asked; the message says which file and why."""


class Segment:
    """One file. Unlinked with its last record; its descriptor lives as long as someone may read."""

    __slots__ = ("__weakref__", "descriptor", "live", "path", "size")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = 0
        self.live = 0
        weakref.finalize(self, os.close, self.descriptor)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a record lies. Holding it keeps the segment's file open, even after its removal."""

    segment: Segment
    offset: int
    size: int

    def read(self) -> memoryview:
        """The record.

        Raises:
            SpillError: the file can't be read or is shorter than it was.
        """
        data = bytearray(self.size)
        view = memoryview(data)
        done = 0
        try:
            while done < self.size:
                count = os.preadv(self.segment.descriptor, [view[done:]], self.offset + done)
                if count == 0:
                    raise SpillError(
                        f"{self.segment.path}: record at {self.offset} ends after {done} bytes, "
                        f"expected {self.size}"
                    )
                done += count
        except OSError as error:
            raise SpillError(f"{self.segment.path}: cannot read: {error}") from None
        return view.toreadonly()


class Spill:
    """Bounded room on disk. One thread appends; any thread reads and releases.

    Args:
        directory: where the segments lie; made when missing. What an earlier process left there is
            removed: nothing knows any more who still needs it.
        bound: bytes that the segments may occupy.

    Raises:
        SpillError: the directory can't be made or used.
    """

    def __init__(self, directory: Path, bound: int) -> None:
        self._directory, self.bound = directory, bound
        self._segment_bytes = min(SEGMENT_BYTES, max(1, bound // _SEGMENTS_IN_BOUND))
        self._lock = threading.Lock()
        self._active: Segment | None = None
        self._segments: dict[int, Segment] = {}
        self._numbered = 0
        self._failure: str | None = None
        self.used = 0
        self.peak = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in directory.glob(f"*{_SUFFIX}"):
                left.unlink()
        except OSError as error:
            raise SpillError(f"{directory}: cannot be used to spill: {error}") from None

    @property
    def segments(self) -> int:
        """How many segment files there are."""
        with self._lock:
            return len(self._segments)

    @property
    def failure(self) -> str | None:
        """Why nothing is written any more; None while the disk works."""
        with self._lock:
            return self._failure

    def fits(self, size: int) -> bool:
        """Whether a record of this size may be appended now."""
        with self._lock:
            return self._failure is None and self.used + size <= self.bound

    def append(self, data: ReadableBuffer) -> Location:
        """Write a record.

        Raises:
            SpillError: it could not be written; nothing more will be tried on this disk, what lies
                there can still be read.
        """
        view = memoryview(data).cast("B")
        try:
            with self._lock:
                location = self._reserve(len(view))
        except OSError as error:
            raise self._fail(error) from None
        done = 0
        try:
            while done < len(view):
                done += os.pwrite(location.segment.descriptor, view[done:], location.offset + done)
        except OSError as error:
            self.release(location)
            raise self._fail(error) from None
        return location

    def release(self, location: Location) -> None:
        """Say that a record is not needed any more."""
        with self._lock:
            segment = location.segment
            segment.live -= 1
            if segment.live == 0:
                self._remove(segment)

    def close(self) -> None:
        """Remove every segment, and the directory if nothing else lies in it."""
        with self._lock:
            for segment in list(self._segments.values()):
                self._remove(segment)
        with contextlib.suppress(OSError):  # something else lies there, or it is gone
            self._directory.rmdir()

    def _reserve(self, size: int) -> Location:
        segment = self._active
        if segment is None or segment.size + size > self._segment_bytes:
            segment = Segment(self._directory / f"{self._numbered:08d}{_SUFFIX}")
            self._segments[id(segment)] = segment
            self._numbered += 1
            self._active = segment
        location = Location(segment, segment.size, size)
        segment.size += size
        segment.live += 1
        self.used += size
        self.peak = max(self.peak, self.used)
        return location

    def _remove(self, segment: Segment) -> None:
        if self._segments.pop(id(segment), None) is None:
            return
        if segment is self._active:
            self._active = None
        self.used -= segment.size
        segment.path.unlink(missing_ok=True)

    def _fail(self, error: OSError) -> SpillError:
        failure = f"{self._directory}: cannot write: {error}"
        with self._lock:
            self._failure = failure
        return SpillError(failure)
