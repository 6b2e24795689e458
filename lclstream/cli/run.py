"""``lclstream run``, ``validate`` and ``plan``: a request on this machine."""

import asyncio
import json as jsonlib
import signal
from collections.abc import Iterator
from pathlib import Path

import yaml

from lclstream.cli.documents import read_request
from lclstream.cli.views import JsonView, TerminalView, size
from lclstream.local.runtime import (
    Checked,
    LocalRuntime,
    Observer,
    Result,
    check,
    make_folder,
    remove_folder,
)
from lclstream.plan import Plan, Ports, Site, plan
from lclstream.process import EXIT_CANCELED, EXIT_FAILED, EXIT_OK
from lclstream.spec import SpecError

_EXIT = {"completed": EXIT_OK, "failed": EXIT_FAILED, "canceled": EXIT_CANCELED}


def make_plan(path: Path, host: str = "127.0.0.1", port: int = 0) -> Plan:
    """The Plan of the request in a file, for this machine.

    Args:
        path: the file.
        host: address the buffers listen on.
        port: first of their ports; 0: any that are free.

    Raises:
        SpecError: the request can't be served.
    """
    if host in ("0.0.0.0", "::", "*"):  # noqa: S104 - refused, not bound
        raise SpecError(f"--host: {host} is every address, expected the one that consumers reach")
    request, dataset = read_request(path)
    ports = Ports(ingest=port, lease=port + 1, push=port + 2, status=port + 3) if port else Ports()
    return plan(request, dataset, Site(folder=str(path.resolve().parent), host=host, ports=ports))


def show_plan(path: Path, *, as_json: bool) -> str:
    """A request's Plan as YAML or JSON. Raises `SpecError`."""
    data = make_plan(path).model_dump(mode="json", by_alias=True, exclude_none=True)
    return jsonlib.dumps(data, indent=2) + "\n" if as_json else yaml.safe_dump(data, sort_keys=False)


def validate(path: Path) -> Iterator[str]:
    """What a request would run, in words. Raises `SpecError`."""
    planned = make_plan(path)
    yield from describe(planned, asyncio.run(check(planned)))


def describe(planned: Plan, checked: Checked) -> Iterator[str]:
    """A Plan in words."""
    config = planned.workers.config
    buffer = planned.buffers[0].config
    yield f"stream {planned.stream}: {checked.events} events from {config.source.identifier}"
    for name, info in checked.fields.items():
        shape = " x ".join(str(n) for n in info["shape"]) or "scalar"
        yield f"  field {name}: {info['dtype']}, {shape}"
    for step in config.steps:
        settings = getattr(step, step.choice).model_dump(by_alias=True, exclude_none=True)
        words = ", ".join(f"{key} {value}" for key, value in settings.items())
        yield f"  step {step.choice}: {words}"
    yield (
        f"  batches of {config.batch_events} events as {config.encoding.format}, compression "
        f"{config.encoding.compression}, at most {size(checked.batch_bytes)} each"
    )
    yield f"  {_count(config.shards, 'shard')}, {_count(planned.workers.parallelism, 'producer')} at once"
    spill = f" and {size(buffer.spill)} on disk" if buffer.spill else ""
    yield (
        f"  {_count(len(planned.buffers), 'buffer')} of {size(buffer.memory)} in memory{spill}, "
        f"delivery by {buffer.mode}, {buffer.on_full} when full"
    )


def run(path: Path, *, json: bool, keep: bool, connection: Path | None, host: str, port: int) -> int:
    """Run a request's stream to its end and return the exit code.

    Raises:
        SpecError: the request can't be served; nothing was started.
    """
    planned = make_plan(path, host, port)
    if planned.suspend:
        raise SpecError("spec.suspend: true, expected false to run the stream")
    checked = asyncio.run(check(planned))
    folder = make_folder(planned)
    view: JsonView | TerminalView = JsonView() if json else TerminalView(planned.stream, checked.events)
    with view:
        runtime = LocalRuntime(
            planned,
            folder,
            connection.resolve() if connection else None,
            Observer(view.connected, view.progressed),
        )
        try:
            result = asyncio.run(_run(runtime))
        finally:
            remove_folder(folder, keep=keep)
            if connection:
                connection.unlink(missing_ok=True)
    if result.bad_input:
        raise SpecError(result.reason)
    view.finished(result, folder if keep else None)
    return _EXIT[result.outcome]


async def _run(runtime: LocalRuntime) -> Result:
    interrupts = 0

    def interrupted() -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts == 1:
            runtime.ask_to_end("interrupted")
        else:
            runtime.kill()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    return await runtime.run()


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
