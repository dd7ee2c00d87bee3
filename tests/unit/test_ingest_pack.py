"""Packing: every admitted row is in one batch of its partition, in order, and fits a record."""

import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import DEAD_LETTER, READINGS, partition_of
from schemas.codec import ARROW, decode, header_map
from schemas.deadletter import ORIGINAL_MAX_BYTES
from schemas.registry import Meter, Site
from streams.client import MAX_MESSAGE_BYTES
from streams.ingest import pack
from streams.ingest.admission import admit, dead_row
from streams.ingest.events import Refusal
from streams.ingest.pack import Packer
from streams.registry import Registry
from tests.unit.ingest_cases import SOURCE, line, only
from tests.unit.ingest_cases import admitted as admitted_line

FOREVER_S = 1e9
READING = only(admitted_line(line()))
SITES = ("beijing-1", "gansu-1", "guizhou-1", "neimenggu-1", "ningxia-1", "sichuan-1")


def reading(number, **changed):
    return READING | {"source_offset": number, "quantity": number} | changed


def letter(number, original=b"{", message="no JSON", topic="telemetry.in"):
    refused = Refusal(number, "not_json", "", message, original)
    return dead_row(SOURCE, refused).fields | {"source_topic": topic}


def rows_in(record, topic=READINGS):
    batch = decode(topic, record.value, header_map(record.headers))
    assert batch.num_rows, "an empty record"
    return batch.to_pylist()


def header(record, name):
    return header_map(record.headers).get(name)


def test_rows_of_one_meter_go_to_the_partition_of_its_site_in_the_order_they_came():
    registry = Registry()
    for offset, site in enumerate(SITES):
        registry.put(Site(id=site, hub_id="h"), offset)
        for meter in range(3):
            registry.put(Meter(id=f"{site}/{meter}", site_id=site, account_id="a"), offset)
    draw = random.Random(7)
    sent = [f"{draw.choice(SITES)}/{draw.randrange(3)}" for _ in range(500)]
    lines = [line(meter_id=meter, quantity=n, unit="mJ") for n, meter in enumerate(sent)]
    admitted = admit(SOURCE, b"\n".join(lines), {}, registry.at(registry.offset))
    packer = Packer(rows_max=64, age_max_s=FOREVER_S)
    records = [
        record
        for row in admitted.rows
        for record in packer.add(row.topic, row.partition, row.fields)
    ]
    records += packer.close_all()
    found = defaultdict(list)
    for record in records:
        for row in rows_in(record):
            assert record.partition == partition_of(row["site_id"], 4)
            found[row["meter_id"]].append(row["quantity"])
    assert found == {m: [n for n, meter in enumerate(sent) if meter == m] for m in set(sent)}
    assert {record.partition for record in records} == {partition_of(site, 4) for site in SITES}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=40),
    st.integers(1, 7),
    st.sampled_from([1, 4_000, 6_000, 10**9]),
)
def test_no_row_is_lost_doubled_changed_or_overtaken(places, rows_max, bytes_max):
    """Rows of several partitions and registry offsets, through batches of any size."""
    packer, records, given_rows = Packer(rows_max, FOREVER_S), [], defaultdict(list)
    offsets = sorted(offset for _, offset in places)  # a registry only grows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "_RECORD_MAX_BYTES", bytes_max)
        for number, ((partition, _), offset) in enumerate(zip(places, offsets, strict=True)):
            row = reading(number, registry_offset=offset)
            given_rows[partition].append(row)
            records += packer.add(READINGS, partition, row, offset)
        records += packer.close_all()
    assert packer.close_all() == []
    found = defaultdict(list)
    for record in records:
        rows = rows_in(record)
        found[record.partition] += rows
        assert len(rows) <= rows_max
        assert len(rows) == 1 or len(record.value) <= bytes_max
        assert {row["registry_offset"] for row in rows} == {
            int(header(record, "gl_registry_offset"))
        }
    assert found == given_rows
    ids = [header(record, "ce_id") for record in records]
    assert len(set(ids)) == len(ids)


def test_a_batch_is_closed_by_its_last_row_and_not_before():
    packer = Packer(rows_max=3, age_max_s=FOREVER_S)
    assert [len(packer.add(READINGS, 0, reading(n))) for n in range(7)] == [0, 0, 1, 0, 0, 1, 0]
    (rest,) = packer.close_all()
    assert rows_in(rest) == [reading(6)]


def test_a_newer_registry_closes_the_batch_so_that_all_its_rows_are_of_one():
    packer = Packer(rows_max=100, age_max_s=FOREVER_S)
    assert packer.add(READINGS, 0, reading(0, registry_offset=4), 4) == []
    (closed,) = packer.add(READINGS, 0, reading(1, registry_offset=5), 5)
    assert (rows_in(closed), header(closed, "gl_registry_offset")) == (
        [reading(0, registry_offset=4)],
        "4",
    )
    assert header(packer.close_all()[0], "gl_registry_offset") == "5"


def test_a_batch_is_closed_when_its_first_row_is_too_old(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr(pack.time, "monotonic", lambda: now_s)
    packer = Packer(rows_max=100, age_max_s=0.5)
    packer.add(READINGS, 0, reading(0))
    now_s = 100.25
    packer.add(READINGS, 0, reading(1))  # does not make the batch younger
    packer.add(READINGS, 1, reading(2))
    assert packer.close_aged() == []
    now_s = 100.5
    (aged,) = packer.close_aged()
    assert rows_in(aged) == [reading(0), reading(1)]
    assert [record.partition for record in packer.close_all()] == [1]


def test_a_record_has_no_key_and_says_what_it_is_and_where_its_first_row_came_from():
    packer = Packer(rows_max=2, age_max_s=FOREVER_S)
    packer.add(READINGS, 2, reading(7), 9, {"gl_tick_ms": "2000"})
    (record,) = packer.add(READINGS, 2, reading(8), 9, {"gl_tick_ms": "3000"})
    assert (record.topic, record.partition, record.key) == ("readings", 2, None)
    assert header_map(record.headers) == {
        "ce_specversion": "1.0",
        "ce_id": "ingest/readings/2/3/7/0",
        "ce_source": "/gridloom/ingest",
        "ce_type": "io.gridloom.readings.v1",
        "content-type": ARROW,
        "gl_registry_offset": "9",
        "gl_tick_ms": "3000",
    }


def test_dead_letters_of_two_topics_from_the_same_place_are_two_events():
    packer = Packer(rows_max=1, age_max_s=FOREVER_S)
    records = [
        *packer.add(DEAD_LETTER, 1, letter(0)),
        *packer.add(DEAD_LETTER, 1, letter(0, topic="market.in")),
    ]
    assert len({header(record, "ce_id") for record in records}) == 2


def test_large_dead_letters_are_sent_in_as_many_records_as_they_need():
    draw = random.Random(1)
    sizes = [ORIGINAL_MAX_BYTES, 10, 4 << 20, ORIGINAL_MAX_BYTES, 6 << 20]
    letters = [letter(n, draw.randbytes(size)) for n, size in enumerate(sizes)]
    packer = Packer(rows_max=len(letters), age_max_s=FOREVER_S)
    records = [r for row in letters for r in packer.add(DEAD_LETTER, 1, row)]
    assert [row for record in records for row in rows_in(record, DEAD_LETTER)] == letters
    assert all(len(record.value) < MAX_MESSAGE_BYTES - 100_000 for record in records)
    assert len(records) < len(letters)
