"""Admission of telemetry: what is exactly at a limit is admitted, and every quantity is exact."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import READINGS, TELEMETRY_IN
from streams.ingest.admission import Source
from tests.unit.ingest_cases import BEYOND, HOUR_MS, NOW, START, YEAR_10000_MS, admitted, line, only

# base units by hand: (unit, of a gauge, mJ mW mK or ppm in one of it)
UNITS = [
    *(
        (unit, "delta", 10**n)
        for unit, n in [("mJ", 0), ("J", 3), ("kJ", 6), ("MJ", 9), ("GJ", 12)]
    ),
    *((unit, "delta", 36 * 10**n) for unit, n in [("Wh", 5), ("kWh", 8), ("MWh", 11), ("GWh", 14)]),
    *(
        (unit, "gauge", 10**n)
        for unit, n in [("mW", 0), ("W", 3), ("kW", 6), ("MW", 9), ("GW", 12)]
    ),
    *((unit, "gauge", 10**n) for unit, n in [("mK", 0), ("K", 3), ("ppm", 0), ("%", 4), ("1", 6)]),
]


@pytest.mark.parametrize(
    ("changed", "received_ms"),
    [
        ({"start_ms": START - HOUR_MS}, NOW),  # the first moment of the meter's registration
        ({"end_ms": START + 1}, NOW),
        ({}, NOW + 48 * HOUR_MS),
        ({}, NOW - 300_000),
        ({"meter_id": "slow"}, NOW + 10**12),
        ({"end_ms": YEAR_10000_MS}, YEAR_10000_MS),
        ({"quantity": BEYOND - 1, "unit": "mJ"}, NOW),
        ({"quantity": "9223372036854775807.4999", "unit": "mJ"}, NOW),
        ({"quantity": 0}, NOW),
        ({"quantity": "-0.0"}, NOW),
        ({"quantity": "-273.15", "kind": "gauge", "unit": "Cel"}, NOW),
        ({"revision": BEYOND - 1, "epoch": BEYOND - 1}, NOW),
        ({"register": "界" * 1_000, "source": "界" * 1_000}, NOW),
    ],
)
def test_exactly_at_a_limit_a_row_is_admitted(changed, received_ms):
    fields = only(admitted(line(**changed), Source(TELEMETRY_IN, 0, 0, received_ms)))
    kept = {name: changed[name] for name in changed if name not in ("quantity", "unit")}
    assert {name: fields[name] for name in kept} == kept
    assert READINGS.rows([fields]).num_rows == 1


@pytest.mark.parametrize(
    ("changed", "received_ms", "reason"),
    [
        ({}, NOW + 48 * HOUR_MS + 1, "too_old"),
        ({}, NOW - 300_001, "too_far_ahead"),
        ({"meter_id": "slow"}, NOW + 10**12 + 1, "too_old"),
        ({"end_ms": YEAR_10000_MS + 1}, YEAR_10000_MS, "overflow"),
        ({"quantity": "9223372036854775807.5", "unit": "mJ"}, NOW, "overflow"),
    ],
)
def test_one_beyond_a_limit_a_row_is_refused(changed, received_ms, reason):
    found = admitted(line(**changed), Source(TELEMETRY_IN, 0, 0, received_ms))
    assert [refused.reason for refused in found.refused] == [reason]
    assert not found.rows


@settings(deadline=None)
@given(
    st.sampled_from(UNITS),
    st.decimals(0, 10**7, allow_nan=False, allow_infinity=False, places=20)
    | st.integers(0, 10**22)
    | st.floats(0, 1e12),
)
def test_any_quantity_is_the_exact_product_rounded_once_half_to_even(known, quantity):
    unit, kind, factor = known
    written = str(quantity) if isinstance(quantity, Decimal) else quantity
    decimal = repr(quantity) if isinstance(quantity, float) else str(quantity)
    expected = round(Fraction(decimal) * factor)
    found = admitted(line(quantity=written, unit=unit, kind=kind))
    if expected >= BEYOND:
        assert [refused.reason for refused in found.refused] == ["overflow"]
    else:
        assert only(found)["quantity"] == expected


@given(st.decimals("-273.15", 10**6, places=9))
def test_degrees_celsius_are_mk_above_absolute_zero(degrees):
    fields = only(admitted(line(quantity=str(degrees), unit="Cel", kind="gauge")))
    assert fields["quantity"] == round((Fraction(degrees) + Fraction("273.15")) * 1_000)
    assert fields["unit"] == "mK"


def test_the_last_of_forty_digits_decides_a_tie():
    written = ["2.5", "2.5" + "0" * 37 + "1", "2.4" + "9" * 38, "3.5"]
    assert [only(admitted(line(quantity=w, unit="mJ")))["quantity"] for w in written] == [
        2,
        3,
        2,
        4,
    ]
