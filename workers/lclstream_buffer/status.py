"""The status endpoint over HTTPS: health for anyone, status and metrics for the operator.

``/healthz`` and ``/readyz`` need no client certificate, since a probe has none; ``/status`` and
``/metrics`` need one with the role operator. Every connection has a thread of its own, handshake
included, so a peer that connects and says nothing is in nobody's way; it is hung up on after a while.
"""

import contextlib
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from structlog import get_logger

from lclstream_buffer.snapshot import Snapshot

PATIENCE_SECONDS = 10.0
"""For a handshake, and for a request."""

_ACCEPT_RETRY_SECONDS = 0.1

_log = get_logger(component="status")


class Status:
    """Listens for probes, the operator and Prometheus.

    Args:
        host: address to bind.
        port: port; 0 stands for any free one.
        context: TLS that verifies a client certificate when there is one.
        snapshot: what is shown.
        registry: the metrics.
        ready: whether the buffer takes part in the stream.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        *,
        snapshot: Callable[[], Snapshot],
        registry: CollectorRegistry,
        ready: Callable[[], bool],
    ) -> None:
        class Handler(_Handler):
            pages = _Pages(snapshot, registry, ready)

        self._server = _Server((host, port), Handler, context)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"https://{shown}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.accept_all, name="status")

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and hang up."""
        self._server.stop_accepting()
        if self._thread.is_alive():
            self._thread.join()
        self._server.hang_up()
        self._server.server_close()


class _Pages:
    def __init__(
        self, snapshot: Callable[[], Snapshot], registry: CollectorRegistry, ready: Callable[[], bool]
    ) -> None:
        self._snapshot, self._registry, self._ready = snapshot, registry, ready

    def render(self, path: str, role: str) -> tuple[HTTPStatus, str, bytes]:
        """Answer, content type and body of a page for somebody of this role."""
        if path == "/healthz":
            return HTTPStatus.OK, "text/plain", b"alive\n"
        if path == "/readyz":
            if self._ready():
                return HTTPStatus.OK, "text/plain", b"ready\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"stopping\n"
        if path not in ("/status", "/metrics"):
            return HTTPStatus.NOT_FOUND, "text/plain", b"expected /healthz, /readyz, /status or /metrics\n"
        if role != "operator":
            who = f"a certificate of role {role!r}" if role else "no client certificate"
            message = f"{who}, expected one of role 'operator'\n"
            return HTTPStatus.FORBIDDEN, "text/plain", message.encode()
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        body = json.dumps(self._snapshot().as_json()) + "\n"
        return HTTPStatus.OK, "application/json", body.encode()


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "lclstream-buffer", ""
    pages: _Pages
    connection: ssl.SSLSocket

    def do_GET(self) -> None:
        """Answer with a page."""
        path = self.path.partition("?")[0]
        status, content_type, body = self.pages.render(path, _role(self.connection))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        _log.debug("http", client=self.client_address[0], line=format % args)


class _Server(ThreadingHTTPServer):
    # Joined at the end: hanging up ends them.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[_Handler], context: ssl.SSLContext) -> None:
        self._context = context
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service who we are, which may take seconds; nobody needs it.
        TCPServer.server_bind(self)

    def accept_all(self) -> None:
        """Take connections until told to stop. The base class's loop looks twice a second instead."""
        while not self._stopping.is_set():
            try:
                request, address = self.get_request()
            except OSError as error:
                if not self._stopping.wait(_ACCEPT_RETRY_SECONDS):
                    _log.warning("cannot accept", error=str(error))
                continue
            self.process_request(request, address)

    def stop_accepting(self) -> None:
        """End `accept_all`."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # on Linux this wakes who waits in accept

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Runs in the connection's own thread."""
        request.settimeout(PATIENCE_SECONDS)
        # The raw socket is closed by shutdown_request whatever happens to the TLS one.
        with self._context.wrap_socket(
            request.dup(),
            server_side=True,
            do_handshake_on_connect=False,
        ) as secured:
            secured.settimeout(PATIENCE_SECONDS)
            secured.do_handshake()
            super().finish_request(secured, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        _log.debug("connection failed", client=str(client_address), error=repr(sys.exception()))

    def hang_up(self) -> None:
        """End every connection, so that no thread waits for one."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):  # it has gone by itself
                    connection.shutdown(socket.SHUT_RDWR)


def _role(connection: ssl.SSLSocket) -> str:
    """Common name of the certificate that the client showed; the handshake has verified it."""
    certificate = connection.getpeercert()
    subject: Any = certificate.get("subject", ()) if certificate else ()
    return next((value for part in subject for key, value in part if key == "commonName"), "")
