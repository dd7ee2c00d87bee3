"""Events of CloudEvents and Arrow messages; what is neither these nor JSON is refused whole."""

import base64
import json
import pickle

import pytest

from schemas import TELEMETRY_IN, USAGE
from schemas.codec import ARROW, CLOUDEVENT, NDJSON, encode
from streams.ingest.events import events_of

STRUCTURED = f"{CLOUDEVENT}+json"
READING = {"meter_id": "m", "register": "r", "kind": "delta", "start_ms": 0, "end_ms": 2**53 + 1}
READING |= {"quantity": "1.10", "unit": "kWh"}


def read(value, content_type=""):
    named = {"content-type": content_type} if content_type else {}
    return events_of(TELEMETRY_IN, value, named)


def admitted(*args):
    events, refused = read(*args)
    assert not refused
    return events


def refused(*args):
    """The one refusal of a message without events."""
    events, (only,) = read(*args)
    assert not events
    assert only.message
    return only


def envelope(**changed):
    fields = {"specversion": "1.0", "id": "1", "source": "/pdu/7", "type": "t", "data": {"a": 1}}
    kept = {name: field for name, field in (fields | changed).items() if field is not ...}
    return json.dumps(kept).encode()


def in_base64(data, **changed):
    return envelope(data=..., data_base64=base64.b64encode(data).decode(), **changed)


def test_a_structured_cloudevent_gives_its_data_and_its_source_and_keeps_the_envelope():
    value = envelope()
    (event,) = admitted(value, f"{STRUCTURED}; charset=utf-8")
    assert (event.fields, event.source, event.original) == ({"a": 1}, "/pdu/7", value)


def test_data_in_base64_is_read_by_its_content_type():
    one = in_base64(b'{"a":1}', datacontenttype=None)
    (event,) = admitted(one, STRUCTURED)
    assert (event.fields, event.source, event.original) == ({"a": 1}, "/pdu/7", one)
    many = in_base64(b'{"a":1}\n{"a":2}\n{', datacontenttype=NDJSON)
    events, (bad,) = read(many, STRUCTURED)
    assert [(e.fields["a"], e.source) for e in events] == [(1, "/pdu/7"), (2, "/pdu/7")]
    assert (bad.row, bad.original) == (2, b"{")
    broken = in_base64(b"{")
    assert (refused(broken, STRUCTURED).reason, refused(broken, STRUCTURED).original) == (
        "not_json",
        broken,
    )


@pytest.mark.parametrize(
    ("value", "reason", "field"),
    [
        (envelope(specversion=...), "missing_field", "specversion"),
        (envelope(id=7), "missing_field", "id"),
        (envelope(source=None), "missing_field", "source"),
        (envelope(type=...), "missing_field", "type"),
        (envelope(data=...), "missing_field", "data"),
        (envelope(data=[{"a": 1}]), "missing_field", "data"),
        (envelope(data=..., data_base64="&"), "wrong_type", "data_base64"),
        (envelope(data=..., data_base64=7), "wrong_type", "data_base64"),
        (in_base64(b"{}", datacontenttype=7), "unsupported", "datacontenttype"),
        (in_base64(b"{}", datacontenttype=["x"]), "unsupported", "datacontenttype"),
        (in_base64(b"{}", datacontenttype="image/png"), "unsupported", "datacontenttype"),
        (b"[" + envelope() + b"]", "not_json", ""),
        (envelope()[:-1], "not_json", ""),
    ],
)
def test_a_broken_cloudevent_is_one_refusal_that_names_the_attribute(value, reason, field):
    only = refused(value, STRUCTURED)
    assert (only.reason, only.field, only.original) == (reason, field, value)


@pytest.mark.parametrize("named", [{"content-type": ARROW}, {"content-type": ARROW.upper()}, {}])
def test_an_arrow_batch_is_an_event_a_row_whatever_its_ce_type(named):
    rows = [READING, READING | {"revision": 3, "source": "/pdu/8"}]
    value = encode(TELEMETRY_IN, TELEMETRY_IN.rows(rows))
    events, refusals = events_of(TELEMETRY_IN, value, named | {"ce_type": "x", "ce_source": "/s"})
    assert not refusals
    assert [(e.row, e.fields, e.source) for e in events] == [(n, rows[n], "/s") for n in range(2)]
    assert [json.loads(e.original) for e in events] == rows
    assert events_of(TELEMETRY_IN, encode(TELEMETRY_IN, TELEMETRY_IN.empty), named) == ([], [])


def test_an_arrow_batch_that_cannot_be_read_is_refused_whole():
    whole = encode(TELEMETRY_IN, TELEMETRY_IN.rows([READING]))
    for value in (whole[:-9], b"", encode(USAGE, USAGE.empty)):
        only = refused(value, ARROW)
        assert (only.row, only.reason, only.original) == (-1, "not_arrow", value)
        assert only.content_type == ARROW


@pytest.mark.parametrize("content_type", ["image/png", f"{CLOUDEVENT}-batch+json", "x" * 10_000])
def test_another_content_type_is_refused_whole_and_named(content_type):
    only = refused(b'{"a":1}', content_type)
    assert (only.row, only.reason, only.field) == (-1, "unsupported", "content-type")
    assert content_type[:50] in only.message
    assert len(only.message) < 300


def test_a_pickle_and_an_empty_message_are_refused_whole():
    value = pickle.dumps({"a": 1})
    assert (refused(value).reason, refused(value).original) == ("unsupported", value)
    assert refused(b"{}", "application/x-pickle").reason == "unsupported"
    assert (refused(None).row, refused(None).reason, refused(None).original) == (
        -1,
        "not_json",
        b"",
    )
