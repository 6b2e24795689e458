"""Waits until the health endpoint of a process answers 200, or the process is gone.

A program of its own, because the endpoint may be inside the cluster's network namespace:

nsenter --net=NETNS python3 -m boot.probe PID URL TIMEOUT
"""

from __future__ import annotations

import http.client
import ssl
import sys
import urllib.request
from urllib.error import URLError

from boot.command import ClusterError, poll
from boot.process import start_time


def healthy(url: str) -> bool:
    # Unverified: the answer only says that the program is up, and some serve it with a
    # certificate they have just made for themselves.
    context = ssl._create_unverified_context()
    # No proxy: one that the caller's environment names does not know these addresses.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == http.HTTPStatus.OK)
    except (URLError, OSError, http.client.HTTPException):
        return False


def main(pid: str, url: str, timeout: str) -> None:
    def ready() -> bool:
        if start_time(int(pid)) is None:
            raise ClusterError("ended")
        return healthy(url)

    try:
        poll(url, ready, float(timeout))
    except ClusterError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
