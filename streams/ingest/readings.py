"""Admitted readings as rows of numbers: texts are codes, so that no row is a Python object.

A row is one line of READING; `ReadingRows` holds the texts and writes the Arrow stream. Equal rows
give equal bytes whatever the codes are: a stream's dictionaries hold the texts in use in order of
first use, as `Topic.rows` has them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.ipc import Writer, lines_of
from kernels.symbols import Symbols
from schemas import READINGS
from schemas.topic import SYMBOL

READING = lines_of(READINGS.schema)
TEXTS = tuple(column.name for column in READINGS.columns if column.type == SYMBOL)

Rows = npt.NDArray[Any]


class ReadingRows:
    """The texts of rows of READING, and their way to a record's value."""

    def __init__(self) -> None:
        self.symbols = Symbols()
        self._writer = Writer(READINGS.schema)

    def row(self, fields: dict[str, Any]) -> Rows:
        """One reading as a line."""
        line = np.zeros(1, READING)
        for name, field in fields.items():
            line[name] = self.symbols.code(field) if name in TEXTS else field
        return line

    def value(self, parts: Sequence[Rows]) -> bytes:
        """The rows of all parts as one record's value."""
        return self._writer.write_lines(parts, self.symbols)
