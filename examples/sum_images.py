"""A consumer: adds up the detector images of a stream and writes the sum as a PNG.

    python examples/sum_images.py stream.json sum.png

Prints one JSON object: how many events and batches arrived, how many of them twice, and the sum of all
pixels of all events.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import lclstream


def main(connection: str, picture: Path) -> None:
    total: NDArray[np.float64] | None = None
    arrived: Counter[tuple[int, int]] = Counter()
    events = 0
    for batch in lclstream.open(connection):
        arrived[batch.shard, batch.sequence] += 1
        if arrived[batch.shard, batch.sequence] > 1:
            continue  # a batch is delivered at least once: after a disturbance it may come again
        events += batch.events
        image = batch["detector_data"].sum(axis=0, dtype=np.float64)
        total = image if total is None else total + image
    if total is not None:
        write_picture(picture, total)
    twice = sum(times - 1 for times in arrived.values())
    pixels = 0 if total is None else int(total.sum())
    print(json.dumps({"events": events, "batches": len(arrived), "twice": twice, "pixels": pixels}))


def write_picture(path: Path, image: NDArray[np.float64]) -> None:
    """Write an image as an 8-bit PNG: logarithmic grey scale, bright is dark."""
    scaled = np.log1p(image - image.min())
    scaled /= max(float(scaled.max()), 1e-9)
    Image.fromarray((255 * (1 - scaled)).astype(np.uint8)).save(path)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
