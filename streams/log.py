"""Structured logs on standard error: JSON lines by default, one event a line, never a secret."""

import logging
import sys
from typing import Any

import structlog

from streams.settings import Settings

_LIBRARIES = ("faust", "aiokafka", "mode", "kafka")


def configure(settings: Settings, **bound: Any) -> None:
    """Set up this process's logging; `bound` (e.g. agent=...) goes on every line."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: Any = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.contextvars.bind_contextvars(**bound)


def log(name: str) -> Any:
    """A logger; `name` is the part of the house that speaks."""
    return structlog.get_logger().bind(part=name)
