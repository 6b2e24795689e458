"""From what is asked for to what has to run: `plan` turns a StreamRequest into a Plan.

Pure: no clock, no files, no randomness. The same request, Dataset and site give the same Plan to the
byte. A runtime (child processes on one machine, or the operator on Kubernetes) turns it into
components; ports that a runtime chooses are put in afterwards by `with_ingest`.
"""

import posixpath
from typing import Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

from lclstream.config import (
    BUFFER_SERVER_NAME,
    BufferAddress,
    BufferConfig,
    BufferListen,
    BufferSink,
    ProducerConfig,
    SourceConfig,
)
from lclstream.roles import Role
from lclstream.spec import (
    Dataset,
    DatasetRef,
    EventRange,
    Fields,
    FieldSource,
    Hdf5Source,
    Mask,
    Model,
    SpecError,
    Step,
    StreamRequest,
    Volume,
    quantity_bytes,
)
from lclstream.wire import MAX_MESSAGE


class Ports(Model):
    """Ports of the first buffer; 0 stands for any free one."""

    ingest: int = 0
    """For workers."""
    lease: int = 0
    """For consumers that acknowledge."""
    push: int = 0
    """For plain nng PULL clients."""
    status: int = 0
    """HTTPS status endpoint."""


KUBERNETES_PORTS = Ports(ingest=7001, lease=7002, push=7003, status=7080)
"""Every buffer has an address of its own on Kubernetes, so all of them use the same ports."""

DATA_FOLDER = "/data"
"""Where the volume of a Dataset is mounted on Kubernetes."""


class Site(Model):
    """What the place where a stream runs adds to a request."""

    runtime: Literal["local", "kubernetes"] = "local"
    """How components are run."""
    folder: str = "."
    """Folder from which relative paths of the request are taken; on Kubernetes that of the data volume."""
    host: str = "127.0.0.1"
    """Address buffers listen on."""
    ports: Ports = Field(default_factory=Ports)
    """Ports buffers listen on."""
    report_seconds: float = 0.5
    """How often a buffer reports its progress to the runtime; 0: never."""

    @classmethod
    def kubernetes(cls) -> "Site":
        """A cluster: fixed ports on every interface of a pod, data on a mounted volume."""
        return cls(
            runtime="kubernetes",
            folder=DATA_FOLDER,
            host="0.0.0.0",  # noqa: S104 - a pod's; who may connect is for its NetworkPolicy and certificates
            ports=KUBERNETES_PORTS,
            reportSeconds=0,
        )


class Certificate(Model):
    """A certificate that a component needs."""

    name: str
    """Name of its folder or Secret."""
    role: Role
    """What its holder may do."""
    dns_names: list[str] = Field(default_factory=list)
    """Names it is dialled by."""


class BufferPlan(Model):
    """A buffer."""

    name: str
    """Name of the component."""
    certificate: Certificate
    """Its certificate."""
    config: BufferConfig
    """What it is started with."""


class WorkersPlan(Model):
    """The producers, which differ in nothing but their shard."""

    name: str
    """Name of the components, before the number of the shard."""
    certificate: Certificate
    """Their certificate."""
    config: ProducerConfig
    """What each is started with."""
    parallelism: int
    """How many run at once."""
    retries_per_shard: int
    """How often a shard is tried again."""
    volume: Volume | None = None
    """What is to be mounted at `DATA_FOLDER`, where there is anything to mount."""
    image: str | None = None
    """Container image that the Dataset asks for; None: the site's."""


class Plan(Model):
    """A stream's components, with everything decided that can be decided beforehand."""

    namespace: str
    """Namespace of the request."""
    name: str
    """Name of the request."""
    buffers: list[BufferPlan]
    """The buffers, in order; shard i belongs to buffer i mod their number."""
    workers: WorkersPlan
    """The producers."""
    consumer: Certificate
    """Certificate of consumers."""
    operator: Certificate
    """Certificate of the runtime itself, for the status of buffers."""
    suspend: bool
    """Nothing runs."""
    active_deadline_seconds: int | None
    """A stream that lasts longer fails."""

    @property
    def stream(self) -> str:
        """namespace/name."""
        return f"{self.namespace}/{self.name}"


