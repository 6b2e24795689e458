"""The programs of the cluster: how each is started and how it shows that it is up.

They run as plain processes, in the order of `COMPONENTS`. CoreDNS and cert-manager could be pods;
as processes they need no image, and a test can stop and start them like the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from boot import build, network, process
from boot.command import ClusterError, run
from boot.layout import (
    API_PORT,
    CLUSTER_DOMAIN,
    HERE,
    HOST_API,
    NODE_IP,
    NODE_NAME,
    SERVICE_CIDR,
    Layout,
)

START_TIMEOUT = 120
ETCD = "http://127.0.0.1:2379"

Argv = list[str | Path]


@dataclass(frozen=True)
class Component:
    """One program.

    `health` is a URL, seen from where the program runs; without one, started means up.
    `arguments` follow the built program of that name, unless `program` names another.
    """

    name: str
    arguments: Callable[[Layout], Argv]
    health: str = ""
    program: str = ""
    in_namespace: bool = True


def _etcd(layout: Layout) -> Argv:
    return [
        "--name=default",
        f"--data-dir={layout.state}/etcd",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        # The data lives no longer than the cluster: nothing to gain from waiting for the disk.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _kube_apiserver(layout: Layout) -> Argv:
    pki = layout.pki
    return [
        f"--etcd-servers={ETCD}",
        f"--advertise-address={NODE_IP}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--tls-cert-file={pki}/kube-apiserver.crt",
        f"--tls-private-key-file={pki}/kube-apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/kubelet-client.crt",
        f"--kubelet-client-key={pki}/kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        f"--service-account-key-file={pki}/service-accounts.key",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
    ]


def _kube_controller_manager(layout: Layout) -> Argv:
    return [
        f"--kubeconfig={layout.config}/kube-controller-manager.kubeconfig",
        f"--service-account-private-key-file={layout.pki}/service-accounts.key",
        f"--root-ca-file={layout.pki}/ca.crt",
        f"--cluster-signing-cert-file={layout.pki}/ca.crt",
        f"--cluster-signing-key-file={layout.pki}/ca.key",
        "--use-service-account-credentials",
        "--leader-elect=false",
    ]


def _kube_scheduler(layout: Layout) -> Argv:
    return [
        f"--kubeconfig={layout.config}/kube-scheduler.kubeconfig",
        "--leader-elect=false",
    ]


def _containerd(layout: Layout) -> Argv:
    return [f"--config={layout.config}/containerd.toml"]


def _kubelet(layout: Layout) -> Argv:
    return [
        f"--config={layout.config}/kubelet.json",
        f"--kubeconfig={layout.config}/kubelet.kubeconfig",
        f"--root-dir={layout.state}/kubelet",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_IP}",
        f"--containerd={layout.containerd_socket}",
    ]


def _kube_proxy(layout: Layout) -> Argv:
    return [f"--config={layout.config}/kube-proxy.json"]


def _coredns(layout: Layout) -> Argv:
    return [f"-conf={layout.config}/Corefile"]


def _cert_manager(layout: Layout) -> Argv:
    return [f"--kubeconfig={layout.config}/cert-manager.kubeconfig"]


def _forward(layout: Layout) -> Argv:
    # fmt: off
    return ["-m", "boot.forward", layout.netns,
            f"{HOST_API[0]}:{HOST_API[1]}", f"{NODE_IP}:{API_PORT}"]
    # fmt: on


COMPONENTS = (
    Component("etcd", _etcd),
    Component("kube-apiserver", _kube_apiserver, f"https://{NODE_IP}:{API_PORT}/readyz"),
    Component(
        "forward",
        _forward,
        f"https://{HOST_API[0]}:{HOST_API[1]}/readyz",
        program=sys.executable,
        in_namespace=False,
    ),
    Component("kube-controller-manager", _kube_controller_manager, "https://127.0.0.1:10257/healthz"),
    Component("kube-scheduler", _kube_scheduler, "https://127.0.0.1:10259/healthz"),
    Component("containerd", _containerd, program="containerd"),
    Component("kubelet", _kubelet, "http://127.0.0.1:10248/healthz"),
    Component("kube-proxy", _kube_proxy, f"http://{NODE_IP}:10256/healthz"),
    Component("coredns", _coredns, "http://127.0.0.1:8181/ready"),
    Component("cert-manager", _cert_manager),
)


def component(name: str) -> Component:
    for candidate in COMPONENTS:
        if candidate.name == name:
            return candidate
    known = ", ".join(candidate.name for candidate in COMPONENTS)
    raise ClusterError(f"component: {name} is not one of: {known}")


def start(layout: Layout, one: Component) -> None:
    """Start a component unless it runs; does not wait for it."""
    if process.find(layout, one.name):
        return
    program = one.program or build.programs(layout) / "bin" / one.name
    argv = [*_where(layout, one), program, *one.arguments(layout)]
    process.start(layout, one.name, argv, {"PYTHONPATH": str(HERE)})


def wait(layout: Layout, one: Component) -> None:
    """Wait until a component that was started is up."""
    log = process.log_file(layout, one.name)
    running = process.find(layout, one.name)
    if running and one.health:
        probe = [*_where(layout, one), sys.executable, "-m", "boot.probe"]
        try:
            run([*probe, str(running.pid), one.health, str(START_TIMEOUT)], cwd=HERE)
        except ClusterError as error:
            raise ClusterError(f"{one.name}: {str(error).splitlines()[-1]}; see {log}") from error
    if not process.find(layout, one.name):
        raise ClusterError(f"{one.name}: ended; see {log}")


def _where(layout: Layout, one: Component) -> list[str]:
    return network.inside(layout) if one.in_namespace else []


def stop(layout: Layout, one: Component) -> None:
    process.stop(layout, one.name)
