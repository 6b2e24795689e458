"""The role ``operator``: ``lclstream operator run``.

The exit code is 0 when it was told to stop, 2 when it can't be run as asked (one line on standard error says
why), and 1 when it failed or lost the lease, so that Kubernetes starts it again.
"""

import argparse
import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from lclstream.logs import configure, get_logger
from lclstream.process import run_role
from lclstream.spec import SpecError, parse
from lclstream_operator.access import own_namespace
from lclstream_operator.issuer import IssuerMissing
from lclstream_operator.permissions import Forbidden
from lclstream_operator.service import NotInstalled, Options, run
from lclstream_operator.site import SiteConfig

LEASE_NAME: Final = "lclstream-operator"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the operator until it is told to stop.

    Args:
        argv: arguments; None: those of the process.

    Returns:
        The exit code.
    """
    arguments = _parser().parse_args(argv)
    configure(json=arguments.log_json or not sys.stderr.isatty())
    _adopt_library_logs()
    return run_role(lambda stop: _work(arguments, stop))


def read_site(path: Path | None) -> SiteConfig:
    """What the administrator decided; without a file, the defaults.

    Raises:
        SpecError: the file can't be read, or says something that can't be done.
    """
    if path is None:
        return SiteConfig()
    try:
        data = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"{path}: cannot be read as YAML: {error}") from None
    return parse(SiteConfig, data, where=str(path))


def _work(arguments: argparse.Namespace, stop: threading.Event) -> int:
    site = read_site(arguments.config)
    if arguments.issuer:
        site = site.model_copy(update={"issuer": arguments.issuer})
    namespace = arguments.lease_namespace or own_namespace(site.operator_namespace)
    options = Options(
        site=site,
        namespaces=arguments.namespace,
        lease=(namespace, arguments.lease_name) if arguments.leader_election else None,
        health_port=arguments.health_port,
        workers=arguments.workers,
    )
    try:
        return run(options, stop)
    except (Forbidden, IssuerMissing, NotInstalled) as error:
        raise SpecError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lclstream operator", description="Look after StreamRequests.")
    run_parser = parser.add_subparsers(dest="command", required=True).add_parser(
        "run", help="run the operator"
    )
    add = run_parser.add_argument
    add("--config", type=Path, help="YAML file with what the administrator decided (SiteConfig)")
    add("--namespace", nargs="+", default=[], metavar="NS", help="look after these namespaces only")
    add("--issuer", choices=["auto", "cert-manager", "builtin"], help="who issues certificates")
    add("--health-port", type=int, metavar="N", help="answer /healthz, /readyz and /metrics on this port")
    add("--workers", type=_positive, default=8, metavar="N", help="streams worked on at once")
    add("--lease-namespace", metavar="NS", help="where the Lease is (default: the operator's own namespace)")
    add("--lease-name", default=LEASE_NAME, metavar="NAME", help="name of the Lease")
    add("--no-leader-election", dest="leader_election", action="store_false", help="there is one replica")
    add("--log-json", action="store_true", help="log JSON even on a terminal")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not >= 1")
    return number


class _Adopted(logging.Handler):
    """Gives what libraries log the form of our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record our way."""
        fields: dict[str, Any] = {"exc_info": record.exc_info} if record.exc_info else {}
        get_logger(record.name).log(record.levelno, record.getMessage().replace("\n", " "), **fields)


def _adopt_library_logs() -> None:
    root = logging.getLogger()
    root.handlers = [_Adopted()]
    root.setLevel(logging.INFO)
    # A line for every event of every watch, which is not what an operator has to say.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    # It warns that signals are not handled outside the main thread: `run_role` handles them.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
