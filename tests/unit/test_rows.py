"""Rows: any message of any topic as rows, or a clear error; never a guess."""

import pickle

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import DISPATCH, TOPICS, USAGE, DecodeError
from schemas.codec import ARROW, JSON, encode
from schemas.errors import ConfigError
from schemas.registry import Site, format_entry
from streams.rows import check_name, rows_of

BIG = 2**53 + 1
IN_ARROW = {"content-type": ARROW}


def usage(**changed):
    columns = {c.name: BIG if c.type == pa.int64() else f"{c.name}-1" for c in USAGE.columns}
    return columns | changed


def stream(*rows):
    batch = pa.RecordBatch.from_pylist(list(rows))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def test_a_batch_shows_its_rows_in_order_with_exact_integers():
    given_rows = [usage(meter_id="b"), usage(meter_id="a", quantity=2**63 - 1)]

    value = encode(USAGE, USAGE.rows(given_rows))

    assert rows_of("usage", value, IN_ARROW) == given_rows
    assert list(rows_of("usage", value, IN_ARROW)[0]) == list(USAGE.by_name)


@pytest.mark.parametrize("value", [None, b"", b"{}", encode(DISPATCH, DISPATCH.empty)])
def test_what_is_no_batch_of_the_topic_is_an_error_that_names_it(value):
    with pytest.raises(DecodeError, match="usage"):
        rows_of("usage", value, IN_ARROW)


def test_input_lines_that_ingest_would_refuse_show_why_in_their_place():
    lines = b'{"meter_id":"a","quantity":"1.5"}\n{"meter_id":\n{"meter_id":"c"}'

    first, refused, last = rows_of("telemetry.in", lines, {})

    assert (first["meter_id"], first["quantity"], last["meter_id"]) == ("a", "1.5", "c")
    assert refused["refused"] == "not_json"
    assert refused["message"]


def test_a_registry_entry_is_a_row_and_a_deleted_one_none():
    entry = format_entry(Site(id="s1", hub_id="h", valid_from_ms=5))

    (row,) = rows_of("registry", entry, {})

    assert (row["kind"], row["id"], row["hub_id"], row["valid_from_ms"]) == ("site", "s1", "h", 5)
    assert rows_of("registry", None, {}) == []


def test_deliveries_are_rows_in_either_form():
    rows = [{"meter_id": "m", "quantity": BIG}, {"meter_id": "n", "quantity": -1}]

    assert rows_of("out.c", b'{"meter_id":"m","quantity":9007199254740993}', {}) == rows[:1]
    assert rows_of("out.c", stream(*rows), IN_ARROW) == rows
    assert rows_of("out.c", None, IN_ARROW) == []


@pytest.mark.parametrize("name", ["out.c", "registry"])
@pytest.mark.parametrize("value", [b"", b"{", b"[1]", b"7", b"\xff\xfe", b'{"a":NaN}'])
def test_json_that_is_no_object_is_an_error_that_names_the_topic(name, value):
    with pytest.raises(DecodeError, match=name):
        rows_of(name, value, {"content-type": JSON})


@pytest.mark.parametrize("name", ["out.c", "usage"])
@pytest.mark.parametrize("content_type", [ARROW, JSON, "application/python-pickle"])
def test_a_pickle_is_never_read(name, content_type):
    with pytest.raises(DecodeError, match="pickle"):
        rows_of(name, pickle.dumps({"a": 1}), {"content-type": content_type})


def test_text_that_is_not_utf8_in_a_delivery_is_an_error_and_no_crash():
    value = stream({"meter_id": "mm"}).replace(b"mm", b"\xff\xff")

    with pytest.raises(DecodeError, match=r"out\.c"):
        rows_of("out.c", value, IN_ARROW)


def test_a_text_that_reaches_beyond_its_bytes_is_an_error():
    value = stream({"meter_id": "mm"})
    offsets = b"\0\0\0\0\2\0\0\0"  # Arrow's: the text is bytes 0 to 2
    assert offsets in value

    broken = value[::-1].replace(offsets[::-1], b"\0\0\0\x06\0\0\0\0", 1)[::-1]

    with pytest.raises(DecodeError, match=r"out\.c"):
        rows_of("out.c", broken, IN_ARROW)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_broken_bytes_of_a_delivery_are_rows_or_a_clear_error(data):
    value = bytearray(stream({"meter_id": "m", "n": BIG}, {"meter_id": "电", "n": 1}))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(value)))

    try:
        rows = rows_of("out.c", bytes(value[:cut]), IN_ARROW)
    except DecodeError:
        return
    assert all(isinstance(row, dict) for row in rows)


def test_a_topic_is_one_of_the_catalogue_or_of_a_contract():
    for name in (*TOPICS, "out.c"):
        check_name(name)
    with pytest.raises(ConfigError, match=r"(?s)no topic 'usages'.*settlement.*out\.<contract>"):
        check_name("usages")
