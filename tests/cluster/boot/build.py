"""Gets the programs: Debian packages by apt, everything else compiled from its Go module.

Built programs go to a cache outside the checkout, in a folder named after everything that goes
into them. Each is put in place by a rename, so an interrupted run leaves only whole programs
behind and the next run builds the rest.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from boot.command import ClusterError, run, step
from boot.layout import HERE, Layout

DEBIAN_PACKAGES = (
    "containerd",
    "containernetworking-plugins",
    "debootstrap",
    "iproute2",
    "iptables",
    "nftables",
    "openssl",
    "procps",
    "runc",
)

# kube-apiserver first: it compiles most of what the others share.
GO_PACKAGES = {
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "etcd": "go.etcd.io/etcd/server/v3",
    "coredns": "./go/coredns",
    "cert-manager": "./go/cert-manager",
    "helm": "helm.sh/helm/v3/cmd/helm",
}

GO_BUILD = ("go", "build", "-trimpath", "-buildvcs=false")

CERT_MANAGER_MODULE = "github.com/cert-manager/cert-manager"


def kubernetes_version(go_mod: str) -> str:
    """The release of Kubernetes that a go.mod requires, such as "v1.34.4"."""
    match = re.search(r"^\s*k8s\.io/kubernetes (v[0-9.]+)", go_mod, re.MULTILINE)
    if not match:
        raise ClusterError("go.mod: no line requires k8s.io/kubernetes")
    return match[1]


def link_flags(version: str) -> str:
    """Linker flags: no symbol tables, and the version that Kubernetes' programs report.

    Without them they say v0.0.0, and kubelet and API server distrust each other's version.
    """
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "archive",
    }
    flags = ["-s", "-w"]
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        flags += [f"-X {package}.{name}={value}" for name, value in values.items()]
    return " ".join(flags)


def go_sources() -> list[Path]:
    return [HERE / "go.mod", HERE / "go.sum", *sorted((HERE / "go").rglob("*.go"))]


def version_hash(contents: Sequence[bytes]) -> str:
    """A short name for one exact set of inputs."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:12]


def programs(layout: Layout) -> Path:
    """The folder of the built programs; it holds `bin` and `crds`."""
    contents = [path.read_bytes() for path in go_sources()]
    return layout.cache / version_hash([*contents, " ".join(GO_BUILD).encode()])


def install_packages() -> None:
    """Install the Debian packages that are missing."""
    missing = [name for name in DEBIAN_PACKAGES if not _installed(name)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise ClusterError(f"needs root to install Debian packages: {' '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"apt: {' '.join(missing)}"):
        run(["apt-get", "update", "-qq"], env=env)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=env)


def build_programs(layout: Layout) -> None:
    """Compile what is not in the cache yet, and fetch cert-manager's CRDs."""
    target = programs(layout)
    bin_dir = target / "bin"
    missing = [name for name in GO_PACKAGES if not (bin_dir / name).exists()]
    crds = target / "crds"
    if not missing and crds.exists():
        return
    if not shutil.which("go"):
        raise ClusterError("go: command not found; the cluster's programs are built with Go")
    bin_dir.mkdir(parents=True, exist_ok=True)
    flags = link_flags(kubernetes_version((HERE / "go.mod").read_text()))
    env = {**os.environ, "CGO_ENABLED": "0"}
    for name in missing:
        with step(f"build {name}"):
            partial = bin_dir / f".{name}.partial"
            options = ["-ldflags", flags, "-o", str(partial)]
            run([*GO_BUILD, *options, GO_PACKAGES[name]], cwd=HERE, env=env)
            partial.replace(bin_dir / name)
    if not crds.exists():
        _copy_crds(crds)


def _copy_crds(target: Path) -> None:
    module = run(["go", "list", "-m", "-f", "{{.Dir}}", CERT_MANAGER_MODULE], cwd=HERE).strip()
    partial = target.with_name(".crds.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for source in sorted(Path(module, "deploy", "crds").glob("*.yaml")):
        # Not shutil.copy: files of the module cache are read-only.
        (partial / source.name).write_bytes(source.read_bytes())
    partial.replace(target)


def _installed(package: str) -> bool:
    query = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return query.stdout == "installed"
