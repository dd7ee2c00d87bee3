"""Arrow streams read back: the rows that schemas.codec.decode gives, or None. Never another row.

decode is pyarrow's reader with all checks, so it is the oracle: of sound values, whoever wrote
them, and of values with any byte damaged.
"""

import gc
import os
import random
import struct
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from kernels.ipc import Reader, Writer, layout, readable, writable
from schemas import READINGS, ROLLUPS_PARTIAL, USAGE
from schemas.codec import decode, encode
from schemas.errors import DecodeError
from schemas.topic import BINARY, FLOAT64, INT32, INT64, SYMBOL, TEXT, Column, Topic

EVERY = Topic(
    "every",
    "A column of each type that a reader knows.",
    tuple(
        Column(f"c{place}", kind, "")
        for place, kind in enumerate([SYMBOL, INT64, BINARY, SYMBOL, FLOAT64, INT32, TEXT])
    ),
    key=("c0",),
    partitions=1,
)
TOPICS = [
    EVERY,
    *(
        topic
        for topic in vars(schemas).values()
        if isinstance(topic, Topic) and topic.form == "arrow" and readable(topic.schema)
    ),
]
PURE = {"compiled": "0", "pure": "1"}


def reader(schema, twin="compiled"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "GRIDLOOM_PURE", PURE[twin])
        return Reader(schema)


READERS = {twin: {topic.name: reader(topic.schema, twin) for topic in TOPICS} for twin in PURE}


def column(kind, numbers, texts):
    """Values of a type made of numbers, texts by the least of their bits."""
    if kind == INT64:
        return pa.array(numbers)
    if kind == FLOAT64:
        return pa.array(numbers.view(np.float64))
    if kind == INT32:
        return pa.array((numbers & 0x7FFFFFFF).astype(np.int32))
    codes = (numbers % len(texts)).astype(np.int32)
    if kind == SYMBOL:
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(texts, TEXT))
    if kind == TEXT:
        return pa.array([texts[code] for code in codes.tolist()], TEXT)
    return pa.array([texts[code].encode() * 3 for code in codes.tolist()], BINARY)


def numbers(form, rows, seed=1):
    noise = np.random.default_rng(seed)
    return {
        "constant": lambda: np.full(rows, seed),
        "pattern": lambda: np.arange(rows) // 2 % 37 + seed,
        "noise": lambda: noise.integers(0, 2**62, rows),
        "small": lambda: noise.integers(0, 9, rows),
        "runs": lambda: np.arange(rows) // 900 + seed,
        "mixed": lambda: np.where(
            np.arange(rows) % 3000 < 1500, np.arange(rows) % 11, noise.integers(0, 2**62, rows)
        ),
    }[form]().astype(np.int64)


FORMS = ["constant", "pattern", "noise", "small", "runs", "mixed"]


