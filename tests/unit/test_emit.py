"""Emit: what a step brings forth as records, each row in its partition, the same bytes again."""

import json
import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streams.agents  # noqa: F401  (registers the stages)
from schemas import ALERTS, DEAD_LETTER, SETTLEMENT, USAGE, partition_of
from schemas.codec import ARROW, JSON, decode, header_map
from schemas.deadletter import ORIGINAL_MAX_BYTES
from schemas.registry import Domain
from streams import fit
from streams.agent import STAGES, Batch, Delivery, Emit, Output, Refused
from streams.client import MAX_MESSAGE_BYTES
from streams.emit import Record, dead_message, records_of
from streams.registry import EMPTY, Registry

STAGE = STAGES["meter.readings"]


def usage(number=0, account_id="a", **given):
    row = {
        "meter_id": f"m{number}",
        "register": "it.energy",
        "kind": "delta",
        "start_ms": 0,
        "end_ms": 900_000,
        "quantity": number,
        "unit": "mJ",
        "quality": "ACTUAL",
        "revision": 1,
        "epoch": 0,
        "site_id": "s",
        "hub_id": "h",
        "account_id": account_id,
        "received_ms": 0,
    }
    return row | given


def alert(domain):
    row = {"tick_ms": 0, "revision": 0, "kind": "SHED", "id": "r", "raised_ms": 0}
    return row | {"domain": domain, "cleared_ms": None, "detail": ""}


def batch_of(*rows, partition=3, offset=41, registry=EMPTY):
    return Batch(USAGE, partition, offset, USAGE.rows(list(rows)), registry, 12, 1_000)


def outputs(topic, *rows):
    return Emit(outputs=[Output(topic, topic.rows(list(rows)))])


def rows_in(record, topic=USAGE):
    return decode(topic, record.value, header_map(record.headers)).to_pylist()


def test_every_header_of_an_output_says_what_it_is_and_where_from():
    (record,) = records_of(STAGE, batch_of(), outputs(USAGE, usage()))

    assert (record.topic, record.key) == ("usage", None)
    assert record.headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"meter.readings/3/41/0"),
        ("ce_source", b"/gridloom/meter.readings/3"),
        ("ce_type", b"io.gridloom.usage.v1"),
        ("content-type", ARROW.encode()),
        ("gl_registry_offset", b"12"),
    ]


def test_a_row_goes_to_the_partition_of_its_accounts_crc32c():
    # the published check value of CRC-32C: 0xE3069283 of "123456789"; of no bytes it is 0
    emit = outputs(USAGE, usage(1, "123456789"), usage(2, ""), usage(3, "123456789"))

    records = records_of(STAGE, batch_of(), emit)

    found = {record.partition: [row["quantity"] for row in rows_in(record)] for record in records}
    assert found == {0xE3069283 % 4: [1, 3], 0: [2]}


def test_a_decision_goes_to_the_partition_of_its_domain():
    registry = Registry()
    registry.put(Domain(id="national", partition=5), 0)
    registry.put(Domain(id="city", partition=2), 1)
    batch = batch_of(registry=registry.at(1))
    emit = outputs(ALERTS, *map(alert, ("national", "city", "unregistered")))

    records = records_of(STAGES["dispatch.market"], batch, emit)

    found = {r.partition: [row["domain"] for row in rows_in(r, ALERTS)] for r in records}
    assert found == {5: ["national"], 2: ["city"], 3: ["unregistered"]}


def test_nothing_brings_forth_no_record():
    assert records_of(STAGE, batch_of(), Emit(accepted=4)) == []
    assert records_of(STAGE, batch_of(), outputs(USAGE)) == []


def test_every_refused_row_is_a_dead_letter_with_its_reason_place_and_row():
    rows = [usage(n) for n in range(3)]
    refused = [
        Refused(2, "conflict", "quantity", "came before with 5"),
        Refused(0, "bad_input", "", "refused"),
    ]

    (record,) = records_of(STAGE, batch_of(*rows), Emit(refused=refused))

    letters = rows_in(record, DEAD_LETTER)
    assert (record.topic, record.partition) == ("dead-letter", 3 % 2)
    assert [json.loads(letter["original"]) for letter in letters] == [rows[2], rows[0]]
    assert letters[0] | {"original": b""} == {
        "agent": "meter",
        "reason": "conflict",
        "field": "quantity",
        "message": "came before with 5",
        "source_topic": "usage",
        "source_partition": 3,
        "source_offset": 41,
        "source_row": 2,
        "received_ms": 1_000,
        "content_type": JSON,
        "event_source": None,
        "original": b"",
    }


