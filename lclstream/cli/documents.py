"""Reading the file of a request: one StreamRequest, and the Datasets it names beside it."""

from pathlib import Path
from typing import Any

import yaml

from lclstream.spec import API_VERSION, Dataset, SpecError, StreamRequest, parse


def read_request(path: Path) -> tuple[StreamRequest, Dataset | None]:
    """Read a YAML or JSON file with a StreamRequest and, if it names one, its Dataset.

    Raises:
        SpecError: the file can't be read, or something in it is wrong.
    """
    requests: list[StreamRequest] = []
    datasets: dict[str, Dataset] = {}
    for index, document in enumerate(_documents(path)):
        match _kind(document, path, index):
            case "StreamRequest":
                requests.append(parse(StreamRequest, document))
            case "Dataset":
                dataset = parse(Dataset, document)
                datasets[dataset.metadata.name] = dataset
    if len(requests) != 1:
        raise SpecError(f"{path}: {len(requests)} StreamRequests, expected one")
    reference = requests[0].spec.source.dataset
    return requests[0], datasets.get(reference.name) if reference else None


def _documents(path: Path) -> list[Any]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    try:
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def _kind(document: Any, path: Path, index: int) -> str:
    if not isinstance(document, dict):
        raise SpecError(f"{path}: document {index + 1} is not a mapping, expected a StreamRequest")
    if document.get("apiVersion") != API_VERSION:
        raise SpecError(f"apiVersion: {document.get('apiVersion')!r} is not {API_VERSION!r}")
    kind = document.get("kind")
    if kind not in ("StreamRequest", "Dataset"):
        raise SpecError(f"kind: {kind!r} is not one of 'StreamRequest' or 'Dataset'")
    return str(kind)
