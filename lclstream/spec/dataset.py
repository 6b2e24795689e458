"""Dataset: how a facility publishes data, so that a user names a run and never a path."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lclstream.spec.base import API_VERSION, Model, OneOf, SpecError
from lclstream.spec.source import Fields, SyntheticSource
from lclstream.spec.stream import Condition, Metadata


class PersistentVolumeClaim(Model):
    """A claim in the namespace of the Dataset."""

    claim_name: str = Field(min_length=1, max_length=253)
    """Name of the claim."""
    read_only: bool = True
    """Mounted read-only."""


class HostPath(Model):
    """A folder of the machine."""

    path: str = Field(min_length=1)
    """The folder; on one machine it may be relative to the file the Dataset is written in."""


class Nfs(Model):
    """An NFS export."""

    server: str = Field(min_length=1)
    """Host name of the server."""
    path: str = Field(pattern="^/")
    """Exported path."""
    read_only: bool = True
    """Mounted read-only."""


class Volume(OneOf):
    """Where the files lie."""

    persistent_volume_claim: PersistentVolumeClaim | None = None
    """A claim."""
    host_path: HostPath | None = None
    """A folder of the machine."""
    nfs: Nfs | None = None
    """An NFS export."""


class Run(Model):
    """One run of the experiment."""

    name: str = Field(min_length=1, max_length=253)
    """Name a request gives, such as "44"."""
    files: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list, max_length=10000)
    """Paths or glob patterns within the volume."""
    synthetic: SyntheticSource | None = None
    """The made-up data of this run, for the reader synthetic."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the reader needs to know about this run, for readers of other distributions."""


class DatasetSpec(Model):
    """What is published, and how it is read."""

    description: str = ""
    """For people."""
    reader: str = Field(default="hdf5", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=63)
    """hdf5, synthetic, or a source registered by another distribution."""
    volume: Volume | None = None
    """Where the files lie; absent for readers without files."""
    runs: list[Run] = Field(min_length=1, max_length=10000)
    """The runs that exist."""
    fields: Fields = Field(default_factory=dict)
    """Offered to requests, and what they get when they name none."""
    image: str | None = None
    """Container image of a reader with special needs; absent: the site's."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [run.name for run in self.runs]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"runs named twice: {', '.join(sorted(twice))}")
        if self.reader == "hdf5" and self.volume is None:
            raise ValueError("volume missing, expected one for reader hdf5")
        for i, run in enumerate(self.runs):
            if self.reader == "hdf5" and not run.files:
                raise ValueError(f"runs[{i}].files missing, expected at least one for reader hdf5")
            if self.reader == "synthetic" and run.synthetic is None:
                raise ValueError(f"runs[{i}].synthetic missing, expected for reader synthetic")
        return self


class DatasetStatus(Model):
    """What the system says about a dataset."""

    observed_generation: int | None = Field(default=None, ge=0)
    """Generation of the dataset that was last acted upon."""
    conditions: list[Condition] = Field(default_factory=list, max_length=16)
    """Ready."""


class Dataset(Model):
    """Data of an experiment, published for streaming."""

    api_version: Literal["lclstream.io/v1alpha1"] = API_VERSION
    """lclstream.io/v1alpha1"""
    kind: Literal["Dataset"] = "Dataset"
    """Dataset"""
    metadata: Metadata
    """Name and namespace."""
    spec: DatasetSpec
    """What is published, and how it is read."""
    status: dict[str, Any] | None = None
    """Written by the operator."""

    def run(self, name: str) -> Run:
        """The run of that name.

        Raises:
            SpecError: there is no such run.
        """
        for run in self.spec.runs:
            if run.name == name:
                return run
        known = ", ".join(run.name for run in self.spec.runs[:10])
        raise SpecError(
            f"spec.source.dataset.run: {name!r} is not a run of Dataset {self.metadata.name}, "
            f"expected one of {known}"
        )
