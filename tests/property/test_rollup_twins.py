"""The compiled twins of rollup give the bytes of their plain forms on awkward inputs."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.rollup import Windows, _changed, _core, changed, layout, reference, samples
from kernels.rollup import _samples as compiled
from kernels.symbols import Symbols
from schemas import READINGS, ROLLUPS, ROLLUPS_PARTIAL
from schemas.codec import encode
from schemas.units import INT64_MAX

WINDOW_MS = 10_000
SAME = {
    "register": "it.energy",
    "quality": "ACTUAL",
    "epoch": 0,
    "hub_id": "hub",
    "account_id": "payer",
    "source_partition": 0,
    "source_offset": 0,
    "source_row": 0,
    "registry_offset": 0,
}


def reading(meter, end, revision, kind, quantity, rack, site, source, unit, length=1):
    return SAME | {
        "meter_id": f"m{meter}",
        "kind": kind,
        "start_ms": 1_000 * (end - length),
        "end_ms": 1_000 * end,
        "quantity": quantity,
        "unit": unit,
        "revision": revision,
        "site_id": f"site-{site}",
        "rack_id": f"rack-{rack}" if rack else "",
        "source": source,
        "received_ms": 1_000 * end,
    }


# few slots and many readings: windows of more than a few samples, most of them revised or repeated
readings = st.builds(
    reading,
    st.integers(0, 5),
    st.integers(1, 14),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.sampled_from(["delta", "delta", "delta", "gauge", "register"]),
    st.one_of(st.sampled_from([0, 1, 2**61, INT64_MAX]), st.integers(0, 10**7)),
    st.integers(0, 2),
    st.integers(0, 1),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["mJ", "mJ", "mJ", "mW"]),
    st.sampled_from([1, 1, 1, 2, 134_217, 134_218, 200_000]),  # around 2**27 ms, and two days
)
few = st.integers(0, 5_000_000)


def ordered(rows):
    """Each meter's readings by their ends, as a device sends them: none is looked for."""
    return sorted(rows, key=lambda row: row["end_ms"])


@given(st.lists(readings, max_size=120), st.integers(0, 120), st.data())
@settings(max_examples=120, deadline=None)
def test_ledgers_agree_in_order_and_out_of_order(rows, first, data):
    rows = ordered(rows[:first]) + rows[first:]
    bounds = [0, *sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4))), len(rows)]
    plain = Windows(WINDOW_MS, 10**9, reference.Ledger)
    core = Windows(WINDOW_MS, 10**9, _core.Ledger)
    assert list(plain.base(8)) == list(core.base(8))
    for start, stop in pairwise(bounds):
        batch = READINGS.rows(rows[start:stop])
        one, other = plain.apply(batch, 0), core.apply(batch, 0)
        assert encode(ROLLUPS, one.rollups) == encode(ROLLUPS, other.rollups)
        assert encode(ROLLUPS_PARTIAL, one.partials) == encode(ROLLUPS_PARTIAL, other.partials)
        assert one.refused == other.refused
        assert (one.accepted, one.duplicate) == (other.accepted, other.duplicate)
        assert plain.added() == core.added()
        if data.draw(st.booleans()):
            plain.growth.seal()
            core.growth.seal()
    assert plain.dump() == core.dump(), "packing leaves the state as it was"


