"""Intake of the meter: columns become readings and usage alike in both twins."""

import gc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.meter import Slots, _core, reference
from kernels.meter.layout import INTEGERS, READING, Outcome
from schemas import READINGS, USAGE
from schemas.codec import encode

LEDGERS = {"plain": reference.Ledger, "core": _core.Ledger}
TWINS = pytest.mark.parametrize("ledger", LEDGERS.values(), ids=LEDGERS)
RETENTION_MS = 2**61
_TEXTS = tuple(name for name, column in READINGS.by_name.items() if column.type == pa.string())
_LISTED = {
    "kind": ["delta", "register", "gauge", "other"],
    "unit": ["mJ", "mW", "mK", "ppm", "other"],
    "quality": ["ACTUAL", "ESTIMATE", "QUESTIONABLE", "other"],
}


def indexed(texts: list[str], indices: np.ndarray) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        pa.array(indices.astype(np.int32)), pa.array(texts, pa.string()), safe=False
    )


def batch_of(random: np.random.Generator, size: int, texts: list[str]) -> pa.RecordBatch:
    """Rows of every kind: few ids, so that some come twice, with any content."""
    columns: dict[str, object] = {}
    for column in READINGS.columns:
        if column.name in _LISTED:
            listed = random.permutation(_LISTED[column.name]).tolist()
            columns[column.name] = indexed(listed, random.integers(0, len(listed), size))
        elif column.type == pa.int64():
            columns[column.name] = random.integers(0, 4, size)
        elif column.type == pa.int32():
            columns[column.name] = np.zeros(size, np.int32)
        else:
            some = random.permutation(texts)[: random.integers(1, len(texts) + 1)].tolist()
            columns[column.name] = indexed(some, random.integers(0, len(some), size))
    columns["quantity"] = random.integers(-1, 2**62, size)
    columns["end_ms"] = random.integers(1, 6, size)
    columns["start_ms"] = random.integers(-(2**60), 3, size)
    return READINGS.batch(columns)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=6, unique=True
    ),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=5),
    st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_both_twins_say_the_same_of_any_columns(texts, batches, seed):
    random = np.random.default_rng(seed)
    plain, core = (Slots(RETENTION_MS, ledger) for ledger in LEDGERS.values())
    for size, cut in batches:
        batch = batch_of(random, size, texts).slice(min(cut, size))
        one, other = plain.apply(batch), core.apply(batch)
        other.changed.validate(full=True)
        assert encode(USAGE, one.changed) == encode(USAGE, other.changed)
        assert one.refused == other.refused
        assert (one.accepted, one.duplicate, one.superseded) == (
            other.accepted,
            other.duplicate,
            other.superseded,
        )
    assert plain.dump() == core.dump()


def new_slots(first: int, size: int, names: list[str], received_ms: int = 0) -> pa.RecordBatch:
    """Deltas of distinct slots: each makes a row of usage that says what it said."""
    row = np.arange(first, first + size)
    columns: dict[str, object] = {name: np.zeros(size, np.int64) for name in INTEGERS}
    columns |= {"end_ms": row + 1, "start_ms": row, "quantity": row * 7}
    columns["received_ms"] = np.full(size, received_ms)
    for column in READINGS.columns:
        if column.name in columns:
            continue
        if column.type == pa.int64() or column.type == pa.int32():
            columns[column.name] = np.zeros(size, column.type.to_pandas_dtype())
        else:
            texts = [_LISTED[column.name][0]] if column.name in _LISTED else names
            columns[column.name] = indexed(texts, row % len(texts))
    return READINGS.batch(columns)


@TWINS
def test_dictionaries_that_come_again_changed_grown_or_shrunk_name_their_own_texts(ledger):
    slots = Slots(RETENTION_MS, ledger)
    for number, names in enumerate(
        [["ab", "cd"], ["ab", "cd"], ["ab", "ce"], ["abc", "d"], ["a", "bcd", "e"], [""], ["ab"]]
    ):
        batch = new_slots(10 * number, 9, names)
        changed = slots.apply(batch).changed
        for name in ("meter_id", "register", "site_id", "hub_id", "account_id", "end_ms"):
            assert changed.column(name).to_pylist() == batch.column(name).to_pylist()


