"""Admission of market rows: what each kind must say, where it goes, and what is refused."""

import json

import pyarrow as pa
import pytest

from schemas import MARKET, MARKET_IN
from schemas.codec import ARROW, NDJSON, encode
from schemas.market import MARKET_KINDS
from schemas.registry import Domain
from streams.ingest.admission import Source, admit, dead_row, tick_row
from streams.registry import Registry

START, END = 1_750_000_000_000, 1_750_003_600_000
SOURCE = Source(MARKET_IN, 1, 7, START)
NATIONAL = Domain(id="national", partition=5, tick_ms=3_600_000, steps=24)

# kind -> the columns of a smallest row beside kind, domain and id
SMALLEST = {
    "region": {
        "region": "north",
        "start_ms": START,
        "end_ms": END,
        "load_mw": 1,
        "ren_avail_mw": 0.5,
        "import_max_mw": 0,
        "import_price_per_mwh": -3.5,
    },
    "storage": {
        "region": "north",
        "charge_max_mw": 1,
        "discharge_max_mw": 1,
        "soc_mwh": 0,
        "soc_max_mwh": 4,
    },
    "supply": {"region": "north", "cap_mw": 1, "cost_per_mwh": -1},
    "link": {"region": "north", "to_region": "south", "cap_mw": 1},
    "path": {"region": "north", "to_region": "south", "rtt_ms": 12.5},
    "offer": {"region": "north", "cores_milli": 2**63 - 1, "accel_milli": 0, "power_w": 1},
    "outage": {"start_ms": START, "end_ms": END},
    "job": {
        "region": "north",
        "account_id": "a1",
        "class": "super",
        "duration_ms": 60_000,
        "cores_milli": 1,
        "power_w": 1,
    },
    "request": {
        "region": "north",
        "start_ms": START,
        "end_ms": END,
        "energy_mwh": 1,
        "power_max_mw": 2,
    },
}
NEEDED = [(kind, name) for kind, needed in SMALLEST.items() for name in needed]


def view():
    registry = Registry()
    registry.put(NATIONAL, 0)
    return registry.at(0)


def fields(kind, /, **changed):
    row = {"kind": kind, "domain": "national", "id": "x1"} | SMALLEST.get(kind, {}) | changed
    return {name: field for name, field in row.items() if field is not ...}


def admitted(*rows, **headers):
    value = b"\n".join(json.dumps(row).encode() for row in rows)
    return admit(SOURCE, value, {"content-type": NDJSON} | headers, view())


def test_every_kind_has_its_smallest_row_here():
    assert SMALLEST.keys() == MARKET_KINDS.keys()


@pytest.mark.parametrize("kind", SMALLEST)
def test_a_smallest_row_goes_to_its_domain_s_partition_with_nothing_added_but_its_source(kind):
    (row,) = admitted(fields(kind), ce_source="/grid/north").rows
    assert (row.topic, row.partition, row.domain) == (MARKET, 5, NATIONAL)
    assert row.fields == fields(kind) | {
        "source": "/grid/north",
        "source_partition": 1,
        "source_offset": 7,
        "source_row": 0,
        "received_ms": START,
        "registry_offset": 0,
    }
    (stored,) = MARKET.rows([row.fields]).to_pylist()
    assert {name: stored[name] for name in row.fields} == row.fields


@pytest.mark.parametrize("absent", [..., None])
@pytest.mark.parametrize(("kind", "name"), NEEDED)
def test_a_row_without_a_column_its_kind_needs_is_refused_by_that_name(kind, name, absent):
    (refused,) = admitted(fields(kind, **{name: absent})).refused
    assert (refused.reason, refused.field) == ("missing_field", name)


