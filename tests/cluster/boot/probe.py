"""Waits until an HTTP health endpoint inside the cluster's network namespace answers 200.

nsenter --net=NETNS python3 -m boot.probe URL TIMEOUT
"""

from __future__ import annotations

import http.client
import ssl
import sys
import urllib.request
from urllib.error import URLError

from boot.command import ClusterError, poll


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


def main(url: str, timeout: str) -> None:
    try:
        poll(url, lambda: healthy(url), float(timeout))
    except ClusterError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
