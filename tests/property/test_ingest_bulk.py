"""Bulk admission: whatever is in the messages, its rows and refusals are those of `admit`."""

import json
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.records import parse
from schemas import READINGS, TELEMETRY_IN
from schemas.codec import CLOUDEVENT, JSON, NDJSON, decode, header_map
from streams.ingest.admission import Source, admit
from streams.ingest.bulk import BulkAdmission
from streams.ingest.pack import Packer
from tests.property.test_records import written
from tests.unit.ingest_cases import CASES, END, GOOD, HOUR_MS, NOW, START, VIEW

PARTITION = 3

quantities = st.one_of(
    st.integers(-5, 10**19),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-10, 10**7, places=6).map(str),
    st.sampled_from(["0.1", "1e3", "NaN", "", "1_000", "9" * 19, 0.1, 1e22, 123456789.12345678]),
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "meter_id": st.sampled_from(["m1", "m2", "slow", "lost", "stranger", "", "é", 7, None]),
        "register": st.sampled_from(["it.energy", "x" * 1_000, "x" * 1_001, "", "\u2028é", "\\"]),
        "kind": st.sampled_from(["delta", "register", "gauge", "guess", None]),
        "start_ms": st.sampled_from([START, START - 1, START - HOUR_MS - 1, 0, -1, 10**18, 1.5]),
        "end_ms": st.sampled_from([END, END + 1, NOW + 300_001, NOW - 49 * HOUR_MS, "noon"]),
        "quantity": quantities,
        "unit": st.sampled_from(["kWh", "mJ", "Cel", "kW", "%", "1", "BTU", ""]),
        "revision": st.sampled_from([0, 3, -1, 2**63, True, None]),
        "quality": st.sampled_from(["ACTUAL", "ESTIMATE", "actual", None]),
        "epoch": st.sampled_from([0, 9, "1"]),
        "source": st.sampled_from(["/pdu/1", "", None, 5, "x" * 1_001]),
        "else": st.just({"deep": [1, {"a": None}]}),
    },
)
good = st.just({}) | fields
events = (good | fields).map(lambda changed: json.dumps(GOOD | changed).encode())
bad = st.sampled_from([case[2] for case in CASES])
broken = st.binary(max_size=12) | st.sampled_from(
    [b"", b" \r", b"\x0b", b"\x80\x04x", b"null", b"[1]"]
)
lines = st.one_of(events, events, events, bad, broken)
documents = st.one_of(
    events,
    events,
    bad,
    broken,
    events.map(lambda value: json.dumps(json.loads(value), indent=1).encode()),
    events.map(lambda value: b"\n " + value + b"\r\n"),
)
many = st.lists(lines, max_size=6).map(b"\n".join)
content_types = st.sampled_from(
    [
        None,
        JSON,
        NDJSON,
        NDJSON.upper(),
        f"{JSON}; charset=utf-8",
        "text/plain",
        "image/png",
        f"{CLOUDEVENT}+json",
        "application/pickle",
        f"{JSON}; pickle",
    ]
)
sources = st.sampled_from([None, b"/gw/1", b"", b"\xff", b"y" * 1_001])


@st.composite
def message(draw):
    kind = draw(content_types)
    value = draw(st.none() | documents | many) if kind != NDJSON else draw(many)
    named = [("content-type", kind.encode())] if kind is not None else []
    source = draw(sources)
    named += [("ce_source", source)] if source is not None else []
    named += [("ce_id", b"%d" % draw(st.integers(0, 9)))] * draw(st.integers(0, 1))
    received = draw(st.sampled_from([NOW, NOW, NOW + 1, NOW + 10**9]))
    return received, b"k", value, named


@pytest.fixture(params=["compiled", "pure"], autouse=True)
def twin(request):
    with mock.patch.dict("os.environ", GRIDLOOM_PURE="1" if request.param == "pure" else "0"):
        yield


def one_by_one(messages, base):
    """Rows and refusals of every message, each read by itself."""
    found = []
    for number, (received, _, value, headers) in enumerate(messages):
        source = Source(TELEMETRY_IN, PARTITION, base + number, received)
        found.append((source, admit(source, value, header_map(headers), VIEW)))
    return found


def in_order(bulk, readings):
    """The bulk's rows and refusals as they would be packed: (fields or refusal, partition)."""
    placed, done = [], 0
    for number in range(len(bulk)):
        ((partition, line),) = bulk.lines(number, number + 1)
        (row,) = decode(READINGS, readings.value([line]), {}).to_pylist()
        placed.append((row, partition))
    kept, refused = [], []
    for other in bulk.others:
        kept += placed[done : other.before]
        done = other.before
        kept += [(row.fields, row.partition) for row in other.admitted.rows]
        refused += [(other.source, r) for r in other.admitted.refused]
    return kept + placed[done:], refused


@settings(max_examples=150, deadline=None)
@given(st.lists(message(), min_size=1, max_size=8), st.sampled_from(["none", "lz4"]), st.data())
def test_rows_and_refusals_are_those_of_messages_read_one_by_one(messages, codec, data):
    records = parse(written(messages, codec, 100), 0)
    first = data.draw(st.integers(0, len(messages) - 1))
    admission = BulkAdmission()
    for _ in range(2):  # again with the texts of before
        bulk = admission.admit(records.part(first, len(messages)), PARTITION, VIEW)
        expected = one_by_one(messages[first:], 100 + first)
        rows, refused = in_order(bulk, admission.readings)
        kept = [(row.fields, row.partition) for _, found in expected for row in found.rows]
        assert rows == kept
        # the order within one message is not the same: `admit` names what is no JSON first
        one_by_one_refused = [(source, r) for source, found in expected for r in found.refused]
        assert sorted(refused, key=_place) == sorted(one_by_one_refused, key=_place)
        assert bulk.counts.consumed == len(kept) + len(refused)
        assert bulk.counts.accepted == len(kept)
        unknown = [n for n, (_, found) in enumerate(expected) if found.unregistered]
        assert bulk.unregistered == (unknown[0] if unknown else None)


def _place(found):
    source, refused = found
    return source.offset, refused.row


@settings(max_examples=60, deadline=None)
@given(st.lists(message(), min_size=1, max_size=8), st.integers(1, 4))
def test_the_records_that_are_packed_are_the_same_bytes(messages, rows_max):
    records = parse(written(messages, "none", 100), 0)
    admission = BulkAdmission()
    bulk = admission.admit(records, PARTITION, VIEW)
    packer, plain = Packer(rows_max, 1e9), Packer(rows_max, 1e9)
    packer.readings = admission.readings
    made, done = [], 0
    for other in [*bulk.others, None]:
        until = len(bulk) if other is None else other.before
        made += packer.add_readings(bulk.lines(done, until), VIEW.offset)
        done = until
        for row in other.admitted.rows if other else ():
            made += packer.add(READINGS, row.partition, row.fields, VIEW.offset)
    wanted = []
    for _, found in one_by_one(messages, 100):
        for row in found.rows:
            wanted += plain.add(READINGS, row.partition, row.fields, VIEW.offset)
    assert _by_partition(made + packer.close_all()) == _by_partition(wanted + plain.close_all())


def _by_partition(records):
    return sorted(records, key=lambda record: record.partition)  # stable: each in its own order


def test_fields_that_the_decoder_lists_are_those_that_admission_reads():
    assert {field.name for field in BulkAdmission()._decoder.fields} == set(TELEMETRY_IN.by_name)