def test_a_column_outlives_its_batch_and_the_batches_after_it():
    slots = Slots(RETENTION_MS)
    changed = slots.apply(new_slots(0, 3_000, ["a", "b"])).changed
    meters, quantity = changed.column("meter_id"), changed.column("quantity")
    del changed
    for number in range(1, 5):
        slots.apply(new_slots(3_000 * number, 3_000, ["c"]))
    gc.collect()
    assert meters.to_pylist() == ["a", "b"] * 1_500
    assert quantity.to_pylist() == [7 * row for row in range(3_000)]


def test_a_ledger_of_many_blocks_loses_and_moves_nothing():
    """Rows refused now and then shift those after them; closed slots are dropped in place."""
    slots = Slots(retention_ms=40_000)
    assert isinstance(slots._ledger, _core.Ledger)
    seen = []
    for first in range(0, 90_000, 9_000):
        batch = new_slots(first, 9_000, ["a", "b", "c"], received_ms=first)
        quantity = batch.column("quantity").to_numpy().copy()
        quantity[::11] = -1
        applied = slots.apply(batch.set_column(5, READINGS.schema.field(5), pa.array(quantity)))
        assert [refusal.row for refusal in applied.refused] == list(range(0, 9_000, 11))
        assert applied.changed.column("quantity").to_pylist() == [q for q in quantity if q >= 0]
        seen += [
            row for row, q in zip(range(first, first + 9_000), quantity, strict=True) if q >= 0
        ]
    open_ = [row for row in seen if row + 1 > 81_000 - 40_000]
    before = slots.dump()
    slots._ledger.compact()
    assert len(slots) == len(open_)
    assert slots._ledger.rows()["start_ms"].tolist() == open_
    assert slots._ledger.newest(10_000)["start_ms"].tolist() == open_[-10_000:]
    assert slots.dump() == before
    again = slots.apply(new_slots(75_000, 6_000, ["a", "b", "c"], received_ms=81_000))
    assert again.duplicate + again.accepted == 6_000
    assert again.duplicate == sum(75_000 <= row < 81_000 for row in open_)


@pytest.mark.parametrize(("size", "tables"), [(900, 400), (300_000, 1)])
def test_a_table_widened_in_place_finds_every_reading_again(size, tables):
    """Meters side by side and far apart, so that runs of entries are long and some wrap around."""
    random = np.random.default_rng(3)
    for _ in range(tables):
        ids = random.choice(8 * size, size, replace=False)
        rows = np.zeros(size, READING)
        rows["meter_id"] = np.where(ids % 3 == 0, ids // 64 * 8, ids // 64)
        rows["end_ms"] = 1 + ids % 64 + 64 * (ids % 3 == 0)
        ledger = _core.Ledger(rows[:0], [], RETENTION_MS)
        step = max(size // 40, 200)
        for first in range(0, size, step):
            assert not ledger.apply(rows[first : first + step])[0].any()
            assert (ledger.apply(rows[: first + step])[0] == Outcome.DUPLICATE).all()
        assert len(ledger) == size


@TWINS
def test_an_index_beyond_its_dictionary_is_an_error_and_changes_nothing(ledger):
    slots = Slots(RETENTION_MS, ledger)
    batch = new_slots(0, 200, ["a", "b"])
    for name in ("meter_id", "source", "kind", "quality"):
        place = READINGS.schema.get_field_index(name)
        texts = batch.column(name).dictionary.to_pylist()
        for wrong in (len(texts), -1):
            indices = np.zeros(200, np.int32)
            indices[150] = wrong
            broken = batch.set_column(place, READINGS.schema.field(place), indexed(texts, indices))
            with pytest.raises(IndexError):
                slots.apply(broken)
    assert len(slots) == 0
    assert slots.apply(batch).accepted == 200


@TWINS
def test_a_null_is_an_error_and_changes_nothing(ledger):
    slots = Slots(RETENTION_MS, ledger)
    batch = new_slots(0, 3, ["a", "b"])
    for name, column in (
        ("quantity", pa.array([1, None, 2], pa.int64())),
        ("meter_id", pa.DictionaryArray.from_arrays(pa.array([0, None, 0], pa.int32()), ["a"])),
        ("hub_id", pa.DictionaryArray.from_arrays(pa.array([0, 0, 0], pa.int32()), ["a", None])),
    ):
        place = READINGS.schema.get_field_index(name)
        broken = batch.set_column(place, READINGS.schema.field(place), column)
        with pytest.raises(ValueError, match="null"):
            slots.apply(broken)
        with pytest.raises(ValueError, match="null"):
            slots.apply(broken.slice(1))
    assert len(slots) == 0
    assert slots.apply(batch).accepted == 3
