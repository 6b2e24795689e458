"""What a failed test prints about its namespace: events, conditions and pod logs."""

from __future__ import annotations

import json

from harness import Namespace

LOG_LINES = "50"


def describe(namespace: Namespace) -> str:
    """Everything worth reading; a part that cannot be had says why instead."""
    parts = {
        "events": _events(namespace),
        "conditions": _conditions(namespace),
        "pods": _kubectl(namespace, "get", "pods", "-o", "wide"),
        "logs": _logs(namespace),
    }
    return "\n".join(f"--- {title}\n{text.rstrip()}" for title, text in parts.items())


def _kubectl(namespace: Namespace, *words: str) -> str:
    done = namespace.cluster.run(
        "kubectl", "--namespace", namespace.name, "--request-timeout=20s", *words, check=False
    )
    return done.stdout if done.returncode == 0 else done.stderr


def _events(namespace: Namespace) -> str:
    columns = "TYPE:.type,REASON:.reason,KIND:.involvedObject.kind,OBJECT:.involvedObject.name"
    # fmt: off
    return _kubectl(namespace, "get", "events", "--sort-by=.metadata.creationTimestamp",
                    "-o", f"custom-columns={columns},MESSAGE:.message")
    # fmt: on


def _conditions(namespace: Namespace) -> str:
    """The conditions of every object in the namespace, whatever its kind."""
    words = ("api-resources", "--namespaced", "--verbs=list", "--output=name")
    kinds = _kubectl(namespace, *words).split()
    wanted = ",".join(kind for kind in kinds if not kind.startswith(("events", "secrets")))
    text = _kubectl(namespace, "get", wanted, "--ignore-not-found", "-o", "json")
    try:
        items = json.loads(text or "{}").get("items", [])
    except ValueError:
        return text
    lines = []
    for item in items:
        name = f"{item['kind']}/{item['metadata']['name']}"
        for one in item.get("status", {}).get("conditions", []):
            why = f"{one.get('reason', '')} {one.get('message', '')}"
            lines.append(f"{name} {one['type']}={one['status']} {why}".rstrip())
    return "\n".join(lines)


def _logs(namespace: Namespace) -> str:
    options = ("--all-containers", "--prefix", f"--tail={LOG_LINES}", "--ignore-errors")
    names = _kubectl(namespace, "get", "pods", "-o", "name").split()
    texts = []
    for name in names:
        texts.append(_kubectl(namespace, "logs", name, *options))
        previous = _kubectl(namespace, "logs", name, *options, "--previous")
        if "not found" not in previous:
            texts.append(f"before the restart:\n{previous}")
    return "\n".join(texts)
