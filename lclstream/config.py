"""What a component of a stream is started with: the files that a Plan renders and a role reads.

A configuration names folders and addresses, never secrets; keys lie in files of the TLS folder,
named as Kubernetes names them in a TLS Secret: ``ca.crt``, ``tls.crt``, ``tls.key``.
Nothing here does any input or output.
"""

from typing import Literal

from pydantic import Field

from lclstream.spec.base import Model, Plugin
from lclstream.spec.source import EventRange, Fields, Hdf5Source, SyntheticSource
from lclstream.spec.steps import Step
from lclstream.spec.stream import Encoding

TLS_CA, TLS_CERTIFICATE, TLS_KEY = "ca.crt", "tls.crt", "tls.key"

BUFFER_SERVER_NAME = "buffer"
"""Every buffer's certificate carries this DNS name too, so that a client needs to know one name."""


class BufferAddress(Model):
    """Where a worker or consumer dials a buffer."""

    url: str
    """Such as tls+tcp://127.0.0.1:30001."""
    server_name: str = BUFFER_SERVER_NAME
    """DNS name the buffer's certificate must carry."""


class SourceConfig(Model):
    """A source with everything resolved: no Dataset and no relative path is left."""

    reader: str
    """Name in the entry point group lclstream.sources."""
    identifier: str
    """What a sourceIdentifier field says: names dataset and run."""
    synthetic: SyntheticSource | None = None
    """Settings of the reader synthetic."""
    hdf5: Hdf5Source | None = None
    """Settings of the reader hdf5."""
    plugin: Plugin | None = None
    """Settings of a reader of another distribution."""
    events: EventRange
    """Which events are taken."""


class BufferSink(Model):
    """Batches go to the stream's buffers; shard i belongs to buffer i mod their number."""

    buffers: list[BufferAddress] = Field(min_length=1)
    """Ingest addresses, in the order of the buffers."""
    tls: str
    """Folder with the worker's certificate."""


class FilesSink(Model):
    """Batches become files ``[prefix_]r{shard}_{sequence}.{suffix}``, as LCLStreamer names them."""

    directory: str
    """Folder, created when missing."""
    prefix: str = ""
    """First part of the name."""
    suffix: str = "h5"
    """Extension."""


class ProducerConfig(Model):
    """Configuration of a stream's producers; which shard is an argument of the process."""

    stream: str
    """namespace/name."""
    shards: int
    """Number of shards."""
    source: SourceConfig
    """Where the events come from."""
    fields: Fields
    """What a batch carries; empty: everything the source offers."""
    steps: list[Step]
    """What is done to each event, without batch."""
    batch_events: int
    """Events in a batch."""
    encoding: Encoding
    """How a batch is written."""
    sink_buffer: BufferSink | None = None
    """Where batches go: to buffers,"""
    sink_files: FilesSink | None = None
    """or into files. Exactly one of the two is given."""
    max_message: int
    """Largest message in bytes that the buffers can hold."""


class BufferListen(Model):
    """What a buffer listens on; port 0 stands for any free one."""

    host: str
    """Address to bind, such as 127.0.0.1 or 0.0.0.0."""
    ingest: int
    """Port for workers."""
    lease: int
    """Port for consumers that acknowledge; in mode lease."""
    push: int
    """Port for plain nng PULL clients; in mode push."""
    status: int
    """Port of the HTTPS status endpoint."""


class BufferConfig(Model):
    """Configuration of one buffer."""

    stream: str
    """namespace/name."""
    shards: list[int] = Field(min_length=1)
    """The shards that belong to this buffer."""
    total_shards: int
    """Number of shards of the stream."""
    listen: BufferListen
    """What it listens on."""
    tls: str
    """Folder with the buffer's certificate."""
    mode: Literal["lease", "push"]
    """How consumers get batches."""
    memory: int
    """Bytes held in memory, at most."""
    spill: int = 0
    """Bytes held on disk, at most; 0: none."""
    spill_directory: str = "spill"
    """Where they are held."""
    on_full: Literal["block", "dropOldest"] = "block"
    """What happens when all is full."""
    retain: bool = False
    """Keep batches after delivery."""
    lease_seconds: int
    """After which an unacknowledged batch is delivered again."""
    idle_timeout_seconds: int | None = None
    """Fail when there was no consumer for so long."""
    report_seconds: float = 0
    """How often a changed progress is printed to standard output; 0: never."""
    stay: bool = False
    """After the end, go on answering at the status endpoint until told to stop by a signal, for a runtime
    that would start the process again; and a signal before the end is no cancellation: the process moves."""
