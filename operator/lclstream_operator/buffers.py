"""Talking to a stream's buffers: their progress over HTTPS, and what they must be told over the ingest port.

A buffer is found by its pod's address and the names of its ports, and proves who it is by its certificate.
One that does not answer is absent from the result: whether that matters is for `decide` to say.
"""

import asyncio
import os
import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import aiohttp
from structlog import get_logger

from lclstream.config import BUFFER_SERVER_NAME
from lclstream.pki import Credentials, PkiError
from lclstream.protocol import LoseShard, ProtocolError, Refusal, Stop, read_answer
from lclstream.transport import Requester, TransportError
from lclstream_operator.issuer import credentials_in
from lclstream_operator.model import Manifest

INGEST_PORT: Final = "ingest"
STATUS_PORT: Final = "status"
"""Names of the ports in a buffer's pod."""

PATIENCE_SECONDS: Final = 3.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)

Said = Mapping[str, Any]
"""What a buffer's status endpoint says: `lclstream_buffer.snapshot.Snapshot.as_json`."""

_log = get_logger(component="buffers")


class Unheard(Exception):
    """A buffer that had to be told something did not take it; the message says why."""


class Buffers:
    """Asks buffers and tells them things. `close` ends it."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=_TIMEOUT, connector=aiohttp.TCPConnector(limit=64, keepalive_timeout=30)
        )
        self._contexts: dict[str, tuple[str, ssl.SSLContext]] = {}

    async def close(self) -> None:
        """Hang up."""
        await self._session.close()

    async def progress(self, pods: Iterable[Manifest], secret: Manifest | None) -> dict[int, Said]:
        """What each buffer's status endpoint says, by index.

        Args:
            pods: pods of the stream's buffers.
            secret: the stream's Secret with the operator's credentials; None as long as there is none.
        """
        running = {index_of(pod): pod for pod in pods if address_of(pod, STATUS_PORT)}
        if secret is None or not running:
            return {}
        try:
            context = self._context(secret)
        except PkiError as error:
            _log.warning("cannot ask buffers", error=str(error))
            return {}
        answers = await asyncio.gather(*(self._ask(pod, context) for pod in running.values()))
        return {index: said for index, said in zip(running, answers, strict=True) if said is not None}

    def forget(self, secret: Manifest) -> None:
        """Drop what is kept for a stream that is no more."""
        self._contexts.pop(secret["metadata"]["uid"], None)

    async def _ask(self, pod: Manifest, context: ssl.SSLContext) -> Said | None:
        url = f"https://{address_of(pod, STATUS_PORT)}/status"
        try:
            async with self._session.get(url, ssl=context, server_hostname=BUFFER_SERVER_NAME) as answer:
                answer.raise_for_status()
                said = await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            metadata = pod["metadata"]
            _log.debug(
                "buffer does not answer",
                pod=metadata["name"],
                namespace=metadata["namespace"],
                error=repr(error),
            )
            return None
        return said if isinstance(said, dict) else None

    def _context(self, secret: Manifest) -> ssl.SSLContext:
        metadata = secret["metadata"]
        version, context = self._contexts.get(metadata["uid"], ("", None))
        if context is None or version != metadata["resourceVersion"]:
            context = client_context(credentials_in(secret))
            self._contexts[metadata["uid"]] = metadata["resourceVersion"], context
        return context


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """TLS for an HTTPS client, from credentials in memory.

    Raises:
        PkiError: they can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # OpenSSL reads keys from files only; this one has no name and never touches a disk.
    file = os.memfd_create("credentials", os.MFD_CLOEXEC)
    try:
        os.write(file, f"{credentials.certificate}\n{credentials.key}".encode())
        context.load_cert_chain(f"/proc/self/fd/{file}")
        context.load_verify_locations(cadata=credentials.ca)
    except (ssl.SSLError, ValueError) as error:
        raise PkiError(f"{credentials.origin}: not a PEM certificate and key: {error}") from None
    finally:
        os.close(file)
    return context


async def tell(pod: Manifest, secret: Manifest, words: Sequence[Stop | LoseShard]) -> None:
    """Tell a buffer things, one after the other, and wait until it has taken them.

    A refusal means that it knew already.

    Raises:
        Unheard: it is not there or does not answer.
        PkiError: the operator's credentials can't be used.
    """
    address, name = address_of(pod, INGEST_PORT), pod["metadata"]["name"]
    if not address:
        raise Unheard(f"pod {name} does not run")
    credentials = credentials_in(secret)
    try:
        refused = await asyncio.to_thread(_say, f"tls+tcp://{address}", credentials, words)
    except (TransportError, ProtocolError) as error:
        raise Unheard(f"pod {name}: {error}") from error
    for refusal in refused:
        _log.info("buffer refused", pod=name, reason=refusal.reason, message=refusal.message)


def _say(url: str, credentials: Credentials, words: Sequence[Stop | LoseShard]) -> list[Refusal]:
    """Runs in a thread: nng waits in C. Closing the socket ends the wait for a buffer that hangs."""
    with Requester(url, credentials, BUFFER_SERVER_NAME, patience=PATIENCE_SECONDS) as requester:
        limit = threading.Timer(PATIENCE_SECONDS, requester.close)
        limit.daemon = True
        limit.start()
        try:
            answers = [read_answer(requester.request(word.encode())) for word in words]
        finally:
            limit.cancel()
    return [answer for answer in answers if isinstance(answer, Refusal)]


def index_of(pod: Manifest) -> int:
    """Which of a stream's buffers a pod is: the number at the end of its name, as a StatefulSet gives it."""
    name: str = pod["metadata"]["name"]
    return int(name.rpartition("-")[2])


def address_of(pod: Manifest, port: str) -> str:
    """``host:port`` of a named port of a pod that runs; empty if it does not, or has no such port."""
    status = pod.get("status") or {}
    host: str = status.get("podIP") or ""
    if status.get("phase") != "Running" or not host:
        return ""
    for container in pod["spec"]["containers"]:
        for known in container.get("ports") or ():
            if known.get("name") == port:
                return (
                    f"[{host}]:{known['containerPort']}"
                    if ":" in host
                    else f"{host}:{known['containerPort']}"
                )
    return ""
