"""``make demo``: a run through the whole system on this machine.

Writes a run as an HDF5 file in the CXI layout, streams it with ``lclstream run`` (a certificate authority,
a buffer and two producers, mutual TLS between all of them), consumes it with ``examples/sum_images.py``, and
compares what arrived with what was written.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from lclstream_producer.sources.synthetic import frame

EXAMPLES = Path(__file__).parent
FOLDER = EXAMPLES.parent / ".demo"
FRAMES, SHAPE, DTYPE, SEED = 512, (512, 512), "uint16", 44
RATE_HZ, RUN_STARTED_NS = 120, 1_772_000_000_000_000_000

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    console.print(f"writing {FRAMES} frames of {SHAPE[0]} x {SHAPE[1]} pixels, {DTYPE}")
    pixels = write_run(FOLDER / "lysozyme-44.cxi")
    picture = FOLDER / "summed-detector-image.png"
    started = time.monotonic()
    produced, received = stream(EXAMPLES / "lysozyme.yaml", FOLDER / "stream.json", picture)
    seconds = time.monotonic() - started
    lost = FRAMES - received.get("events", 0)
    intact = received.get("pixels") == pixels
    console.print(f"\nproduced    {produced['events']} events in {produced['batches']} batches")
    console.print(f"delivered   {received.get('events', 0)} events in {received.get('batches', 0)} batches")
    console.print(f"lost        {lost}")
    console.print(f"duplicated  {received.get('twice', 0)}")
    console.print(f"rate        {produced['bytes'] / seconds / 1e6:.0f} MB/s from start to end")
    console.print(f"content     {'every pixel as it was written' if intact else 'NOT what was written'}")
    console.print(f"picture     {picture}")
    good = produced["outcome"] == "completed" and lost == 0 and received["twice"] == 0 and intact
    return 0 if good else 1


def write_run(path: Path) -> int:
    """Write the run in the CXI layout (https://www.cxidb.org/cxi.html); returns the sum of its pixels."""
    total = 0
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 140
        data = file.create_dataset("entry_1/data_1/data", (FRAMES, *SHAPE), DTYPE, chunks=(1, *SHAPE))
        for index in range(FRAMES):
            image = frame(SEED, index, SHAPE, DTYPE)
            total += int(image.sum(dtype=np.uint64))
            data[index] = image
        energy = 9500 + 5 * np.random.default_rng(SEED).standard_normal(FRAMES)
        file["entry_1/instrument_1/source_1/energy"] = energy
        file["LCLS/timestamp"] = RUN_STARTED_NS + np.arange(FRAMES, dtype=np.uint64) * (10**9 // RATE_HZ)
    return total


def stream(request: Path, connection: Path, picture: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stream the run into the consumer; returns what the stream and what the consumer said at the end."""
    command = [
        sys.executable,
        "-m",
        "lclstream",
        "run",
        str(request),
        "--json",
        "--connection",
        str(connection),
    ]
    consumer: subprocess.Popen[bytes] | None = None
    end: dict[str, Any] = {"outcome": "failed", "events": 0, "batches": 0, "bytes": 0}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run, ProgressLine() as show:
        for words in lines(run):
            if words["event"] == "connected":
                script = [sys.executable, str(EXAMPLES / "sum_images.py"), str(connection), str(picture)]
                consumer = subprocess.Popen(script, stdout=subprocess.PIPE)
            elif words["event"] == "progress":
                show(words)
            else:
                end |= words
    if consumer is None:
        return end, {}
    answer, _ = consumer.communicate()
    return end, json.loads(answer) if consumer.returncode == 0 else {}


def lines(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects that a process prints."""
    for line in process.stdout or ():
        yield json.loads(line)


class ProgressLine:
    """A line that follows the stream: events, batches, MB/s, batches buffered."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[phase]:12}"),
            BarColumn(),
            TextColumn("{task.completed:4}/{task.total} events  {task.fields[text]}"),
            console=console,
        )
        self._task = self._progress.add_task("", total=FRAMES, phase="Provisioning", text="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, words: dict[str, Any]) -> None:
        """Show what the stream said."""
        elapsed = self._progress.tasks[0].elapsed or 1
        rate = words.get("bytes", 0) / elapsed / 1e6
        text = f"{words.get('batches', 0)} batches  {rate:.0f} MB/s  {words.get('buffered', 0)} buffered"
        self._progress.update(self._task, completed=words.get("events", 0), phase=words["phase"], text=text)


if __name__ == "__main__":
    sys.exit(main())
