"""Record batches: whatever a producer writes is read as aiokafka's own parser reads it; what is
damaged is a clear error, and the records before it are kept."""

import os

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.records import parse, read_headers
from kernels.records.compression import RECORDS_MAX_BYTES, decompress
from schemas.codec import header_map

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
HEADER_BYTES = 61

names = st.sampled_from(["content-type", "Content-Type", "ce_id", "ce_source", "x", "é"])
texts = st.binary(max_size=300)
record = st.tuples(
    st.integers(0, 2**41),
    st.none() | texts,
    st.none() | texts,
    st.lists(st.tuples(names, st.none() | texts), max_size=4),
)
batch = st.tuples(st.lists(record, min_size=1, max_size=20), st.sampled_from(list(CODECS)))
batches = st.lists(batch, max_size=5)


@pytest.fixture(params=["compiled", "pure"], autouse=True)
def twin(request, monkeypatch):
    monkeypatch.setitem(os.environ, "GRIDLOOM_PURE", "1" if request.param == "pure" else "0")


def written(records, codec, base=0, gaps=(), attributes=0, producer=-1):
    """One batch as a producer makes it, at its place in a log; `gaps`: deltas compacted away."""
    builder = DefaultRecordBatchBuilder(2, CODECS[codec], 0, producer, 0, 0, 1 << 24)
    for delta, (timestamp, key, value, headers) in enumerate(records):
        if delta not in gaps:
            builder.append(delta, timestamp, key, value, headers)
    made = bytearray(builder.build())
    made[:8] = base.to_bytes(8, "big")
    made[21:23] = (int.from_bytes(made[21:23], "big") | attributes).to_bytes(2, "big")
    made[23:27] = (len(records) - 1).to_bytes(4, "big")  # compaction keeps the last offset
    return sealed(made)


def sealed(made):
    """With the checksum of its bytes, as the broker would have it."""
    from crc32c import crc32c

    made[17:21] = crc32c(bytes(made[21:])).to_bytes(4, "big")
    return bytes(made)


def log_of(drawn, first=0):
    made, base = b"", first
    for records, codec in drawn:
        made += written(records, codec, base)
        base += len(records)
    return made, base


def theirs(fetched, first=0):
    """aiokafka's parser."""
    memory, found = MemoryRecords(fetched), []
    while memory.has_next():
        for r in memory.next_batch():
            if r.offset >= first:
                found.append((r.offset, r.timestamp, r.key, r.value, list(r.headers)))
    return found


def ours(records):
    return [
        (
            int(records.offset[row]),
            int(records.timestamp_ms[row]),
            records.key(row),
            records.value(row),
            records.headers(row),
        )
        for row in range(len(records))
    ]


@settings(max_examples=60, deadline=None)
@given(batches, st.integers(0, 2**40), st.data())
def test_batches_are_read_as_aiokafka_reads_them(drawn, base, data):
    fetched, end = log_of(drawn, base)
    first = data.draw(st.integers(base, end))
    cut = data.draw(st.integers(0, HEADER_BYTES))  # of the batch that did not fit the fetch
    partial = written([(1, None, b"later", [])], "none", end)[:cut]
    records = parse(fetched + partial, first)
    assert ours(records) == theirs(fetched, first)
    assert (records.next_offset, records.error) == (end, None)


@settings(max_examples=60, deadline=None)
@given(st.lists(record, min_size=2, max_size=20), st.sampled_from(list(CODECS)), st.data())
def test_records_that_compaction_removed_leave_holes_and_the_next_offset(drawn, codec, data):
    gaps = data.draw(st.sets(st.integers(0, len(drawn) - 1), max_size=len(drawn) - 1))
    fetched = written(drawn, codec, 100, gaps)
    records = parse(fetched, 0)
    assert records.offset.tolist() == [100 + n for n in range(len(drawn)) if n not in gaps]
    assert ours(records) == theirs(fetched)
    assert (records.next_offset, records.error) == (100 + len(drawn), None)


