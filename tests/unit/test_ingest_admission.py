"""Admission of telemetry: a bad row is one dead letter, the rows beside it are as without it."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import DEAD_LETTER, READINGS, REASONS, TELEMETRY_IN
from schemas.codec import ARROW, CLOUDEVENT, JSON, NDJSON, encode, header_map
from schemas.deadletter import ORIGINAL_MAX_BYTES
from schemas.registry import Meter
from streams.dlq import Letter, replay_headers
from streams.ingest.admission import admit, dead_row
from tests.unit.ingest_cases import (
    CASES,
    END,
    GOOD,
    NOW,
    SOURCE,
    START,
    VIEW,
    admitted,
    line,
    only,
    registry,
)

STRUCTURED = f"{CLOUDEVENT}+json"

# what others than ingest refuse rows for
OF_AGENTS = {"conflict", "out_of_order_register", "late_revision", "no_tariff", "bad_input"}
OF_AGENTS |= {"step_failed"}
OF_MESSAGES = {"not_arrow", "unsupported"}
OF_MARKET = {"unknown_domain"}


def test_the_cases_are_all_reasons_that_a_telemetry_row_can_be_refused_for():
    assert {
        reason for reason, _, _ in CASES
    } == REASONS.keys() - OF_AGENTS - OF_MESSAGES - OF_MARKET
    assert REASONS.keys() >= OF_AGENTS | OF_MESSAGES | OF_MARKET


@pytest.mark.parametrize(("reason", "field", "bad"), CASES, ids=lambda given: str(given)[:12])
def test_a_bad_row_is_one_dead_letter_and_the_rows_beside_it_are_as_without_it(reason, field, bad):
    before, after = line(quantity="1"), line(quantity="2", quality="ESTIMATE")
    found = admitted(b"\n".join([before, bad, after]))
    (refused,) = found.refused
    letter = dead_row(SOURCE, refused)
    message = letter.fields.pop("message")
    assert letter.fields == {
        "agent": "ingest",
        "reason": reason,
        "field": field,
        "source_topic": "telemetry.in",
        "source_partition": 3,
        "source_offset": 41,
        "source_row": 1,
        "received_ms": NOW,
        "content_type": JSON,
        "event_source": None,
        "original": bad,
    }
    assert (letter.topic, letter.partition) == (DEAD_LETTER, 1)
    assert field.removesuffix("_id") in message
    assert 0 < len(message) < 400
    assert DEAD_LETTER.rows([letter.fields | {"message": message}]).num_rows == 1
    alone = [only(admitted(value)) for value in (before, after)]
    assert [row.fields for row in found.rows] == [alone[0], alone[1] | {"source_row": 2}]
    counts = found.counts.as_dict()
    assert (counts["consumed"], counts["accepted"], counts["dead_lettered"]) == (3, 2, 1)
    assert found.unregistered == (reason == "unknown_meter")


def test_a_good_row_is_in_base_units_with_what_the_registry_says_at_its_start():
    (row,) = admitted(line(), ce_source="/pdu/7").rows
    assert row.fields == {
        "meter_id": "m1",
        "register": "it.energy",
        "kind": "delta",
        "start_ms": START,
        "end_ms": END,
        "quantity": 360_000_000,  # 0.1 kWh x 3.6e9 mJ
        "unit": "mJ",
        "revision": 0,
        "quality": "ACTUAL",
        "epoch": 0,
        "site_id": "s1",
        "rack_id": "r1",
        "hub_id": "hub-1",
        "account_id": "a1",
        "source": "/pdu/7",
        "source_partition": 3,
        "source_offset": 41,
        "source_row": 0,
        "received_ms": NOW,
        "registry_offset": 6,
    }
    assert row.topic is READINGS
    earlier = only(admitted(line(start_ms=START - 1)))
    assert (earlier["account_id"], earlier["hub_id"], earlier["rack_id"]) == (
        "a-old",
        "hub-old",
        "",
    )


def test_who_measured_is_the_field_then_the_cloudevents_source_then_the_topic():
    assert only(admitted(line(source="own"), ce_source="/pdu/7"))["source"] == "own"
    assert only(admitted(line(source=None), ce_source="/pdu/7"))["source"] == "/pdu/7"
    assert only(admitted(line()))["source"] == "telemetry.in"
    (refused,) = admitted(line(), ce_source="x" * 1_001).refused
    assert (refused.reason, refused.field) == ("overflow", "source")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from([*TELEMETRY_IN.by_name]), ANYTHING, min_size=1))
def test_whatever_a_field_holds_the_row_is_admitted_or_refused_and_its_neighbour_is_neither(
    changed,
):
    bad = json.dumps(GOOD | changed).encode()
    found = admitted(b"\n".join([bad, line(quantity="2")]))
    assert len(found.rows) + len(found.refused) == 2
    assert READINGS.rows([row.fields for row in found.rows]).num_rows == len(found.rows)
    assert found.rows[-1].fields == only(admitted(line(quantity="2"))) | {"source_row": 1}
    assert [(r.row, r.original, r.reason in REASONS) for r in found.refused] in (
        [],
        [(0, bad, True)],
    )


def test_a_bad_row_of_an_arrow_batch_is_refused_alone_as_json():
    rows = [GOOD, GOOD | {"quantity": "-1"}, GOOD | {"quantity": "2"}]
    value = encode(TELEMETRY_IN, TELEMETRY_IN.rows(rows))
    found = admit(SOURCE, value, {"content-type": ARROW}, VIEW)
    assert [row.fields["source_row"] for row in found.rows] == [0, 2]
    (refused,) = found.refused
    assert (refused.row, refused.reason, json.loads(refused.original)) == (1, "negative", rows[1])


@pytest.mark.parametrize(
    ("value", "content_type", "reason"),
    [(b"{}", ARROW, "not_arrow"), (b"{}", "image/png", "unsupported"), (None, "", "not_json")],
)
def test_a_message_that_cannot_be_read_is_one_dead_letter_of_row_minus_one(
    value, content_type, reason
):
    found = admit(SOURCE, value, {"content-type": content_type}, VIEW)
    (letter,) = [dead_row(SOURCE, refused).fields for refused in found.refused]
    assert (letter["reason"], letter["source_row"], letter["original"]) == (
        reason,
        -1,
        value or b"",
    )
    assert not found.rows


def test_what_is_too_large_for_a_dead_letter_is_cut_and_says_so():
    value = b"[" * (ORIGINAL_MAX_BYTES + 1)
    (refused,) = admitted(value, **{"content-type": "application/json"}).refused
    letter = dead_row(SOURCE, refused).fields
    assert letter["original"] == value[:-1]
    assert f"The first {len(value) - 1} of {len(value)} bytes" in letter["message"]
    (refused,) = admitted(b"{}", **{"content-type": "x" * 10**6}).refused
    assert len(dead_row(SOURCE, refused).fields["content_type"]) == 1_000


def test_a_row_that_is_sent_again_from_its_dead_letter_is_the_row_that_was_refused():
    """Of every form, once its meter is registered: the same reading but for its place."""
    fields = GOOD | {"meter_id": "new"}
    plain = json.dumps(fields).encode()
    envelope = {"specversion": "1.0", "id": "1", "source": "/pdu/7", "type": "t"}
    for value, headers in [
        (plain, {}),
        (plain, {"ce_source": "/pdu/7"}),
        (plain + b"\n" + line(), {"content-type": NDJSON, "ce_source": "/pdu/7"}),
        (json.dumps(envelope | {"data": fields}).encode(), {"content-type": STRUCTURED}),
        (
            json.dumps(envelope | {"data_base64": base64.b64encode(plain).decode()}).encode(),
            {"content-type": STRUCTURED},
        ),
        (
            encode(TELEMETRY_IN, TELEMETRY_IN.rows([fields])),
            {"content-type": ARROW, "ce_source": "/pdu/7"},
        ),
    ]:
        (refused,) = admit(SOURCE, value, headers, VIEW).refused
        letter = Letter(0, 0, dead_row(SOURCE, refused).fields)
        again = header_map(replay_headers(letter))
        known = registry(Meter(id="new", site_id="s1", account_id="a1"))
        expected = admit(SOURCE, value, headers, known).rows[0].fields
        assert only(admit(SOURCE, letter.fields["original"], again, known)) == expected
        assert expected["source"] == ("/pdu/7" if headers else "telemetry.in")
