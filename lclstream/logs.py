"""Logging, the same in every component: readable on a terminal, JSON when asked or when nobody looks."""

import logging
import os
import sys
from typing import Any

import structlog

LOG_LEVEL = "LCLSTREAM_LOG_LEVEL"
"""Environment variable that sets the level: debug, info (the default), warning or error."""


def configure(*, json: bool = False, level: str | None = None) -> None:
    """Send structured logs to standard error; standard output belongs to results.

    Args:
        json: one JSON object a line; otherwise lines for people, coloured on a terminal.
        level: lowest level shown; absent: what the environment says, or info.
    """
    name = (level or os.environ.get(LOG_LEVEL) or "info").lower()
    threshold = logging.getLevelNamesMapping().get(name.upper(), logging.INFO)
    renderer: list[Any] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def get_logger(component: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines name the component."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=component)
    return logger