@settings(max_examples=60, deadline=None)
@given(st.lists(batch, min_size=1, max_size=4), st.data())
def test_a_damaged_batch_is_an_error_and_the_records_before_it_are_kept(drawn, data):
    fetched, _ = log_of(drawn)
    damaged = bytearray(fetched)
    place = data.draw(st.integers(0, len(fetched) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    records = parse(bytes(damaged), 0)
    good = theirs(fetched)
    ends = np.cumsum([len(one) for one, _ in drawn]).tolist()
    whole = ours(records)
    assert whole == good[: len(whole)] or _unchecked(drawn, place)
    if records.error is not None:
        assert len(whole) in {0, *ends}
        assert records.next_offset == len(whole) or _unchecked(drawn, place)
        assert "cannot be read" in str(records.error)


def _unchecked(drawn, place):
    """Whether the place lies in what no checksum covers: offset, length, epoch, magic."""
    at = 0
    for records, codec in drawn:
        size = len(written(records, codec))
        if at <= place < at + 21:
            return True
        at += size
    return False


@settings(max_examples=100, deadline=None)
@given(st.lists(record, min_size=1, max_size=5), st.sampled_from(["none", "gzip"]), st.data())
def test_a_batch_that_lies_under_a_right_checksum_is_an_error_or_in_its_bytes(drawn, codec, data):
    before = written([(5, b"k", b"v", [])], "none")
    made = bytearray(written(drawn, codec, 1))
    for _ in range(data.draw(st.integers(1, 3))):
        made[data.draw(st.integers(21, len(made) - 1))] = data.draw(st.integers(0, 255))
    records = parse(before + sealed(made), 0)
    rows = ours(records)
    assert rows[0] == (0, 5, b"k", b"v", [])
    if records.error is not None:
        assert (len(rows), records.next_offset) == (1, 1)
    ranges = records.columns[2:].reshape(3, 2, -1)
    assert (ranges[:, 0] + np.maximum(ranges[:, 1], 0) <= len(records.buffer)).all()


@settings(max_examples=60, deadline=None)
@given(batches.filter(len))
def test_records_of_equal_named_headers_have_one_code(drawn):
    fetched, _ = log_of(drawn)
    records = parse(fetched, 0)
    codes, stand_for = records.header_codes(["content-type", "ce_source"])
    assert len(set(stand_for)) == len(stand_for)
    for row, code in enumerate(codes.tolist()):
        named = header_map(read_headers(stand_for[code]))
        all_of = header_map(records.headers(row))
        assert named == {
            name: text for name, text in all_of.items() if name in {"content-type", "ce_source"}
        }


def test_the_brokers_time_stands_for_all_records_where_the_topic_is_dated_by_it():
    fetched = written([(5, None, b"a", []), (9, None, b"b", [])], "none", attributes=0x08)
    assert parse(fetched, 0).timestamp_ms.tolist() == [9, 9]
    assert [r[1] for r in theirs(fetched)] == [9, 9]


def marker(base, producer, kind):
    return written(
        [(1, b"\0\0" + kind.to_bytes(2, "big"), b"\0" * 6, [])],
        "none",
        base,
        attributes=0x30,
        producer=producer,
    )


def test_aborted_records_are_left_out_where_the_broker_names_them_and_markers_always():
    one = [(1, None, b"x", [])]
    fetched = b"".join(
        [
            written(one, "none", 0, attributes=0x10, producer=7),
            written(one, "none", 1, attributes=0x10, producer=8),
            marker(2, 7, 0),
            written(one, "none", 3, attributes=0x10, producer=7),
            written(one, "none", 4),
            marker(5, 8, 1),
            marker(6, 7, 1),
        ]
    )
    assert parse(fetched, 0).offset.tolist() == [0, 1, 3, 4]
    committed = parse(fetched, 0, aborted=[(7, 0)])
    assert committed.offset.tolist() == [1, 3, 4]
    assert committed.next_offset == 7


def test_an_older_format_is_named_and_nothing_of_it_is_skipped():
    made = bytearray(written([(1, None, b"x", [])], "none"))
    made[16] = 1
    records = parse(bytes(made), 0)
    assert (len(records), records.next_offset) == (0, 0)
    assert "format is not v2" in str(records.error)


def test_a_batch_larger_than_the_bound_when_decompressed_is_an_error():
    import gzip

    bomb = gzip.compress(b"\0" * (RECORDS_MAX_BYTES + 1), 1)
    with pytest.raises(ValueError, match="more than"):
        decompress(1, memoryview(bomb))
