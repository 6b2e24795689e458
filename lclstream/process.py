"""How a role runs as a process: its work in one thread, its signals taken in another.

Calls into nng wait in C, where Python cannot run a signal handler, and a signal that arrives just before a
thread begins to wait is handled only when that wait is over. So signals are blocked everywhere and waited
for in a thread of their own, and the work is told to stop through an event.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable

from lclstream.logs import get_logger
from lclstream.pki import PkiError
from lclstream.spec import SpecError

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_CANCELED = 0, 1, 2, 3
"""Exit codes of every role: done; failed and worth another try; wrong as asked for, so not; told to stop."""

LIFELINE = "LCLSTREAM_LIFELINE"
"""Environment variable: when 1, the process stops when its standard input ends, that is with its parent."""

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})

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

    # Threads inherit the mask, nng's too: it starts them with its first socket.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        _start_daemon(_watch_signals, stop)
        if os.environ.get(LIFELINE) == "1":
            _start_daemon(_watch_lifeline, stop)
        worker = threading.Thread(target=run, name="work")
        worker.start()
        worker.join()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return code[0]


def _line(error: Exception) -> str:
    """An error of ours speaks for itself; what Python raises needs its name beside it."""
    ours = type(error).__module__.startswith("lclstream")
    return str(error) if ours else f"{type(error).__name__}: {error}"


def _start_daemon(watch: Callable[[threading.Event], None], stop: threading.Event) -> None:
    threading.Thread(target=watch, args=(stop,), daemon=True, name=watch.__name__).start()


def _watch_signals(stop: threading.Event) -> None:
    while True:
        signal.sigwait(_SIGNALS)
        stop.set()


def _watch_lifeline(stop: threading.Event) -> None:
    # os.read, not sys.stdin: a thread inside a buffered reader would hold its lock at exit.
    while os.read(0, 4096):
        pass
    stop.set()
