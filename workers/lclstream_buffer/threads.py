"""Threads whose failure is noticed: one that dies of a defect ends the stream, it leaves nothing hanging."""

import threading
from collections.abc import Callable

from structlog import get_logger

from lclstream.transport import Closed
from lclstream_buffer.owner import Owner

_log = get_logger(component="buffer")


def start(name: str, work: Callable[[], None], owner: Owner) -> threading.Thread:
    """Run work in a thread until it returns or its socket is closed.

    Args:
        name: of the thread.
        work: what it does.
        owner: told when the work ends by any other exception.
    """

    def run() -> None:
        try:
            work()
        except Closed:
            pass
        except Exception as error:  # noqa: BLE001 - the top of a thread
            _log.exception("thread ended", thread=name)
            owner.fail(f"internal error in {name}: {type(error).__name__}: {error}")

    thread = threading.Thread(target=run, name=name)
    thread.start()
    return thread
