"""The door of the cluster: passes connections from the host's loopback to the API server.

A socket belongs to the network namespace it was made in. This process opens its listening socket
on the host, then moves into the cluster's namespace and connects from there. So host and cluster
share no interface, and still kubectl on the host reaches the API server.

    python3 -m boot.forward NETNS LISTEN_HOST:PORT TARGET_HOST:PORT
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from pathlib import Path

from boot.network import enter

CHUNK = 64 * 1024


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        # Whichever way one side went, the other one learns that no more will come.
        with suppress(OSError):
            writer.write_eof()


async def _serve(listener: socket.socket, host: str, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_copy(reader, target_writer), _copy(target_reader, writer))
        finally:
            target_writer.close()
            writer.close()

    server = await asyncio.start_server(connected, sock=listener)
    await server.serve_forever()


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def main(netns: str, listen: str, target: str) -> None:
    listener = socket.create_server(split(listen), backlog=128)
    enter(Path(netns))
    asyncio.run(_serve(listener, *split(target)))


if __name__ == "__main__":
    main(*sys.argv[1:])
