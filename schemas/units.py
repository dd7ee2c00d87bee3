"""Units: every quantity is settled as an integer in the base unit of its dimension.

Energy mJ, power mW, temperature mK, ratio ppm. A conversion is exact decimal arithmetic, rounded
half to even once; an int or a str never passes through a float, a float counts as the shortest
decimal that reads back as itself (`repr`).
"""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

from schemas.errors import FieldError, shown

INT64_MAX = 2**63 - 1
MJ_PER_KWH = 3_600_000_000
MJ_PER_MWH = 3_600_000_000_000
MS_PER_HOUR = 3_600_000

# 40 digits from 1e-30 to 1e30, plus an offset, times a factor: never more than 120 digits
_EXACT = Context(prec=120, rounding=ROUND_HALF_EVEN)
_DIGITS_MAX = 40
_EXPONENT_MAX = 30
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)
_NOT_FINITE = ("nan", "inf", "infinity")


@dataclass(frozen=True, slots=True)
class Unit:
    """`base` = the dimension's base unit; quantity in base = (quantity + offset) x factor."""

    base: str
    factor: Decimal
    offset: Decimal = Decimal(0)
    signed: bool = False


def _units(base: str, table: dict[str, str], signed: bool = False) -> dict[str, Unit]:
    return {name: Unit(base, Decimal(factor), signed=signed) for name, factor in table.items()}


UNITS: dict[str, Unit] = {
    **_units(
        "mJ",
        {
            "mJ": "1",
            "J": "1e3",
            "kJ": "1e6",
            "MJ": "1e9",
            "GJ": "1e12",
            "Wh": "3.6e6",
            "kWh": "3.6e9",
            "MWh": "3.6e12",
            "GWh": "3.6e15",
        },
    ),
    **_units("mW", {"mW": "1", "W": "1e3", "kW": "1e6", "MW": "1e9", "GW": "1e12"}),
    "mK": Unit("mK", Decimal(1)),
    "K": Unit("mK", Decimal(1000)),
    "Cel": Unit("mK", Decimal(1000), Decimal("273.15"), signed=True),
    "ppm": Unit("ppm", Decimal(1)),
    "%": Unit("ppm", Decimal("1e4")),
    "1": Unit("ppm", Decimal("1e6")),
}
BASE_UNITS = ("mJ", "mW", "mK", "ppm")


def to_base(quantity: int | float | str, unit: str) -> int:
    """Quantity in `unit` to an int64 in the base unit of its dimension, exact, half to even.

    Raises FieldError: unit_unknown, wrong_type, not_finite, negative, overflow.
    """
    known = UNITS.get(unit)
    if known is None:
        raise FieldError(
            "unit_unknown",
            "unit",
            f"unit {shown(unit)} is not known",
            f"use one of {', '.join(UNITS)}",
        )
    if type(quantity) is int and known.base == unit:
        return _in_range(quantity, quantity, unit)
    amount = _decimal(quantity)
    if amount.is_signed() and amount != 0 and not known.signed:
        raise FieldError("negative", "quantity", f"quantity {shown(quantity)} {unit} is below zero")
    scaled = _EXACT.multiply(_EXACT.add(amount, known.offset), known.factor)
    return _in_range(int(scaled.to_integral_value(ROUND_HALF_EVEN)), quantity, unit)


def _decimal(quantity: int | float | str) -> Decimal:
    if isinstance(quantity, bool) or not isinstance(quantity, int | float | str):
        raise FieldError(
            "wrong_type",
            "quantity",
            f"quantity is {shown(quantity)}, not a number",
            "send a number",
        )
    written = repr(quantity) if isinstance(quantity, float) else quantity
    if isinstance(written, str):
        if written.lstrip("+-").lower() in _NOT_FINITE:
            raise FieldError(
                "not_finite", "quantity", f"quantity is {written}", "send a finite one"
            )
        if not _NUMBER.fullmatch(written):
            raise FieldError(
                "wrong_type", "quantity", f"quantity {shown(quantity)} is not a decimal number"
            )
    amount = Decimal(written)
    if amount == 0:
        return Decimal(0)
    if amount.adjusted() > _EXPONENT_MAX:
        raise FieldError("overflow", "quantity", f"quantity {shown(quantity)} does not fit 64 bits")
    if amount.adjusted() < -_EXPONENT_MAX:  # nothing of it is left in any base unit
        return Decimal("-1e-30") if amount.is_signed() else Decimal(0)
    if len(amount.as_tuple().digits) > _DIGITS_MAX:
        raise FieldError(
            "wrong_type",
            "quantity",
            f"quantity {shown(quantity)} has more than {_DIGITS_MAX} digits",
        )
    return amount


def _in_range(base_quantity: int, quantity: int | float | str, unit: str) -> int:
    if 0 <= base_quantity <= INT64_MAX:
        return base_quantity
    named = f"quantity {shown(quantity)} {unit}"
    if base_quantity < 0:
        raise FieldError("negative", "quantity", f"{named} is below zero in base units")
    raise FieldError("overflow", "quantity", f"{named} does not fit 64 bits", "split the interval")


def energy_mj(power_mw: float, hours: Fraction) -> int:
    """Mean power in MW over `hours` to energy in mJ: round half even of repr(MW) x 3.6e12 x h."""
    exact = Fraction(Decimal(repr(float(power_mw)))) * MJ_PER_MWH * hours
    return round(exact)


def half_even(numerator: int, denominator: int) -> int:
    """numerator / denominator rounded to the nearest integer, ties to even (denominator > 0)."""
    quotient, rest = divmod(numerator, denominator)
    double = 2 * rest
    if double > denominator or (double == denominator and quotient & 1):
        quotient += 1
    return quotient
