"""Layout: one sample and one window as both twins hold them, and what may become of a row."""

from enum import IntEnum

import numpy as np

from schemas.units import BASE_UNITS, MS_PER_HOUR

# A quarter hour: the slot of settlement, and the finest that grids publish their own figures at.
WINDOW_MS = 900_000

# Ingest accepts a row that ended up to 48 h before its receipt; an hour more for its own length
# (windows go by start) and for rows of other inputs that overtook it.
LATENESS_MS = 49 * MS_PER_HOUR

# Before any row: so early that no row is late, and yet minus the lateness still 64 bits.
NEVER_MS = -(2**62)

# Orders are the structs' in _layout.pxd, without padding. Texts are codes of kernels.symbols, unit
# and kind are places in lists, levels is a set of 1 << level; a counter's reading has none.
SAMPLE = np.dtype(
    [
        ("start_ms", "<i8"),
        ("end_ms", "<i8"),
        ("window_ms", "<i8"),
        ("revision", "<i8"),
        ("sample", "<i8"),
        ("energy_mj", "<i8"),
        ("meter_id", "<i4"),
        ("register", "<i4"),
        ("source", "<i4"),
        ("site_id", "<i4"),
        ("rack_id", "<i4"),
        ("hub_id", "<i4"),
        ("bucket", "<i4"),
        ("kind", "u1"),
        ("unit", "u1"),
        ("levels", "u1"),
        ("fault", "u1"),
    ]
)
# A reading as it is saved: what its sample, energy, bucket, levels and window are made of again.
# Its unit is mJ where it has an energy. Kind and unit are as wide as the codes: 64 bytes in all.
SAVED = np.dtype(
    [
        ("start_ms", "<i8"),
        ("end_ms", "<i8"),
        ("revision", "<i8"),
        ("quantity", "<i8"),
        ("meter_id", "<i4"),
        ("register", "<i4"),
        ("source", "<i4"),
        ("site_id", "<i4"),
        ("rack_id", "<i4"),
        ("hub_id", "<i4"),
        ("kind", "<i4"),
        ("unit", "<i4"),
    ]
)
WINDOW = np.dtype(
    [
        ("start_ms", "<i8"),
        ("revision", "<i8"),
        ("count", "<i8"),
        ("sum", "<i8"),
        ("min", "<i8"),
        ("max", "<i8"),
        ("energy_mj", "<i8"),
        ("site_id", "<i4"),
        ("rack_id", "<i4"),
        ("hub_id", "<i4"),
        ("register", "<i4"),
        ("p95_bucket", "<i4"),
        ("level", "u1"),
        ("unit", "u1"),
        ("spare", "<u2"),
    ]
)
# A part of a window as one row of ROLLUPS_PARTIAL says it, but for its sketch; and a window that is
# the sum of its parts. Texts are codes of kernels.symbols.
_SAID = (
    *((name, "<i8") for name in ("start_ms", "end_ms", "revision", "count", "sum", "min", "max")),
    ("energy_mj", "<i8"),
    *((name, "<i4") for name in ("level", "id", "hub_id", "register", "unit")),
)
PART = np.dtype([*_SAID, ("partition", "<i4")])
MERGED = np.dtype([*_SAID, ("p95_bucket", "<i4")])
PART_TEXTS = ("level", "id", "hub_id", "register", "unit")
TEXTS = ("meter_id", "register", "source", "site_id", "rack_id", "hub_id")
LEVELS = ("rack", "site", "hub")
RACK, SITE, HUB = range(3)
UNITS = BASE_UNITS


class Outcome(IntEnum):
    """What became of a row; from LATE on it is refused."""

    ACCEPTED = 0
    DUPLICATE = 1
    SUPERSEDED = 2
    LATE = 3
    OTHER_UNIT = 4
    OVERFLOW = 5
    UNLISTED = 6
    REVERSED = 7
    NEGATIVE = 8


class PartOutcome(IntEnum):
    """What became of a row of ROLLUPS_PARTIAL; refused from LATE on."""

    ACCEPTED = 0
    DUPLICATE = 1
    SUPERSEDED = 2
    LATE = 3
    OTHER_UNIT = 4
    BAD_SKETCH = 5
    SUM = 6
    ENERGY = 7
    COUNT = 8
    REVISION = 9
    UNCOUNTED = 10
