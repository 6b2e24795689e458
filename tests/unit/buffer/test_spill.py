"""Segments on disk: bounded, read back intact, gone when nothing in them is needed."""

import os
import shutil

import pytest

from lclstream_buffer.spill import Spill, SpillError


@pytest.fixture
def spill(tmp_path):
    spill = Spill(tmp_path / "spill", 16_000)
    yield spill
    spill.close()


def files(tmp_path):
    return sorted((tmp_path / "spill").glob("*"))


def test_records_come_back_as_they_were(spill):
    records = [os.urandom(size) for size in (1, 400, 3_000, 999, 0)]
    locations = [spill.append(record) for record in records]
    assert [bytes(location.read()) for location in locations] == records


def test_what_lies_on_disk_counts_until_its_segment_goes(spill, tmp_path):
    first, second = spill.append(b"a" * 600), spill.append(b"b" * 300)
    other = spill.append(b"c" * 900)
    assert len(files(tmp_path)) == spill.segments == 2
    spill.release(first)
    assert spill.used == 1_800
    spill.release(second)
    assert (spill.used, len(files(tmp_path))) == (900, 1)
    spill.release(other)
    assert (spill.used, spill.peak, files(tmp_path)) == (0, 1_800, [])


def test_fits_says_when_the_bound_is_reached(spill):
    spill.append(b"a" * 15_000)
    assert spill.fits(1_000)
    assert not spill.fits(1_001)


def test_a_record_can_be_read_while_its_segment_goes(spill):
    location = spill.append(b"still here")
    spill.release(location)
    assert spill.segments == 0
    assert bytes(location.read()) == b"still here"


def test_a_file_cut_short_is_an_error(spill):
    location = spill.append(b"a" * 100)
    os.truncate(location.segment.path, 50)
    with pytest.raises(SpillError, match="ends after 50 bytes, expected 100"):
        location.read()


def test_leftovers_of_an_earlier_process_go_and_other_files_stay(tmp_path):
    folder = tmp_path / "spill"
    folder.mkdir()
    (folder / "00000000.segment").write_bytes(b"old")
    (folder / "notes.txt").write_text("mine")
    spill = Spill(folder, 1_000)
    location = spill.append(b"new")
    assert bytes(location.read()) == b"new"
    spill.close()
    assert [path.name for path in files(tmp_path)] == ["notes.txt"]


def test_a_disk_that_can_not_be_written_stops_the_spill_only(spill, tmp_path):
    kept = spill.append(b"a" * 900)
    shutil.rmtree(tmp_path / "spill")
    with pytest.raises(SpillError, match="cannot write"):
        spill.append(b"b" * 900)
    assert not spill.fits(1)
    assert "cannot write" in spill.failure
    assert bytes(kept.read()) == b"a" * 900


def test_a_folder_that_can_not_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpillError, match="cannot be used to spill"):
        Spill(tmp_path / "file" / "spill", 1_000)
