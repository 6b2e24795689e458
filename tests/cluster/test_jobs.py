"""Indexed Jobs, the kind that producers run as."""

from __future__ import annotations

from harness import Namespace, pod_spec

SHARDS = 3


def test_an_indexed_job_completes_every_index(namespace: Namespace) -> None:
    script = "import os; print('shard', os.environ['JOB_COMPLETION_INDEX'])"
    template = {
        "spec": {
            **pod_spec(namespace.image, ["python3", "-c", script]),
            "restartPolicy": "Never",
        }
    }
    namespace.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "shards"},
            "spec": {
                "completionMode": "Indexed",
                "completions": SHARDS,
                "parallelism": SHARDS,
                "template": template,
            },
        }
    )
    namespace.wait("job/shards", "condition=Complete")

    assert namespace.get("batch/v1", "Job", "shards")["status"]["completedIndexes"] == "0-2"
    for index in range(SHARDS):
        selector = f"batch.kubernetes.io/job-completion-index={index}"
        assert namespace.kubectl("logs", "-l", selector) == f"shard {index}\n"
