"""Events of a JSON or NDJSON message: what is read, and why the rest is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import TELEMETRY_IN
from schemas.codec import ARROW, CLOUDEVENT, JSON, NDJSON
from streams.ingest.events import events_of

GOOD = (b'{"a":1}', b' {"a" : "\xe9\xa3\x8e"}\t', b"{}", b'{"a":{"b":[null,true]}}\r')
BAD = (
    b"{",
    b"[1]",
    b"7",
    b"null",
    b'{"a":1},',
    b'"{}"',
    b"\xff",
    b'{"a":NaN}',
    b"{'a':1}",
    b"a\x00",
)


def read(value, content_type="", **headers):
    named = {"content-type": content_type} if content_type else {}
    return events_of(TELEMETRY_IN, value, named | headers)


def admitted(*args, **headers):
    events, refused = read(*args, **headers)
    assert not refused
    return events


def refused(*args, **headers):
    """The one refusal of a message without events."""
    events, (only,) = read(*args, **headers)
    assert not events
    assert only.message
    return only


@pytest.mark.parametrize(
    "content_type", ["", JSON, "Application/JSON; charset=utf-8", "text/plain"]
)
@pytest.mark.parametrize("value", [b'{"a":1}', b'\n {"a":\t1 }\r\n', b'{\n  "a": 1\n}\n'])
def test_one_json_object_is_one_event_however_it_is_laid_out(content_type, value):
    (event,) = admitted(value, content_type, ce_source="/pdu/7")
    assert (event.row, event.fields, event.original, event.source) == (0, {"a": 1}, value, "/pdu/7")


@given(st.lists(st.sampled_from([*GOOD, *BAD, b"", b" \t", b"\r"]), min_size=1))
def test_every_line_that_is_not_blank_is_an_event_or_a_refusal_with_its_own_bytes(lines):
    filled = [line for line in lines if line.strip()]
    value = b"\n".join(lines)
    events, refusals = read(value, NDJSON)
    found = {found.row: found.original for found in [*events, *refusals]}
    assert found == (dict(enumerate(filled)) or {0: value})
    assert [e.original for e in events] == [line for line in filled if line in GOOD]
    assert [e.fields for e in events] == [json.loads(e.original) for e in events]
    assert len(found) == len(events) + len(refusals)


@given(st.binary(max_size=60) | st.text('{}[]",:\n1aN\ufeff', max_size=60).map(str.encode))
def test_no_bytes_stop_it_and_none_are_lost(value):
    for content_type in ("", NDJSON, f"{CLOUDEVENT}+json", ARROW):
        events, refusals = read(value, content_type)
        assert events or refusals
        assert all(found.original in value for found in [*events, *refusals])


def test_a_bad_line_leaves_its_neighbours_as_they_are_without_a_content_type_too():
    value = b'{"a":1}\r\n\r\n{"a":\xff}\r\n{"a":2}\r\n'
    events, (bad,) = read(value)
    assert [(e.row, e.fields) for e in events] == [(0, {"a": 1}), (2, {"a": 2})]
    assert (bad.row, bad.reason, bad.original) == (1, "not_json", b'{"a":\xff}\r')


@pytest.mark.parametrize(
    "value", [b'[{"a":1},{"a":2}]', b'[\n{"a":1},\n{"a":2}\n]', b"null\n", b"7"]
)
def test_a_document_that_is_no_object_is_one_refusal_and_none_of_its_lines_is_an_event(value):
    only = refused(value)
    assert (only.reason, only.row, only.original) == ("not_json", 0, value)
    assert "is not an object" in only.message


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"", "not JSON"),
        (b" \n\n", "not JSON"),
        (b'\xef\xbb\xbf{"a":1}', "byte order mark"),
        ('{"a":1}'.encode("utf-16"), "UTF-8"),
        (b'{"a":"\xc0\xaf"}', "UTF-8"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":1e999}', "infinity"),
        (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, "depth"),
        (b"[" * 1_000_000, "depth"),
        (b'{"a":1}{"a":2}', "after document"),
        (b'{"a":1', "not JSON"),
        (b"x" * 5_000_000, "not JSON"),
    ],
    ids=lambda given: repr(given[:20]),
)
def test_what_is_no_json_says_why(value, named):
    only = refused(value)
    assert (only.reason, only.field, only.original) == ("not_json", "", value)
    assert named in only.message
    assert len(only.message) < 300


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_json_has_no_number_for_is_named(constant):
    only = refused(f'{{"a":{constant}}}'.encode())
    assert (only.reason, only.message.split()[0]) == ("not_finite", constant)


def test_of_a_key_that_is_there_twice_the_last_counts():
    assert admitted(b'{"a":1,"a":2}')[0].fields == {"a": 2}


def test_integers_of_64_bits_and_decimal_strings_keep_every_digit():
    fields = {"a": 2**63 - 1, "b": 9_007_199_254_740_993, "c": "0.1000000000000000055", "d": None}
    assert admitted(json.dumps(fields).encode())[0].fields == fields


def test_a_large_message_of_many_lines_is_as_many_events():
    lines = [b'{"a":%d}' % number for number in range(100_000)]
    events = admitted(b"\n".join(lines) + b"\n", NDJSON)
    assert [e.original for e in events] == lines
    assert [(e.row, e.fields["a"]) for e in events[::9_999]] == [
        (n, n) for n in range(0, 10**5, 9_999)
    ]
