"""Up and down.

`up` only does what is not done yet, so it may be run on a running cluster, on half a one after an
interruption, or after a component has died. `down` works from what it finds on the machine, so it
removes half a cluster as well.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import IO

from boot import build, components, config, image, machine, network, pki, process
from boot.command import ClusterError, run, say, step
from boot.layout import BASE_IMAGE, NODE_NAME, Layout

NODE_TIMEOUT = "120s"


@contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Let one builder or boot at a time work; the others wait for it and find the work done."""
    layout.cache.mkdir(parents=True, exist_ok=True)
    with (layout.cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def join(layout: Layout) -> IO[str]:
    """Begin to use the cluster for tests, beside others that may do so too."""
    layout.cache.mkdir(parents=True, exist_ok=True)
    share = _users(layout).open("w")
    fcntl.flock(share, fcntl.LOCK_SH)
    return share


def leave(layout: Layout, share: IO[str]) -> None:
    """End using it. The last one out takes down a cluster that tests booted."""
    share.close()
    with exclusive(layout), _users(layout).open("w") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if _throwaway(layout).exists():
            down(layout)


def fetch(layout: Layout) -> None:
    """Install and build everything that is missing. This is the long part, the first time."""
    build.install_packages()
    image.build_base(layout)
    build.build_programs(layout)


def is_up(layout: Layout) -> bool:
    return network.exists(layout) and all(
        process.find(layout, component.name) for component in components.COMPONENTS
    )


def up(layout: Layout, *, keep: bool = False) -> None:
    """Boot what does not run yet. Only a cluster that somebody wants to keep outlives the tests."""
    fetch(layout)
    _remove_outdated(layout)
    if keep:
        _throwaway(layout).unlink(missing_ok=True)
    elif not layout.state.exists():
        layout.state.mkdir(parents=True)
        _throwaway(layout).touch()
    if is_up(layout):
        say(f"  already up since {_booted(layout)}")
        return
    with step("prepare the machine"):
        for directory in (layout.run, layout.config):
            directory.mkdir(parents=True, exist_ok=True)
        machine.note_before(layout)
        machine.create_cgroups(layout)
        network.create(layout)
        pki.create(layout.pki)
        for name, text in config.files(layout).items():
            path = layout.state / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # kube-proxy ends when its configuration file is written, even with the same content.
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        _recipe_file(layout).write_text(recipe(layout))
    for name in ("etcd", "kube-apiserver", "forward"):
        _start(layout, name)
    with step("apply cert-manager's CRDs and CoreDNS' rights"):
        kubectl(layout, "apply", "-f", layout.config / "coredns-rbac.json")
        kubectl(layout, "apply", "--server-side", "-f", build.programs(layout) / "crds")
    for name in ("kube-controller-manager", "kube-scheduler", "containerd"):
        _start(layout, name)
    _import_base(layout)
    for name in ("kubelet", "kube-proxy", "coredns", "cert-manager"):
        _start(layout, name)
    with step("wait until the node is Ready"):
        node = f"node/{NODE_NAME}"
        kubectl(layout, "wait", "--for=create", node, f"--timeout={NODE_TIMEOUT}")
        kubectl(layout, "wait", "--for=condition=Ready", node, f"--timeout={NODE_TIMEOUT}")


def down(layout: Layout) -> None:
    """Remove the cluster and all its traces; the cache stays."""
    if not layout.state.exists():
        say("  already down")
        return
    with step("stop the processes"):
        # The kubelet first, or it would start again what is stopped after it.
        order = ("kubelet", *(one.name for one in reversed(components.COMPONENTS)))
        for name in order:
            process.stop(layout, name)
        sockets = _shim_sockets(layout)
        while remaining := process.leftovers(layout):
            process.end(remaining, SIGKILL)
    with step("remove mounts, control groups, sysctl changes and files"):
        for point in machine.mounts_under(layout.state):
            run(["umount", point])
        machine.remove_cgroups(layout)
        for socket in sockets:
            socket.unlink(missing_ok=True)
        machine.restore_before(layout)
        shutil.rmtree(layout.state)


def recipe(layout: Layout) -> str:
    """Names everything that a cluster is made of: programs, image, configuration, arguments."""
    parts = [
        str(build.programs(layout)),
        str(image.base_archive(layout)),
        *config.files(layout).values(),
        *(str(word) for one in components.COMPONENTS for word in one.arguments(layout)),
    ]
    return build.version_hash([part.encode() for part in parts])


def status(layout: Layout) -> str:
    """One line for each component, and the state of the node."""
    lines = []
    for one in components.COMPONENTS:
        found = process.find(layout, one.name)
        lines.append(f"{one.name:<24} {f'running, pid {found.pid}' if found else 'stopped'}")
    try:
        lines.append(kubectl(layout, "get", "nodes", "-o", "wide", "--request-timeout=10s").rstrip())
    except ClusterError as error:
        lines.append(f"node: unknown: {str(error).splitlines()[-1]}")
    return "\n".join(lines)


def kubectl(layout: Layout, *words: str | Path) -> str:
    program = build.programs(layout) / "bin" / "kubectl"
    return run([program, "--kubeconfig", layout.admin_kubeconfig, *words])


def _start(layout: Layout, name: str) -> None:
    one = components.component(name)
    with step(f"start {name}"):
        components.start(layout, one)
        components.wait(layout, one)


def _import_base(layout: Layout) -> None:
    if BASE_IMAGE not in image.images(layout):
        with step(f"import {BASE_IMAGE}"):
            image.import_archive(layout, image.base_archive(layout))


def _users(layout: Layout) -> Path:
    return layout.cache / "users"


def _throwaway(layout: Layout) -> Path:
    return layout.state / "throwaway"


def _recipe_file(layout: Layout) -> Path:
    return layout.state / "recipe"


def _booted(layout: Layout) -> str:
    created = "jsonpath={.metadata.creationTimestamp}"
    return kubectl(layout, "get", "node", NODE_NAME, "-o", created)


def _remove_outdated(layout: Layout) -> None:
    """A cluster that was booted by another recipe makes way for the wanted one."""
    booted_by = _recipe_file(layout)
    if booted_by.exists() and booted_by.read_text() != recipe(layout):
        say("  the cluster was booted from other versions or configuration: replacing it")
        down(layout)


def _shim_sockets(layout: Layout) -> list[Path]:
    """The sockets of containerd's shims: they lie outside the state directory, by its design."""
    addresses = Path(layout.state, "containerd", "state").glob("*/*/*/address")
    return [Path(address.read_text().removeprefix("unix://")) for address in addresses]
