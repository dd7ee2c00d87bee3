"""Texts, columns and growth of a kernel's state: the compiled twins say what the plain ones say."""

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import _core, _snapshot
from kernels.meter import Slots
from kernels.meter.layout import NEVER_MS, READING, TEXTS
from kernels.rollup import Merge, Windows
from kernels.rollup.layout import PART, PART_TEXTS, SAMPLE, SAVED, WINDOW
from kernels.snapshot import (
    Block,
    Packed,
    Snapshot,
    narrowed,
    pack,
    pack_block,
    rows_in,
    unpack,
    widen,
)
from kernels.symbols import Symbols, Texts, recode
from schemas import DecodeError

texts = st.text(st.characters(codec="utf-8"), max_size=20)
batches = st.lists(st.lists(texts, min_size=1, max_size=8), min_size=1, max_size=6)
wide = st.integers(-(2**63), 2**63 - 1)


@st.composite
def states(draw):
    """Rows of one of the layouts: some fields one value, some spread over all that they hold."""
    dtype = draw(st.sampled_from([READING, SAMPLE, SAVED, WINDOW]))
    rows = np.zeros(draw(st.integers(0, 300)), dtype)
    for name in dtype.names:
        low, high = np.iinfo(dtype[name]).min, np.iinfo(dtype[name]).max
        first = draw(st.integers(int(low), int(high)))
        span = draw(st.sampled_from([0, 1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**64]))
        last = min(int(high), first + span)
        spread = np.random.default_rng(draw(st.integers(0, 9))).random(len(rows))
        rows[name] = [first + int(x * (last - first)) for x in spread]
        if len(rows) > 1:
            rows[name][:2] = first, last
    return rows


@given(batches)
@settings(max_examples=200, deadline=None)
def test_both_tables_give_every_text_the_same_code(columns):
    plain, core, seen = Texts([]), _core.Texts([]), []
    for column in columns:
        array = pa.array(column, pa.string()).slice(1)
        offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, 4 * array.offset)
        data = np.frombuffer(array.buffers()[2] or b"", np.uint8)
        codes = core.codes(offsets, data)
        assert codes.tolist() == plain.codes(offsets, data).tolist()
        assert [core.names[code] for code in codes] == column[1:]
        seen += codes.tolist()
    assert core.names == plain.names == list(dict.fromkeys(core.names))
    given_codes = np.array(seen, np.int32)
    for one, other in zip(core.first_use(given_codes), plain.first_use(given_codes), strict=True):
        assert one.tolist() == other.tolist()
    for one, other in zip(core.texts(given_codes), plain.texts(given_codes), strict=True):
        assert one.tolist() == other.tolist()


def test_a_table_that_grows_keeps_its_codes():
    names = [f"meter-{n}" for n in range(5_000)]
    table = _core.Texts([])
    assert [table.code(name) for name in names] == list(range(5_000))
    assert [table.code(name) for name in names] == list(range(5_000))
    assert table.names == names


@given(batches)
@settings(max_examples=50, deadline=None)
def test_a_column_comes_back_as_it_was_given(columns):
    symbols = Symbols(["known"])
    for column in columns:
        indices, known = symbols.indexed(pa.array(column, pa.string()).dictionary_encode())
        codes = known[indices]
        back = symbols.array(codes)
        assert back.to_pylist() == column
        assert back.dictionary.to_pylist() == list(dict.fromkeys(column))
        back.validate(full=True)


@given(states())
@settings(max_examples=150, deadline=None)
def test_a_state_comes_back_as_it_was_packed_and_both_twins_pack_the_same(rows):
    assert _snapshot.narrowed(rows) == narrowed(rows)
    parameters = (1, -(2**62))
    for twin in (_snapshot.widen, widen):
        again = np.zeros_like(rows)
        twin(again, narrowed(rows))
        assert again.tobytes() == rows.tobytes()
    dumped = pack(7, Snapshot(parameters, ["a", "", "ü"], rows))
    assert rows_in(2, dumped) == len(rows)
    found = unpack(7, 2, rows.dtype, dumped)
    assert (found.parameters, found.names) == (parameters, ["a", "", "ü"])
    assert found.rows.tobytes() == rows.tobytes()
    with pytest.raises(DecodeError, match="version 7, this code reads 8"):
        unpack(8, 2, rows.dtype, dumped)


