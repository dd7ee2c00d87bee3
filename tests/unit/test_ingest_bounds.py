"""What bounds the bridge's memory: batches closed by bytes, and few bytes in flight."""

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from aiokafka.errors import KafkaError, KafkaTimeoutError

from schemas import DEAD_LETTER, READINGS
from streams.emit import Record
from streams.ingest import outbox
from streams.ingest.outbox import Outbox
from streams.ingest.pack import Packer
from streams.ingest.readings import READING
from streams.settings import Settings
from tests.unit.test_ingest_pack import FOREVER_S, letter, reading, rows_in

NO_ROWS_BOUND = 10**9


class Producer:
    """Takes records at once; the test says when, and whether, they are durable."""

    def __init__(self):
        self.sent, self.futures = [], []

    async def send(self, topic, value, partition, headers):
        await asyncio.sleep(0)
        self.sent.append((topic, partition, value))
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


def record(number, size=10):
    return Record("readings", number % 4, None, bytes([number]) * size, [])


async def settled(times=20):
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.fixture
def sends():
    producer = Producer()
    return Outbox(Settings(brokers="nowhere:1"), producer), producer


def test_readings_are_packed_no_larger_than_batch_bytes_whether_they_come_alone_or_together():
    bytes_max = 5 * READING.itemsize
    alone, together = (Packer(NO_ROWS_BOUND, FOREVER_S, bytes_max) for _ in range(2))
    records = [r for n in range(23) for r in alone.add(READINGS, 0, reading(n))]
    assert [len(rows_in(r)) for r in records] == [5, 5, 5, 5]
    assert rows_in(alone.close_all()[0]) == [reading(n) for n in range(20, 23)]

    rows = np.concatenate([together.readings.row(reading(n)) for n in range(23)])
    records = together.add_readings([(0, rows)], -1) + together.close_all()
    assert [len(rows_in(r)) for r in records] == [5, 5, 5, 5, 3]
    assert [row for r in records for row in rows_in(r)] == [reading(n) for n in range(23)]


def test_a_batch_with_large_texts_is_closed_by_the_row_that_makes_it_too_large():
    packer = Packer(NO_ROWS_BOUND, FOREVER_S, 10_000)
    sizes = [4_000, 4_000, 4_000, 9_999, 50_000, 10]
    closed = [packer.add(DEAD_LETTER, 1, letter(n, b"x" * s)) for n, s in enumerate(sizes)]
    assert [len(rows_in(r, DEAD_LETTER)) for records in closed for r in records] == [3, 1, 1]
    (rest,) = packer.close_all()
    assert len(rows_in(rest, DEAD_LETTER)) == 1


async def test_records_leave_in_the_order_they_came_whoever_flushes(sends):
    box, producer = sends
    box.put([record(n) for n in range(5)])
    flushes = [asyncio.create_task(box.flush()) for _ in range(3)]
    box.put([record(n) for n in range(5, 9)])
    await asyncio.gather(*flushes)
    await box.flush()
    assert [value[0] for _, _, value in producer.sent] == list(range(9))
    assert all(a < b for a, b in pairwise(value[0] for _, _, value in producer.sent))


async def test_flush_waits_while_too_many_bytes_are_in_flight(sends, monkeypatch):
    monkeypatch.setattr(outbox, "IN_FLIGHT_BYTES", 250)
    box, producer = sends
    box.put([record(n, size=100) for n in range(4)])
    flush = asyncio.create_task(box.flush())
    await settled()
    assert not flush.done()
    producer.futures[0].set_result(None)
    await settled()
    assert not flush.done(), "300 bytes are more than 250"
    producer.futures[1].set_result(None)
    await settled()
    assert flush.done()
    assert flush.exception() is None


async def test_durable_waits_for_all_that_was_put_before(sends):
    box, producer = sends
    box.put([record(0), record(1)])
    durable = asyncio.create_task(box.durable())
    await settled()
    producer.futures[1].set_result(None)
    await settled()
    assert not durable.done()
    producer.futures[0].set_result(None)
    await settled()
    assert durable.done()
    assert durable.exception() is None


async def test_a_send_that_failed_is_raised_by_every_later_call_and_never_forgotten(sends):
    box, producer = sends
    box.put([record(0), record(1)])
    await box.flush()
    producer.futures[0].set_exception(KafkaTimeoutError())
    producer.futures[1].set_result(None)
    for call in (box.flush, box.durable, box.flush, box.durable):
        with pytest.raises(KafkaError):
            await call()
