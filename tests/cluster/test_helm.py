"""Helm installs, upgrades and uninstalls a chart."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Namespace

TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  greeting: {{ .Values.greeting | quote }}
"""


def test_helm_installs_a_trivial_chart(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"HELM_{kind}_HOME", str(tmp_path / kind.lower()))
    chart = tmp_path / "trivial"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: trivial\nversion: 0.1.0\n")
    (chart / "values.yaml").write_text("greeting: hello\n")
    (chart / "templates" / "configmap.yaml").write_text(TEMPLATE)

    def helm(*words: str | Path) -> None:
        namespace.cluster.run("helm", "--namespace", namespace.name, *words)

    def greeting() -> str:
        return str(namespace.get("v1", "ConfigMap", "first")["data"]["greeting"])

    helm("install", "first", chart, "--wait")
    assert greeting() == "hello"
    helm("upgrade", "first", chart, "--set", "greeting=good day", "--wait")
    assert greeting() == "good day"
    helm("uninstall", "first", "--wait")
    namespace.wait("configmap/first", "delete")