@pytest.mark.parametrize("width", range(9))
@pytest.mark.parametrize("twin", [_snapshot.narrowed, narrowed], ids=["core", "plain"])
def test_a_column_takes_the_bytes_that_its_span_needs_and_no_more(width, twin):
    rows = np.zeros(300, [("amount", "<i8")])
    low = -(2**63) if width == 8 else -5
    span = 2 ** (8 * width) - 1
    rows["amount"] = [low + span * n // 299 for n in range(300)]
    [(smallest, taken, data)] = twin(rows)
    assert (smallest, taken, len(data)) == (low, width, 300 * width)
    for back in (_snapshot.widen, widen):
        again = np.zeros_like(rows)
        back(again, [(smallest, taken, data)])
        assert again.tobytes() == rows.tobytes()


def test_a_state_of_the_layout_before_is_loaded():
    """Amounts of 5 bytes stood in 8 each."""
    amounts = [7, 7 + 2**33, 7 + 2**34]
    body = struct.pack("<i1s", 1, b"a")
    body += struct.pack("<qB3Q", 7, 8, *(amount - 7 for amount in amounts))
    body += struct.pack("<qB", -3, 0) + struct.pack("<qB3H", 0, 2, 0, 300, 1)
    packed = pa.Codec("zstd").compress(body, asbytes=True)
    dumped = struct.pack("<BqIIQ", 2, 99, 3, 1, len(body)) + packed
    fields = [("amount", "<i8"), ("same", "<i4"), ("code", "<i4")]
    found = unpack(2, 1, np.dtype(fields), dumped)
    assert (found.parameters, found.names) == ((99,), ["a"])
    assert found.rows.tolist() == list(zip(amounts, [-3] * 3, [0, 300, 1], strict=True))


def test_equal_rows_are_packed_equally_whatever_else_the_table_has_seen():
    rows = np.zeros(3, READING)
    rows["meter_id"] = [1, 0, 1]
    first, second = Symbols(["a", "b"]), Symbols(["x", "b", "a"])
    others = rows.copy()
    others["meter_id"] = [1, 2, 1]
    for name in TEXTS[1:]:
        others[name] = 2
    names = [first.compact(rows, TEXTS), second.compact(others, TEXTS)]
    assert names[0] == names[1] == ["b", "a"]
    assert rows.tobytes() == others.tobytes()


def damaged(names=("a", "b"), dtype=READING, rows=2, **fields):
    """A state whose lengths, names or fields are other than any that was dumped."""
    lengths = fields.pop("lengths", [len(name) for name in names])
    given_rows = np.zeros(rows, dtype)
    for name, values in fields.items():
        given_rows[name] = values
    columns = b"".join(
        struct.pack("<qB", low, width) + data for low, width, data in narrowed(given_rows)
    )
    body = np.array(lengths, "<i4").tobytes() + "".join(names).encode() + columns
    parameters = {READING: (1, NEVER_MS), SAVED: (1, 1, NEVER_MS)}[dtype]
    version = {READING: Slots.VERSION, SAVED: Windows.VERSION}[dtype]
    head = struct.pack(f"<B{len(parameters)}q", version, *parameters)
    sizes = struct.pack("<IIQ", rows, len(lengths), len(body))
    return head + sizes + pa.Codec("zstd").compress(body, asbytes=True)


@pytest.mark.parametrize(
    "load",
    [lambda cls, state: cls.load(state), lambda cls, state: cls.load_chain([state], [state])],
)
@pytest.mark.parametrize(("cls", "dtype"), [(Slots, READING), (Windows, SAVED)])
@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ({"lengths": [3, -1]}, "texts are longer"),
        ({"lengths": [2**31 - 1, 2**31 - 1]}, "texts are longer"),
        ({"lengths": [1, 2]}, ""),
        ({"lengths": [1, 0]}, ""),
        ({"names": ("ü",), "lengths": [1, 1]}, "UTF8"),
        ({"meter_id": [0, 2]}, "meter_id of a row is not one of its 2 places"),
        ({"hub_id": [-1, 0]}, "hub_id of a row is not one of its 2 places"),
        ({"kind": [3, 0]}, "kind of a row is not one of its 3 places"),
        ({"unit": [0, 255]}, "unit of a row is not one of its 4 places"),
    ],
)
def test_a_damaged_state_is_refused_and_never_followed(cls, dtype, load, damage, what):
    with pytest.raises(DecodeError, match=f"damaged state: .*{what}.*rebuild by replay"):
        load(cls, damaged(dtype=dtype, **damage))


@pytest.mark.parametrize("size", [2**62, 2**64 - 1])
@pytest.mark.parametrize(("cls", "dtype"), [(Slots, READING), (Windows, SAVED)])
def test_a_size_that_its_bytes_cannot_hold_is_damage_and_nothing_is_allocated(cls, dtype, size):
    dumped = bytearray(damaged(dtype=dtype))
    at = 1 + 8 * {READING: 2, SAVED: 3}[dtype] + 8
    dumped[at : at + 8] = size.to_bytes(8, "little")
    with pytest.raises(DecodeError, match=f"damaged state: {size} bytes cannot come of"):
        cls.load(bytes(dumped))


