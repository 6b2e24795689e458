"""How a role runs as a process: its work in a thread, its signals in the main thread.

Calls into nng wait in C, where Python cannot run a signal handler. So the main thread does nothing but
wait for signals, and the work is told to stop through an event.
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
    stop, done, code = threading.Event(), threading.Event(), [EXIT_FAILED]

    def run() -> None:
        try:
            code[0] = work(stop)
        except (SpecError, PkiError) as error:
            print(error, file=sys.stderr)  # noqa: T201
            code[0] = EXIT_BAD_INPUT
        except Exception as error:  # noqa: BLE001 - the top of the process
            get_logger("process").debug("work ended by an exception", exc_info=True)
            print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
            code[0] = EXIT_FAILED
        finally:
            done.set()

    def asked_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked_to_stop)
    if os.environ.get(LIFELINE) == "1":
        threading.Thread(target=_watch_lifeline, args=(stop,), daemon=True, name="lifeline").start()
    worker = threading.Thread(target=run, name="work")
    worker.start()
    done.wait()
    worker.join()
    return code[0]


def _watch_lifeline(stop: threading.Event) -> None:
    # os.read, not sys.stdin: a thread inside a buffered reader would hold its lock at exit.
    while os.read(0, 4096):
        pass
    stop.set()
