"""The CustomResourceDefinitions of StreamRequest and Dataset, made from the models in `lclstream.spec`.

A CRD holds a *structural* OpenAPI v3 schema, which is narrower than what pydantic writes: no
references, no unions with null, no ``const``; unknown fields are pruned rather than forbidden. What a
schema can't say is said in CEL (`lclstream.crd_rules`). Nothing here does any input or output.

Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions".
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from lclstream.crd_rules import MAP_KEYS, OBJECT_RULES, ROOT_RULES, one_of_rule
from lclstream.spec import API_GROUP, Dataset, Model, OneOf, StreamRequest, StreamStatus
from lclstream.spec.dataset import DatasetStatus

Schema = dict[str, Any]

VERSION: Final = "v1alpha1"
_INT32 = 2**31 - 1

_KEPT = (
    "enum", "format", "items", "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum",
    "maxProperties", "pattern", "required", "type", "x-kubernetes-int-or-string",
)  # fmt: skip

_LIST_KEYS = {("StreamStatus", "conditions"): "type", ("DatasetStatus", "conditions"): "type",
              ("StreamStatus", "buffers"): "index", ("DatasetSpec", "runs"): "name"}  # fmt: skip
"""Lists whose items are known by one of their fields; any other list is replaced as a whole."""

_TYPE_META = {
    "apiVersion": {"description": "Group and version of the kind.", "type": "string"},
    "kind": {"description": "The kind of the object.", "type": "string"},
    "metadata": {"type": "object"},
}


def crds() -> dict[str, dict[str, Any]]:
    """Both CustomResourceDefinitions by the name of the file they belong in."""
    return {
        f"{API_GROUP}_streamrequests.yaml": _stream_request(),
        f"{API_GROUP}_datasets.yaml": _dataset(),
    }


def dump(crd: Mapping[str, Any]) -> str:
    """A CRD as YAML, the same for the same CRD down to the byte."""
    body = yaml.safe_dump(dict(crd), sort_keys=False, allow_unicode=True, width=110)
    return f"# Made from lclstream/spec by `make crds`; edit the models instead.\n{body}"


def structural(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The structural schema of a model.

    Args:
        model: the model, with everything it refers to.
        defaults: whether default values go in; a status has none, as only what is known is written.
    """
    document = model.model_json_schema(by_alias=True)
    return _Builder(document.get("$defs", {}), defaults=defaults).model(model.__name__, document)


def _stream_request() -> dict[str, Any]:
    version = _version(StreamRequest, StreamStatus)
    version["additionalPrinterColumns"] = [
        _column("Phase", "string", ".status.phase", "Where the stream stands."),
        _column("Events", "integer", ".status.progress.events", "Events taken in by the buffers."),
        _column("Rate", "string", ".status.progress.rate", "Events per second, lately."),
        _column("Buffered", "integer", ".status.progress.buffered", "Batches waiting in the buffers."),
        _column("Consumers", "integer", ".status.progress.consumers", "Consumers connected."),
        _column("Age", "date", ".metadata.creationTimestamp", "Time since it was requested."),
        _detail("Dataset", "string", ".spec.source.dataset.name", "The Dataset it reads."),
        _detail("Run", "string", ".spec.source.dataset.run", "The run it reads."),
        _detail("Shards", "integer", ".spec.workers.shards", "Parts the events are divided into."),
        _detail("Delivered", "integer", ".status.progress.delivered", "Batches consumers have."),
        _detail("Dropped", "integer", ".status.progress.dropped", "Batches dropped."),
        _detail(
            "Failure",
            "string",
            '.status.conditions[?(@.type=="Failed")].message',
            "Why it failed, if it did.",
        ),
    ]
    version["selectableFields"] = [{"jsonPath": ".status.phase"}]
    version["subresources"]["scale"] = {
        "specReplicasPath": ".spec.workers.parallelism",
        "statusReplicasPath": ".status.activeWorkers",
        "labelSelectorPath": ".status.selector",
    }
    return _definition("StreamRequest", "streamrequests", ["sr"], version)


def _dataset() -> dict[str, Any]:
    version = _version(Dataset, DatasetStatus)
    version["additionalPrinterColumns"] = [
        _column("Reader", "string", ".spec.reader", "How the files are read."),
        _column("Description", "string", ".spec.description", "For people."),
        _column("Age", "date", ".metadata.creationTimestamp", "Time since it was published."),
        _detail("Image", "string", ".spec.image", "Container image of the reader."),
    ]
    # Not "ds": that is what kubectl calls DaemonSets.
    return _definition("Dataset", "datasets", ["lds"], version)