def rows_of(topic, draw_form, texts, rows, seed):
    arrays = [
        column(c.type, numbers(draw_form(), rows, seed + place), texts)
        for place, c in enumerate(topic.columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=topic.schema)


@st.composite
def written(draw, most_rows=3_000):
    """A topic and values of it: batches of other texts, slices of one, by either writer."""
    topic = draw(st.sampled_from(TOPICS))
    values = []
    for _ in range(draw(st.integers(1, 3))):
        texts = draw(st.lists(st.text(max_size=9), min_size=1, max_size=40, unique=True))
        rows, seed = draw(st.integers(1, most_rows)), draw(st.integers(0, 99))
        batch = rows_of(topic, lambda: draw(st.sampled_from(FORMS)), texts, rows, seed)
        first = draw(st.integers(0, rows - 1))
        for part in (batch, batch.slice(first), batch.slice(first, 1)):
            values.append(by(draw(st.booleans()), topic, part))
    return topic, draw(st.permutations(values))


def by(ours, topic, batch):
    """A value with these rows."""
    if ours and writable(topic.schema):
        [(_, stream)] = Writer(topic.schema).write(batch)
        return stream
    return encode(topic, batch)


def content(batches, name):
    """A column as one array without codes; of floats the bits, for a NaN is a value as well."""
    columns = [batch.column(name) for batch in batches]
    if columns[0].type == SYMBOL:
        columns = [values.dictionary_decode() for values in columns]
    if columns[0].type == FLOAT64:
        columns = [values.view(INT64) for values in columns]
    return pa.concat_arrays(columns)


def check(batch, topic, decoded):
    """A sound batch of the schema with the rows of the decoded ones."""
    batch.validate(full=True)
    assert batch.schema.equals(topic.schema, check_metadata=True)
    assert batch.num_rows == sum(other.num_rows for other in decoded)
    for name in batch.schema.names:
        assert content([batch], name).equals(content(decoded, name))


def dictionaries(batch):
    return [c.dictionary.to_pylist() for c in batch.columns if c.type == SYMBOL]


@settings(max_examples=60, deadline=None)
@given(written())
def test_the_rows_of_all_values_in_order(made):
    topic, values = made
    decoded = [decode(topic, value, {}) for value in values]
    batch = READERS["compiled"][topic.name].read(values)
    check(batch, topic, decoded)
    for texts, each in zip(
        dictionaries(batch), zip(*map(dictionaries, decoded), strict=True), strict=True
    ):
        assert texts == list(dict.fromkeys(text for listed in each for text in listed))


@settings(max_examples=12, deadline=None)
@given(written(most_rows=300))
def test_both_twins_read_the_same(made):
    topic, values = made
    ours, plain = (READERS[twin][topic.name].read(values) for twin in PURE)
    check(plain, topic, [ours])
    assert dictionaries(ours) == dictionaries(plain)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 2_000, 16_384, 40_000])
def test_columns_of_every_kind(form, rows):
    texts = [f"text-{number:03d}" for number in range(11)]
    batch = rows_of(EVERY, lambda: form, texts, rows, 1)
    check(READERS["compiled"]["every"].read([encode(EVERY, batch)]), EVERY, [batch])
    batch = rows_of(READINGS, lambda: form, texts, rows, 1)
    for ours in (True, False):
        value = by(ours, READINGS, batch)
        check(READERS["compiled"]["readings"].read([value, value]), READINGS, [batch, batch])


SMALL = {
    f"{topic.name}-{'ours' if ours else 'arrow'}": (
        topic,
        by(ours, topic, rows_of(topic, iter(FORMS * 4).__next__, ["a", "bé", "", "c" * 70], 40, 2)),
    )
    for topic, ours in [(USAGE, True), (USAGE, False), (EVERY, False)]
}


def judge(twin, topic, value):
    """None, or what decode gives; where that raises, None."""
    batch = READERS[twin][topic.name].read([value])
    if batch is not None:
        try:
            decoded = decode(topic, value, {})
        except DecodeError as error:
            raise AssertionError(f"read what decode refuses: {error}") from error
        check(batch, topic, [decoded])
    return batch


@pytest.mark.parametrize("name", SMALL)
def test_a_value_cut_at_any_byte_is_none(name):
    topic, value = SMALL[name]
    assert judge("compiled", topic, value) is not None
    for twin in PURE:
        for size in range(0, len(value), 1 if twin == "compiled" else 7):
            assert READERS[twin][topic.name].read([value[:size]]) is None
            assert READERS[twin][topic.name].read([value, value[:size]]) is None
        assert READERS[twin][topic.name].read([value + b"\0"]) is None
        assert READERS[twin][topic.name].read([value + layout.END]) is None


@pytest.mark.parametrize("name", SMALL)
def test_any_byte_changed_is_none_or_what_decode_reads(name):
    topic, value = SMALL[name]
    first = topic.schema.serialize().size - 16  # all before it is compared as one
    for at in range(first, len(value)):
        for change in (1, 0x80, 0xFF, random.Random(at).randrange(1, 256)):
            damaged = bytearray(value)
            damaged[at] ^= change
            batch = judge("compiled", topic, bytes(damaged))
            if at % 9 == 0:
                assert (judge("pure", topic, bytes(damaged)) is None) == (batch is None)


@pytest.mark.parametrize("name", SMALL)
def test_any_number_in_the_metadata_is_checked(name):
    """Every aligned int64 of a value, and each of a kind that a length or a place would be."""
    topic, value = SMALL[name]
    for at in range(topic.schema.serialize().size, len(value) - 8, 8):
        (known,) = struct.unpack_from("<q", value, at)
        for number in (0, -1, known + 1, known - 1, known + 8, 2**31 - 1, 2**31, 2**62, -(2**63)):
            damaged = bytearray(value)
            struct.pack_into("<q", damaged, at, (number + 2**63) % 2**64 - 2**63)
            judge("compiled", topic, bytes(damaged))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(SMALL)), st.data())
