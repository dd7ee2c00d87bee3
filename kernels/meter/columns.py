"""Columns of a batch as readings, and changed slots as columns of usage: the plain twin.

A text column comes as (indices, codes of its dictionary); so a dictionary is mapped once, not a row
at a time. _intake.pyx and _usage.pyx do the same in one pass; GRIDLOOM_PURE=1 chooses this one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.columns import numbers
from kernels.meter.layout import (
    INTEGERS,
    LISTED,
    READING,
    TEXTS,
    UNITS,
    USAGE_QUALITIES,
    Outcome,
)
from kernels.snapshot import Column, narrowed
from kernels.symbols import Symbols, Texts, fixed_array, fixed_indexed
from schemas.telemetry import KINDS, QUALITIES
from schemas.usage import USAGE

Rows = npt.NDArray[Any]
Rates = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]  # rating in W, modulus of each row

LISTS = (KINDS, UNITS, QUALITIES)  # of LISTED, as a reading may have them

_USAGE_LISTS = {"kind": KINDS, "unit": UNITS, "quality": USAGE_QUALITIES}


class Taken(NamedTuple):
    """What became of a batch: counts, the rows refused, and USAGE of the slots that changed.

    refused: (row of the batch, its outcome, the reading, of a conflict the reading that is kept),
    a reading being one row of layout.READING.
    """

    accepted: int
    duplicate: int
    superseded: int
    refused: list[tuple[int, int, Rows, Rows | None]]
    changed: pa.RecordBatch


class _Ledger(Protocol):
    def newest(self, count: int) -> Rows: ...
    def apply(self, rows: Rows) -> tuple[npt.NDArray[np.uint8], Rows, list[tuple[int, Rows]]]: ...


class Intake:
    """Batches of READINGS into a ledger."""

    def __init__(self, ledger: _Ledger, symbols: Symbols) -> None:
        self._ledger, self._symbols = ledger, symbols

    def take(self, readings: pa.RecordBatch, rates: Rates | None) -> Taken:
        """Apply one batch, texts coded by the symbols.

        ValueError for a null, IndexError for an index beyond its dictionary; then nothing changed.
        """
        rows = read(readings, self._symbols)
        if rates is not None:
            rows["rating_w"], rows["register_modulus"] = rates
        outcomes, changed, conflicts = self._ledger.apply(rows)
        kept = dict(conflicts)
        refused = [
            (index, int(outcomes[index]), rows[index : index + 1], kept.get(index))
            for index in np.flatnonzero(outcomes >= Outcome.CONFLICT).tolist()
        ]
        accepted, duplicate, superseded = (
            int(np.count_nonzero(outcomes == outcome))
            for outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.SUPERSEDED)
        )
        return Taken(accepted, duplicate, superseded, refused, usage(changed, self._symbols))


def read(readings: pa.RecordBatch, symbols: Symbols) -> Rows:
    """The batch as rows of layout.READING. What the registry says of a reading is left 0."""
    rows = np.zeros(readings.num_rows, READING)
    for name in INTEGERS:
        rows[name] = numbers(readings.column(name))
    indexed: list[tuple[Rows, Rows]] = [symbols.indexed(readings.column(name)) for name in TEXTS]
    indexed += [
        fixed_indexed(readings.column(name), listed)
        for name, listed in zip(LISTED, LISTS, strict=True)
    ]
    for name, (indices, codes) in zip((*TEXTS, *LISTED), indexed, strict=True):
        if len(indices):
            rows[name] = codes[indices.view(np.uint32)]  # no index counts from the end
    return rows


def newest(ledger: _Ledger, texts: Texts, count: int) -> tuple[Rows, Sequence[Column]]:
    """(the texts' codes, the columns) of the last `count` readings accepted, of slot revision 0.

    In the columns a text is its place among the codes; these are in the columns' order of use.
    """
    rows = ledger.newest(count)
    used = texts.compact(rows, TEXTS)
    return used, narrowed(rows)


def usage(changed: Rows, symbols: Symbols) -> pa.RecordBatch:
    """Rows of layout.READING as a batch of USAGE."""
    made: dict[str, object] = {}
    for name in USAGE.by_name:
        column = changed["slot_revision" if name == "revision" else name]
        if name in TEXTS:
            made[name] = symbols.array(np.ascontiguousarray(column))
        elif name in _USAGE_LISTS:
            made[name] = fixed_array(column, _USAGE_LISTS[name])
        else:
            made[name] = column.astype(np.int64)
    return USAGE.batch(made)
