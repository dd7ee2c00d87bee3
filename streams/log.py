"""Structured logs on standard error: JSON lines by default, one event a line, never a secret."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog

from schemas.errors import ConfigError
from streams.settings import Settings

_LIBRARIES = ("faust", "aiokafka", "mode", "kafka")
_MASK = "**********"


def configure(settings: Settings, **bound: Any) -> None:
    """Set up this process's logging; `bound` (e.g. agent=...) goes on every line.

    Raises ConfigError on a level that is not known.
    """
    level = logging.getLevelNamesMapping().get(settings.log_level.upper())
    if level is None:
        raise ConfigError(
            f"no log level {settings.log_level!r}",
            "set GRIDLOOM_LOG_LEVEL to debug, info, warning or error",
        )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if secret := settings.sasl_password.get_secret_value():
        shared.append(_without(secret))
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


def _without(secret: str) -> Callable[[Any, str, dict[str, Any]], dict[str, Any]]:
    """A processor that masks the secret wherever a value shows it, also escaped or in a repr."""
    forms = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]}
    longest_first = sorted(forms, key=len, reverse=True)

    def masked(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: masked(field) for name, field in value.items()}
        if isinstance(value, list | tuple):
            return [masked(field) for field in value]
        text = shown = value if isinstance(value, str) else repr(value)
        for form in longest_first:
            text = text.replace(form, _MASK)
        return value if text == shown else text

    def processor(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {name: masked(value) for name, value in event.items()}

    return processor
