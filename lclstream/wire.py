"""The envelope of a batch: 512 bytes in front of the payload.

512 bytes is a legal HDF5 user block (HDF5 File Format Specification 3.0, section II.A), so an HDF5
message with its envelope is itself an HDF5 file that any HDF5 program opens.

Layout, little-endian; what is not listed is zero::

    offset  size  what
         0     8  magic 89 4C 43 4C 0D 0A 1A 0A
         8     2  version, 1
        10     1  kind: 1 data, 2 end
        12     4  shard; FFFFFFFF in an end: the whole stream
        16     8  sequence of the batch within its shard, from 0; in an end: number of batches
        24     8  first event of the source's count that the batch covers
        32     8  first event after it
        40     4  events in the batch; events in between that were left out don't count
        48     8  length of the payload in bytes
        56     8  XXH3-64 of the payload
        64    16  encoding, ASCII, NUL-padded
        80   128  stream as namespace/name, ASCII, NUL-padded
       508     4  CRC-32 of bytes 0 to 507

The payload of an end is a JSON object (`lclstream.protocol.ShardEnd`, `StreamEnd`).
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

import xxhash

MAGIC = b"\x89LCL\r\n\x1a\n"
VERSION = 1
HEADER_SIZE = 512
WHOLE_STREAM = 0xFFFFFFFF
"""Stands in the place of the shard in the end of a whole stream."""

MAX_MESSAGE = 1 << 30
"""Largest message in bytes, envelope included, that any component takes."""

ReadableBuffer = bytes | bytearray | memoryview
WritableBuffer = bytearray | memoryview

_FIELDS = struct.Struct("<8sHBxIQQQI4xQQ16s128s")
_CRC = struct.Struct("<I")
_CRC_AT = HEADER_SIZE - _CRC.size


class WireError(ValueError):
    """A message that is not ours, is cut short or is damaged."""


class Kind(IntEnum):
    """What a message is."""

    DATA = 1
    END = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the envelope says about its payload.

    Attributes:
        stream: namespace/name of the stream.
        shard: which shard the batch belongs to; `WHOLE_STREAM` in the end of a stream.
        sequence: number of the batch within its shard, from 0; in an end the number of batches.
        start: first event of the source's count that the batch covers.
        stop: first event after it.
        events: events in the batch, at most ``stop - start``.
        encoding: how the payload is written, such as ``hdf5``.
        kind: data or end.
    """

    stream: str
    shard: int
    sequence: int
    start: int
    stop: int
    events: int
    encoding: str
    kind: Kind = Kind.DATA


def seal(message: WritableBuffer, header: Header) -> None:
    """Write the envelope into the first 512 bytes of a message; the rest is its payload.

    Raises:
        ValueError: a value doesn't fit its place in the envelope.
    """
    view = memoryview(message)
    if len(view) < HEADER_SIZE:
        raise ValueError(f"message of {len(view)} bytes, expected at least {HEADER_SIZE}")
    stream, encoding = header.stream.encode("ascii"), header.encoding.encode("ascii")
    if not 0 < len(stream) <= 128:
        raise ValueError(f"stream {header.stream!r} is not 1 to 128 characters long")
    if not 0 < len(encoding) <= 16:
        raise ValueError(f"encoding {header.encoding!r} is not 1 to 16 characters long")
    payload = view[HEADER_SIZE:]
    try:
        fields = _FIELDS.pack(
            MAGIC, VERSION, header.kind, header.shard, header.sequence, header.start, header.stop,
            header.events, len(payload), xxhash.xxh3_64_intdigest(payload), encoding, stream,
        )  # fmt: skip
    except struct.error as error:
        raise ValueError(f"{header}: {error}") from None
    block = fields.ljust(_CRC_AT, b"\0")
    view[:HEADER_SIZE] = block + _CRC.pack(zlib.crc32(block))


def encode(header: Header, payload: ReadableBuffer) -> bytearray:
    """A message: the envelope and a copy of the payload."""
    message = bytearray(HEADER_SIZE)
    message += payload
    seal(message, header)
    return message


def is_message(data: ReadableBuffer) -> bool:
    """Whether this starts like a message of ours (it may still be damaged)."""
    return len(data) >= len(MAGIC) and bytes(data[: len(MAGIC)]) == MAGIC


def decode(message: ReadableBuffer) -> tuple[Header, memoryview]:
    """The envelope of a message and its payload, which is a view of the message, not a copy.

    Raises:
        WireError: the message is foreign, truncated or damaged.
    """
    view = memoryview(message).cast("B")
    if len(view) < HEADER_SIZE:
        raise WireError(f"message of {len(view)} bytes, expected at least {HEADER_SIZE}")
    if not is_message(view):
        raise WireError(f"message starts with {bytes(view[:8])!r}, expected {MAGIC!r}")
    if zlib.crc32(view[:_CRC_AT]) != _CRC.unpack(view[_CRC_AT:HEADER_SIZE])[0]:
        raise WireError("envelope is damaged: its checksum does not match")
    (_, version, kind, shard, sequence, start, stop, events, length, checksum, encoding, stream) = (
        _FIELDS.unpack_from(view)
    )
    if version != VERSION:
        raise WireError(f"envelope version {version}, expected {VERSION}")
    payload = view[HEADER_SIZE:]
    if len(payload) != length:
        raise WireError(f"payload of {len(payload)} bytes, expected {length}")
    if xxhash.xxh3_64_intdigest(payload) != checksum:
        raise WireError("payload is damaged: its checksum does not match")
    try:
        header = Header(
            stream=stream.rstrip(b"\0").decode("ascii"),
            shard=shard,
            sequence=sequence,
            start=start,
            stop=stop,
            events=events,
            encoding=encoding.rstrip(b"\0").decode("ascii"),
            kind=Kind(kind),
        )
    except ValueError as error:
        raise WireError(f"envelope is not valid: {error}") from None
    return header, payload
