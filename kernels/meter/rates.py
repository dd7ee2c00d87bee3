"""Rates: what the registry says of each counter of a batch at each reading's end."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from kernels.columns import numbers
from kernels.meter.columns import Rates
from kernels.symbols import fixed_codes
from schemas.telemetry import KINDS

# meter, ends in ms -> (rating in W, register modulus) that hold at each end; 0 = unbounded, none
Facts = Callable[[str, Sequence[int]], Sequence[tuple[int, int]]]

_REGISTER = "register"


def rates_of(readings: pa.RecordBatch, facts: Facts) -> Rates | None:
    """(rating in W, register modulus) of each row, 0 for what is no counter; None: no counter."""
    kinds = readings.column("kind")
    if _REGISTER not in kinds.dictionary.to_pylist():
        return None
    counters = np.flatnonzero(fixed_codes(kinds, KINDS) == KINDS.index(_REGISTER))
    column = readings.column("meter_id")
    meters, ends_ms = numbers(column.indices), numbers(readings.column("end_ms"))
    by_meter = counters[np.argsort(meters[counters], kind="stable")]
    found, firsts = np.unique(meters[by_meter], return_index=True)
    ends = ends_ms[by_meter].tolist()
    bounds = [*firsts.tolist(), len(by_meter)]
    known: list[tuple[int, int]] = []
    for place, meter in enumerate(column.dictionary.take(pa.array(found)).to_pylist()):
        known += facts(meter, ends[bounds[place] : bounds[place + 1]])
    ratings, moduli = (np.zeros(readings.num_rows, np.int64) for _ in range(2))
    ratings[by_meter] = [rating for rating, _ in known]
    moduli[by_meter] = [modulus for _, modulus in known]
    return ratings, moduli


__all__ = ["Facts", "rates_of"]
