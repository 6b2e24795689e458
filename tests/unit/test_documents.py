"""Requests in files: what is read, and that every request we show people is a good one."""

import re
from pathlib import Path

import pytest
import yaml

from lclstream.cli.documents import read_request
from lclstream.plan import Site, plan
from lclstream.spec import SpecError

ROOT = Path(__file__).parents[2]
SHOWN = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL))
    if "apiVersion" in block
]


@pytest.mark.parametrize("text", SHOWN)
def test_every_request_in_the_documentation_can_be_planned(text, tmp_path):
    (tmp_path / "request.yaml").write_text(text)
    request, dataset = read_request(tmp_path / "request.yaml")
    assert plan(request, dataset, Site(folder=str(tmp_path))).stream.startswith("default/")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_can_be_planned(path):
    request, dataset = read_request(path)
    assert plan(request, dataset, Site(folder=str(path.parent)))


def test_there_are_requests_in_the_documentation():
    assert len(SHOWN) >= 3


def test_the_dataset_that_is_named_is_taken(tmp_path):
    request = {
        "apiVersion": "lclstream.io/v1alpha1",
        "kind": "StreamRequest",
        "metadata": {"name": "s"},
        "spec": {"source": {"dataset": {"name": "b", "run": "1"}}},
    }
    datasets = [
        {
            "apiVersion": "lclstream.io/v1alpha1",
            "kind": "Dataset",
            "metadata": {"name": name},
            "spec": {"volume": {"hostPath": {"path": "/d"}}, "runs": [{"name": "1", "files": ["x.h5"]}]},
        }
        for name in "ab"
    ]
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump_all([*datasets, request]))
    _, dataset = read_request(path)
    assert dataset is not None
    assert dataset.metadata.name == "b"


def test_two_requests_in_one_file_are_one_too_many(tmp_path):
    text = (ROOT / "examples" / "first-light.yaml").read_text()
    (tmp_path / "two.yaml").write_text(f"{text}\n---\n{text}")
    with pytest.raises(SpecError, match="2 StreamRequests, expected one"):
        read_request(tmp_path / "two.yaml")
