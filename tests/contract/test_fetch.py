"""What streams/ingest/fetch.py relies on in aiokafka: fails when it changes. And: on a real Kafka
it hands over exactly the records that the stock consumer does."""

import inspect
import re
import uuid
from importlib.metadata import version

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.structs import OffsetAndMetadata

from streams.client import admin, new_consumer, read_all
from streams.ingest.fetch import BatchConsumer, BatchFetcher
from streams.settings import Settings


def test_the_version_is_the_one_that_was_proved():
    assert version("aiokafka").startswith("0.14.")


def test_the_fetcher_is_given_what_the_stock_one_is_given():
    stock = inspect.getsource(AIOKafkaConsumer.start)
    ours = inspect.getsource(BatchConsumer.start)
    given = set(re.findall(r"(\w+)=self\.(\w+)", re.search(r"Fetcher\(.*?\)", stock, re.S)[0]))
    # what it does not need: values stay bytes, and the CRC is always checked
    given -= {(name, f"_{name}") for name in ("key_deserializer", "value_deserializer")}
    given -= {("check_crcs", "_check_crcs")}
    assert set(re.findall(r"(\w+)=self\.(\w+)", ours)) == given
    assert "self._fetcher = Fetcher(\n            self._client,\n" in stock


def test_the_answer_of_a_fetch_is_kept_as_a_result_over_an_iterator():
    source = inspect.getsource(Fetcher._proc_fetch_request)
    assert "response = await self._client.send(node_id, request)" in source
    assert "MemoryRecords(part_data[-1])" in source  # the bytes are a partition's last field
    assert "self._records[tp] = FetchResult(" in source
    assert "await " not in source[source.index("if not assignment.active") :]
    names = list(inspect.signature(Fetcher._proc_fetch_request).parameters)
    assert list(inspect.signature(BatchFetcher._proc_fetch_request).parameters) == names
    assert "req = FetchRequest(" in inspect.getsource(Fetcher._get_actions_per_node)


def test_the_position_follows_the_iterators_next_offset():
    source = inspect.getsource(FetchResult)
    assert "for msg in self._partition_records:" in source
    assert "state.consumed_to(self._partition_records.next_fetch_offset)" in source
    assert "position != self._partition_records.next_fetch_offset" in source
    assert "self._aborted_transactions = sorted(" in inspect.getsource(PartitionRecords)


def test_a_partition_is_fetched_again_only_when_its_answer_was_taken():
    source = inspect.getsource(Fetcher._get_actions_per_node)
    assert "if tp in self._records:" in source


@pytest.mark.kafka
@pytest.mark.parametrize("isolation", ["read_uncommitted", "read_committed"])
async def test_it_hands_over_what_the_stock_consumer_does(broker, isolation):
    settings = Settings(brokers=broker, namespace=f"f{uuid.uuid4().hex[:8]}.")
    topic = settings.topic("events")
    async with admin(settings) as client:
        await client.create_topics([NewTopic(topic, 2, 1)])
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        await _write(settings, topic, codec, transactional=codec in {None, "lz4"})
    stock = AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker,
        auto_offset_reset="earliest",
        isolation_level=isolation,
    )
    await stock.start()
    ends = await stock.end_offsets([TopicPartition(topic, p) for p in range(2)])
    expected = {tp: [] for tp in ends}
    while any([await stock.position(tp) < end for tp, end in ends.items()]):
        for tp, records in (await stock.getmany(timeout_ms=500)).items():
            expected[tp] += [
                (r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in records
            ]
    await stock.stop()
    found = {tp: [] for tp in ends}
    consumer = new_consumer(settings, of=BatchConsumer, isolation_level=isolation)
    await consumer.start()
    consumer.assign(list(ends))
    while any([await consumer.position(tp) < end for tp, end in ends.items()]):
        for tp, polled in (await consumer.getmany(timeout_ms=500)).items():
            for records in polled:
                assert records.error is None
                found[tp] += [_record(records, row) for row in range(len(records))]
    await consumer.stop()
    assert found == expected
    assert sum(map(len, found.values())) == (210 if isolation == "read_uncommitted" else 150)


@pytest.mark.kafka
async def test_it_goes_on_where_the_group_committed(broker):
    settings = Settings(brokers=broker, namespace=f"f{uuid.uuid4().hex[:8]}.")
    topic, tp = settings.topic("events"), TopicPartition(settings.topic("events"), 0)
    async with admin(settings) as client:
        await client.create_topics([NewTopic(topic, 1, 1)])
    await _write(settings, topic, None, transactional=False, partitions=1)
    for first in (0, 20):
        consumer = new_consumer(settings, of=BatchConsumer, group_id=settings.topic("g"))
        await consumer.start()
        consumer.subscribe([topic])
        (records,) = (await _first(consumer))[tp]
        assert records.offset.tolist() == list(range(first, 30))
        await consumer.commit({tp: OffsetAndMetadata(20, "")})  # inside a batch
        await consumer.stop()
    assert len([r async for r in read_all(settings, topic)]) == 30


async def _first(consumer):
    while not (polled := await consumer.getmany(timeout_ms=500)):
        pass
    return polled


async def _write(settings, topic, codec, transactional, partitions=2):
    """30 records that count, in batches; with `transactional` also 30 that are aborted."""
    options = {"compression_type": codec, "linger_ms": 20}
    if transactional:
        options["transactional_id"] = uuid.uuid4().hex
    client = AIOKafkaProducer(bootstrap_servers=settings.brokers, **options)
    await client.start()
    for kept in (True, False) if transactional else (True,):
        if transactional:
            await client.begin_transaction()
        sent = [
            await client.send(
                topic,
                None if number % 7 == 3 else b'{"n": %d}' % number * 5,
                key=b"k" if number % 7 == 3 else None,
                partition=number % partitions,
                timestamp_ms=1_750_000_000_000 + number,
                headers=[("ce_id", b"%d" % number)] * (number % 3),
            )
            for number in range(30)
        ]
        for future in sent:
            await future
        if transactional:
            await (client.commit_transaction() if kept else client.abort_transaction())
    await client.stop()


def _record(records, row):
    value, key = records.value(row), records.key(row)
    return (
        int(records.offset[row]),
        int(records.timestamp_ms[row]),
        key,
        value,
        records.headers(row),
    )