def plan(request: StreamRequest, dataset: Dataset | None, site: Site) -> Plan:
    """Decide what has to run for a request.

    Args:
        request: what is asked for.
        dataset: the Dataset it names, if it names one and there is one.
        site: where it runs.

    Raises:
        SpecError: the request can't be served as it stands.
    """
    spec, meta = request.spec, request.metadata
    if spec.delivery.buffers > spec.workers.shards:
        raise SpecError(
            f"spec.delivery.buffers: {spec.delivery.buffers} is not <= spec.workers.shards, "
            f"{spec.workers.shards}"
        )
    parallelism = spec.workers.parallelism
    return Plan(
        namespace=meta.namespace,
        name=meta.name,
        buffers=[_buffer(request, site, index) for index in range(spec.delivery.buffers)],
        workers=WorkersPlan(
            name="worker",
            certificate=Certificate(name="worker", role="worker"),
            config=_producer(request, dataset, site),
            parallelism=spec.workers.shards if parallelism is None else parallelism,
            retriesPerShard=spec.workers.retries_per_shard,
            volume=dataset.spec.volume if dataset else None,
            image=dataset.spec.image if dataset else None,
        ),
        consumer=Certificate(name="consumer", role="consumer"),
        operator=Certificate(name="operator", role="operator"),
        suspend=spec.suspend,
        activeDeadlineSeconds=spec.active_deadline_seconds,
    )


def with_ingest(plan: Plan, urls: list[str]) -> Plan:
    """The same Plan with the addresses on which the buffers do listen for workers."""
    sink = plan.workers.config.sink_buffer
    if sink is None:
        return plan
    buffers = [
        address.model_copy(update={"url": url}) for address, url in zip(sink.buffers, urls, strict=True)
    ]
    config = plan.workers.config.model_copy(
        update={"sink_buffer": sink.model_copy(update={"buffers": buffers})}
    )
    return plan.model_copy(update={"workers": plan.workers.model_copy(update={"config": config})})


def _buffer(request: StreamRequest, site: Site, index: int) -> BufferPlan:
    spec, name = request.spec, f"buffer-{index}"
    delivery, shards = spec.delivery, range(spec.workers.shards)
    # Buffers on one machine share its address, pods don't.
    step = len(Ports.model_fields) if site.runtime == "local" else 0
    ports = {port: number + index * step if number else 0 for port, number in site.ports.model_dump().items()}
    return BufferPlan(
        name=name,
        certificate=_buffer_certificate(request, site, index),
        config=BufferConfig(
            stream=f"{request.metadata.namespace}/{request.metadata.name}",
            shards=[shard for shard in shards if shard % delivery.buffers == index],
            totalShards=len(shards),
            listen=BufferListen(host=site.host, **ports),
            tls=_tls_folder(site, name),
            mode=delivery.mode,
            memory=quantity_bytes(delivery.memory),
            spill=quantity_bytes(delivery.spill) if delivery.spill else 0,
            spillDirectory=f"spill/{name}" if site.runtime == "local" else "/var/lib/lclstream/spill",
            onFull=delivery.on_full,
            retain=delivery.retain,
            leaseSeconds=delivery.lease_seconds,
            idleTimeoutSeconds=spec.idle_timeout_seconds,
            reportSeconds=site.report_seconds,
            stay=site.runtime == "kubernetes",
        ),
    )


def _producer(request: StreamRequest, dataset: Dataset | None, site: Site) -> ProducerConfig:
    spec = request.spec
    addresses = [
        BufferAddress(url=f"tls+tcp://{_buffer_host(request, site, index)}:{site.ports.ingest}")
        for index in range(spec.delivery.buffers)
    ]
    return ProducerConfig(
        stream=f"{request.metadata.namespace}/{request.metadata.name}",
        shards=spec.workers.shards,
        source=_source(request, dataset, site),
        fields=_fields(spec.fields, dataset),
        steps=[_located(step, site) for step in spec.event_steps],
        batchEvents=spec.batch.events,
        encoding=spec.encoding,
        sinkBuffer=BufferSink(buffers=addresses, tls=_tls_folder(site, "worker")),
        maxMessage=min(quantity_bytes(spec.delivery.memory), MAX_MESSAGE),
    )


