"""The way to a buffer: by its pod's address, and over TLS that knows this stream's certificates only."""

import asyncio
import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lclstream.pki import (
    Authority,
    Credentials,
    PkiError,
    buffer_dns_names,
    server_context,
    write_credentials,
)
from lclstream.protocol import Stop
from lclstream_operator import buffers
from lclstream_operator.buffers import Buffers, Unheard, address_of, client_context, index_of
from lclstream_operator.issuer import credentials_in

AUTHORITY, OTHER = Authority("x", "stream"), Authority("x", "other")


def pod(
    name: str = "stream-buffer-0", ip: str = "127.0.0.1", phase: str = "Running", port: int = 7080
) -> Any:
    ports = [{"name": "ingest", "containerPort": 7001}, {"name": "status", "containerPort": port}]
    return {
        "metadata": {"name": name, "namespace": "x"},
        "spec": {"containers": [{"name": "buffer", "ports": ports}]},
        "status": {"phase": phase, "podIP": ip} if ip else {},
    }


def secret(credentials: Credentials, version: str = "1") -> Any:
    pem = {"ca.crt": credentials.ca, "tls.crt": credentials.certificate, "tls.key": credentials.key}
    return {
        "metadata": {"name": "stream-operator", "uid": "u", "resourceVersion": version},
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in pem.items()},
    }


@pytest.mark.parametrize(
    ("made", "address"),
    [
        (pod(), "127.0.0.1:7080"),
        (pod(ip="fd00::1"), "[fd00::1]:7080"),
        (pod(phase="Pending"), ""),
        (pod(ip=""), ""),
    ],
)
def test_the_address_of_a_port(made: Any, address: str) -> None:
    assert address_of(made, "status") == address
    assert address_of(made, "push") == ""


def test_the_index_is_at_the_end_of_the_name() -> None:
    assert index_of(pod("a-2-buffer-13")) == 13


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "Secret stream-operator: ca.crt is missing"),
        ({"ca.crt": "%", "tls.crt": "", "tls.key": ""}, "not PEM"),
        ({"ca.crt": "/w==", "tls.crt": "", "tls.key": ""}, "not PEM"),
    ],
)
def test_a_secret_without_credentials_is_said_to_be_so(data: dict[str, str], said: str) -> None:
    with pytest.raises(PkiError, match=said):
        credentials_in({"metadata": {"name": "stream-operator"}, "data": data})


def test_what_is_no_certificate_is_no_context() -> None:
    with pytest.raises(PkiError, match="not a PEM certificate and key"):
        client_context(Credentials(ca="x", certificate="y", key="z"))


def test_credentials_leave_no_file_open(tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    client_context(AUTHORITY.issue("operator"))
    assert len(set(Path("/proc/self/fd").iterdir())) == len(before)


async def ask(folder: Path, credentials: Credentials, answer: web.Response | None = None) -> dict[int, Any]:
    """What a buffer says to somebody, when it has this to say."""
    write_credentials(folder, AUTHORITY.issue("buffer", dns_names=buffer_dns_names()))
    context = server_context(folder)
    context.verify_mode = ssl.CERT_REQUIRED

    async def status(request: web.Request) -> web.Response:
        assert request.path == "/status"
        return answer or web.json_response({"phase": "Streaming"})

    runner = web.ServerRunner(web.Server(status))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    asker = Buffers()
    try:
        pods = [pod(port=port), pod("stream-buffer-1", phase="Pending")]
        return dict(await asker.progress(pods, secret(credentials)))
    finally:
        await asker.close()
        await runner.cleanup()


def test_a_buffer_answers_the_operator_of_its_stream(tmp_path: Path) -> None:
    said = asyncio.run(ask(tmp_path, AUTHORITY.issue("operator")))
    assert said == {0: {"phase": "Streaming"}}


@pytest.mark.parametrize(
    "credentials",
    [
        OTHER.issue("operator"),
        Credentials(AUTHORITY.pem, OTHER.issue("operator").certificate, OTHER.issue("operator").key),
    ],
)
def test_a_buffer_of_another_stream_is_absent(tmp_path: Path, credentials: Credentials) -> None:
    assert asyncio.run(ask(tmp_path, credentials)) == {}


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=403, text="no"),
        web.Response(text="{", content_type="application/json"),
        web.json_response([1]),
    ],
)
def test_a_buffer_that_talks_nonsense_is_absent(tmp_path: Path, answer: web.Response) -> None:
    assert asyncio.run(ask(tmp_path, AUTHORITY.issue("operator"), answer)) == {}


def test_nobody_is_asked_without_credentials() -> None:
    async def test() -> None:
        asker = Buffers()
        try:
            assert await asker.progress([pod()], None) == {}
            assert await asker.progress([pod(phase="Pending")], secret(AUTHORITY.issue("operator"))) == {}
        finally:
            await asker.close()

    asyncio.run(test())


def test_a_buffer_that_does_not_answer_has_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "PATIENCE_SECONDS", 0.2)
    words = [Stop(outcome="canceled", reason="test")]
    mine = secret(AUTHORITY.issue("operator"))
    with pytest.raises(Unheard, match="stream-buffer-0"):
        asyncio.run(buffers.tell(pod(), mine, words))
    with pytest.raises(Unheard, match="does not run"):
        asyncio.run(buffers.tell(pod(phase="Pending"), mine, words))
