"""Quantities in base units: exact, rounded once half to even, and left to to_base where refused."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.decode import Decoder, Field, Kind, to_base_units
from schemas.errors import FieldError
from schemas.units import UNITS, to_base

FIELDS = (Field("quantity", Kind.DECIMAL), Field("unit", Kind.TEXT))


def converted(rows):
    mantissas, exponents, units = zip(*rows, strict=True)
    symbols = pa.array(units).dictionary_encode()
    return to_base_units(np.array(mantissas, np.int64), np.array(exponents, np.int8), symbols)


def test_kwh_become_the_right_mj():
    rows = [
        (1_234_567, -6, "kWh", 4_444_441_200),
        (1, 0, "GWh", 3_600_000_000_000_000),
        (25, -1, "mJ", 2),  # a tie, to even
        (35, -1, "mJ", 4),
        (-5, -4, "Cel", 273_150),  # 273149.5 is a tie
        (-15, -4, "Cel", 273_148),
        (-27_315, -2, "Cel", 0),
        (9_223_372_036_854_775_807 // 10, 1, "mJ", 9_223_372_036_854_775_800),
        (0, 5, "GWh", 0),
    ]
    found, settled = converted([row[:3] for row in rows])
    assert settled.all()
    assert found.tolist() == [row[3] for row in rows]


def test_what_to_base_refuses_is_not_settled():
    rows = [(1, 0, "BTU"), (-1, 0, "kWh"), (-1, -30, "mJ"), (1, 19, "mJ"), (3, 18, "J")]
    rows += [(-27_316, -2, "Cel"), (9_223_372_036_854_775_808 // 1000 + 1, 0, "J"), (10, 18, "mJ")]
    found, settled = converted(rows)
    assert not settled.any()
    assert not found.any()


@settings(deadline=None, max_examples=400)
@given(
    st.lists(
        st.tuples(
            st.integers(-(10**18) + 1, 10**18 - 1) | st.integers(-9999, 9999),
            st.integers(-48, 30),
            st.sampled_from([*UNITS, "BTU"]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_quantity_is_what_to_base_makes_of_its_digits(rows):
    found, settled = converted(rows)
    for row, mine, is_settled in zip(rows, found.tolist(), settled.tolist(), strict=True):
        mantissa, exponent, unit = row
        try:
            expected = to_base(f"{mantissa}e{exponent}", unit)
        except FieldError:
            assert not is_settled
        else:
            assert mine == expected if is_settled else exponent < -15


@settings(deadline=None, max_examples=300)
@given(st.decimals(0, 10**6, places=9) | st.floats(0, 1e9) | st.integers(0, 10**12), st.booleans())
def test_a_quantity_in_json_never_passes_through_a_float(quantity, is_text):
    written = repr(quantity) if isinstance(quantity, float) else str(quantity)
    if isinstance(quantity, Decimal):  # a JSON number of 15 digits at most is its own decimal
        is_text = is_text or len(quantity.as_tuple().digits) > 15
    sent = f'"{written}"' if is_text else written
    decoded = Decoder(FIELDS).decode(f'{{"quantity":{sent},"unit":"kWh"}}'.encode())
    exact = Fraction(Decimal(written)) * 3_600_000_000
    if decoded.refused:
        assert len(Decimal(written).as_tuple().digits) > 17 or Decimal(written).adjusted() < -30
        return
    mantissas, _, exponents = decoded.columns["quantity"]
    (found,), (is_settled,) = to_base_units(mantissas, exponents, decoded.array("unit"))
    assert found == round(exact) if is_settled else round(exact) >= 2**63
