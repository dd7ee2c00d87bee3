"""Changed: the windows that a batch changed, as columns of ROLLUPS and ROLLUPS_PARTIAL."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.rollup import sketch
from kernels.rollup.layout import LEVELS, RACK, SITE, UNITS, WINDOW
from kernels.rollup.reference import Sketches
from kernels.symbols import Symbols, fixed_array
from schemas.topic import Topic
from schemas.usage import ROLLUPS, ROLLUPS_PARTIAL

# WINDOW begins with its 64-bit fields: so many of its bytes as a matrix are these columns.
_NUMBERS = ("start_ms", "revision", "count", "sum", "min", "max", "energy_mj")
_WORDS = WINDOW.itemsize // 8
_FLOAT_EXACT = 2**53

Rows = npt.NDArray[Any]

assert WINDOW.names is not None
assert WINDOW.names[: len(_NUMBERS)] == _NUMBERS


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


class Changed:
    """Rows of layout.WINDOW in the order in which a batch touched them, and their sketches."""

    def __init__(self, windows: Rows, sketches: Sketches, window_ms: int) -> None:
        is_rack = windows["level"] == RACK
        self._racks = windows.take(np.flatnonzero(is_rack))
        others = np.flatnonzero(~is_rack)
        self._others = windows.take(others)
        ends, self._sketches = sketches
        # of racks nothing is in the bytes: each other's begins where the other before it ended
        self._ends = np.concatenate([ends[:1], ends.take(others + 1)])
        self._window_ms = window_ms

    def rollups(self, symbols: Symbols, ids: RackIds) -> pa.RecordBatch:
        """The racks' windows, finished."""
        racks = self._racks
        pairs = (racks["site_id"].astype(np.int64) << 32 | racks["rack_id"]).tolist()
        columns = self._columns(racks, symbols)
        columns["id"] = symbols.array(np.array([ids[pair] for pair in pairs], np.int32))
        columns["mean"] = pa.array(_means(racks["sum"], racks["count"]))
        columns["p95"] = pa.array(sketch.p95(racks["p95_bucket"], racks["min"], racks["max"]))
        columns["pue_ppm"] = pa.nulls(len(racks), pa.int64())
        return _batch(ROLLUPS, columns)

    def partials(self, symbols: Symbols, partition: int) -> pa.RecordBatch:
        """What this partition knows of the windows of sites and hubs."""
        rows = self._others
        columns = self._columns(rows, symbols)
        codes = np.where(rows["level"] == SITE, rows["site_id"], rows["hub_id"])
        columns["id"] = symbols.array(codes)
        columns["partition"] = pa.array(np.full(len(rows), partition, np.int32))
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._sketches)]
        columns["sketch"] = pa.Array.from_buffers(pa.binary(), len(rows), buffers)
        return _batch(ROLLUPS_PARTIAL, columns)

    def _columns(self, rows: Rows, symbols: Symbols) -> dict[str, pa.Array]:
        numbers = rows.view(np.int64).reshape(-1, _WORDS)[:, : len(_NUMBERS)].T.copy()
        columns = {name: pa.array(column) for name, column in zip(_NUMBERS, numbers, strict=True)}
        columns["end_ms"] = pa.array(numbers[0] + self._window_ms)
        columns["level"] = fixed_array(rows["level"], LEVELS)
        columns["unit"] = fixed_array(rows["unit"], UNITS)
        columns["hub_id"] = symbols.array(rows["hub_id"])
        columns["register"] = symbols.array(rows["register"])
        return columns


def _batch(topic: Topic, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [columns[column.name] for column in topic.columns], schema=topic.schema
    )


def _means(sums: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """sum / count, rounded once; 0 for a window without samples."""
    means = sums / np.maximum(counts, 1)
    for index in np.flatnonzero(sums >= _FLOAT_EXACT):  # a float would round the sum before
        means[index] = int(sums[index]) / int(counts[index])
    return means
