"""Columns to lines: rows side by side, as `Writer.write_lines` takes them, by the part they are of.

    Filling(dtype, size, columns, (table, index), parts).lines(chosen) -> [(part, lines), ...]

A line is written once, where it stays: a column at a time for a few rows, what all rows share in
advance. `plain` is the specification; GRIDLOOM_PURE=1 chooses it.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
Lines = npt.NDArray[Any]
# of a field: one number a row; numbers and the place of each row's among them; or one for all
Column = Numbers | tuple[Numbers, Numbers] | np.generic | int
_Given = tuple[Numbers, Numbers | None]  # numbers, and each row's place among them
Fill = Callable[
    [np.dtype[Any], Lines, list[tuple[str, _Given]], _Given, int, Numbers | None, int],
    list[tuple[int, Lines]],
]


class Filling:
    """Rows that are not lines yet.

    columns: a column for every field of the dtype. part: of each row, 0 <= part < parts, as numbers
    and each row's place among them. ValueError where a column has another number of rows.
    """

    def __init__(
        self,
        dtype: np.dtype[Any],
        size: int,
        columns: Mapping[str, Column],
        part: tuple[Numbers, Numbers],
        parts: int,
    ) -> None:
        self._dtype, self._size, self._parts = dtype, size, parts
        self._same = np.zeros(1, dtype)
        self._columns: list[tuple[str, _Given]] = []
        for name in dtype.names or ():
            column = columns[name]
            if isinstance(column, tuple):
                table, index = self._table(column, dtype[name])
                if 0 < len(table) <= size and (table == table[0]).all():
                    column = table[0]
                else:
                    self._columns.append((name, (table, index)))
                    continue
            if isinstance(column, np.ndarray):
                self._columns.append((name, (self._rows(column, dtype[name]), None)))
            else:
                self._same[name] = column
        self._part = self._table(part, np.dtype(np.int32))

    def __len__(self) -> int:
        return self._size

    def lines(self, chosen: Numbers | None = None) -> list[tuple[int, Lines]]:
        """The lines of each part that has some, in the order of the rows; chosen: of these rows.

        IndexError for a row, a place or a part that is not there.
        """
        rows = None if chosen is None else np.ascontiguousarray(chosen, np.int64)
        size = self._size if rows is None else len(rows)
        fill = _twin()
        return fill(self._dtype, self._same, self._columns, self._part, self._parts, rows, size)

    def _rows(self, column: Numbers, dtype: np.dtype[Any]) -> Numbers:
        if len(column) != self._size:
            raise ValueError(f"a column has {len(column)} rows of {self._size}")
        return column.astype(dtype, copy=False)

    def _table(self, column: tuple[Numbers, Numbers], dtype: np.dtype[Any]) -> _Given:
        table, index = column
        places = np.ascontiguousarray(self._rows(index, np.dtype(np.int32)))
        return table.astype(dtype, copy=False), places


def plain(
    dtype: np.dtype[Any],
    same: Lines,
    columns: list[tuple[str, _Given]],
    part: _Given,
    parts: int,
    chosen: Numbers | None,
    size: int,
) -> list[tuple[int, Lines]]:
    """The plain twin: a column after the other, then the rows of each part."""
    rows = np.arange(size) if chosen is None else chosen
    lines = np.repeat(same, size)
    for name, given in columns:
        lines[name] = _of(given, rows)
    part_of = _of(part, rows)
    if size and not 0 <= part_of.min() <= part_of.max() < parts:
        raise IndexError(f"a row is of a part that is none of {parts}")
    split = [(number, lines[part_of == number]) for number in range(parts)]
    return [(number, found) for number, found in split if len(found)]


def _of(given: _Given, rows: Numbers) -> Numbers:
    """The number of each of these rows."""
    numbers, places = given
    if len(rows) and rows.min() < 0:
        raise IndexError("a row is not there")
    if places is None:
        return numbers[rows]
    of_rows = places[rows]
    if len(of_rows) and of_rows.min() < 0:
        raise IndexError("a place is not there")
    found: Numbers = numbers[of_rows]
    return found


def _twin() -> Fill:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return plain
    from kernels.ipc._lines import fill

    compiled: Fill = fill
    return compiled
