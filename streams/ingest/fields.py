"""Checks of single fields: each returns the field's settled form or raises FieldError."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from schemas import FieldError

INT64_MAX = 2**63 - 1
_MS_MAX = 253_402_300_800_000  # year 10000: a time beyond is a unit error (ns or us for ms)


def required(fields: Mapping[str, Any], name: str) -> Any:
    """The field; refused where it is absent or null."""
    field = fields.get(name)
    if field is None:
        raise FieldError("missing_field", name, f"{name} is absent", "send it")
    return field


def text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A non-empty string."""
    field = fields.get(name)
    if field is None and default is not None:
        return default
    field = required(fields, name)
    if type(field) is not str:
        raise FieldError("wrong_type", name, f"{name} is {field!r}, not a string")
    if not field:
        raise FieldError("missing_field", name, f"{name} is empty", "send it")
    return field


def one_of(
    fields: Mapping[str, Any], name: str, allowed: Sequence[str], default: str | None = None
) -> str:
    """A string of a list."""
    chosen = text(fields, name, default)
    if chosen not in allowed:
        raise FieldError(
            "unknown_value", name, f"{name} is {chosen!r}", f"use one of {', '.join(allowed)}"
        )
    return chosen


def integer(fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """An integer from 0 to 2^63 - 1."""
    field = fields.get(name)
    if field is None and default is not None:
        return default
    field = required(fields, name)
    if type(field) is not int:
        raise FieldError("wrong_type", name, f"{name} is {field!r}, not an integer")
    if field < 0:
        raise FieldError("negative", name, f"{name} is {field}, below zero")
    if field > INT64_MAX:
        raise FieldError("overflow", name, f"{name} is {field}, beyond 64 bits")
    return field


def number(fields: Mapping[str, Any], name: str) -> float:
    """A finite float; negative is allowed (prices can be)."""
    field = required(fields, name)
    if type(field) not in (int, float):
        raise FieldError("wrong_type", name, f"{name} is {field!r}, not a number")
    try:
        converted = float(field)
    except OverflowError:
        raise FieldError("overflow", name, f"{name} is {field}, beyond a float") from None
    if not math.isfinite(converted):
        raise FieldError("not_finite", name, f"{name} is {field}")
    return converted


def interval(fields: Mapping[str, Any]) -> tuple[int, int]:
    """start_ms and end_ms of a half-open interval."""
    start_ms, end_ms = integer(fields, "start_ms"), integer(fields, "end_ms")
    if end_ms > _MS_MAX:
        raise FieldError(
            "overflow", "end_ms", f"end_ms is {end_ms}, after the year 9999", "send milliseconds"
        )
    if end_ms <= start_ms:
        raise FieldError(
            "interval_reversed",
            "end_ms",
            f"end_ms {end_ms} is not after start_ms {start_ms}",
            "send the start first; an interval is half-open",
        )
    return start_ms, end_ms
