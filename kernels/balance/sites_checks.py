"""What is wrong with the rows that were left out: one line a site and column."""

from collections.abc import Iterator

import numpy as np

from kernels.balance.columns import F64, Status
from kernels.balance.sites_columns import (
    COLUMNS,
    EFFICIENCIES,
    EFFICIENCY_MIN,
    HOURS_MIN,
    LIMIT,
    MAY_BE_NEGATIVE,
    U8,
    BadSite,
    Sites,
)


def bad_rows(sites: Sites) -> U8:
    """[N] BAD_INPUT or 0: the rule that the compiled loop applies to each row."""
    bad = np.zeros(len(sites.load_mw), np.bool_)
    for name in COLUMNS:
        column = getattr(sites, name)
        low, high = _range(name)
        outside = ~((column >= low) & (column <= high))
        bad |= outside.any(axis=tuple(range(1, column.ndim)))
    bad |= (sites.storage_soc_min_mwh > sites.storage_soc_max_mwh).any(axis=1)
    return bad.astype(np.uint8) * Status.BAD_INPUT.value


def refusals(sites: Sites, rows: list[int]) -> tuple[BadSite, ...]:
    """The values of these rows that cannot be used, in order of row and column."""
    return tuple(error for row in rows for error in _of_row(sites, row))


def _of_row(sites: Sites, row: int) -> Iterator[BadSite]:
    for name, (axes, _) in COLUMNS.items():
        column: F64 = np.atleast_1d(getattr(sites, name)[row])
        low, high = _range(name)
        wrong = np.argwhere(~((column >= low) & (column <= high)))  # NaN is outside
        if len(wrong):
            place = tuple(wrong[0])
            step = int(place[-1]) if axes.endswith("T") else -1
            shown = repr(float(column[place]))
            yield BadSite(row, name, step, shown, f"send a number from {low:g} to {high:g}")
    low_limit, high_limit = sites.storage_soc_min_mwh[row], sites.storage_soc_max_mwh[row]
    for s in np.flatnonzero(low_limit > high_limit)[:1]:
        shown = repr(float(low_limit[s]))
        message = "send a lower limit that is not above the upper"
        yield BadSite(row, "storage_soc_min_mwh", -1, shown, message)


def _range(name: str) -> tuple[float, float]:
    if name in EFFICIENCIES:
        return EFFICIENCY_MIN, 1.0
    if name == "dt_h":
        return HOURS_MIN, LIMIT
    return (-LIMIT if name in MAY_BE_NEGATIVE else 0.0), LIMIT
