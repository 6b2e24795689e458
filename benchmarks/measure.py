"""How benchmarks measure: contenders take turns within one run, and the median of their ratios is told."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping


def compare(contenders: Mapping[str, Callable[[], None]], rounds: int) -> Iterator[str]:
    """Lines that tell how long each contender takes, as a multiple of the first.

    Every round runs each once, so that whatever else the machine does hits all of them. A round before
    the first is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - started)
    first = next(iter(contenders))
    for name, taken in times.items():
        ratios = [one / base for one, base in zip(taken, times[first], strict=True)]
        yield (
            f"{name:44} {statistics.median(ratios):5.2f} x the time of {first}"
            f"  ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def conditions() -> str:
    """What the numbers depend on."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in open("/proc/cpuinfo", encoding="utf-8")  # noqa: SIM115, PTH123
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, loopback"