@pytest.mark.parametrize("rows", [2**17, 2**32 - 1])
def test_room_is_made_for_no_more_rows_than_a_pieces_bytes_may_hold(rows):
    piece = bytearray(pack(Slots.VERSION, Snapshot((1, 0), [], np.zeros(0, READING))))
    assert rows_in(2, bytes(piece)) == 0
    struct.pack_into("<I", piece, 1 + 2 * 8, rows)

    with pytest.raises(DecodeError, match=f"damaged state: {rows} rows cannot come of"):
        rows_in(2, bytes(piece))


def test_a_piece_that_is_cut_short_is_damage():
    whole = damaged()
    with pytest.raises(DecodeError, match="damaged state: it ends after 20 bytes"):
        Slots.load_chain([whole[:20]], [whole])


def test_readings_that_do_not_fit_each_other_are_damage():
    with pytest.raises(DecodeError, match="a reading of the state does not fit"):
        Windows.load(damaged(dtype=SAVED, end_ms=1))  # the same one twice


def merged(sketches=(b"\x03\x02", b"\x03\x02"), **fields):
    """A state of two parts, of 2 samples each."""
    texts = ["site", "dc", "", "it.energy", "mW", "hub"]
    rows = np.zeros(len(sketches), PART)
    rows["partition"], rows["count"], rows["revision"], rows["end_ms"] = [0, 1], 2, 1, 300_000
    for place, name in enumerate(PART_TEXTS):
        rows[name] = place
    for name, values in fields.items():
        rows[name] = values
    block = Block.of(texts)
    ends = np.cumsum([0, *map(len, sketches)], dtype=np.int32)
    block = Block(
        np.concatenate([block.offsets, block.offsets[-1] + ends[1:]]),
        np.concatenate([block.data, np.frombuffer(b"".join(sketches), np.uint8)]),
    )
    head = struct.pack("<BIq", Merge.VERSION, 0, NEVER_MS)
    return head + pack_block(Merge.VERSION, Packed((), block, rows))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ({"sketches": (b"\x03\x02", b"\x03\x01")}, "a sketch of the state is not that of its part"),
        ({PART_TEXTS[1]: [0, 99]}, "a row names text 99 of"),
    ],
)
def test_parts_that_do_not_fit_their_state_are_damage(damage, what):
    assert len(Merge.load(merged())) == 2
    with pytest.raises(DecodeError, match=f"damaged state: {what}"):
        Merge.load(merged(**damage))


def test_a_text_that_comes_twice_has_no_code_of_its_own():
    with pytest.raises(DecodeError, match="a text comes twice"):
        Slots.load(damaged(("a", "a"), meter_id=[0, 1]))


@given(st.integers(0, 2**20), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_a_state_of_any_byte_changed_is_refused_or_a_state(place, flipped):
    dumped = damaged(("meter", "it.energy", "dc"), register=1, source=2, end_ms=1, meter_id=0)
    head = 1 + 2 * 8 + 16
    [size] = struct.unpack_from("<Q", dumped, head - 8)
    body = bytearray(pa.Codec("zstd").decompress(dumped[head:], size, asbytes=True))
    body[place % len(body)] ^= flipped
    changed = dumped[:head] + pa.Codec("zstd").compress(bytes(body), asbytes=True)
    try:
        again = Slots.load(changed).dump()
    except DecodeError:
        return
    assert Slots.load(again).dump() == again


@given(st.lists(st.lists(st.integers(0, 9), min_size=6, max_size=6), max_size=30))
@settings(max_examples=100, deadline=None)
def test_codes_are_replaced_alike_in_both_twins_and_name_the_same_texts_as_before(codes):
    names = [f"text {n}" for n in range(10)]
    rows = np.zeros(len(codes), READING)
    for place, name in enumerate(TEXTS):
        rows[name] = [row[place] for row in codes]
    for table in (_core.Texts(names), Texts(names)):
        own = rows.copy()
        used = table.compact(own, TEXTS)
        assert used.tolist() == list(
            dict.fromkeys(c for name in TEXTS for c in rows[name].tolist())
        )
        for twin in (_core.recode, recode):
            again = own.copy()
            twin(again, TEXTS, used)
            assert again.tobytes() == rows.tobytes()
        assert Block(*table.texts(used)).names() == [names[code] for code in used]


@pytest.mark.parametrize("twin", [_core.recode, recode], ids=["core", "plain"])
def test_a_code_beyond_the_texts_is_an_error_and_not_another_text(twin):
    rows = np.zeros(2, READING)
    rows["source"] = 3
    with pytest.raises(IndexError):
        twin(rows, TEXTS, np.arange(3, dtype=np.int32))
