"""Layout: one reading as both twins hold it, and what may become of a row."""

from enum import IntEnum

import numpy as np

from schemas.telemetry import KINDS, QUALITIES
from schemas.units import BASE_UNITS

# Order is the struct's in _reading.pxd: 96 bytes, no padding. Texts are codes of kernels.symbols;
# kind, unit and quality are places in the lists below. `slot_revision` is of the reading's slot.
READING = np.dtype(
    [
        ("start_ms", "<i8"),
        ("end_ms", "<i8"),
        ("revision", "<i8"),
        ("quantity", "<i8"),
        ("epoch", "<i8"),
        ("received_ms", "<i8"),
        ("rating_w", "<i8"),
        ("register_modulus", "<i8"),
        ("meter_id", "<i4"),
        ("register", "<i4"),
        ("source", "<i4"),
        ("site_id", "<i4"),
        ("hub_id", "<i4"),
        ("account_id", "<i4"),
        ("slot_revision", "<i4"),
        ("kind", "u1"),
        ("unit", "u1"),
        ("quality", "u1"),
        ("spare", "u1"),
    ]
)
TEXTS = ("meter_id", "register", "source", "site_id", "hub_id", "account_id")
LISTED = ("kind", "unit", "quality")
INTEGERS = ("start_ms", "end_ms", "revision", "quantity", "epoch", "received_ms")

# What makes two readings of one id differ: everything they say, not how they travelled.
CONTENT = ("quantity", "unit", "kind", "quality", "epoch")

UNITS = BASE_UNITS
USAGE_QUALITIES = (*QUALITIES, "RESET")
REGISTER = KINDS.index("register")
QUESTIONABLE = USAGE_QUALITIES.index("QUESTIONABLE")
RESET = USAGE_QUALITIES.index("RESET")
MJ = UNITS.index("mJ")

# Before any row: so early that no row is late, and yet minus a retention still 64 bits.
NEVER_MS = -(2**62)


class Outcome(IntEnum):
    """What became of a row."""

    ACCEPTED = 0
    DUPLICATE = 1
    SUPERSEDED = 2
    CONFLICT = 3
    LATE = 4
    UNLISTED = 5
    REVERSED = 6
    NEGATIVE = 7