@pytest.mark.parametrize("size", [5, ORIGINAL_MAX_BYTES, ORIGINAL_MAX_BYTES + 1, 15 << 20])
def test_a_dead_letter_of_a_whole_message_fits_a_record_and_says_what_was_cut(size):
    original = random.Random(1).randbytes(size)  # as large when compressed

    letters = dead_message(STAGE, batch_of(), "step_failed", "why", original)
    emit = Emit(outputs=[Output(DEAD_LETTER, letters)])
    (record,) = records_of(STAGE, batch_of(), emit)

    (letter,) = rows_in(record, DEAD_LETTER)
    assert letter["original"] == original[:ORIGINAL_MAX_BYTES]
    assert (str(size) in letter["message"]) == (size > ORIGINAL_MAX_BYTES)
    assert letter["message"].startswith("why")
    assert (letter["source_row"], letter["source_offset"]) == (-1, 41)
    assert len(record.value) < MAX_MESSAGE_BYTES


def test_deliveries_come_after_the_rest_as_they_are_in_order():
    emit = outputs(USAGE, usage())
    emit.deliveries = [
        Delivery("out.c", b"k", b"{}", JSON, "io.gridloom.usage.v1"),
        Delivery("out.d", None, b"[]", ARROW, "io.gridloom.usage.v1"),
    ]

    _, first, second = records_of(STAGES["deliver.usage"], batch_of(), emit)

    assert [(r.topic, r.partition, r.key, r.value) for r in (first, second)] == [
        ("out.c", 0, b"k", b"{}"),
        ("out.d", 0, None, b"[]"),
    ]
    assert dict(second.headers)["ce_id"] == b"deliver.usage/3/41/2"
    assert dict(second.headers)["content-type"] == ARROW.encode()


def test_one_row_is_one_record_whatever_its_size(monkeypatch):
    monkeypatch.setattr(fit, "RECORD_MAX_BYTES", 10)

    records = records_of(STAGE, batch_of(), outputs(USAGE, usage(1), usage(2)))

    assert [[row["quantity"] for row in rows_in(record)] for record in records] == [[1], [2]]


def test_rows_that_come_apart_do_not_carry_each_others_names(monkeypatch):
    monkeypatch.setattr(fit, "RECORD_MAX_BYTES", 10)

    records = records_of(STAGE, batch_of(), outputs(USAGE, *map(usage, range(3))))

    batches = [decode(USAGE, record.value, {}) for record in records]
    named = [batch.column("meter_id").dictionary.to_pylist() for batch in batches]
    assert named == [["m0"], ["m1"], ["m2"]]


ACCOUNTS = st.sampled_from(["a", "b", "c", "d", "e", "账户"])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(ACCOUNTS, max_size=40),
    st.lists(st.integers(0, 39), max_size=3, unique=True),
    st.sampled_from([1, 3_000, 5_000, 10**9]),
)
def test_every_row_is_once_in_its_partition_in_order_under_an_id_of_its_own(
    accounts, refused, bytes_max
):
    rows = [usage(number, account) for number, account in enumerate(accounts)]
    batch = batch_of(*(usage(n) for n in range(40)))

    def made() -> list[Record]:
        emit = outputs(USAGE, *rows)
        emit.outputs.append(Output(SETTLEMENT, SETTLEMENT.empty))
        emit.refused = [Refused(row, "conflict", "", "") for row in refused]
        return records_of(STAGE, batch, emit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "RECORD_MAX_BYTES", bytes_max)
        records = made()
        assert records == made()

    found, letters = defaultdict(list), []
    for record in records:
        if record.topic == "usage":
            found[record.partition] += rows_in(record)
            assert len(record.value) <= bytes_max or len(rows_in(record)) == 1
        else:
            letters += [letter["source_row"] for letter in rows_in(record, DEAD_LETTER)]
    expected = defaultdict(list)
    for row in rows:
        expected[partition_of(row["account_id"], 4)].append(row)
    assert found == expected
    assert letters == refused
    assert len({dict(record.headers)["ce_id"] for record in records}) == len(records)
