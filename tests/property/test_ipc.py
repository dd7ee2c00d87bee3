"""Arrow streams by part: pyarrow reads from them the rows that were given, whatever they are."""

import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.ipc import Writer, lines_of, writable
from kernels.ipc.reference import lz4_block
from kernels.symbols import Symbols

SYMBOL = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("name", SYMBOL, nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("share", pa.float64()),
        pa.field("place", SYMBOL, nullable=False),
        pa.field("row", pa.int32()),
    ],
    metadata={"gridloom.topic": "t"},
)
PARTS = 5

texts = st.lists(st.text(max_size=9), min_size=1, max_size=12, unique=True)
repeated = st.integers(1, 400)  # a row as often as this: buffers of more than one block of LZ4
row = st.tuples(
    st.integers(0, 11),
    st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3) | st.integers(2**50, 2**50 + 2**33),
    st.none() | st.floats(),
    st.integers(0, 11),
    st.none() | st.integers(-(2**31), 2**31 - 1) | st.integers(0, 3),
)


@pytest.fixture(params=["compiled", "pure"])
def twin(request, monkeypatch):
    monkeypatch.setitem(os.environ, "GRIDLOOM_PURE", "1" if request.param == "pure" else "0")


@st.composite
def batches(draw):
    drawn = draw(st.lists(st.tuples(row, repeated), min_size=1, max_size=30))
    rows = [given for given, times in drawn for _ in range(times)]
    names, places = draw(texts), draw(texts)
    columns = list(zip(*rows, strict=True))
    made = [
        _symbols(columns[0], names),
        pa.array(columns[1], pa.int64()),
        pa.array(columns[2], pa.float64()),
        _symbols(columns[3], places),
        pa.array(columns[4], pa.int32()),
    ]
    batch = pa.RecordBatch.from_arrays(made, schema=SCHEMA)
    first = draw(st.integers(0, batch.num_rows - 1))
    return batch.slice(first, draw(st.integers(1, batch.num_rows)))


def _symbols(codes, names):
    indices = pa.array([code % len(names) for code in codes], pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))


def read(stream):
    with pa.ipc.open_stream(stream) as reader:
        assert reader.schema.equals(SCHEMA, check_metadata=True)
        [batch] = list(reader)
    batch.validate(full=True)
    return batch


def same(one, other):
    """Equal rows, a NaN as much a value as any."""
    for field in SCHEMA:
        ours, theirs = one.column(field.name), other.column(field.name)
        if field.type == pa.float64():
            assert ours.is_null().to_pylist() == theirs.is_null().to_pylist()
            ours, theirs = (column.fill_null(0.0).to_numpy() for column in (ours, theirs))
            assert ours.tobytes() == theirs.tobytes()
        else:
            assert ours.to_pylist() == theirs.to_pylist()


@settings(max_examples=60, deadline=None)
@given(batches(), st.data())
def test_every_row_is_in_the_stream_of_its_part_in_order(batch, data):
    names = batch.column("name").dictionary.to_pylist()
    chosen = data.draw(st.lists(st.integers(0, PARTS - 1), min_size=len(names), max_size=12))
    part_of = np.array(chosen)[batch.column("name").indices.to_numpy()]
    streams = Writer(SCHEMA).write(batch, "name", chosen, PARTS)
    assert [part for part, _ in streams] == sorted(set(part_of.tolist()))
    for part, stream in streams:
        same(read(stream), batch.take(pa.array(np.flatnonzero(part_of == part))))


