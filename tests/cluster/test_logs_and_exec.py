"""The API server reaches the kubelet: logs and exec."""

from __future__ import annotations

from harness import Namespace, pod

SCRIPT = "import time; print('hello from the pod', flush=True); time.sleep(3600)"


def test_logs_and_exec_reach_a_running_pod(namespace: Namespace) -> None:
    namespace.apply(pod("talker", namespace.image, ["python3", "-c", SCRIPT]))
    namespace.wait("pod/talker", "condition=Ready")

    # Following the log until its first line waits for that line; --limit-bytes ends it there.
    line = "hello from the pod\n"
    options = ("--follow", f"--limit-bytes={len(line)}", "--pod-running-timeout=60s")
    assert namespace.kubectl("logs", "talker", *options) == line

    shout = "import sys; print(sys.stdin.read().upper()); sys.exit(7)"
    command = ("exec", "--stdin", "talker", "--", "python3", "-c", shout)
    done = namespace.cluster.run(
        "kubectl", "--namespace", namespace.name, *command, stdin="quiet", check=False
    )
    assert (done.stdout, done.returncode) == ("QUIET\n", 7)
