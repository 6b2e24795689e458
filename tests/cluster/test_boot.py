"""The parts of the boot program that need no cluster."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from boot import build, config, image, network, pki, process, snapshot
from boot.command import ClusterError, poll, run
from boot.layout import HERE, Layout

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="enters a network namespace: needs root")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(state=tmp_path / "state", cache=tmp_path / "cache")


def test_the_kubernetes_version_comes_from_go_mod() -> None:
    assert build.kubernetes_version("require (\n\tk8s.io/kubernetes v1.34.4 // indirect\n)") == ("v1.34.4")
    with pytest.raises(ClusterError, match="no line requires k8s"):
        build.kubernetes_version("require k8s.io/api v0.34.4")


def test_every_staging_module_is_replaced_by_the_release_of_kubernetes() -> None:
    text = (HERE / "go.mod").read_text()
    wanted = build.kubernetes_version(text).replace("v1.", "v0.", 1)
    replaced = [line.split() for line in text.splitlines() if " => " in line]
    assert replaced
    assert [line[3] for line in replaced] == [wanted] * len(replaced)


def test_the_version_hash_changes_with_any_input_and_its_place() -> None:
    hashes = {build.version_hash(inputs) for inputs in ([b"ab"], [b"a", b"b"], [b"b", b"a"])}
    assert len(hashes) == 3


def test_every_configuration_file_that_is_json_parses(layout: Layout) -> None:
    for name, text in config.files(layout).items():
        if name.endswith((".json", ".conflist", ".kubeconfig")):
            assert json.loads(text), name


def test_a_server_certificate_names_its_addresses(layout: Layout) -> None:
    pki.create(layout.pki)
    run(["openssl", "verify", "-CAfile", layout.pki / "ca.crt", layout.pki / "kubelet.crt"])
    shown = run(["openssl", "x509", "-in", layout.pki / "kubelet.crt", "-noout", "-text"])
    assert "IP Address:10.244.0.1" in shown
    assert "O = system:nodes, CN = system:node:lclstream-node" in shown
    assert not (layout.pki / "admin.key").stat().st_mode & 0o077


def test_an_image_archive_names_its_layer_by_digest(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "motd").write_text("hello\n")
    (root / "usr" / "share" / "doc" / "python3").mkdir(parents=True)
    layer, archive = tmp_path / "layer.tar", tmp_path / "image.tar"
    image.pack_layer(root, layer)
    image.write_archive(archive, layer, "localhost/small:1", {"Cmd": ["sh"]})

    with tarfile.open(archive) as tar:

        def read(name: str) -> bytes:
            member = tar.extractfile(name)
            assert member
            return member.read()

        (manifest,) = json.loads(read("manifest.json"))
        settings = json.loads(read(manifest["Config"]))
        packed = read(manifest["Layers"][0])
    assert manifest["RepoTags"] == ["localhost/small:1"]
    assert settings["config"]["Cmd"] == ["sh"]
    assert settings["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(packed).hexdigest()}"]
    with tarfile.open(layer) as tar:
        assert "./etc/motd" in tar.getnames()
        assert "./usr/share/doc/python3" not in tar.getnames()


def test_a_process_that_only_has_the_pid_is_not_ours(layout: Layout) -> None:
    process.start(layout, "sleeper", ["sleep", "60"], {})
    found = process.find(layout, "sleeper")
    assert found
    assert found in process.leftovers(layout)

    pid_file = layout.run / "sleeper.pid"
    pid_file.write_text(json.dumps([found.pid, found.start_time + 1]))
    process.stop(layout, "sleeper")
    assert found.alive()

    pid_file.write_text(json.dumps([found.pid, found.start_time]))
    process.stop(layout, "sleeper")
    assert not found.alive()


def ignores(pid: int, sig: signal.Signals) -> bool:
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"], 16) & 1 << sig - 1)


def test_a_process_that_ignores_the_request_is_killed(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STOP_TIMEOUT", 1.0)
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"
    process.start(layout, "stubborn", [sys.executable, "-c", script], {})
    found = process.find(layout, "stubborn")
    assert found
    poll("stubborn", lambda: ignores(found.pid, signal.SIGTERM), timeout=10)

    process.stop(layout, "stubborn")
    assert not found.alive()


def test_waiting_gives_up_and_says_for_what() -> None:
    with pytest.raises(ClusterError, match="the tide: not ready after 0 s"):
        poll("the tide", lambda: False, timeout=0)


def test_a_failed_command_shows_the_end_of_its_errors() -> None:
    with pytest.raises(ClusterError, match="exit code 3\nno luck"):
        run(["sh", "-c", "echo no luck >&2; exit 3"])
    with pytest.raises(ClusterError, match="no-such-program: command not found"):
        run(["no-such-program"])


@needs_root
def test_the_forwarder_passes_bytes_both_ways_and_the_end_of_them() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as target,
        socket.create_server(("127.0.0.1", 0)) as free,
    ):
        address = free.getsockname()
        free.close()
        # The namespace it moves to may as well be the one it is in.
        argv = [sys.executable, "-m", "boot.forward", "/proc/self/ns/net"]
        argv += [f"{address[0]}:{address[1]}", f"127.0.0.1:{target.getsockname()[1]}"]
        with subprocess.Popen(argv, cwd=HERE, env={**os.environ}) as forwarder:
            try:
                client = connect(address)
                server, _ = target.accept()
                with client, server:
                    client.sendall(b"question")
                    client.shutdown(socket.SHUT_WR)
                    assert receive_all(server) == b"question"
                    server.sendall(b"answer")
                    server.shutdown(socket.SHUT_WR)
                    assert receive_all(client) == b"answer"
            finally:
                forwarder.kill()


def connect(address: tuple[str, int]) -> socket.socket:
    """Connect as soon as somebody listens."""
    connected: list[socket.socket] = []

    def attempt() -> bool:
        try:
            connected.append(socket.create_connection(address, timeout=10))
        except ConnectionRefusedError:
            return False
        return True

    poll("forwarder", attempt, timeout=10)
    return connected[0]


def receive_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1024):
        parts.append(part)
    return b"".join(parts)


@needs_root
def test_a_snapshot_shows_what_was_left_behind(layout: Layout) -> None:
    before = snapshot.take()
    network.create(layout)
    after = snapshot.take()
    run(["umount", layout.netns])
    assert f"+ mounts: {layout.netns} nsfs" in snapshot.differences(before, after)
    assert not network.exists(layout)