def _source(request: StreamRequest, dataset: Dataset | None, site: Site) -> SourceConfig:
    source = request.spec.source
    if source.dataset:
        return _dataset_source(source.dataset, source.events, dataset, site)
    if source.hdf5 and site.runtime == "kubernetes":
        raise SpecError("spec.source.hdf5: files named directly need the local runtime, expected a dataset")
    files = [_join(site.folder, name) for name in source.hdf5.files] if source.hdf5 else []
    return SourceConfig(
        reader=source.plugin.name if source.plugin else source.choice,
        identifier=" ".join(source.hdf5.files) if source.hdf5 else f"{source.choice}:{request.metadata.name}",
        synthetic=source.synthetic,
        hdf5=Hdf5Source(files=files) if files else None,
        plugin=source.plugin,
        events=source.events,
    )


def _dataset_source(
    reference: DatasetRef, events: EventRange, dataset: Dataset | None, site: Site
) -> SourceConfig:
    if dataset is None or dataset.metadata.name != reference.name:
        raise SpecError(
            f"spec.source.dataset.name: there is no Dataset {reference.name!r}, expected one in the "
            + ("file of the request" if site.runtime == "local" else "namespace of the request")
        )
    run, spec = dataset.run(reference.run), dataset.spec
    root = _volume_root(dataset, site)
    return SourceConfig(
        reader=spec.reader,
        identifier=f"{reference.name}:{reference.run}",
        synthetic=run.synthetic if spec.reader == "synthetic" else None,
        hdf5=Hdf5Source(files=[_join(root, name) for name in run.files]) if spec.reader == "hdf5" else None,
        events=events,
    )


def _volume_root(dataset: Dataset, site: Site) -> str:
    volume = dataset.spec.volume
    if site.runtime == "kubernetes" or volume is None:
        return site.folder
    if volume.host_path is None:
        raise SpecError(
            f"Dataset {dataset.metadata.name}: spec.volume: {to_camel(volume.choice)} given, expected "
            "hostPath: the local runtime mounts nothing"
        )
    return _join(site.folder, volume.host_path.path)


def _fields(wanted: Fields, dataset: Dataset | None) -> Fields:
    """The fields asked for, where those left empty are filled from the Dataset."""
    published = dataset.spec.fields if dataset else {}
    if not wanted:
        return published
    return {name: _field(name, field, published) for name, field in wanted.items()}


def _field(name: str, field: FieldSource, published: Fields) -> FieldSource:
    if not field.offered or not published:
        return field
    if name not in published:
        raise SpecError(
            f"spec.fields.{name}: not published by the Dataset, expected one of "
            + ", ".join(sorted(published))
        )
    own = {key: getattr(field, key) for key in field.model_fields_set}
    return published[name].model_copy(update=own)


def _located(step: Step, site: Site) -> Step:
    """The step with the file it names, if any, as a path that every worker finds."""
    if step.mask is None:
        return step
    mask: Mask = step.mask.model_copy(update={"file": _join(site.folder, step.mask.file)})
    return step.model_copy(update={"mask": mask})


def _join(folder: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(folder, name))


def _tls_folder(site: Site, component: str) -> str:
    return f"tls/{component}" if site.runtime == "local" else "/etc/lclstream/tls"


def _buffer_host(request: StreamRequest, site: Site, index: int) -> str:
    if site.runtime == "local":
        return site.host
    name, namespace = request.metadata.name, request.metadata.namespace
    return f"{name}-buffer-{index}.{name}-buffer.{namespace}.svc"


def _buffer_certificate(request: StreamRequest, site: Site, index: int) -> Certificate:
    """A buffer's certificate; all names carry the plain one too, so that clients need no other.

    The pods of a StatefulSet mount the same Secret, so on Kubernetes one certificate has the names of all.
    """
    if site.runtime == "local":
        return Certificate(name=f"buffer-{index}", role="buffer", dnsNames=[BUFFER_SERVER_NAME, "localhost"])
    hosts = [_buffer_host(request, site, number) for number in range(request.spec.delivery.buffers)]
    hosts.append(hosts[0].partition(".")[2])  # the Service's own name
    return Certificate(
        name="buffer",
        role="buffer",
        dnsNames=[BUFFER_SERVER_NAME, *(name for host in hosts for name in (host, f"{host}.cluster.local"))],
    )