@given(st.lists(st.lists(readings, max_size=12), max_size=4), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_readers_agree_from_batch_to_batch_whatever_the_dictionaries(batches, cut):
    symbols, others = Symbols(["m3"]), Symbols(["m3"])
    plain, core = samples.Reader(symbols, WINDOW_MS), compiled.Reader(others, WINDOW_MS)
    for rows in batches:
        whole = READINGS.rows(rows)
        for batch in (whole, whole.slice(cut), whole):
            one, received_ms = plain.read(batch)
            other, also_ms = core.read(batch)
            assert (one.tobytes(), received_ms.tolist()) == (other.tobytes(), also_ms.tolist())
    assert symbols.names == others.names


@pytest.mark.parametrize("name", ["end_ms", "received_ms", "meter_id", "unit"])
def test_a_null_is_refused_by_both_readers(name):
    batch = READINGS.rows([reading(0, 1, 0, "delta", 5, 1, 1, "a", "mJ")] * 3)
    column = batch.column(name).to_pylist()
    column[1] = None
    place = batch.schema.get_field_index(name)
    holed = pa.array(column, batch.schema.field(name).type)
    for reader in (samples.Reader, compiled.Reader):
        with pytest.raises(ValueError, match="null"):
            reader(Symbols(), WINDOW_MS).read(batch.set_column(place, name, holed))


def test_a_null_text_is_not_the_empty_text_of_the_batch_before():
    batch = READINGS.rows([reading(0, 1, 0, "delta", 5, 1, 1, "a", "mJ")] * 2)
    place = batch.schema.get_field_index("rack_id")
    indices = pa.array([0, 1], pa.int32())
    empty, null = (
        pa.DictionaryArray.from_arrays(indices, pa.array(["rack-1", last])) for last in ("", None)
    )
    reader = compiled.Reader(Symbols(), WINDOW_MS)
    reader.read(batch.set_column(place, "rack_id", empty))
    with pytest.raises(ValueError, match="null"):
        reader.read(batch.set_column(place, "rack_id", null))


def test_a_batch_of_other_columns_or_types_is_refused():
    batch = READINGS.rows([reading(0, 1, 0, "delta", 5, 1, 1, "a", "mJ")])
    reader = compiled.Reader(Symbols(), WINDOW_MS)
    with pytest.raises(ValueError, match="has the columns"):
        reader.read(batch.drop_columns(["epoch"]))
    place = batch.schema.get_field_index("end_ms")
    with pytest.raises(ValueError, match="end_ms has another type"):
        reader.read(batch.set_column(place, "end_ms", pa.array([1.5])))


def test_a_row_that_names_no_text_is_refused():
    batch = READINGS.rows([reading(0, 1, 0, "delta", 5, 1, 1, "a", "mJ")])
    beyond = pa.DictionaryArray.from_arrays(pa.array([7], pa.int32()), pa.array(["m"]), safe=False)
    with pytest.raises(IndexError):
        compiled.Reader(Symbols(), WINDOW_MS).read(batch.set_column(0, "meter_id", beyond))


windows = st.tuples(
    st.integers(0, 2),  # level
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5),
    st.lists(st.one_of(few, st.integers(2**52, 2**60)), max_size=6),
)


@given(st.lists(windows, max_size=20))
@settings(max_examples=150, deadline=None)
def test_windows_are_split_into_the_same_columns(given_windows):
    given_windows = sorted(given_windows, key=lambda window: window[0] != layout.RACK)
    others = sum(level != layout.RACK for level, *_ in given_windows)
    rows = np.zeros(len(given_windows), layout.WINDOW)
    for row, (level, site, rack, hub, values) in zip(rows, given_windows, strict=True):
        row["start_ms"], row["revision"], row["count"] = 7_000, 3, len(values)
        row["sum"] = sum(values)
        row["min"], row["max"] = min(values, default=0), max(values, default=0)
        row["level"], row["site_id"], row["rack_id"], row["hub_id"] = level, site, rack, hub
        row["p95_bucket"] = samples.sketch.buckets(np.array([row["max"]]))[0]
    names = [f"name-{code}" for code in range(6)]
    symbols, same = Symbols(names), Symbols(names)
    one = changed.split(rows, others, WINDOW_MS, changed.RackIds(symbols))
    other = _changed.split(rows, others, WINDOW_MS, _changed.RackIds(same))
    for part, also in ((one[0], other[0]), (one[2], other[2])):
        assert part.numbers.tolist() == also.numbers.tolist()
        assert part.codes.tolist() == also.codes.tolist()
    assert one[1].tobytes() == other[1].tobytes()
    assert symbols.names == same.names