def test_spliced_values_are_none_or_what_decode_reads(name, data):
    topic, value = SMALL[name]
    spliced = bytearray(value)
    first = topic.schema.serialize().size
    for _ in range(data.draw(st.integers(1, 3))):
        size = data.draw(st.integers(0, 40))
        at, source = (data.draw(st.integers(first, len(value) - size)) for _ in range(2))
        piece = data.draw(st.sampled_from([value[source : source + size], bytes(size)]))
        spliced[at : at + (size if data.draw(st.booleans()) else 0)] = piece
    batches = [judge(twin, topic, bytes(spliced)) for twin in PURE]
    assert (batches[0] is None) == (batches[1] is None)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_damaged_columns_of_many_rows(seed, changes):
    """Damage behind the metadata of a value whose columns are a few long frames."""
    damaged, chosen = bytearray(LONG), random.Random(seed)
    for _ in range(changes):
        damaged[chosen.randrange(len(LONG) // 2, len(LONG))] = chosen.choice([0, 15, 240, 255, 7])
    judge("compiled", EVERY, bytes(damaged))


LONG = encode(
    EVERY,
    rows_of(EVERY, iter(["pattern", "mixed", "runs"] * 3).__next__, ["x", "yz", "é"], 20_000, 1),
)


ONE = Topic("one", "A column of numbers.", (Column("n", INT64, ""),), key=("n",), partitions=1)


def sequence(literals, offset=0, match=0, letters=b"literals"):
    """Of a block of LZ4: so many literals, then a match if any."""
    counts = literals, match - 4 if match else 0
    token, more = 0, []
    for count in counts:
        token = token << 4 | min(15, count)
        more.append(
            b"\xff" * ((count - 15) // 255) + bytes([(count - 15) % 255]) if count > 14 else b""
        )
    made = bytes([token]) + more[0] + (letters * literals)[:literals]
    return made + (struct.pack("<H", offset) + more[1] if match else b"")


def of_frame(blocks, rows, header=layout.FRAME):
    """A value whose column is these blocks."""
    frame = header + b"".join(struct.pack("<I", len(block)) + block for block in blocks)
    message, buffer = layout.record_batch(1, 2), struct.pack("<q", 8 * rows) + frame + bytes(4)
    body = buffer + bytes(-len(buffer) % 8)
    made = bytearray(message.bytes)
    struct.pack_into("<qqqq", made, message.buffers, 0, 0, 0, len(buffer))
    struct.pack_into("<q", made, message.nodes, rows)
    struct.pack_into("<q", made, message.rows, rows)
    struct.pack_into("<q", made, message.body_bytes, len(body))
    return ONE.schema.serialize().to_pybytes() + bytes(made) + body + layout.END


BLOCKS = {
    "a match, then the five literals it takes": ((8, 8, 11), (5,), True),
    "four literals at the end": ((8, 8, 12), (4,), False),
    "a match at the end": ((8, 8, 16), None, False),
    "a match that begins twelve bytes before the end": ((12, 8, 4), (8,), True),
    "a match that begins eleven bytes before the end": ((13, 8, 4), (7,), False),
    "a match of what is not there": ((8, 9, 11), (5,), False),
    "a match of itself": ((8, 0, 11), (5,), False),
    "more than there is room for": ((8, 8, 11), (6,), False),
    "a match beyond the room": ((8, 8, 18), None, False),
    "a match far beyond the room": ((8, 8, 1 << 20), (5,), False),
    "literals far beyond the room": ((60_000,), None, False),
    "less than the room": ((8, 8, 10), (5,), False),
}


def read_as_decoded(twin, value):
    """None, or what decode gives."""
    batch = reader(ONE.schema, twin).read([value])
    if batch is not None:
        check(batch, ONE, [decode(ONE, value, {})])
    return batch


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("twin", PURE)
def test_lz4_by_its_rules(name, twin):
    """Blocks of 24 bytes, three rows."""
    *sequences, sound = BLOCKS[name]
    block = b"".join(sequence(*given_) for given_ in sequences if given_)
    assert (read_as_decoded(twin, of_frame([block], 3)) is not None) == sound


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20),
            st.sampled_from([4, 8, 8, 1, 2, 3, 5, 7, 9, 12, 16, 24]),
            st.integers(4, 40),
            st.binary(min_size=20, max_size=20),
        ),
        max_size=40,
    )
)
@settings(max_examples=300)
def test_matches_of_any_length_and_distance_are_what_pyarrow_makes_of_them(sequences):
    block = sequence(24, 8, 4, bytes(range(24))) + b"".join(sequence(*each) for each in sequences)
    made = 28 + sum(literals + match for literals, _, match, _ in sequences)
    last = 12 + (-made - 12) % 8  # whole rows, and as many literals as a block must end with
    block += sequence(last)
    value = of_frame([block], (made + last) // 8)
    assert read_as_decoded("compiled", value) is not None


@pytest.mark.parametrize("twin", PURE)
def test_blocks_refer_to_each_other_where_the_frame_says_so(twin):
    size = layout.BLOCK_BYTES
    blocks = [
        sequence(8, 8, size - 13) + sequence(5),
        sequence(8, 24, 11) + sequence(5),
    ]
    rows = (size + 24) // 8
    linked = bytes.fromhex("04224d184040c0")
    assert read_as_decoded(twin, of_frame(blocks, rows)) is None
    assert read_as_decoded(twin, of_frame(blocks, rows, linked)).num_rows == rows
    assert read_as_decoded(twin, of_frame(blocks, rows, layout.FRAME[:-1] + b"\0")) is None
    assert read_as_decoded(twin, of_frame(blocks[::-1], rows, linked)) is None  # a short one first
    assert read_as_decoded(twin, of_frame(blocks[:1], size // 8)).num_rows == size // 8


def test_texts_that_begin_within_a_letter_are_none():
    letters = pa.py_buffer("é".encode())
    for ends in ([0, 1, 2], [0, 2, 2]):
        offsets = pa.py_buffer(np.array(ends, np.int32))
        cut = pa.StringArray.from_buffers(2, offsets, letters)
        columns = [
            column(c.type, numbers("constant", 2), ["a"])
            if c.name != "meter_id"
            else pa.DictionaryArray.from_arrays(pa.array([0, 1], INT32), cut)
            for c in USAGE.columns
        ]
        value = encode(USAGE, pa.RecordBatch.from_arrays(columns, schema=USAGE.schema))
        for twin in PURE:
            assert (judge(twin, USAGE, value) is None) == (ends == [0, 1, 2])


def test_a_code_beyond_its_dictionary_is_none():
    for code in (1, -1, 2**31 - 1):
        wrong = pa.DictionaryArray.from_arrays(
            pa.array([code], pa.int32()), pa.array(["a"]), safe=False
        )
        columns = [
            wrong if c.name == "unit" else column(c.type, numbers("constant", 1), ["a"])
            for c in USAGE.columns
        ]
        value = encode(USAGE, pa.RecordBatch.from_arrays(columns, schema=USAGE.schema))
        for twin in PURE:
            assert judge(twin, USAGE, value) is None


@pytest.mark.parametrize("twin", PURE)
def test_a_view_is_read_as_its_bytes(twin):
    topic, value = SMALL["usage-arrow"]
    read = READERS[twin]["usage"].read
    view = memoryview(bytearray(b"before" + value + b"behind"))[6 : 6 + len(value)]
    check(read([view, value, view]), topic, [decode(topic, value, {})] * 3)
    assert read([view[:-1]]) is None
    view.release()
    with pytest.raises(ValueError, match="released"):
        read([view])


@pytest.mark.parametrize("twin", PURE)
def test_what_is_left_to_pyarrow(twin):
    topic, value = SMALL["usage-arrow"]
    read = READERS[twin]["usage"].read
    batch = decode(topic, value, {})
    rollups = schemas.ROLLUPS
    nulls = rows_of(rollups, lambda: "small", ["a"], 3, 1).to_pydict() | {"pue_ppm": [None] * 3}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, topic.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    assert read([]) is None
    assert read([value, None]) is None
    assert read([value, bytearray(value)]) is None
    assert read([memoryview(value)[::-1][::-1][::2]]) is None
    assert read([memoryview(b"")]) is None
    assert read([b""]) is None
    assert read([value, SMALL["every-arrow"][1]]) is None
    assert read([encode(topic, topic.empty)]) is None
    assert read([sink.getvalue().to_pybytes()]) is None  # two batches, not compressed
    assert READERS[twin]["rollups"].read([encode(rollups, rollups.batch(nulls))]) is None


@pytest.mark.parametrize("twin", PURE)
def test_a_dictionary_that_has_a_text_twice_keeps_it(twin):
    twice = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 2, 3], INT32), pa.array(["a", "b", "a", "b"])
    )
    other = pa.array(["c", "b", "a", "a"]).dictionary_encode()
    values = []
    for symbols in (twice, other, twice):
        columns = [
            symbols if c.type == SYMBOL else column(c.type, numbers("small", 4), ["a"])
            for c in USAGE.columns
        ]
        values.append(encode(USAGE, pa.RecordBatch.from_arrays(columns, schema=USAGE.schema)))
    for given_ in (values, values[1:], values[:1]):
        batch = READERS[twin]["usage"].read(given_)
        check(batch, USAGE, [decode(USAGE, value, {}) for value in given_])
    assert READERS[twin]["usage"].read(values).column("unit").dictionary.to_pylist() == [
        *["a", "b", "a", "b"],
        "c",
    ]


