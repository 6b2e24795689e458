"""Configurations and files for the tests of the producer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import structlog
from hypothesis import settings

from lclstream.config import ProducerConfig
from lclstream.spec import parse

# A deadline would be a timing assertion.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

MakeConfig = Callable[..., ProducerConfig]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged, instead of on the standard output."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """A configuration of plain data; a synthetic source and a sink of files unless told otherwise."""

    def make(**changes: Any) -> ProducerConfig:
        source = {"reader": "synthetic", "identifier": "made-up", "events": {}}
        source["synthetic"] = {"events": 20, "shape": [8, 6]}
        if files := changes.pop("files", None):
            source = {"reader": "hdf5", "identifier": "run", "events": {}, "hdf5": {"files": files}}
        data = {
            "stream": "default/test",
            "shards": 1,
            "source": source | changes.pop("source", {}),
            "fields": {},
            "steps": [],
            "batchEvents": 4,
            "encoding": {},
            "sinkFiles": {"directory": str(tmp_path / "out")},
            "maxMessage": 1 << 30,
        }
        return parse(ProducerConfig, data | changes)

    return make


@pytest.fixture
def cxi(tmp_path: Path) -> Callable[..., Path]:
    """Writes an HDF5 file in the CXI layout: images whose pixels are the event's number in the run."""

    def write(name: str = "run1.h5", first: int = 0, events: int = 6, **more: Any) -> Path:
        path = tmp_path / name
        numbers = np.arange(first, first + events)
        with h5py.File(path, "w") as file:
            images = np.ones((events, 4, 3), "uint16") * numbers[:, None, None].astype("uint16")
            file["/entry_1/data_1/data"] = images
            file["/entry_1/energy"] = numbers * 1.5
            file["/entry_1/wavelength"] = np.float32(1.3)
            file["/entry_1/label"] = [f"event {number}" for number in numbers]
            for place, value in more.items():
                file[place] = value
        return path

    return write
