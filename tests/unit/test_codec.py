"""Codec: what goes into a message comes out of it, and nothing else is taken for one."""

import base64
import contextlib
import io
import json
import pickle

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import MARKET, PRICES, READINGS, TELEMETRY_IN, TOPICS, USAGE
from schemas.codec import ARROW, JSON, decode, encode, event_headers, header_map, refuse_pickle
from schemas.errors import DecodeError
from schemas.jsonform import to_json, to_rows
from schemas.topic import BINARY, BOOL, FLOAT64, INT32, INT64, SYMBOL, TEXT

VALUES = {
    INT64: st.integers(-(2**63), 2**63 - 1),
    INT32: st.integers(-(2**31), 2**31 - 1),
    FLOAT64: st.floats(allow_nan=False, allow_infinity=False),
    BOOL: st.booleans(),
    TEXT: st.text(max_size=8),
    SYMBOL: st.sampled_from(["", "a", "风电", "\x00\U0001f50c"]),
    BINARY: st.binary(max_size=8),
}
EVERY_TOPIC = pytest.mark.parametrize("topic", TOPICS.values(), ids=TOPICS)


def rows_of(topic):
    """Any rows of the topic; a column that may be null sometimes is."""
    columns = {
        c.name: VALUES[c.type] if c.required else st.none() | VALUES[c.type] for c in topic.columns
    }
    return st.lists(st.fixed_dictionaries(columns), max_size=4)


def prices(count=3):
    row = {"tick_ms": 1, "domain": "d", "product": "energy", "id": "r", "start_ms": 1, "end_ms": 2}
    row |= {"revision": 0}
    return [row | {"price_micro": number} for number in range(count)]


def stream_of(schema, *batches):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def refused(value, headers=None, topic=PRICES):
    with pytest.raises(DecodeError) as error:
        decode(topic, value, headers or {})
    assert error.value.next_step or "not a readable Arrow batch" in error.value.message
    return str(error.value)


@EVERY_TOPIC
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_rows_of_a_topic_come_back_from_arrow_and_from_json(topic, data):
    rows = data.draw(rows_of(topic))
    headers = header_map(event_headers(topic.event_type, "1", "s", ARROW))
    batch = decode(topic, encode(topic, topic.rows(rows)), headers)
    assert batch.schema.equals(topic.schema, check_metadata=True)
    assert batch.to_pylist() == rows
    filled = [{n: row[n] for n in topic.by_name if row[n] is not None} for row in rows]
    read = [json.loads(to_json(row)) for row in to_rows(batch)]
    assert [list(row) for row in read] == [list(row) for row in filled], "order of the columns"
    for row in read:
        row |= {n: base64.b64decode(row[n]) for n in row if topic.by_name[n].type == BINARY}
    assert read == filled


@EVERY_TOPIC
def test_an_empty_batch_has_the_columns_of_its_topic(topic):
    batch = decode(topic, encode(topic, topic.empty), {})
    assert (batch.num_rows, batch.schema) == (0, topic.schema)


def test_a_stream_of_several_batches_is_one_batch_in_their_order():
    rows = prices(4)
    parts = [PRICES.rows([row | {"id": f"r{n}"}]) for n, row in enumerate(rows)]
    value = stream_of(PRICES.schema, parts[0], PRICES.empty, *parts[1:])
    assert decode(PRICES, value, {}).to_pylist() == [
        r | {"id": f"r{n}"} for n, r in enumerate(rows)
    ]


def test_headers_are_cloudevents_1_0_in_binary_mode():
    assert dict(event_headers("io.gridloom.usage.v1", "meter/0/7/0", "/gridloom/meter", ARROW)) == {
        "ce_specversion": b"1.0",
        "ce_id": b"meter/0/7/0",
        "ce_source": b"/gridloom/meter",
        "ce_type": b"io.gridloom.usage.v1",
        "content-type": b"application/vnd.apache.arrow.stream",
    }


def test_header_names_have_no_case_and_bytes_that_are_no_text_are_left_out():
    raw = [
        ("Content-Type", b"a"),
        ("ce_id", b"\xff\xfe"),
        ("ce_source", None),
        ("x", "风".encode()),
    ]
    assert header_map(raw) == {"content-type": "a", "ce_source": "", "x": "风"}
    assert header_map(dict(raw)) == header_map(raw)
    assert header_map(None) == header_map([]) == {}


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"content-type": JSON}, "application/json"),
        ({"content-type": ""}, "content type ''"),
        ({"ce_type": "io.gridloom.prices.v2"}, "io.gridloom.prices.v2"),
        ({"ce_type": "io.gridloom.usage.v1"}, "io.gridloom.usage.v1"),
    ],
)
def test_headers_that_promise_something_else_are_refused(headers, named):
    assert named in refused(encode(PRICES, PRICES.rows(prices())), headers)


