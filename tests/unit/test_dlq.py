"""Dead letters: one letter a refused row, and what can be sent again."""

import pytest

from schemas.codec import ARROW, JSON
from streams.dlq import REPLAYED_FROM, Letter, distinct, original_text, replay_headers


def letter(offset=0, **changed):
    fields = {
        "agent": "ingest",
        "reason": "unknown_meter",
        "field": "meter_id",
        "message": "meter 'm9' is not registered",
        "source_topic": "telemetry.in",
        "source_partition": 1,
        "source_offset": 7,
        "source_row": 0,
        "received_ms": 1_000,
        "content_type": JSON,
        "original": b'{"meter_id":"m9"}',
    }
    return Letter(0, offset, fields | changed)


def test_a_letter_that_was_written_twice_is_one_letter():
    first, again, other = letter(0), letter(5), letter(6, source_row=1)

    assert distinct([first, again, other]) == [first, other]


def test_letters_are_in_the_order_of_what_was_refused():
    written = [letter(9, source_row=2), letter(3, source_offset=8), letter(4, source_row=1)]

    assert [found.source for found in distinct(written)] == [
        "telemetry.in/1/7/1",
        "telemetry.in/1/7/2",
        "telemetry.in/1/8/0",
    ]


def test_two_agents_that_refuse_one_row_write_two_letters():
    assert len(distinct([letter(), letter(agent="meter")])) == 2


@pytest.mark.parametrize(
    ("agent", "source_topic", "replayable"),
    [
        ("ingest", "telemetry.in", True),
        ("ingest", "market.in", True),
        ("meter", "readings", False),
        ("dispatch", "market", False),
    ],
)
def test_only_input_as_received_can_be_sent_again(agent, source_topic, replayable):
    assert letter(agent=agent, source_topic=source_topic).replayable is replayable


def test_a_replay_says_where_the_row_was_first():
    headers = dict(replay_headers(letter()))

    assert headers == {REPLAYED_FROM: b"telemetry.in/1/7/0", "content-type": JSON.encode()}


def test_a_structured_cloudevent_is_sent_again_as_one():
    envelope = b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"meter_id":"m9"}}'

    headers = dict(replay_headers(letter(original=envelope)))

    assert headers["content-type"] == b"application/cloudevents+json"


def test_a_replay_keeps_the_source_that_came_beside_the_bytes():
    headers = dict(replay_headers(letter(event_source="/pdu/风")))

    assert headers["ce_source"] == "/pdu/风".encode()


def test_bytes_without_a_content_type_get_none():
    assert "content-type" not in dict(replay_headers(letter(content_type="", original=b"\xff")))


def test_original_bytes_are_shown_as_text_where_they_are_text():
    assert original_text(letter()) == '{"meter_id":"m9"}'
    assert original_text(letter(original=b"\xff\x00\x01")) == "ff 00 01"
    assert original_text(letter(original=b"AB", content_type=ARROW)) == "41 42"
