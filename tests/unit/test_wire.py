"""The envelope: 512 bytes, the same for ever, and whatever is not ours or damaged is refused."""

import io
import struct
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstream.wire import (
    HEADER_SIZE,
    MAGIC,
    WHOLE_STREAM,
    Header,
    Kind,
    WireError,
    decode,
    encode,
    is_message,
    seal,
)

HEADER = Header(
    stream="default/lysozyme-44", shard=3, sequence=7, start=112, stop=128, events=15, encoding="hdf5"
)
GOLDEN = """
894c434c0d0a1a0a 0100 01 00 03000000 0700000000000000 7000000000000000 8000000000000000
0f000000 00000000 0700000000000000 7b8d2d5bf061fe32 68646635000000000000000000000000
64656661756c742f6c79736f7a796d652d3434
"""
GOLDEN_PAYLOAD = b"payload"


def ascii_text(most: int) -> st.SearchStrategy[str]:
    letters = st.characters(min_codepoint=33, max_codepoint=126)
    return st.text(letters, min_size=1, max_size=most)


U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
HEADERS = st.builds(
    Header,
    stream=ascii_text(128),
    shard=U32,
    sequence=U64,
    start=U64,
    stop=U64,
    events=U32,
    encoding=ascii_text(16),
    kind=st.sampled_from(Kind),
)


@given(HEADERS, st.binary(max_size=300))
def test_what_is_sealed_is_read_again(header: Header, payload: bytes) -> None:
    message = encode(header, payload)
    assert len(message) == HEADER_SIZE + len(payload)
    assert is_message(message)
    found, body = decode(message)
    assert (found, bytes(body)) == (header, payload)


def test_the_envelope_of_version_1_stays_as_it_is() -> None:
    message = bytes(encode(HEADER, GOLDEN_PAYLOAD))
    block = bytes.fromhex(GOLDEN).ljust(508, b"\0")
    assert message[:508].hex() == block.hex()
    assert message[508:512] == struct.pack("<I", zlib.crc32(block))
    assert message[512:] == GOLDEN_PAYLOAD


def test_an_old_message_is_understood() -> None:
    block = bytes.fromhex(GOLDEN).ljust(508, b"\0")
    header, payload = decode(block + struct.pack("<I", zlib.crc32(block)) + GOLDEN_PAYLOAD)
    assert (header, bytes(payload)) == (HEADER, GOLDEN_PAYLOAD)


def test_the_payload_is_a_view_not_a_copy() -> None:
    message = encode(HEADER, b"abc")
    _, payload = decode(message)
    assert payload.obj is message


def test_every_truncation_is_refused() -> None:
    message = bytes(encode(HEADER, b"some payload"))
    for length in range(len(message)):
        with pytest.raises(WireError):
            decode(message[:length])


def test_a_message_with_something_behind_it_is_refused() -> None:
    with pytest.raises(WireError, match="payload of 4 bytes, expected 3"):
        decode(bytes(encode(HEADER, b"abc")) + b"!")


def test_every_flipped_bit_is_refused() -> None:
    message = encode(HEADER, b"some payload")
    for i in range(len(message)):
        for bit in range(8):
            message[i] ^= 1 << bit
            with pytest.raises(WireError):
                decode(message)
            message[i] ^= 1 << bit
    decode(message)


@given(st.binary(max_size=2 * HEADER_SIZE))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


@given(st.binary(min_size=HEADER_SIZE - 12, max_size=HEADER_SIZE + 100))
def test_random_bytes_behind_the_magic_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(MAGIC + data)


@given(st.binary(min_size=500, max_size=500), st.binary(max_size=20))
def test_random_fields_with_a_good_checksum_are_read_or_refused(fields: bytes, payload: bytes) -> None:
    block = MAGIC + fields
    try:
        decode(block + struct.pack("<I", zlib.crc32(block)) + payload)
    except WireError:
        return


def resealed(at: int, value: bytes) -> bytes:
    message = encode(HEADER, b"")
    message[at : at + len(value)] = value
    return bytes(message[:508]) + struct.pack("<I", zlib.crc32(message[:508]))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"", "message of 0 bytes, expected at least 512"),
        (b"\x89HDF" * 200, "message starts with"),
        (resealed(8, b"\2\0"), "envelope version 2, expected 1"),
        (resealed(10, b"\7"), "7 is not a valid Kind"),
        (resealed(64, b"\xff"), "'ascii' codec"),
        (resealed(80, b"\xff"), "'ascii' codec"),
    ],
)
def test_the_error_says_what_is_wrong(message: bytes, text: str) -> None:
    with pytest.raises(WireError, match=text):
        decode(message)


@pytest.mark.parametrize(
    "change",
    [
        {"stream": ""},
        {"stream": "x" * 129},
        {"stream": "naïve"},
        {"encoding": ""},
        {"encoding": "x" * 17},
        {"shard": 2**32},
        {"shard": -1},
        {"sequence": 2**64},
        {"events": -1},
    ],
)
def test_a_value_that_does_not_fit_is_refused(change: dict[str, object]) -> None:
    values = {name: getattr(HEADER, name) for name in HEADER.__slots__} | change
    with pytest.raises(ValueError, match=r"."):
        encode(Header(**values), b"")


def test_a_message_shorter_than_the_envelope_can_not_be_sealed() -> None:
    with pytest.raises(ValueError, match="message of 511 bytes"):
        seal(bytearray(511), HEADER)


def test_the_end_of_a_stream_has_no_shard() -> None:
    values = {name: getattr(HEADER, name) for name in HEADER.__slots__}
    header, _ = decode(encode(Header(**values | {"kind": Kind.END, "shard": WHOLE_STREAM}), b"{}"))
    assert (header.kind, header.shard) == (Kind.END, WHOLE_STREAM)


def hdf5_image(userblock: int) -> tuple[bytes, np.ndarray]:
    frames = np.arange(2 * 5 * 7, dtype=np.uint16).reshape(2, 5, 7)
    image = io.BytesIO()
    with h5py.File(image, "w", userblock_size=userblock) as file:
        file["data"] = frames
    return image.getvalue(), frames


def test_an_hdf5_image_with_room_for_the_envelope_opens_in_plain_h5py() -> None:
    image, frames = hdf5_image(HEADER_SIZE)
    message = bytearray(image)
    seal(message, HEADER)
    with h5py.File(io.BytesIO(message)) as file:
        assert file.userblock_size == HEADER_SIZE
        np.testing.assert_array_equal(file["data"][:], frames)
    header, _ = decode(message)
    assert header == HEADER


def test_an_envelope_in_front_of_any_hdf5_image_opens_in_plain_h5py() -> None:
    image, frames = hdf5_image(0)
    message = encode(HEADER, image)
    with h5py.File(io.BytesIO(message)) as file:
        np.testing.assert_array_equal(file["data"][:], frames)
    _, payload = decode(message)
    with h5py.File(io.BytesIO(payload)) as file:
        np.testing.assert_array_equal(file["data"][:], frames)
