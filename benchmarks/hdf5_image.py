"""Reading a batch: an HDF5 image of 16 x 512 x 512 uint16 (8 MiB), uncompressed.

Ours reads out of the received message; beside it h5py over BytesIO and HDF5's core driver.
"""

import io
from collections.abc import Callable, Iterator

import h5py
import numpy as np

from benchmarks.measure import compare
from lclstream.decode import decode_hdf5

REPEAT = 20


def run(rounds: int) -> Iterator[str]:
    """Lines with the ratios."""
    image = io.BytesIO()
    data = np.random.default_rng(0).poisson(3, (16, 512, 512)).astype(np.uint16)
    with h5py.File(image, "w", userblock_size=512) as file:
        file.create_dataset("detector_data", data=data, chunks=(1, 512, 512))
    message = image.getbuffer()

    def ours() -> None:
        decode_hdf5(message)

    def bytes_io() -> None:
        with h5py.File(io.BytesIO(message), "r") as file:
            file["detector_data"][...]

    def core() -> None:
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fapl_core(backing_store=False)
        access.set_file_image(bytes(message))
        with h5py.File(h5py.h5f.open(b"core", h5py.h5f.ACC_RDONLY, access)) as file:
            file["detector_data"][...]

    def times(one: Callable[[], None]) -> None:
        for _ in range(REPEAT):
            one()

    yield from compare(
        {
            "lclstream.decode": lambda: times(ours),
            "h5py over BytesIO": lambda: times(bytes_io),
            "h5py's core driver": lambda: times(core),
        },
        rounds,
    )
