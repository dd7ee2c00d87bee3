"""Quantities: exact decimals and their units to int64 in base units, as schemas.units.to_base."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.columns import numbers
from schemas.errors import FieldError
from schemas.units import UNITS, to_base

Numbers = npt.NDArray[Any]
# Of each unit: its factor's mantissa and exponent, its offset in base units, whether it is signed.
FACTOR = np.dtype([("mantissa", "<i8"), ("exponent", "<i4"), ("signed", "<i4"), ("offset", "<i8")])
Convert = Callable[[Numbers, Numbers, Numbers, Numbers], tuple[Numbers, Numbers]]


def to_base_units(
    mantissas: Numbers, exponents: Numbers, units: pa.DictionaryArray
) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """mantissa x 10^exponent of a unit to int64 in its base unit, half to even; and where it is.

    False where to_base refuses the row (unit_unknown, negative, overflow), or beyond 128 bits on
    the way (rare): to_base itself says which.
    """
    names = units.dictionary.to_pylist()
    codes = numbers(units.indices)
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return plain(mantissas, exponents, codes, names)
    from kernels.decode._quantity import convert

    table = np.array([FACTORS.get(name, (0, 0, 0, 0)) for name in names], FACTOR)
    converted, is_settled = convert(mantissas, exponents, codes, table)
    return converted, is_settled.view(np.bool_)


def _factors() -> dict[str, tuple[int, int, int, int]]:
    """Of each unit the line of FACTOR."""
    known = {}
    for name, unit in UNITS.items():
        _, digits, exponent = unit.factor.normalize().as_tuple()
        offset = unit.offset * unit.factor
        assert isinstance(exponent, int), "a factor is finite"
        assert offset == int(offset), "an offset is a whole number of base units"
        mantissa = int("".join(map(str, digits)))
        known[name] = (mantissa, exponent, int(unit.signed), int(offset))
    return known


FACTORS = _factors()


def plain(
    mantissas: Numbers, exponents: Numbers, codes: Numbers, names: list[str]
) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """The plain twin: to_base of each row."""
    converted = np.zeros(len(mantissas), np.int64)
    settled = np.zeros(len(mantissas), np.bool_)
    rows = zip(mantissas.tolist(), exponents.tolist(), codes.tolist(), strict=True)
    for row, (mantissa, exponent, code) in enumerate(rows):
        try:
            converted[row] = to_base(f"{mantissa}e{exponent}", names[code])
            settled[row] = True
        except FieldError:
            continue
    return converted, settled
