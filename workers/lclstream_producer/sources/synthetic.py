"""Made-up diffraction: a Poisson background with Bragg-like peaks on a random lattice.

Every value is a function of the seed and the event alone, so any shard may be read again at any place. A
frame costs far less than drawing it pixel by pixel would: the background is a noise image of the seed,
shifted by an amount drawn for the event.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np

from lclstream.config import SourceConfig
from lclstream.spec import FieldSource, SpecError
from lclstream.spec import SyntheticSource as Settings
from lclstream_producer.interfaces import Array, Event, FieldType, FieldTypes
from lclstream_producer.sources.base import Wanted, collected, unknown
from lclstream_producer.values import limits

EPOCH_NS = 1_760_000_000 * 10**9
"""Time of event 0, in nanoseconds since 1970."""
DEFAULT_RATE = 120.0
"""Events per second that timestamps tell of when no rate is set: the repetition rate of LCLS."""
PHOTON_ENERGY_EV, ENERGY_JITTER_EV = 9500.0, 15.0

_BACKGROUND = 3.0
"""Photons per pixel."""
_PEAKS = (20, 40)
_PEAK_RADIUS, _PEAK_SIGMA, _PEAK_HEIGHT = 4, 1.2, 600.0
_FRAME, _ENERGY = 0, 1


class SyntheticSource:
    """Offers detector_data, photon_energy (float64, eV) and timestamp (uint64, ns).

    Args:
        config: with ``synthetic`` set.
        wanted: the fields to make; None: all three.

    Raises:
        SpecError: another field is asked for.
    """

    def __init__(self, config: SourceConfig, wanted: Wanted) -> None:
        if config.synthetic is None:
            raise SpecError("spec.source.synthetic: missing, expected the settings of reader synthetic")
        self._settings = its = config.synthetic
        offered = {
            "detector_data": FieldType(tuple(its.shape), its.dtype),
            "photon_energy": FieldType((), "float64"),
            "timestamp": FieldType((), "uint64"),
        }
        asked = {name: FieldSource() for name in offered} if wanted is None else wanted
        # Name in the batch -> which of the offered it is.
        self._made = _choose(asked, offered)
        self._types = {name: offered[which] for name, which in self._made.items()}

    @property
    def events(self) -> int:
        """As set."""
        return self._settings.events

    @property
    def types(self) -> FieldTypes:
        """As set."""
        return self._types

    @property
    def rate(self) -> float | None:
        """As set."""
        return self._settings.rate

    def read(self, indices: range) -> Iterator[Event]:
        """Make the events."""
        for index in indices:
            yield {name: self._make(which, index) for name, which in self._made.items()}

    def close(self) -> None:
        """Nothing is open."""

    def _make(self, which: str, index: int) -> Array:
        its = self._settings
        if which == "detector_data":
            return frame(its.seed, index, its.shape, its.dtype)
        if which == "photon_energy":
            return np.asarray(photon_energy(its.seed, index))
        return np.asarray(timestamp(its, index), np.uint64)


def _choose(wanted: Mapping[str, FieldSource], offered: FieldTypes) -> dict[str, str]:
    made: dict[str, str] = {}
    problems: list[str] = []
    for name, field in wanted.items():
        which = name if field.offered else "timestamp" if field.timestamp else field.detector
        if which in offered:
            made[name] = which
        else:
            problems.append(str(unknown(name, field, offered, "synthetic")))
    collected(problems)
    return made


def timestamp(settings: Settings, index: int) -> int:
    """Nanoseconds since 1970 of an event, exact for any rate."""
    rate = Fraction(settings.rate or DEFAULT_RATE)
    return EPOCH_NS + index * 10**9 * rate.denominator // rate.numerator


def photon_energy(seed: int, index: int) -> float:
    """Photon energy of an event in eV, around 9.5 keV."""
    return PHOTON_ENERGY_EV + ENERGY_JITTER_EV * float(_rng(seed, index, _ENERGY).standard_normal())


def frame(seed: int, index: int, shape: Sequence[int], dtype: str) -> Array:
    """One detector image.

    Args:
        seed: another seed gives other images.
        index: number of the event.
        shape: (height, width) or (panels, height, width) in pixels.
        dtype: numpy's name of the type; counts that don't fit are the largest that do.

    Returns:
        Counts of photons, an array of that shape and type.
    """
    rng = _rng(seed, index, _FRAME)
    background = _background(seed, tuple(shape), dtype)
    shift = int(rng.integers(background.size))
    image = np.concatenate([background[shift:], background[:shift]]).reshape(-1, shape[-1])
    _add_peaks(image, *_lattice(rng, image.shape[0], image.shape[1]))
    return image.reshape(tuple(shape))


@lru_cache(maxsize=4)
def _background(seed: int, shape: tuple[int, ...], dtype: str) -> Array:
    """A flat noise image; the same for every event of a seed."""
    noise = np.random.default_rng((seed, 7)).poisson(_BACKGROUND, int(np.prod(shape)))
    # As Boolean a pixel says whether it saw much, else all of them would be true.
    flat = np.asarray(noise > 3 * _BACKGROUND if dtype == "bool" else noise.astype(dtype))
    flat.setflags(write=False)
    return flat


def _rng(seed: int, index: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng((seed, index, purpose))


def _lattice(rng: np.random.Generator, height: int, width: int) -> tuple[Array, Array, Array]:
    """Rows, columns and heights (photons) of the peaks of an event: points of a random 2-D lattice."""
    count = int(rng.integers(_PEAKS[0], _PEAKS[1] + 1))
    angle, skew = rng.uniform(0, np.pi), rng.uniform(np.pi / 3, 2 * np.pi / 3)
    spacing = np.sqrt(height * width / 80) * rng.uniform(0.8, 1.2, 2)
    first = spacing[0] * np.array([np.sin(angle), np.cos(angle)])
    second = spacing[1] * np.array([np.sin(angle + skew), np.cos(angle + skew)])
    steps = rng.integers(-8, 9, (4 * count, 2))
    points = steps @ np.stack([first, second]) + rng.uniform(0, 1, 2) * (height, width)
    # Those outside come back in on the other side: cheaper than drawing until enough lie inside.
    rows, columns = (points[:count] % (height, width)).astype(int).T
    return rows, columns, rng.exponential(_PEAK_HEIGHT, count)


def _add_peaks(image: Array, rows: Array, columns: Array, heights: Array) -> None:
    """Add a Gaussian at each place, in place; what lies over the edge is cut off."""
    radius = _PEAK_RADIUS
    profile = _profile()
    is_float = image.dtype.kind == "f"
    highest = float(np.finfo(image.dtype).max) if is_float else float(min(limits(image.dtype.name)[1], 2**53))
    for row, column, height in zip(rows.tolist(), columns.tolist(), heights.tolist(), strict=True):
        top, left = max(row - radius, 0), max(column - radius, 0)
        patch = image[top : row + radius + 1, left : column + radius + 1]
        part = profile[top - row + radius :, left - column + radius :][: patch.shape[0], : patch.shape[1]]
        patch[...] = np.minimum(patch + np.floor(height * part), highest)


@lru_cache(maxsize=1)
def _profile() -> Array:
    at = np.arange(-_PEAK_RADIUS, _PEAK_RADIUS + 1)
    line = np.exp(-(at**2) / (2 * _PEAK_SIGMA**2))
    return np.outer(line, line)
