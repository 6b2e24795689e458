"""Makes container images without a registry or a container engine.

The base image is Debian with Python, unpacked by debootstrap from the machine's own Debian mirror
and packed as a docker-archive, the one format that containerd, podman and buildah all read.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

from boot.build import version_hash
from boot.command import ClusterError, run, step
from boot.layout import BASE_IMAGE, Layout

SUITE = "bookworm"
INCLUDE = "python3"
# Nothing reads these in a container.
LEAVE_OUT = (
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "var/cache",
    "var/lib/apt/lists",
    "var/log",
)


def base_archive(layout: Layout) -> Path:
    """Where the base image's archive lies in the cache."""
    recipe = json.dumps([SUITE, INCLUDE, LEAVE_OUT, BASE_IMAGE]).encode()
    return layout.cache / f"base-{version_hash([recipe])}.tar"


def build_base(layout: Layout) -> None:
    """Build the base image unless the cache has it."""
    archive = base_archive(layout)
    if archive.exists():
        return
    layout.cache.mkdir(parents=True, exist_ok=True)
    root = layout.cache / ".base-root"
    layer = layout.cache / ".base-layer.tar"
    partial = layout.cache / ".base.partial"
    shutil.rmtree(root, ignore_errors=True)
    with step(f"build the base image {BASE_IMAGE}"):
        # fmt: off
        run(["debootstrap", "--variant=minbase", f"--include={INCLUDE}", SUITE, root,
             debian_mirror()])
        # fmt: on
        pack_layer(root, layer)
        write_archive(partial, layer, BASE_IMAGE, {"Cmd": ["sleep", "infinity"]})
    partial.replace(archive)
    layer.unlink()
    shutil.rmtree(root)


def debian_mirror() -> str:
    """The address from which this machine gets its Debian packages."""
    # fmt: off
    targets = run(["apt-get", "indextargets", "--format", "$(REPO_URI)",
                   f"Codename: {SUITE}", "Component: main"])
    # fmt: on
    for uri in targets.splitlines():
        return uri
    raise ClusterError(f"apt: no source for Debian {SUITE} to make the base image from")


def pack_layer(root: Path, layer: Path) -> None:
    """Pack a root file system, without device nodes and what no container reads."""

    def keep(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        inside = member.name.removeprefix("./")
        if member.isdev() or inside.startswith(tuple(f"{path}/" for path in LEAVE_OUT)):
            return None
        return member

    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(root, arcname=".", filter=keep)


def write_archive(archive: Path, layer: Path, name: str, settings: Mapping[str, list[str]]) -> None:
    """Write an image of one layer as a docker-archive.

    `settings` are fields of the image configuration's `config`, such as Cmd or Entrypoint.
    """
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = {
        "architecture": run(["dpkg", "--print-architecture"]).strip(),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"], **settings},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    config_bytes = json.dumps(config, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    layer_name = f"{digest}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]
    with tarfile.open(archive, "w") as tar:
        tar.add(layer, arcname=layer_name)
        _add_bytes(tar, config_name, config_bytes)
        _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())


def import_archive(layout: Layout, archive: Path) -> None:
    """Hand an image archive (docker or OCI) to the cluster's containerd."""
    if not archive.exists():
        raise ClusterError(f"{archive}: no such file")
    _ctr(layout, "images", "import", str(archive))


def images(layout: Layout) -> list[str]:
    """The names of the images that the cluster's containerd has."""
    return _ctr(layout, "images", "list", "--quiet").split()


def _ctr(layout: Layout, *words: str) -> str:
    # fmt: off
    return run(["ctr", "--address", layout.containerd_socket, "--namespace", "k8s.io",
                "--connect-timeout", "30s", *words])
    # fmt: on


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
