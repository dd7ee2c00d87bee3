"""Changed: the windows that a batch changed, as columns of ROLLUPS and ROLLUPS_PARTIAL.

`split` is the plain form of _changed.pyx.
"""

import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.rollup import sketch
from kernels.rollup.layout import LEVELS, SITE, UNITS, WINDOW
from kernels.rollup.reference import Sketches
from kernels.symbols import Symbols, fixed_array
from schemas.topic import Topic
from schemas.usage import ROLLUPS, ROLLUPS_PARTIAL

# WINDOW begins with its 64-bit fields: so many of its bytes as a matrix are these columns.
NUMBERS = ("start_ms", "revision", "count", "sum", "min", "max", "energy_mj", "end_ms")
CODES = ("level", "unit", "hub_id", "register", "id")
FLOAT_EXACT = 2**53
_WORDS = WINDOW.itemsize // 8
_INT64, _INT32, _FLOAT64, _BINARY = pa.int64(), pa.int32(), pa.float64(), pa.binary()

Rows = npt.NDArray[Any]

assert WINDOW.names is not None
assert WINDOW.names[: len(NUMBERS) - 1] == NUMBERS[:-1]


class Part(NamedTuple):
    """Windows as columns: numbers[NUMBERS, rows], codes[CODES, rows]."""

    numbers: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]


# racks; their mean and p95 [2, rows]; sites and hubs
Split = tuple[Part, npt.NDArray[np.float64], Part]


class RackIds(dict[int, int]):
    """(site << 32 | rack) -> code of "site/rack", both by the same symbols."""

    def __init__(self, symbols: Symbols) -> None:
        super().__init__()
        self._symbols = symbols

    def __missing__(self, pair: int) -> int:
        names = self._symbols.names
        code = self._symbols.code(f"{names[pair >> 32]}/{names[pair & 0xFFFF_FFFF]}")
        self[pair] = code
        return code


def split(windows: Rows, others_count: int, window_ms: int, ids: RackIds) -> Split:
    """The windows of racks, and so many of sites and hubs behind them."""
    racks, others = np.split(windows, [len(windows) - others_count])
    pairs = (racks["site_id"].astype(np.int64) << 32 | racks["rack_id"]).tolist()
    rack_ids = np.array([ids[pair] for pair in pairs], np.int32)
    mean = means(racks["sum"], racks["count"])
    p95 = sketch.p95(racks["p95_bucket"], racks["min"], racks["max"])
    other_ids = np.where(others["level"] == SITE, others["site_id"], others["hub_id"])
    return (
        _part(racks, rack_ids, window_ms),
        np.array([mean, p95]),
        _part(others, other_ids, window_ms),
    )


class Changed:
    """Rows of layout.WINDOW, racks' first, and the sketches of the others."""

    def __init__(self, symbols: Symbols, window_ms: int) -> None:
        self._symbols = symbols
        self._window_ms = window_ms
        self._ids, self._split = _chosen(symbols)

    def batches(
        self, windows: Rows, sketches: Sketches, partition: int
    ) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Finished windows of racks, and what this partition knows of those of sites and hubs."""
        ends, data = sketches
        racks, floats, others = self._split(windows, len(ends) - 1, self._window_ms, self._ids)
        size = racks.codes.shape[1]
        columns = self._columns(racks)
        columns["mean"], columns["p95"] = (_array(_FLOAT64, column) for column in floats)
        columns["pue_ppm"] = pa.nulls(size, _INT64)
        rollups = _batch(ROLLUPS, columns)
        size = others.codes.shape[1]
        columns = self._columns(others)
        columns["partition"] = _array(_INT32, np.full(size, partition, np.int32))
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(data)]
        columns["sketch"] = pa.Array.from_buffers(_BINARY, size, buffers, 0)
        return rollups, _batch(ROLLUPS_PARTIAL, columns)

    def _columns(self, part: Part) -> dict[str, pa.Array]:
        columns = {
            name: _array(_INT64, column) for name, column in zip(NUMBERS, part.numbers, strict=True)
        }
        level, unit, *texts = part.codes
        columns["level"] = fixed_array(level, LEVELS)
        columns["unit"] = fixed_array(unit, UNITS)
        for name, codes in zip(CODES[2:], texts, strict=True):
            columns[name] = self._symbols.array(codes)
        return columns


def _chosen(symbols: Symbols) -> tuple[Any, Any]:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return RackIds(symbols), split
    from kernels.rollup._changed import RackIds as Ids
    from kernels.rollup._changed import split as compiled

    return Ids(symbols), compiled


def _part(rows: Rows, ids: npt.NDArray[np.int32], window_ms: int) -> Part:
    numbers = rows.view(np.int64).reshape(-1, _WORDS)[:, : len(NUMBERS)].T.copy()
    numbers[-1] = numbers[0] + window_ms
    names = ("level", "unit", "hub_id", "register")
    return Part(numbers, np.array([*(rows[name] for name in names), ids], np.int32))


def _array(kind: pa.DataType, values: npt.NDArray[Any]) -> pa.Array:
    """Numbers that lie one after the other, as they are."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)], 0)


def _batch(topic: Topic, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [columns[column.name] for column in topic.columns], schema=topic.schema
    )


def means(sums: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """sum / count, rounded once; 0 for a window without samples."""
    found: npt.NDArray[np.float64] = np.where(counts, sums / np.maximum(counts, 1), 0.0)
    large = (sums >= FLOAT_EXACT) | (sums <= -FLOAT_EXACT)
    for index in np.flatnonzero(large & (counts > 0)):  # a float would round the sum before
        found[index] = int(sums[index]) / int(counts[index])
    return found
