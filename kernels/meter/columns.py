"""Columns of a batch as readings, and changed slots as columns of usage: the plain twin.

A text column comes as (indices, codes of its dictionary); so a dictionary is mapped once, not a row
at a time. Both functions are in _columns.pyx as well; GRIDLOOM_PURE=1 chooses the plain ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.meter.layout import INTEGERS, LISTED, READING, TEXTS

Rows = npt.NDArray[Any]
Indexed = tuple[npt.NDArray[np.int32], Rows]  # indices of the rows, code of each text

# What of a slot is a column of usage, in the order of `written`.
USAGE_INTEGERS = ("start_ms", "end_ms", "quantity", "epoch", "received_ms", "slot_revision")
USAGE_CODES = ("meter_id", "register", "site_id", "hub_id", "account_id", *LISTED)


def read(integers: Sequence[Rows], texts: Sequence[Indexed], listed: Sequence[Indexed]) -> Rows:
    """Rows of layout.READING from columns in the order of INTEGERS, TEXTS and LISTED.

    What the registry says of a reading is left 0. IndexError for an index beyond its dictionary.
    """
    rows = np.zeros(len(integers[0]), READING)
    for name, column in zip(INTEGERS, integers, strict=True):
        rows[name] = column
    for name, (indices, codes) in zip((*TEXTS, *LISTED), (*texts, *listed), strict=True):
        if len(indices):
            rows[name] = codes[indices]
    return rows


def written(rows: Rows) -> tuple[Rows, Rows]:
    """(int64 of USAGE_INTEGERS, int32 of USAGE_CODES): a column of the rows in each line."""
    integers = np.array([rows[name] for name in USAGE_INTEGERS], np.int64)
    return integers, np.array([rows[name] for name in USAGE_CODES], np.int32)
