"""Samples of a batch: both twins fill the same rows, and these are what the readings say."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.rollup._samples import filled as compiled

from kernels.rollup import samples
from kernels.rollup.layout import LEVELS, TEXTS, Outcome
from kernels.rollup.sketch import BOUNDS
from kernels.symbols import UNLISTED
from schemas.telemetry import KINDS
from schemas.units import BASE_UNITS, INT64_MAX

NONE = 3  # the code of the empty text
BEYOND = 253_402_300_800_000  # ms: ingest takes nothing later

edges = st.sampled_from([int(bound) for bound in BOUNDS]).flatmap(
    lambda bound: st.integers(max(bound - 1, 0), min(bound + 1, INT64_MAX))
)
quantities = st.one_of(st.integers(-2, 5_000_000), edges, st.integers(0, INT64_MAX))
starts = st.one_of(st.integers(-50, 50), st.integers(-BEYOND, BEYOND))
rows = st.tuples(
    starts,
    st.one_of(st.integers(-1, 3), st.integers(1, 86_400_000)),  # duration
    st.integers(0, 3),
    quantities,
    st.tuples(*[st.integers(0, 3) for _ in TEXTS]),
    st.sampled_from([*range(len(KINDS)), UNLISTED]),
    st.sampled_from([*range(len(BASE_UNITS)), UNLISTED]),
)


def columns_of(given_rows):
    start, duration, revision, quantity, texts, kind, unit = zip(*given_rows, strict=True)
    start_ms = np.array(start, np.int64)
    codes = np.arange(4, dtype=np.int32)[::-1].copy()  # index i of a dictionary is code 3 - i

    def listed(values):
        used = np.array(sorted(set(values)), np.uint8)
        return np.searchsorted(used, values).astype(np.int32), used

    return samples.Columns(
        start_ms,
        start_ms + np.array(duration, np.int64),
        np.array(revision, np.int64),
        np.array(quantity, np.int64),
        tuple((3 - np.array(column, np.int32), codes) for column in zip(*texts, strict=True)),
        listed(kind),
        listed(unit),
        NONE,
    )


@given(st.lists(rows, min_size=1, max_size=40), st.sampled_from([1_000, 10_000, 900_000]))
@settings(max_examples=300, deadline=None)
def test_both_twins_fill_the_same_rows(given_rows, window_ms):
    columns = columns_of(given_rows)
    assert compiled(columns, window_ms).tobytes() == samples.filled(columns, window_ms).tobytes()


@given(st.lists(rows, min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_a_row_is_the_sample_and_the_window_that_its_reading_says(given_rows):
    made = compiled(columns_of(given_rows), 10_000)
    for row, (start_ms, duration, _, quantity, texts, kind, unit) in zip(
        made, given_rows, strict=True
    ):
        at_ms = start_ms + duration if kind == samples.REGISTER else start_ms
        assert row["window_ms"] <= at_ms < row["window_ms"] + 10_000
        assert row["window_ms"] % 10_000 == 0
        assert [row[name] for name in TEXTS] == list(texts)
        energy = kind == samples.DELTA and unit == samples.MJ
        assert row["fault"] == fault_of(duration, quantity, kind, unit, energy)
        if not row["fault"]:
            exact = round(Fraction(quantity * 1_000, duration)) if energy else quantity
            assert row["sample"] == exact
            assert row["energy_mj"] == (quantity if energy else 0)
            bucket = row["bucket"]
            assert BOUNDS[bucket - 1] < exact <= BOUNDS[bucket] if exact else bucket == 0
        levels = {LEVELS[n] for n in range(3) if row["levels"] >> n & 1}
        places = dict(zip(("site", "rack", "hub"), texts[3:], strict=True))
        named = {level for level, code in places.items() if code != NONE}
        assert levels == (set() if kind == samples.REGISTER else named)


def fault_of(duration, quantity, kind, unit, energy):
    if UNLISTED in (kind, unit):
        return Outcome.UNLISTED
    if duration <= 0:
        return Outcome.REVERSED
    if quantity < 0:
        return Outcome.NEGATIVE
    # of more than 2^63 / 1000 mJ a ms no power fits 64 bits; the last one below is not told apart
    if energy and quantity // duration >= INT64_MAX // 1000 - 1:
        return Outcome.OVERFLOW
    return 0
