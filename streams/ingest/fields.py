"""Checks of single fields: each returns the field's settled form or raises FieldError."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from schemas import FieldError
from schemas.errors import shown

INT64_MAX = 2**63 - 1
TEXT_MAX = 1_000  # characters: a name, or a list of names joined by |
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
        raise FieldError("wrong_type", name, f"{name} is {shown(field)}, not a string")
    if not field:
        raise FieldError("missing_field", name, f"{name} is empty", "send it")
    if len(field) > TEXT_MAX:
        raise FieldError(
            "overflow", name, f"{name} has {len(field)} characters", f"send at most {TEXT_MAX}"
        )
    return field


def source(named: Any, envelope: str, default: str) -> str:
    """Who measured: the field, else the CloudEvents source, else the default."""
    return text({"source": (envelope or default) if named is None else named}, "source")


def one_of(
    fields: Mapping[str, Any], name: str, allowed: Sequence[str], default: str | None = None
) -> str:
    """A string of a list."""
    chosen = text(fields, name, default)
    if chosen not in allowed:
        raise FieldError(
            "unknown_value", name, f"{name} is {shown(chosen)}", f"use one of {', '.join(allowed)}"
        )
    return chosen


def integer(fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """An integer from 0 to 2^63 - 1."""
    field = fields.get(name)
    if field is None and default is not None:
        return default
    field = required(fields, name)
    if type(field) is not int:
        raise FieldError("wrong_type", name, f"{name} is {shown(field)}, not an integer")
    if field < 0:
        raise FieldError("negative", name, f"{name} is {shown(field)}, below zero")
    if field > INT64_MAX:
        raise FieldError("overflow", name, f"{name} is {shown(field)}, beyond 64 bits")
    return field


def number(fields: Mapping[str, Any], name: str) -> float:
    """A finite float; negative is allowed (prices can be)."""
    field = required(fields, name)
    if type(field) not in (int, float):
        raise FieldError("wrong_type", name, f"{name} is {shown(field)}, not a number")
    try:
        converted = float(field)
    except OverflowError:
        raise FieldError("overflow", name, f"{name} is {shown(field)}, beyond a float") from None
    if not math.isfinite(converted):
        raise FieldError("not_finite", name, f"{name} is {field}")
    return converted


def milliseconds(fields: Mapping[str, Any], name: str) -> int:
    """A time (UTC) or a duration before the year 10000: sums of two still fit 64 bits."""
    ms = integer(fields, name)
    if ms > _MS_MAX:
        raise FieldError(
            "overflow", name, f"{name} is {ms}, after the year 9999", "send milliseconds"
        )
    return ms


def interval(fields: Mapping[str, Any]) -> tuple[int, int]:
    """start_ms and end_ms of a half-open interval."""
    start_ms, end_ms = milliseconds(fields, "start_ms"), milliseconds(fields, "end_ms")
    if end_ms <= start_ms:
        raise FieldError(
            "interval_reversed",
            "end_ms",
            f"end_ms {end_ms} is not after start_ms {start_ms}",
            "send the start first; an interval is half-open",
        )
    return start_ms, end_ms