def _definition(kind: str, plural: str, short: list[str], version: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{API_GROUP}"},
        "spec": {
            "group": API_GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": short,
                "categories": ["lclstream"],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _version(model: type[BaseModel], status: type[BaseModel]) -> dict[str, Any]:
    spec = model.model_fields["spec"].annotation
    assert isinstance(spec, type)  # noqa: S101 - a fact about the models, not about any input
    assert issubclass(spec, BaseModel)  # noqa: S101
    schema = {
        "description": _text(model.__doc__ or ""),
        "type": "object",
        "required": ["spec"],
        "properties": {
            **_TYPE_META,
            "spec": structural(spec),
            "status": structural(status, defaults=False),
        },
        "x-kubernetes-validations": [rule.as_schema() for rule in ROOT_RULES[model.__name__]],
    }
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }


def _column(name: str, kind: str, path: str, description: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path, "description": description}


def _detail(name: str, kind: str, path: str, description: str) -> dict[str, Any]:
    return {**_column(name, kind, path, description), "priority": 1}


class _Builder:
    """Turns pydantic's JSON schema into a structural one."""

    def __init__(self, definitions: Mapping[str, Schema], *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults
        self._models = {
            m.__name__: m for m in _descendants(Model) if m.__module__.startswith("lclstream.spec")
        }

    def model(self, name: str, schema: Schema) -> Schema:
        """The schema of a model, with its rules."""
        out: Schema = {"description": _text(schema.get("description", "")), "type": "object"}
        model = self._models[name]
        if required := schema.get("required"):
            out["required"] = required
        if schema.get("properties"):
            out["properties"] = {
                key: self._property(model, key, value) for key, value in schema["properties"].items()
            }
        rules = [rule.as_schema() for rule in OBJECT_RULES.get(name, ())]
        if issubclass(model, OneOf):
            rules.insert(0, one_of_rule(model).as_schema())
        if rules:
            out["x-kubernetes-validations"] = rules
        return out

    def _property(self, model: type[Model], key: str, schema: Schema) -> Schema:
        out = self._value(schema)
        if schema.get("description"):
            out = (
                {"description": _text(schema["description"])}
                | out
                | {"description": _text(schema["description"])}
            )
        if out.get("type") == "array":
            list_key = _LIST_KEYS.get((model.__name__, key))
            out["x-kubernetes-list-type"] = "map" if list_key else "atomic"
            if list_key:
                out["x-kubernetes-list-map-keys"] = [list_key]
        if rules := OBJECT_RULES.get(f"{model.__name__}.{key}"):
            out["x-kubernetes-validations"] = [rule.as_schema() for rule in rules]
        default = _default(model, key) if self._defaults else None
        if default is not None and (default != {} or _has_defaults(out)):
            out["default"] = default
        return out

    def _value(self, schema: Schema) -> Schema:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self.model(name, self._definitions[name])
        if "anyOf" in schema:
            return self._optional(schema)
        if schema.get("type") == "object":
            return self._map(schema)
        out = {key: schema[key] for key in _KEPT if key in schema}
        if "items" in out:
            out["items"] = self._value(out["items"])
        if schema.get("type") in ("integer", "number"):
            out |= _bounds(schema)
        return out

    def _optional(self, schema: Schema) -> Schema:
        """Of a union with null the rest; any other union can't be typed and is left to the operator."""
        rest = [member for member in schema["anyOf"] if member.get("type") != "null"]
        if len(rest) == 1:
            return self._value(rest[0])
        return {"x-kubernetes-preserve-unknown-fields": True}

    def _map(self, schema: Schema) -> Schema:
        out: Schema = {"type": "object"}
        if "maxProperties" in schema:
            out["maxProperties"] = schema["maxProperties"]
        if patterns := schema.get("patternProperties"):
            ((pattern, values),) = patterns.items()
            out["additionalProperties"] = self._value(values)
            out["x-kubernetes-validations"] = [rule.as_schema() for rule in MAP_KEYS[pattern]]
        elif isinstance(schema.get("additionalProperties"), dict):
            out["additionalProperties"] = self._value(schema["additionalProperties"])
        else:
            out["x-kubernetes-preserve-unknown-fields"] = True
        return out


def _bounds(schema: Schema) -> Schema:
    """Bounds and format of a number, as OpenAPI 3.0 has them: ``exclusiveMinimum`` is a boolean there."""
    out: Schema = {"format": "double"}
    step = 0
    if schema["type"] == "integer":
        step = 1
        out["format"] = "int32" if schema.get("maximum", _INT32 + 1) <= _INT32 else "int64"
    if "exclusiveMinimum" in schema:
        out["minimum"] = schema["exclusiveMinimum"] + step
        if not step:
            out["exclusiveMinimum"] = True
    return out


def _default(model: type[Model], key: str) -> Any:
    """The default of a property as JSON; of a model only what its own defaults don't say already."""
    field = next(f for name, f in model.model_fields.items() if key in (f.alias, name))
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)
    if value is None or value is PydanticUndefined or value in ("", [], {}):
        return None
    return value


def _has_defaults(schema: Schema) -> bool:
    return any("default" in value for value in schema.get("properties", {}).values())


def _text(docstring: str) -> str:
    """A docstring with its lines joined; paragraphs stay apart."""
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).replace("``", "`")


def _descendants(model: type[Model]) -> list[type[Model]]:
    direct = model.__subclasses__()
    return direct + [below for child in direct for below in _descendants(child)]