@settings(max_examples=15, deadline=None)
@given(batches(), st.lists(st.integers(0, PARTS - 1), min_size=12, max_size=12))
def test_both_twins_write_the_same_bytes(batch, chosen):
    written = []
    for pure in ("0", "1"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(os.environ, "GRIDLOOM_PURE", pure)
            written.append(Writer(SCHEMA).write(batch, "place", chosen, PARTS))
    assert written[0] == written[1]


def without_nulls(batch):
    """The batch as lines can say it: a line has a number in each of its columns."""
    columns = [
        column if pa.types.is_dictionary(column.type) else column.fill_null(0)
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def lines_in(batch, symbols, cuts):
    """The batch's rows as lines, cut into parts."""
    lines = np.zeros(batch.num_rows, lines_of(SCHEMA))
    for field in SCHEMA:
        column = batch.column(field.name)
        if field.type == SYMBOL:
            lines[field.name] = [symbols.code(text) for text in column.to_pylist()]
        else:
            lines[field.name] = column.to_numpy()
    return np.split(lines, sorted(cut % (batch.num_rows + 1) for cut in cuts))


@settings(max_examples=40, deadline=None)
@given(batches(), st.lists(st.text(max_size=9), max_size=5), st.lists(st.integers(0, 9**6)))
def test_lines_are_the_bytes_of_their_batch(batch, others, cuts):
    batch = without_nulls(batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "GRIDLOOM_PURE", "0")
        [(_, expected)] = Writer(SCHEMA).write(batch)
        symbols, writer = Symbols(dict.fromkeys(others)), Writer(SCHEMA)
        for _ in range(2):  # again with every text known
            written = writer.write_lines(lines_in(batch, symbols, cuts), symbols)
            assert written == expected
    same(read(written), batch)


@settings(max_examples=10, deadline=None)
@given(batches(), st.lists(st.integers(0, 9**6), max_size=3))
def test_both_twins_write_the_same_bytes_of_lines(batch, cuts):
    batch = without_nulls(batch)
    written = []
    for pure in ("0", "1"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(os.environ, "GRIDLOOM_PURE", pure)
            symbols = Symbols(["other"])
            written.append(Writer(SCHEMA).write_lines(lines_in(batch, symbols, cuts), symbols))
    assert written[0] == written[1]


def test_lines_of_other_columns_or_with_a_code_beyond_the_texts_are_refused(twin):
    symbols = Symbols(["a"])
    lines = np.zeros(2, lines_of(SCHEMA))
    lines["place"] = [0, 1]
    with pytest.raises(IndexError, match="a text beyond the 1 of its"):
        Writer(SCHEMA).write_lines([lines], symbols)
    with pytest.raises(ValueError, match="other columns"):
        Writer(SCHEMA).write_lines([np.zeros(2, np.int64)], symbols)


@pytest.mark.parametrize("values", ["constant", "pattern", "noise", "runs", "mixed", "times"])
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 2_000, 16_384, 40_000])
def test_columns_of_every_kind_come_back(values, rows):
    numbers = {
        "constant": np.full(rows, 7),
        "pattern": np.arange(rows) // 2 % 37,
        "noise": np.random.default_rng(1).integers(0, 2**62, rows),
        "runs": np.arange(rows) // 900,
        "times": 1_760_400_000_000 + np.cumsum(np.arange(rows) ** 3 % 1_009),
        "mixed": np.where(np.arange(rows) % 3000 < 1500, np.arange(rows) % 11, np.arange(rows)),
    }[values].astype(np.int64)
    codes = (numbers % 11).astype(np.int32)
    batch = pa.RecordBatch.from_arrays(
        [
            _symbols(codes, [f"name-{n}" for n in range(11)]),
            pa.array(numbers),
            pa.array(numbers.view(np.float64)),
            _symbols(codes, [f"place-{n:08d}" for n in range(11)]),
            pa.array((numbers & 0x7FFFFFFF).astype(np.int32)),
        ],
        schema=SCHEMA,
    )
    [(part, stream)] = Writer(SCHEMA).write(batch, parts=3)
    assert part == 0
    same(read(stream), batch)
    if values in ("constant", "runs") and rows >= 2_000:
        assert len(stream) < batch.nbytes / 20


def test_a_stream_names_no_text_of_another_part(twin):
    columns = [["a", "b", "a", "c"], [1, 2, 3, 4], [0.0] * 4, ["x", "y", "x", "z"], [0] * 4]
    arrays = [
        _symbols(range(3), "abc").take(pa.array([0, 1, 0, 2])),
        pa.array(columns[1]),
        pa.array(columns[2]),
        pa.array(columns[3]).dictionary_encode(),
        pa.array(columns[4], pa.int32()),
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
    streams = dict(Writer(SCHEMA).write(batch, "name", [1, 0, 0], 2))
    assert read(streams[0]).column("name").dictionary.to_pylist() == ["b", "c"]
    assert read(streams[1]).column("place").dictionary.to_pylist() == ["x"]


def test_null_texts_are_left_to_pyarrow(twin):
    columns = {"name": [None], "count": [1], "share": [None], "place": ["p"], "row": [0]}
    arrays = [
        pa.array(columns[f.name]).cast(pa.string()).dictionary_encode()
        if f.type == SYMBOL
        else pa.array(columns[f.name], f.type)
        for f in SCHEMA
    ]
    assert Writer(SCHEMA).write(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)) is None


def test_what_stands_where_a_value_is_null_is_in_no_stream(twin):
    """Equal rows give equal bytes, whatever else is in a batch's memory."""
    valid = pa.py_buffer(np.packbits([1, 0] * 40, bitorder="little").tobytes())
    same_names = _symbols([0] * 80, ["a"])
    streams = set()
    for hidden in (3.0, 4.0):
        values = pa.py_buffer(np.array([0.5, hidden] * 40).tobytes())
        shares = pa.Array.from_buffers(pa.float64(), 80, [valid, values])
        columns = [same_names, pa.array([1] * 80), shares, same_names, pa.nulls(80, pa.int32())]
        batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
        [(_, stream)] = Writer(SCHEMA).write(batch)
        same(read(stream), batch)
        streams.add(stream)
    assert len(streams) == 1


def test_no_rows_are_no_stream(twin):
    empty = pa.RecordBatch.from_arrays([pa.array([], f.type) for f in SCHEMA], schema=SCHEMA)
    assert Writer(SCHEMA).write(empty) == []
    assert Writer(SCHEMA).write(empty, "name", [], 3) == []


def test_a_part_that_is_not_there_is_an_error(twin):
    batch = pa.RecordBatch.from_arrays(
        [
            _symbols([0], ["a"]),
            pa.array([1]),
            pa.array([0.5]),
            _symbols([0], ["p"]),
            pa.array([1], pa.int32()),
        ],
        schema=SCHEMA,
    )
    for chosen in ([2], [-1], []):
        with pytest.raises(IndexError):
            Writer(SCHEMA).write(batch, "name", chosen, 2)


def test_a_code_beyond_its_dictionary_is_an_error():
    wrong = pa.DictionaryArray.from_arrays(pa.array([3], pa.int32()), pa.array(["a"]), safe=False)
    batch = pa.RecordBatch.from_arrays(
        [_symbols([0], ["a"]), pa.array([1]), pa.array([0.5]), wrong, pa.array([1], pa.int32())],
        schema=SCHEMA,
    )
    with pytest.raises(IndexError, match="text 3 of 1"):
        Writer(SCHEMA).write(batch)


def test_a_schema_with_other_columns_is_refused():
    other = pa.schema([pa.field("flag", pa.bool_())])
    assert not writable(other)
    with pytest.raises(ValueError, match="not one of"):
        Writer(other)
    with pytest.raises(ValueError, match="other columns"):
        Writer(SCHEMA).write(pa.RecordBatch.from_pydict({"count": [1]}))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.binary(min_size=8, max_size=8), repeated), max_size=12),
    st.sampled_from([4, 8]),
)
def test_a_block_is_lz4(words, width):
    data = b"".join(word * times for word, times in words)[:65_536]
    made = lz4_block(data, width, 2 * len(data) + 64)
    assert pa.Codec("lz4_raw").decompress(made, len(data)).to_pybytes() == data