@pytest.mark.parametrize("twin", PURE)
def test_a_frame_that_says_it_is_none_is_another_dictionary(twin):
    """Its bytes are the same, and so is its size: it is as long as what it stands for."""
    found = 0
    for size in range(16, 48):
        value = encode(USAGE, rows_of(USAGE, lambda: "constant", ["a" * size], 2, 0))
        before = struct.pack("<q", size)
        as_it_is = value.replace(before + layout.FRAME, struct.pack("<q", -1) + layout.FRAME)
        for first, second in ((value, as_it_is), (as_it_is, value), (as_it_is, as_it_is)):
            assert READERS[twin]["usage"].read([first, second]) is None
        assert READERS[twin]["usage"].read([value, value, value]).num_rows == 6
        found += struct.pack("<q", 8 + size) in value[USAGE.schema.serialize().size :]
    assert found


def test_texts_made_to_collide_are_left_to_pyarrow():
    """Their values would cost the square of their number."""
    key, mask = np.uint64(0x9E3779B97F4A7C15), np.uint64(2047)
    digits = np.arange(900_000, dtype=np.uint64) + np.uint64(10**7)
    texts = [str(number) for number in digits.tolist()]
    words = np.frombuffer("".join(texts).encode(), "<u8")
    hashes = (words ^ np.uint64(8)) * key
    hashes = (hashes ^ hashes >> np.uint64(32)) * key >> np.uint64(32)
    alike = np.flatnonzero(hashes & mask == 0)[:300]
    assert len(alike) == 300
    chosen = [texts[place] for place in alike.tolist()]
    values = [
        encode(USAGE, rows_of(USAGE, lambda: "pattern", listed, 10, 0))
        for listed in (["a"], chosen, chosen[:200])
    ]
    assert READERS["compiled"]["usage"].read([values[0], values[1]]) is None
    assert READERS["compiled"]["usage"].read([values[0], values[2]]).num_rows == 20


def test_a_batch_outlives_its_reader_and_its_values():
    topic, value = SMALL["usage-ours"]
    one = Reader(topic.schema)
    kept = one.read([bytes(bytearray(value))] * 3).slice(50)
    again = [one.read([value]) for _ in range(50)]
    del one
    gc.collect()
    check(kept, topic, [again[7].slice(10), again[9]])
    let_go = threading.Thread(target=again.clear)
    let_go.start()
    let_go.join()
    check(kept, topic, [decode(topic, value, {}).slice(10), decode(topic, value, {})])


def test_a_schema_with_other_columns_is_refused():
    other = pa.schema([pa.field("flag", pa.bool_())])
    assert not readable(other)
    with pytest.raises(ValueError, match="not one of"):
        Reader(other)
    assert readable(ROLLUPS_PARTIAL.schema)
