"""The ConfigMap: what each component is started with, and the Plan it was rendered from.

A stream's Plan is fixed when the stream starts: a Dataset that is edited later must not change what a
restarted producer reads, or its shards would not fit those of the others. So the ConfigMap is immutable and
is where the Plan of a started stream is read from. The Plan is kept without the configurations, which have
keys of their own: a ConfigMap holds 1 MiB.
"""

import json
from collections.abc import Mapping
from typing import Any

from lclstream.plan import Plan
from lclstream.spec import SpecError, jsonable, parse
from lclstream_operator import names
from lclstream_operator.desired.context import Context
from lclstream_operator.model import Manifest

MAX_BYTES = 1_000_000
"""Kubernetes refuses more than 1 MiB, keys and names included."""


def build_config_map(context: Context) -> Manifest:
    """The ConfigMap; once there is one, as it is."""
    name = names.config(context.name)
    live: Any = context.children.get(("ConfigMap", name), {}).get("data")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": context.metadata(name, "stream"),
        "immutable": True,
        "data": dict(live) if read(live) else render(context.plan),
    }


def render(plan: Plan) -> dict[str, str]:
    """The data of the ConfigMap."""
    document = plan.model_dump(mode="json", by_alias=True)
    data = {names.PRODUCER_KEY: _text(jsonable(plan.workers.config))}
    del document["workers"]["config"]
    for index, buffer in enumerate(plan.buffers):
        data[names.buffer_key(index)] = _text(jsonable(buffer.config))
        del document["buffers"][index]["config"]
    data[names.PLAN_KEY] = _text(document)
    return data


def read(data: Any) -> Plan | None:
    """The Plan that was rendered; None when this is not one."""
    if not isinstance(data, Mapping):
        return None
    try:
        document = json.loads(data[names.PLAN_KEY])
        document["workers"]["config"] = json.loads(data[names.PRODUCER_KEY])
        for index, buffer in enumerate(document["buffers"]):
            buffer["config"] = json.loads(data[names.buffer_key(index)])
        return parse(Plan, document)
    except (KeyError, TypeError, ValueError, AttributeError, SpecError, RecursionError):
        return None


def check_size(plan: Plan) -> None:
    """See that a Plan fits. Raises SpecError."""
    size = sum(len(key) + len(value.encode()) for key, value in render(plan).items())
    if size > MAX_BYTES:
        raise SpecError(
            f"the stream's configuration has {size} bytes and is not <= {MAX_BYTES}; "
            "expected a Dataset that names the files of its runs by patterns rather than one by one"
        )


def _text(document: object) -> str:
    return json.dumps(document, separators=(",", ":"), sort_keys=True)
