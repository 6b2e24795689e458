"""How a role runs as a process: its work in one thread, its signals taken in another.

Python runs signal handlers in the main thread and between its own instructions only, so one that arrives
in another thread, or just before the main thread begins to wait, would be handled when that wait is over.
What works always is the wake-up file descriptor, which the interpreter writes to from wherever the signal
arrives: a thread of its own reads it, and tells the work to stop through an event.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from lclstream.logs import get_logger
from lclstream.pki import PkiError
from lclstream.spec import SpecError

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_CANCELED = 0, 1, 2, 3
"""Exit codes of every role: done; failed and worth another try; wrong as asked for, so not; told to stop."""

LIFELINE = "LCLSTREAM_LIFELINE"
"""Environment variable: when 1, the process stops when its standard input ends, that is with its parent."""

Work = Callable[[threading.Event], int]


def run_role(work: Work) -> int:
    """Run the work of a role in a thread until it is done, and return its exit code.

    SIGTERM, SIGINT and the end of the lifeline set the event the work is given; it is expected to
    return soon after. An exception of the work is said in one line on standard error (the rest is
    logged at level debug) and becomes `EXIT_BAD_INPUT` for a `SpecError` or `PkiError`, else `EXIT_FAILED`.

    Args:
        work: called with the event; returns the exit code.
    """
    stop, code = threading.Event(), [EXIT_FAILED]

    def run() -> None:
        try:
            code[0] = work(stop)
        except (SpecError, PkiError) as error:
            print(error, file=sys.stderr)  # noqa: T201
            code[0] = EXIT_BAD_INPUT
        except Exception as error:  # noqa: BLE001 - the top of the process
            get_logger("process").debug("work ended by an exception", exc_info=True)
            print(_line(error), file=sys.stderr)  # noqa: T201
            code[0] = EXIT_FAILED

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _written_to_the_wakeup_fd)
    _stop_at_end_of(reader, stop, "signals", enough=1)
    if os.environ.get(LIFELINE) == "1":
        _stop_at_end_of(0, stop, "lifeline")
    worker = threading.Thread(target=run, name="work")
    worker.start()
    worker.join()
    return code[0]


def _line(error: Exception) -> str:
    """An error of ours speaks for itself; what Python raises needs its name beside it."""
    ours = type(error).__module__.startswith("lclstream")
    return str(error) if ours else f"{type(error).__name__}: {error}"


def _stop_at_end_of(descriptor: int, stop: threading.Event, name: str, *, enough: int = sys.maxsize) -> None:
    """Set the event, from a thread, when a descriptor ends or so many bytes came."""

    def watch() -> None:
        # os.read, not a file: a thread inside a buffered reader would hold its lock at exit.
        read = 0
        while read < enough and (part := os.read(descriptor, 4096)):
            read += len(part)
        stop.set()

    threading.Thread(target=watch, daemon=True, name=name).start()


def _written_to_the_wakeup_fd(_signal: int, _frame: FrameType | None) -> None:
    """Nothing is left to do; without a handler the signal would end the process."""
