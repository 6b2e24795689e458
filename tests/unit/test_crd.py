"""The CustomResourceDefinitions: structural, described, and the same as what lies in crds/."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lclstream.crd import crds, dump, structural
from lclstream.spec import Dataset, FieldSource, OneOf, Source, SpecError, Step, StreamRequest, parse

FOLDER = Path(__file__).parents[2] / "crds"
CRDS = crds()
STREAM = "lclstream.io_streamrequests.yaml"
DATASET = "lclstream.io_datasets.yaml"
MODELS = {STREAM: StreamRequest, DATASET: Dataset}

FORBIDDEN = {
    "$ref", "$defs", "title", "const", "propertyNames", "patternProperties", "uniqueItems", "examples",
    "definitions", "dependencies", "id", "discriminator", "nullable", "anyOf", "oneOf", "allOf", "not",
}  # fmt: skip
FORMATS = {"string": {"date-time"}, "integer": {"int32", "int64"}, "number": {"double"}}

Schema = dict[str, Any]


def root(file: str) -> Schema:
    return CRDS[file]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def at(file: str, path: str) -> Schema:
    schema = root(file)
    for part in path.split("."):
        schema = schema["items"] if part == "[]" else schema["properties"][part]
    return schema


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from walk(below, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from walk(schema[key], f"{path}[]")


def complaints(schema: Schema, path: str) -> Iterator[str]:
    """What of one node breaks the rules for structural schemas in the Kubernetes documentation."""
    for key in FORBIDDEN & schema.keys():
        yield f"{path}: {key}"
    kind, free = schema.get("type"), schema.get("x-kubernetes-preserve-unknown-fields")
    either = schema.get("x-kubernetes-int-or-string")
    if either and kind:
        yield f"{path}: int-or-string with a type"
    if not (kind or free or either):
        yield f"{path}: no type"
    if kind == "array" and "items" not in schema:
        yield f"{path}: array without items"
    if "properties" in schema and "additionalProperties" in schema:
        yield f"{path}: properties and additionalProperties"
    if schema.get("additionalProperties") is False:
        yield f"{path}: additionalProperties false"
    if missing := set(schema.get("required", ())) - schema.get("properties", {}).keys():
        yield f"{path}: requires {missing}, which it does not have"
    if not isinstance(schema.get("exclusiveMinimum", True), bool):
        yield f"{path}: exclusiveMinimum is not a boolean"
    if "format" in schema and schema["format"] not in FORMATS.get(str(kind), ()):
        yield f"{path}: format {schema['format']} of {kind}"
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        if key not in schema["items"]["required"]:
            yield f"{path}: map key {key} is not required"
    if "default" in schema:
        yield from (f"{path}: default {text}" for text in misfits(schema["default"], schema))


def misfits(value: Any, schema: Schema) -> Iterator[str]:
    """In what a default is not valid, or would be pruned."""
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
             "boolean": bool}  # fmt: skip
    if schema.get("type") and not isinstance(value, types[schema["type"]]):
        yield f"{value!r} is not of type {schema['type']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r} is not one of {schema['enum']}"
    if isinstance(value, dict):
        for key, below in value.items():
            if key not in schema["properties"]:
                yield f"{key} would be pruned"
            else:
                yield from misfits(below, schema["properties"][key])
        for key in schema.get("required", ()):
            if key not in value:
                yield f"lacks {key}"


@pytest.mark.parametrize("file", CRDS)
def test_the_files_are_what_the_models_say(file: str) -> None:
    assert (FOLDER / file).read_text() == dump(CRDS[file]), "crds/ is out of date: run `make crds`"


def test_the_folder_holds_nothing_else() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(CRDS)


@pytest.mark.parametrize("file", CRDS)
def test_the_text_is_yaml_of_the_same_object(file: str) -> None:
    assert yaml.safe_load(dump(CRDS[file])) == CRDS[file]


@pytest.mark.parametrize("file", CRDS)
def test_schemas_are_structural(file: str) -> None:
    found = [text for path, schema in walk(root(file)) for text in complaints(schema, path)]
    assert found == []


@pytest.mark.parametrize(
    "broken",
    [
        {"$ref": "#/x", "type": "object"},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "object", "additionalProperties": False},
        {"type": "array"},
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "x-kubernetes-int-or-string": True},
        {"type": "object", "properties": {}, "default": {"a": 1}},
        {"type": "integer", "default": "1"},
        {"description": "typeless"},
    ],
)
def test_the_checker_sees_what_is_not_structural(broken: Schema) -> None:
    assert list(complaints(broken, ""))


@pytest.mark.parametrize("file", CRDS)
def test_every_property_is_described(file: str) -> None:
    bare = [
        f"{path}.{name}"
        for path, schema in walk(root(file))
        for name, below in schema.get("properties", {}).items()
        if not below.get("description") and f"{path}.{name}" != ".metadata"
    ]
    assert bare == []


@pytest.mark.parametrize("file", CRDS)
def test_every_list_says_how_it_merges(file: str) -> None:
    lists = [schema for _, schema in walk(root(file)) if schema.get("type") == "array"]
    assert lists
    assert all("x-kubernetes-list-type" in schema for schema in lists)


@pytest.mark.parametrize("file", CRDS)
def test_every_rule_says_what_was_expected(file: str) -> None:
    rules = [r for _, s in walk(root(file)) for r in s.get("x-kubernetes-validations", ())]
    assert rules
    assert all(r["message"] and "\n" not in r["message"] + r["rule"] for r in rules)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("spec.delivery.mode", {"type": "string", "enum": ["lease", "push"], "default": "lease"}),
        ("spec.delivery.buffers", {"type": "integer", "format": "int32", "minimum": 1, "maximum": 64}),
        ("spec.delivery.memory", {"x-kubernetes-int-or-string": True, "default": "1Gi"}),
        ("spec.steps", {"type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic"}),
        ("spec.fields", {"type": "object", "maxProperties": 256}),
        ("spec.encoding", {"default": {}}),
        ("spec.source.synthetic.rate", {"type": "number", "minimum": 0, "exclusiveMinimum": True}),
        ("spec.source.synthetic.events", {"type": "integer", "format": "int64", "minimum": 1}),
        ("spec.source.synthetic.shape", {"default": [512, 512]}),
        ("spec.source.plugin.with", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
        ("spec.steps.[].bin.reduce", {"enum": ["sum", "mean"], "default": "sum"}),
        ("status.conditions", {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
        ("status.conditions.[].lastTransitionTime", {"type": "string", "format": "date-time"}),
    ],
)
def test_a_property_says(path: str, expected: Schema) -> None:
    assert at(STREAM, path).items() >= expected.items()


def test_what_is_absent_by_default_has_no_default() -> None:
    for path in ("spec.delivery.spill", "spec.workers.parallelism", "spec.fields", "spec.workers.resources"):
        assert "default" not in at(STREAM, path)


def test_a_default_in_a_map_of_fields_is_kept() -> None:
    assert at(STREAM, "spec.fields")["additionalProperties"]["properties"]["onMissing"]["default"] == {
        "fail": {}
    }


def test_a_status_has_no_defaults() -> None:
    for file in CRDS:
        assert not [path for path, schema in walk(at(file, "status")) if "default" in schema]


@pytest.mark.parametrize(
    ("model", "bound"), [(Source, "== 1"), (Step, "== 1"), (FieldSource, "<= 1")], ids=lambda x: str(x)
)
def test_a_union_has_a_rule_over_its_members(model: type[OneOf], bound: str) -> None:
    rule = structural(model)["x-kubernetes-validations"][0]["rule"]
    assert rule.endswith(bound)
    assert rule.count("has(self.") == len(model.members())
    assert all(f"has(self.{name})" not in rule for name in model.common)


@pytest.mark.parametrize(
    "path",
    ["source", "fields", "steps", "encoding", "delivery.mode", "delivery.buffers", "workers.shards"],
)
def test_what_is_fixed_once_started_has_a_transition_rule(path: str) -> None:
    rules = {r.get("fieldPath"): r for r in root(STREAM)["x-kubernetes-validations"]}
    rule = rules[f".spec.{path}"]
    assert f"self.spec.{path} == oldSelf.spec.{path}" in rule["rule"]
    assert rule["reason"] == "FieldValueForbidden"
    at(STREAM, f"spec.{path}")


def test_a_stream_request_scales_by_parallelism() -> None:
    scale = CRDS[STREAM]["spec"]["versions"][0]["subresources"]["scale"]
    assert scale["specReplicasPath"] == ".spec.workers.parallelism"
    for path in scale.values():
        assert at(STREAM, path.removeprefix("."))


@pytest.mark.parametrize("file", CRDS)
def test_printed_columns_exist_and_have_their_type(file: str) -> None:
    for column in CRDS[file]["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = column["jsonPath"].removeprefix(".").replace('[?(@.type=="Failed")]', ".[]")
        if path != "metadata.creationTimestamp":
            assert at(file, path)["type"] == column["type"]


def test_names_people_type() -> None:
    names = CRDS[STREAM]["spec"]["names"]
    assert (names["plural"], names["shortNames"], names["categories"]) == (
        "streamrequests",
        ["sr"],
        ["lclstream"],
    )
    assert "ds" not in CRDS[DATASET]["spec"]["names"]["shortNames"], "that is kubectl's name of DaemonSets"


@pytest.mark.parametrize("file", CRDS)
def test_the_schema_knows_every_field_of_the_model(file: str) -> None:
    spec = MODELS[file].model_json_schema()["$defs"][MODELS[file].__name__.replace("Request", "") + "Spec"]
    assert at(file, "spec")["properties"].keys() == spec["properties"].keys()
    with pytest.raises(SpecError):
        parse(MODELS[file], {"metadata": {"name": "x"}, "spec": {"nope": 1}})
