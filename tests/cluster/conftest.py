"""Fixtures for tests that need a cluster, and the report when such a test fails.

$KUBECONFIG decides which cluster. If it is not set, the first test that needs one boots the
cluster of this repository, and the last run that uses it takes it down. A cluster that somebody
booted by `cluster.py up` stays up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO

import pytest

# The modules beside this file, under whichever import mode pytest runs.
sys.path.insert(0, str(Path(__file__).parent))

from boot import lifecycle
from boot.layout import default_layout
from diagnosis import describe
from harness import Cluster, Namespace, unique_name

TEARDOWN_TEST = "test_teardown.py"
SHARE = pytest.StashKey[IO[str]]()
NAMESPACES = pytest.StashKey[list[Namespace]]()


def pytest_configure(config: pytest.Config) -> None:
    # Parallel workers are part of the run that started them.
    if not os.environ.get("KUBECONFIG") and not hasattr(config, "workerinput"):
        config.stash[SHARE] = lifecycle.join(default_layout())


def pytest_unconfigure(config: pytest.Config) -> None:
    if SHARE in config.stash:
        lifecycle.leave(default_layout(), config.stash[SHARE])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the teardown test unless it is named: it boots a cluster of its own."""
    if collection_path.name != TEARDOWN_TEST:
        return None
    return None if any(TEARDOWN_TEST in argument for argument in config.args) else True


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster under test."""
    layout = default_layout()
    given = os.environ.get("KUBECONFIG")
    if given:
        return Cluster.at(given, layout)
    with lifecycle.exclusive(layout):
        lifecycle.up(layout)
    return Cluster.at(str(layout.admin_kubeconfig), layout)


@pytest.fixture
def own_cluster(cluster: Cluster) -> Cluster:
    """The cluster of this repository, for what only makes sense there."""
    if not cluster.layout:
        pytest.skip("tests the cluster that this repository boots; $KUBECONFIG names another")
    return cluster


@pytest.fixture
def new_namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Callable[..., Namespace]]:
    """Makes namespaces: new_namespace(labels={...})."""
    made = request.node.stash.setdefault(NAMESPACES, [])

    def make(labels: dict[str, str] | None = None) -> Namespace:
        namespace = Namespace(cluster, unique_name(request.node.name), labels or {})
        made.append(namespace)
        namespace.create()
        return namespace

    yield make
    for namespace in made:
        namespace.delete()


@pytest.fixture
def namespace(new_namespace: Callable[..., Namespace]) -> Namespace:
    """A fresh namespace."""
    return new_namespace()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and report.when != "teardown":
        for namespace in item.stash.get(NAMESPACES, []):
            report.sections.append((f"namespace {namespace.name}", describe(namespace)))
    return report
