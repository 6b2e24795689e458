"""A failing test prints what one needs to know about its namespace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Cluster

# A pod that starts, says something and breaks; the test then fails.
FAILING_TEST = """
from harness import Namespace, pod

COMMAND = ["python3", "-c", "import sys; print('about to break'); sys.exit(3)"]

def test_that_fails(namespace: Namespace) -> None:
    namespace.apply(pod("broken", namespace.image, COMMAND))
    namespace.wait("pod/broken", "jsonpath={.status.phase}=Failed")
    assert False, "on purpose"
"""


def test_a_failing_test_prints_events_conditions_and_logs(cluster: Cluster, tmp_path: Path) -> None:
    here = Path(__file__).parent
    (tmp_path / "test_that_fails.py").write_text(FAILING_TEST)
    env = {**os.environ, "KUBECONFIG": cluster.kubeconfig, "PYTHONPATH": str(here)}
    env.pop("PYTEST_XDIST_WORKER", None)
    options = ("-p", "conftest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path))
    argv = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    done = subprocess.run(argv, env=env, cwd=tmp_path, text=True, capture_output=True, check=False)

    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    report = done.stdout[done.stdout.index("- namespace that-fails-") :]
    assert "Pulled" in report
    assert "Pod/broken Ready=False PodFailed" in report
    assert "about to break" in report
