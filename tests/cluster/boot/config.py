"""The text of every configuration file. Pure: paths in, text out.

Kubernetes reads JSON wherever it reads YAML, so the standard library is enough to write it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from boot.layout import (
    API_PORT,
    BASE_IMAGE,
    BRIDGE,
    CLUSTER_DOMAIN,
    HOST_API,
    NODE_IP,
    NODE_NAME,
    POD_CIDR,
    Layout,
)

CNI_BIN = "/usr/lib/cni"


def kubeconfig(layout: Layout, user: str, server: str) -> str:
    """A kubeconfig for one of the identities in `pki.IDENTITIES`."""
    return _json(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lclstream",
            "clusters": [
                {
                    "name": "lclstream",
                    "cluster": {
                        "server": server,
                        "certificate-authority": f"{layout.pki}/ca.crt",
                    },
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate": f"{layout.pki}/{user}.crt",
                        "client-key": f"{layout.pki}/{user}.key",
                    },
                }
            ],
            "contexts": [{"name": "lclstream", "context": {"cluster": "lclstream", "user": user}}],
        }
    )


def containerd(layout: Layout) -> str:
    """containerd with everything it writes under the state directory.

    AppArmor and lowering OOM scores need rights that a container or small VM often lacks.
    """
    return f"""\
version = 2
root = "{layout.state}/containerd/root"
state = "{layout.state}/containerd/state"
[grpc]
  address = "{layout.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{layout.state}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{BASE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_BIN}"
    conf_dir = "{layout.config}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{layout.state}/containerd/runc"
        SystemdCgroup = false
"""


def cni(layout: Layout) -> str:
    """Pods hang on the bridge; their default route ends there, for nothing leads further."""
    return _json(
        {
            "cniVersion": "1.0.0",
            "name": layout.state.name,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": BRIDGE,
                    "isGateway": True,
                    "isDefaultGateway": True,
                    "hairpinMode": True,
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": POD_CIDR, "gateway": NODE_IP}]],
                        "dataDir": f"{layout.state}/cni",
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
    )


def kubelet(layout: Layout) -> str:
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_IP,
            "readOnlyPort": 0,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{layout.pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{layout.pki}/kubelet.crt",
            "tlsPrivateKeyFile": f"{layout.pki}/kubelet.key",
            "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": layout.cgroup,
            "clusterDNS": [NODE_IP],
            "clusterDomain": CLUSTER_DOMAIN,
            # Nothing of the machine's own resolver: it answers nobody in here.
            "resolvConf": "",
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            # A developer's full disk is no reason to throw pods out, nor to delete the images,
            # which could not be pulled again.
            "evictionHard": {
                "memory.available": "0%",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
                "imagefs.inodesFree": "0%",
            },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            # Renewed Secrets reach mounted volumes within seconds instead of a minute.
            "syncFrequency": "10s",
            "podLogsDir": f"{layout.logs}/pods",
            "volumePluginDir": f"{layout.state}/kubelet/volume-plugins",
        }
    )


def kube_proxy(layout: Layout) -> str:
    return _json(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "bindAddress": NODE_IP,
            "hostnameOverride": NODE_NAME,
            "clusterCIDR": POD_CIDR,
            "clientConnection": {"kubeconfig": f"{layout.config}/kube-proxy.kubeconfig"},
            # 0: leave the machine's connection tracking limits as they are.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }
    )


def corefile(layout: Layout) -> str:
    """Answers for the cluster's own names; all others do not exist, and no query leaves."""
    return f"""\
{CLUSTER_DOMAIN} in-addr.arpa {{
    bind {NODE_IP}
    errors
    ready 127.0.0.1:8181
    kubernetes {{
        kubeconfig {layout.config}/coredns.kubeconfig
        pods insecure
        ttl 5
    }}
    cache 5
}}
. {{
    bind {NODE_IP}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def coredns_rbac() -> str:
    """What CoreDNS may read."""
    return _json(
        {
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRole",
                    "metadata": {"name": "system:coredns"},
                    "rules": [
                        {
                            "apiGroups": [""],
                            "resources": ["services", "pods", "namespaces"],
                            "verbs": ["list", "watch"],
                        },
                        {
                            "apiGroups": ["discovery.k8s.io"],
                            "resources": ["endpointslices"],
                            "verbs": ["list", "watch"],
                        },
                    ],
                },
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": {"name": "system:coredns"},
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io",
                        "kind": "ClusterRole",
                        "name": "system:coredns",
                    },
                    "subjects": [
                        {
                            "apiGroup": "rbac.authorization.k8s.io",
                            "kind": "User",
                            "name": "system:coredns",
                        }
                    ],
                },
            ],
        }
    )


def files(layout: Layout) -> dict[str, str]:
    """Every configuration file: its path under the state directory, and its text."""
    inside = f"https://{NODE_IP}:{API_PORT}"
    outside = f"https://{HOST_API[0]}:{HOST_API[1]}"
    users = (
        "kubelet",
        "kube-proxy",
        "kube-controller-manager",
        "kube-scheduler",
        "coredns",
        "cert-manager",
    )
    return {
        "admin.kubeconfig": kubeconfig(layout, "admin", outside),
        **{f"config/{user}.kubeconfig": kubeconfig(layout, user, inside) for user in users},
        "config/containerd.toml": containerd(layout),
        "config/cni/10-bridge.conflist": cni(layout),
        "config/kubelet.json": kubelet(layout),
        "config/kube-proxy.json": kube_proxy(layout),
        "config/Corefile": corefile(layout),
        "config/coredns-rbac.json": coredns_rbac(),
    }


def _json(document: Mapping[str, object]) -> str:
    return json.dumps(document, indent=2) + "\n"
