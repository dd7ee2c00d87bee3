"""Telemetry lines for the tests of ingest: a good one, what is registered, and every bad one."""

import json

from schemas import TELEMETRY_IN
from schemas.codec import NDJSON
from schemas.registry import Meter, Site
from streams.ingest.admission import Source, admit
from streams.registry import Registry

HOUR_MS = 3_600_000
NOW = 1_750_000_000_000  # receipt
START, END = NOW - 1_000, NOW  # of a good reading
BEYOND = 2**63
YEAR_10000_MS = 253_402_300_800_000
SOURCE = Source(TELEMETRY_IN, 3, 41, NOW)
GOOD = {"meter_id": "m1", "register": "it.energy", "kind": "delta", "start_ms": START}
GOOD |= {"end_ms": END, "quantity": "0.1", "unit": "kWh"}


def registry(*more):
    """What is registered, and `more` entries."""
    known = Registry()
    entries = [
        Site(id="s1", hub_id="hub-old"),
        Site(id="s1", hub_id="hub-1", valid_from_ms=START),
        Meter(id="m1", site_id="s1", account_id="a-old", valid_from_ms=START - HOUR_MS),
        Meter(id="m1", site_id="s1", account_id="a1", rack_id="r1", valid_from_ms=START),
        Meter(id="slow", site_id="s1", account_id="a1", max_age_ms=10**12, max_ahead_ms=0),
        Meter(id="m2", site_id="s1", account_id="a1"),
        Meter(id="lost", site_id="nowhere", account_id="a1"),
    ]
    for offset, entry in enumerate([*entries, *more]):
        known.put(entry, offset)
    return known.at(known.offset)


VIEW = registry()


def line(**changed):
    fields = {name: field for name, field in (GOOD | changed).items() if field is not ...}
    return json.dumps(fields, ensure_ascii=False).encode()


def admitted(value, source=SOURCE, **headers):
    return admit(source, value, {"content-type": NDJSON} | headers, VIEW)


def only(found):
    (row,) = found.rows
    assert not found.refused
    return row.fields


# reason, field at fault, line
CASES = [
    ("not_json", "", b'{"meter_id": "m1", '),
    ("not_json", "", b"[1, 2]"),
    ("missing_field", "meter_id", line(meter_id=...)),
    ("missing_field", "quantity", line(quantity=None)),
    ("missing_field", "register", line(register="")),
    ("wrong_type", "start_ms", line(start_ms="noon")),
    ("wrong_type", "end_ms", line(end_ms=float(END))),
    ("wrong_type", "revision", line(revision=True)),
    ("wrong_type", "quantity", line(quantity="much")),
    ("wrong_type", "quantity", line(quantity=[1])),
    ("wrong_type", "meter_id", line(meter_id={"id": "m1"})),
    ("wrong_type", "source", line(source=7)),
    ("unknown_value", "kind", line(kind="guess")),
    ("unknown_value", "quality", line(quality="actual")),
    ("unknown_value", "register", line(register="pue")),  # the rollups' own
    ("unit_unknown", "unit", line(unit="BTU")),
    ("unit_unknown", "unit", line(unit="kwh")),
    ("unit_unknown", "unit", line(unit="kW")),  # power is not what a delta counts
    ("not_finite", "", line(quantity=float("nan"))),
    ("not_finite", "quantity", line(quantity="-Infinity")),
    ("negative", "quantity", line(quantity=-0.001)),
    ("negative", "quantity", line(quantity="-1e-40")),
    ("negative", "quantity", line(kind="gauge", unit="Cel", quantity="-273.151")),
    ("negative", "epoch", line(epoch=-1)),
    ("overflow", "quantity", line(quantity=BEYOND, unit="mJ")),
    ("overflow", "quantity", line(quantity="1e30")),
    ("overflow", "revision", line(revision=BEYOND)),
    ("overflow", "start_ms", line(start_ms=START * 1_000, end_ms=END * 1_000)),
    ("overflow", "register", line(register="x" * 1_001)),
    ("overflow", "source", line(source="x" * 1_001)),
    ("interval_reversed", "end_ms", line(start_ms=END, end_ms=START)),
    ("interval_reversed", "end_ms", line(end_ms=START)),
    (
        "too_old",
        "end_ms",
        line(meter_id="m2", start_ms=START - 49 * HOUR_MS, end_ms=NOW - 48 * HOUR_MS - 1),
    ),
    ("too_far_ahead", "end_ms", line(end_ms=NOW + 300_001)),
    ("too_far_ahead", "end_ms", line(meter_id="slow", end_ms=NOW + 1)),
    ("unknown_meter", "meter_id", line(meter_id="stranger")),
    ("unknown_meter", "meter_id", line(meter_id="lost")),
    ("unknown_meter", "meter_id", line(start_ms=START - HOUR_MS - 1)),
]