@pytest.mark.parametrize("version", ["2", "0", "1.0", "\xff"])
def test_an_unknown_schema_version_is_refused(version):
    known = {"gridloom.topic": "prices", "gridloom.version": version.encode("latin-1")}
    value = stream_of(PRICES.schema.with_metadata(known), PRICES.rows(prices()))
    assert refused(value).startswith("prices: ")


def test_a_batch_of_another_topic_is_refused_by_its_name():
    assert "batch is usage version 1, expected 1" in refused(encode(USAGE, USAGE.empty))


@EVERY_TOPIC
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_columns_that_rows_need_not_have_may_be_absent_and_are_null(topic, data):
    """So what was written before a column came is still read."""
    rows = data.draw(rows_of(topic))
    optional = [c.name for c in topic.columns if not c.required]
    absent = data.draw(st.sets(st.sampled_from(optional))) if optional else set()
    batch = topic.rows(rows).drop_columns(sorted(absent))
    read = decode(topic, stream_of(batch.schema, batch), {})
    assert read.schema.equals(topic.schema)
    read.validate(full=True)
    assert read.to_pylist() == [row | dict.fromkeys(absent) for row in rows]


def test_a_needed_column_is_named_even_where_others_may_be_absent():
    fields = [f for f in MARKET.schema if not f.nullable]
    said = refused(stream_of(pa.schema(fields[1:])), None, MARKET)
    assert f"columns differ: {fields[0].name}. " in said
    assert f"only {', '.join(field.name for field in fields)} are needed" in said


def test_other_columns_are_named():
    fields = list(PRICES.schema)
    renamed = [f.with_name("cost") if f.name == "price_micro" else f for f in fields]
    retyped = [f.with_type(pa.int32()) if f.name == "tick_ms" else f for f in fields]
    nullable = [f.with_nullable(True) for f in fields]
    for other, named in [
        (renamed, "columns differ: cost, price_micro."),
        (retyped, "columns differ: tick_ms."),
        (fields[:-1], "columns differ: price_micro."),
        (fields[::-1], "columns differ: order or nullability"),
        (nullable, "columns differ: order or nullability"),
    ]:
        assert named in refused(stream_of(pa.schema(other)))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_never_read(protocol):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("it was unpickled",)

    value = pickle.dumps(Bomb(), protocol)
    assert "never read" in refused(value)
    with pytest.raises(DecodeError, match="never read"):
        refuse_pickle(b"{}", {"content-type": "application/python-pickle"})


@pytest.mark.parametrize(
    "value", [None, b"", b"\x00", b'{"tick_ms":1}', b"\xff\xff\xff\xff", b"cos"]
)
def test_what_is_no_arrow_stream_is_refused(value):
    assert refused(value).startswith("prices: ")


@pytest.mark.parametrize("topic", [PRICES, READINGS], ids=lambda topic: topic.name)
def test_a_stream_that_is_cut_off_anywhere_is_refused(topic):
    row = {c.name: "x" if c.type in (TEXT, SYMBOL) else 5 for c in topic.columns}
    value = encode(topic, topic.rows([row] * 3))
    assert decode(topic, value, {}).num_rows == 3
    for size in range(len(value)):
        with pytest.raises(DecodeError):
            decode(topic, value[:size], {})
    refused(value + b"\n", topic=topic)


def test_text_that_points_outside_its_dictionary_is_refused():
    batch = PRICES.rows(prices(1))
    beyond = pa.DictionaryArray.from_arrays(pa.array([7], pa.int32()), ["energy"], safe=False)
    columns = [beyond if f.name == "product" else batch[f.name] for f in PRICES.schema]
    value = stream_of(PRICES.schema, pa.RecordBatch.from_arrays(columns, schema=PRICES.schema))
    assert "not a readable Arrow batch" in refused(value)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_corrupt_bytes_are_refused_or_are_still_rows(data):
    row = {c.name: "x" if c.type in (TEXT, SYMBOL) else 5 for c in TELEMETRY_IN.columns}
    value = bytearray(encode(TELEMETRY_IN, TELEMETRY_IN.rows([row] * 3)))
    for at in data.draw(st.lists(st.integers(0, len(value) - 1), min_size=1, max_size=8)):
        value[at] = data.draw(st.integers(0, 255))
    batch = None
    with contextlib.suppress(DecodeError):  # any other exception would stop ingest
        batch = decode(TELEMETRY_IN, bytes(value), {})
    rows = to_rows(batch) if batch else []
    assert all(row.keys() <= TELEMETRY_IN.by_name.keys() for row in rows)
    assert batch is None or batch.schema == TELEMETRY_IN.schema
