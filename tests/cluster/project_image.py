"""Makes the image of this project for the test cluster, without a registry or a container engine.

Two layers on the base image: the wheels of what the project depends on, and the project itself, so that a
change of code costs seconds. Both lie outside the checkout, named by a hash of what went into them.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

from boot.command import step
from boot.image import base_archive, build_base, import_archive
from boot.layout import BASE_IMAGE, Layout

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = (
    "lclstream",
    "workers/lclstream_producer",
    "workers/lclstream_buffer",
    "operator/lclstream_operator",
)
SITE = "usr/local/lib/python3.11/dist-packages"
PYTHON = "3.11"
PLATFORMS = tuple(f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 26, 27, 28, 31, 34, 35, 36))
WRAPPER = f'#!/bin/sh\nexec /usr/bin/python{PYTHON} -m lclstream "$@"\n'


def build(layout: Layout) -> tuple[str, Path]:
    """The image's name and archive; built unless the cache has it."""
    build_base(layout)
    wheels = _dependencies(layout)
    digest = _hash(_sources())
    name = f"localhost/lclstream:{digest}"
    archive = layout.cache / f"project-{_hash([base_archive(layout), wheels])}-{digest}.tar"
    if not archive.exists():
        with step(f"build the image {name}"):
            project = layout.cache / f".project-{digest}.tar"
            _pack(_project_files(), project)
            partial = archive.with_suffix(".partial")
            _stack(base_archive(layout), [wheels, project], partial, name)
            partial.replace(archive)
            project.unlink()
        for stale in layout.cache.glob("project-*.tar"):
            if stale != archive:
                stale.unlink(missing_ok=True)
    return name, archive


def load(layout: Layout) -> str:
    """Build the image and give it to the cluster's node; its name."""
    name, archive = build(layout)
    import_archive(layout, archive)
    return name


def requirements() -> list[str]:
    """What the image has to have beside the project."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return sorted({*project["dependencies"], *extras["workers"], *extras["operator"]})


def _dependencies(layout: Layout) -> Path:
    """The layer with the wheels."""
    wanted = requirements()
    layer = layout.cache / f"wheels-{_hash(wanted)}.tar"
    if layer.exists():
        return layer
    layout.cache.mkdir(parents=True, exist_ok=True)
    folder = layout.cache / ".wheels"
    shutil.rmtree(folder, ignore_errors=True)
    with step("install the project's dependencies for the image"):
        platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
        # fmt: off
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--target", folder, "--python-version", PYTHON, "--implementation", "cp", *platforms,
             "--only-binary", ":all:", "--no-compile", *wanted],
            check=True, stdout=sys.stderr,
        )
        # fmt: on
        partial = layer.with_suffix(".partial")
        _pack({f"{SITE}/{path.relative_to(folder)}": path for path in _files(folder)}, partial)
        partial.replace(layer)
        shutil.rmtree(folder)
    return layer


def _project_files() -> dict[str, Path | bytes]:
    files: dict[str, Path | bytes] = {
        f"{SITE}/{path.relative_to(root)}": path for root, path in _project_paths()
    }
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    info = f"{SITE}/{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    entries = "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in groups.items()
    )
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n".encode()
    )
    files[f"{info}/entry_points.txt"] = entries.encode()
    files["usr/local/bin/lclstream"] = WRAPPER.encode()
    return files


def _project_paths() -> list[tuple[Path, Path]]:
    """The project's files, each with the folder it is imported from."""
    roots = [(REPOSITORY / package).parent for package in PACKAGES]
    return [
        (root, path)
        for root, package in zip(roots, PACKAGES, strict=True)
        for path in _files(REPOSITORY / package)
    ]


def _sources() -> list[object]:
    found: list[object] = [requirements(), WRAPPER, (REPOSITORY / "pyproject.toml").read_text()]
    for root, path in _project_paths():
        found += [str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()]
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _hash(parts: list[object] | list[str] | list[Path]) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:12]


def _pack(files: dict[str, Path | bytes] | dict[str, Path], layer: Path) -> None:
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else content.read_bytes()
            member.size = len(data)
            member.mode = 0o755 if name.startswith("usr/local/bin/") else 0o644
            tar.addfile(member, io.BytesIO(data))


def _stack(base: Path, layers: list[Path], archive: Path, name: str) -> None:
    """Write a docker-archive with the layers of another and more on top."""
    with tarfile.open(base) as source, tarfile.open(archive, "w") as tar:
        manifest = json.loads(_read(source, "manifest.json"))[0]
        config = json.loads(_read(source, manifest["Config"]))
        names = list(manifest["Layers"])
        for below in names:
            tar.addfile(source.getmember(below), source.extractfile(below))
        for layer in layers:
            with layer.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            config["rootfs"]["diff_ids"].append(f"sha256:{digest}")
            names.append(f"{digest}/layer.tar")
            tar.add(layer, arcname=names[-1])
        config["config"] |= {"Entrypoint": ["/usr/local/bin/lclstream"], "Cmd": ["--help"]}
        config_bytes = json.dumps(config, sort_keys=True).encode()
        config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
        top = [{"Config": config_name, "RepoTags": [name], "Layers": names}]
        for path, content in ((config_name, config_bytes), ("manifest.json", json.dumps(top).encode())):
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file, f"{name}: not a file"
    return file.read()


__all__ = ["BASE_IMAGE", "build", "load", "requirements"]
