"""Fixtures of the local tests: streams as a user runs them, and a run to stream."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from support import Stream, request


@pytest.fixture
def run_stream(tmp_path: Path) -> Iterator[Callable[..., Stream]]:
    """Start a stream: ``run_stream(source={...}, workers={...}, ...)``, the keys of a request's spec."""
    with ExitStack() as stack:

        def start(*arguments: str, documents: list[dict[str, Any]] | None = None, **spec: Any) -> Stream:
            stream = Stream(tmp_path, documents or [request(**spec)], *arguments)
            stack.callback(stream.close)
            return stream

        yield start


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """An HDF5 file in the CXI layout: 60 frames of 32 x 48 pixels, photon energy, timestamps, a text."""
    path = tmp_path / "run.cxi"
    rng = np.random.default_rng(7)
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 140
        file["entry_1/data_1/data"] = rng.poisson(5, (60, 32, 48)).astype(np.uint16)
        file["entry_1/instrument_1/source_1/energy"] = rng.normal(9500, 5, 60)
        file["LCLS/timestamp"] = 1_772_000_000_000_000_000 + np.arange(60, dtype=np.uint64)
        file["entry_1/title"] = "made up"
    return path
