"""Samples: a batch of READINGS as rows of layout.SAMPLE, each with what is wrong with it.

The sample of a reading is its mean power in mW (a delta of energy) or its quantity; its window is
that of its start, a counter's that of its end. `filled` is the plain form of _samples.pyx.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.columns import numbers
from kernels.rollup import sketch
from kernels.rollup.layout import SAMPLE, TEXTS, UNITS, Outcome
from kernels.snapshot import Block
from kernels.symbols import UNLISTED, Symbols, fixed_indexed
from schemas.telemetry import KINDS
from schemas.units import INT64_MAX

DELTA, REGISTER = KINDS.index("delta"), KINDS.index("register")
MJ, MW = UNITS.index("mJ"), UNITS.index("mW")

Rows = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
NUMBERS = ("start_ms", "end_ms", "revision", "quantity")
Texts = tuple[npt.NDArray[np.int32], npt.NDArray[Any]]  # indices; what each dictionary entry is


class Columns(NamedTuple):
    """What the samples of a batch are made of; texts as codes of kernels.symbols."""

    start_ms: Int64s
    end_ms: Int64s
    revision: Int64s
    quantity: Int64s
    texts: tuple[Texts, ...]  # by layout.TEXTS
    kind: Texts
    unit: Texts
    none: int  # the code of the empty text


Coded = Callable[[npt.NDArray[np.int32], npt.NDArray[np.uint8]], npt.NDArray[Any]]


class Reader:
    """The samples of one batch after the other; the plain twin of _samples.Reader."""

    def __init__(self, symbols: Symbols, window_ms: int) -> None:
        self._symbols = symbols
        self._window_ms = window_ms
        self._none = symbols.code("")

    def read(self, readings: pa.RecordBatch) -> tuple[Rows, Int64s]:
        """(samples, received_ms) of a batch of READINGS; ValueError where a column has a null."""
        start_ms, end_ms, revision, quantity = (numbers(readings.column(name)) for name in NUMBERS)
        columns = Columns(
            start_ms,
            end_ms,
            revision,
            quantity,
            texts=tuple(self._symbols.indexed(readings.column(name)) for name in TEXTS),
            kind=fixed_indexed(readings.column("kind"), KINDS),
            unit=fixed_indexed(readings.column("unit"), UNITS),
            none=self._none,
        )
        return filled(columns, self._window_ms), numbers(readings.column("received_ms"))


def reader(symbols: Symbols, window_ms: int) -> Reader:
    """A reader of batches whose texts `symbols` codes."""
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return Reader(symbols, window_ms)
    from kernels.rollup._samples import Reader as Compiled

    compiled: Reader = Compiled(symbols, window_ms)
    return compiled


def places(names: Sequence[str]) -> Coded:
    """What codes texts, as Arrow lays them out, by their place in a fixed list."""
    place = {name: code for code, name in enumerate(names)}
    return lambda offsets, data: np.array(
        [place.get(text, UNLISTED) for text in Block(offsets, data).names()], np.int32
    )


def filled(columns: Columns, window_ms: int) -> Rows:
    """Rows of layout.SAMPLE; a row with a fault has no sample, no energy and no bucket."""
    rows = np.zeros(len(columns.start_ms), SAMPLE)
    start_ms, end_ms, quantity = columns.start_ms, columns.end_ms, columns.quantity
    rows["start_ms"], rows["end_ms"], rows["revision"] = start_ms, end_ms, columns.revision
    for name, (indices, codes) in zip(TEXTS, columns.texts, strict=True):
        rows[name] = codes[indices]
    kind, unit = (codes[indices] for indices, codes in (columns.kind, columns.unit))
    counter = kind == REGISTER
    # a counter's reading is of an instant, and its start may be the day it was built
    rows["window_ms"] = np.where(counter, end_ms, start_ms) // window_ms * window_ms
    energy = (kind == DELTA) & (unit == MJ)
    reversed_, negative = end_ms <= start_ms, quantity < 0
    none = reversed_ | negative
    power_mw, overflow = mean_power_mw(
        np.where(none, 0, quantity), np.where(none, 1, end_ms - start_ms)
    )
    for faulty, outcome in (
        (energy & overflow, Outcome.OVERFLOW),
        (negative, Outcome.NEGATIVE),
        (reversed_, Outcome.REVERSED),
        ((kind == UNLISTED) | (unit == UNLISTED), Outcome.UNLISTED),
    ):
        rows["fault"][faulty] = outcome
    good = rows["fault"] == 0
    rows["sample"] = np.where(good, np.where(energy, power_mw, quantity), 0)
    rows["energy_mj"] = np.where(good & energy, quantity, 0)
    rows["bucket"] = sketch.buckets(rows["sample"])
    rows["kind"] = kind
    rows["unit"] = np.where(energy, MW, unit)
    for level, place in enumerate(("rack_id", "site_id", "hub_id")):
        absent = counter | (rows[place] == columns.none)
        rows["levels"] |= np.where(absent, 0, 1 << level).astype("u1")
    return rows


def refilled(saved: Rows, window_ms: int, symbols: Symbols) -> Rows:
    """Rows of layout.SAMPLE that were saved so. IndexError where one names no text."""
    none = symbols.code("")
    same = np.arange(max(len(symbols.names), len(KINDS), len(UNITS)), dtype=np.int32)
    start_ms, end_ms, revision, quantity = (np.ascontiguousarray(saved[name]) for name in NUMBERS)
    columns = Columns(
        start_ms,
        end_ms,
        revision,
        quantity,
        texts=tuple((saved[name], same) for name in TEXTS),
        kind=(saved["kind"], same),
        unit=(saved["unit"], same),
        none=none,
    )
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return filled(columns, window_ms)
    from kernels.rollup._samples import filled as compiled

    rows: Rows = compiled(columns, window_ms)
    return rows


def mean_power_mw(quantity_mj: Int64s, duration_ms: Int64s) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """Mean power of an interval, mJ x 1000 / ms, half to even; and where that passes 64 bits.

    By parts, because quantity x 1000 passes 64 bits at 2.6 GWh: q = whole x ms + rest.
    """
    whole, rest = np.divmod(quantity_mj, duration_ms)
    overflow = whole >= INT64_MAX // 1000 - 1
    milli, left = np.divmod(rest * 1000, duration_ms)
    power = np.where(overflow, 0, whole) * 1000 + milli
    # left is compared with what is missing to the next integer: twice left could pass 64 bits
    missing = duration_ms - left
    power += (left > missing) | ((left == missing) & (power % 2 == 1))
    return power, overflow
