"""Units: exact to the last mJ, whatever form the number comes in."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import FieldError
from schemas.units import INT64_MAX, UNITS, energy_mj, half_even, to_base

FACTORS = {"mJ": 1, "J": 10**3, "Wh": 3_600_000, "kWh": 3_600_000_000, "MWh": 3_600_000_000_000}


def test_a_decimal_becomes_the_right_mj_and_never_through_a_float() -> None:
    assert to_base("1.234567", "kWh") == 4_444_441_200
    assert to_base("0.1", "kWh") + to_base("0.2", "kWh") == to_base("0.3", "kWh")
    assert to_base("9007199254740993", "mJ") == 9_007_199_254_740_993  # 2**53 + 1


def test_half_is_rounded_to_the_even_neighbour() -> None:
    assert to_base("0.0005", "J") == 0
    assert to_base("0.0015", "J") == 2
    assert [half_even(n, 2) for n in (1, 3, 5, 7)] == [0, 2, 2, 4]
    assert half_even(-1, 2) == 0


@given(st.integers(0, 10**9), st.integers(0, 10**12 - 1), st.sampled_from(sorted(FACTORS)))
def test_any_decimal_is_the_exact_product_rounded_once(whole: int, part: int, unit: str) -> None:
    written = f"{whole}.{part:012d}"
    exact = Fraction(written) * FACTORS[unit]
    if exact > INT64_MAX:
        with pytest.raises(FieldError):
            to_base(written, unit)
    else:
        assert to_base(written, unit) == round(exact)


@given(st.floats(0, 1e6, allow_subnormal=False))
def test_a_float_counts_as_the_decimal_that_it_shows(quantity: float) -> None:
    assert to_base(quantity, "kWh") == round(Fraction(Decimal(repr(quantity))) * FACTORS["kWh"])


@given(st.floats(0, 5000, allow_subnormal=False), st.sampled_from([(1, 1), (1, 12), (1, 4)]))
def test_mean_power_to_energy_is_exact(power_mw: float, hours: tuple[int, int]) -> None:
    h = Fraction(*hours)
    assert energy_mj(power_mw, h) == round(Fraction(repr(power_mw)) * h * 3_600_000_000_000)


@pytest.mark.parametrize(
    ("quantity", "unit", "reason"),
    [
        (1, "BTU", "unit_unknown"),
        (True, "kWh", "wrong_type"),
        ("a lot", "kWh", "wrong_type"),
        ("", "kWh", "wrong_type"),
        (None, "kWh", "wrong_type"),
        ({}, "kWh", "wrong_type"),
        ("NaN", "kWh", "not_finite"),
        (float("inf"), "kWh", "not_finite"),
        (-1, "kWh", "negative"),
        ("-0.001", "kWh", "negative"),
        (-300, "Cel", "negative"),
        (2**63, "mJ", "overflow"),
        ("1e30", "GWh", "overflow"),
        (10**400, "kWh", "overflow"),
        ("1e999999999", "kWh", "overflow"),
    ],
)
def test_what_is_no_quantity_is_refused_with_its_reason(
    quantity: object, unit: str, reason: str
) -> None:
    with pytest.raises(FieldError) as refused:
        to_base(quantity, unit)  # type: ignore[arg-type]
    assert refused.value.reason == reason
    assert refused.value.field in ("quantity", "unit")


def test_temperatures_may_be_below_zero_celsius() -> None:
    assert to_base(-5, "Cel") == 268_150
    assert to_base("25.5", "Cel") == 298_650


def test_every_unit_has_a_base_that_is_its_own_unit() -> None:
    for unit in UNITS.values():
        assert UNITS[unit.base].factor == 1
