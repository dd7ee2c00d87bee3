"""Admitted readings as rows of numbers: texts are codes, so that no row is a Python object.

A row is one line of READING; `ReadingRows` holds the texts and makes the Arrow batch. Equal rows
give equal bytes whatever the codes are: a batch's dictionaries hold the texts in use in order of
first use, as `Topic.rows` has them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.symbols import Symbols
from schemas import READINGS
from schemas.topic import INT32, SYMBOL

READING = np.dtype(
    [(column.name, "i4" if column.type in (SYMBOL, INT32) else "i8") for column in READINGS.columns]
)
TEXTS = tuple(column.name for column in READINGS.columns if column.type == SYMBOL)

Rows = npt.NDArray[Any]


class ReadingRows:
    """The texts of rows of READING, and their way to Arrow."""

    def __init__(self) -> None:
        self.symbols = Symbols()

    def row(self, fields: dict[str, Any]) -> Rows:
        """One reading as a line."""
        line = np.zeros(1, READING)
        for name, field in fields.items():
            line[name] = self.symbols.code(field) if name in TEXTS else field
        return line

    def batch(self, rows: Rows) -> pa.RecordBatch:
        """Rows as a batch of READINGS."""
        arrays = [
            self.symbols.array(rows[name])
            if name in TEXTS
            else pa.Array.from_buffers(
                READINGS.by_name[name].type,
                len(rows),
                [None, pa.py_buffer(np.ascontiguousarray(rows[name]))],
            )
            for name in READINGS.by_name
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=READINGS.schema)


# numpy copies a line field by field where it is indexed by a mask or joined; as bytes it does not.
_BYTES = np.dtype((np.void, READING.itemsize))


def where(rows: Rows, kept: npt.NDArray[np.bool_]) -> Rows:
    """The rows that are kept."""
    return rows.take(np.flatnonzero(kept))


def split(rows: Rows, partition: npt.NDArray[np.int32]) -> Iterator[tuple[int, Rows]]:
    """The rows of each partition that has some, in their order."""
    for number in np.flatnonzero(np.bincount(partition)).tolist():
        yield number, where(rows, partition == number)


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts."""
    return np.concatenate([part.view(_BYTES) for part in parts]).view(READING)
