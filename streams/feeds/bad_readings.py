"""Readings that must not be accepted: one maker for each kind, from a reading that is sound."""

import json
from collections.abc import Callable

import orjson

from streams.feeds.feed import HOUR_MS, Row

Maker = Callable[[Row], bytes]


def _with(**fields: object) -> Maker:
    return lambda row: orjson.dumps(row | fields)


def _shifted(by_ms: int) -> Maker:
    def make(row: Row) -> bytes:
        moved = {name: row[name] + by_ms for name in ("start_ms", "end_ms")}
        return orjson.dumps(row | moved)

    return make


def _without_quantity(row: Row) -> bytes:
    return orjson.dumps({name: field for name, field in row.items() if name != "quantity"})


def _reversed(row: Row) -> bytes:
    return orjson.dumps(row | {"start_ms": row["end_ms"], "end_ms": row["start_ms"]})


def _cut_off(row: Row) -> bytes:
    return orjson.dumps(row)[:-20]


def _not_a_number(row: Row) -> bytes:
    return json.dumps(row | {"quantity": float("nan")}).encode()


def _another_quantity(row: Row) -> bytes:
    return orjson.dumps(row | {"quantity": 99})


# reason of the dead letter -> its maker; the last is found by the meter agent, the others by ingest
BAD_READINGS: dict[str, Maker] = {
    "not_json": _cut_off,
    "missing_field": _without_quantity,
    "wrong_type": _with(quantity="twelve"),
    "unknown_value": _with(kind="impulse"),
    "unit_unknown": _with(unit="kcal"),
    "not_finite": _not_a_number,
    "negative": _with(quantity=-1),
    "overflow": _with(quantity="99999999999999999999"),
    "interval_reversed": _reversed,
    "too_old": _shifted(-72 * HOUR_MS),
    "too_far_ahead": _shifted(2 * HOUR_MS),
    "unknown_meter": _with(meter_id="not-registered"),
    "conflict": _another_quantity,
}