@pytest.mark.parametrize(
    ("reason", "field", "bad"),
    [
        ("missing_field", "id", fields("outage", id="")),
        ("missing_field", "domain", fields("outage", domain=...)),
        ("unknown_domain", "domain", fields("outage", domain="nowhere")),
        ("unknown_value", "kind", fields("tick")),  # ingest alone writes ticks
        ("unknown_value", "class", fields("job", **{"class": "tiny"})),
        ("unknown_value", "precision", fields("job", precision="fp8")),
        ("missing_field", "data_region", fields("job", data_gb=0.5)),
        ("negative", "data_gb", fields("job", data_gb=-1, data_region="north")),
        ("wrong_type", "data_region", fields("job", data_gb=1, data_region=7)),
        ("negative", "price_per_gb", fields("path", price_per_gb=-0.1)),
        ("wrong_type", "rate_fp64_ppm", fields("offer", rate_fp64_ppm=0.5)),
        ("negative", "rate_fp32_ppm", fields("offer", rate_fp32_ppm=-1)),
        ("unknown_value", "rate_int8_ppm", fields("offer", rate_int8_ppm=1_000_000_001)),
        ("wrong_type", "cores_milli", fields("job", cores_milli=1.0)),
        ("wrong_type", "load_mw", fields("region", load_mw="1")),
        ("wrong_type", "load_mw", fields("region", load_mw=True)),
        ("wrong_type", "region", fields("link", region=["north"])),
        ("negative", "cap_mw", fields("link", cap_mw=-1)),
        ("negative", "grid_cfe_ppm", fields("region", grid_cfe_ppm=-1)),
        ("unknown_value", "grid_cfe_ppm", fields("region", grid_cfe_ppm=1_000_001)),
        ("negative", "power_w", fields("offer", power_w=-1)),
        ("negative", "start_ms", fields("outage", start_ms=-1)),
        ("overflow", "power_w", fields("offer", power_w=2**63)),
        ("overflow", "duration_ms", fields("job", duration_ms=253_402_300_800_001)),
        ("overflow", "id", fields("outage", id="x" * 1_001)),
        ("interval_reversed", "end_ms", fields("region", end_ms=START)),
        ("interval_reversed", "end_ms", fields("storage", start_ms=END, end_ms=START)),
    ],
)
def test_a_bad_row_is_one_dead_letter_and_the_rows_beside_it_are_as_without_it(reason, field, bad):
    good = fields("link")
    found = admitted(good, bad, good)
    (refused,) = found.refused
    assert (refused.row, refused.reason, refused.field) == (1, reason, field)
    assert refused.original == json.dumps(bad).encode()
    letter = dead_row(SOURCE, refused)
    assert (letter.partition, letter.fields["source_topic"]) == (1, "market.in")
    (alone,) = admitted(good).rows
    assert [row.fields for row in found.rows] == [alone.fields, alone.fields | {"source_row": 2}]
    assert found.unregistered == (reason == "unknown_domain")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused_where_arrow_can_send_one(number):
    rows = [fields("link"), fields("link", cap_mw=number)]
    value = encode(MARKET_IN, MARKET_IN.rows(rows))
    found = admit(SOURCE, value, {"content-type": ARROW}, view())
    assert [row.fields["cap_mw"] for row in found.rows] == [1.0]
    assert [(r.row, r.reason, r.field) for r in found.refused] == [(1, "not_finite", "cap_mw")]


def test_columns_that_market_does_not_have_are_left_out():
    (row,) = admitted(fields("outage", colour="red", source="me")).rows
    assert "colour" not in row.fields
    assert row.fields["source"] == "market.in"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("offer", {"rate_fp64_ppm": 0, "rate_fp16_ppm": 1_000_000_000}),
        ("path", {"price_per_gb": 0.02}),
        ("job", {"precision": "fp16", "data_gb": 2.5, "data_region": "south"}),
        ("job", {"data_region": "south"}),
        ("job", {"data_gb": 0}),
    ],
)
def test_speeds_and_data_are_in_the_row_as_they_were_said(kind, said):
    (row,) = admitted(fields(kind, **said)).rows
    assert {name: row.fields.get(name) for name in said} == said


def test_a_tick_says_the_horizon_and_the_step_of_its_domain():
    row = tick_row(NATIONAL, START, SOURCE, 3)
    assert (row.partition, row.fields["kind"], row.fields["source_row"]) == (5, "tick", -1)
    assert (row.fields["start_ms"], row.fields["end_ms"]) == (START, START + 24 * 3_600_000)
    assert (row.fields["duration_ms"], row.fields["registry_offset"]) == (3_600_000, 3)
    assert isinstance(MARKET.rows([row.fields]), pa.RecordBatch)
