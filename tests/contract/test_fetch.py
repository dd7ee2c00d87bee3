"""What streams/fetch.py relies on in aiokafka: fails when it changes. And: on a real Kafka
it hands over exactly the records that the stock consumer does."""

import gzip
import inspect
import re
import uuid
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v4
from aiokafka.record import MemoryRecords
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.structs import OffsetAndMetadata
from crc32c import crc32c

from kernels.records import parse
from streams.client import FETCH_WAIT_MS, IDLE_WAIT_MS, admin, new_consumer, read_all
from streams.fetch import BatchConsumer, BatchFetcher, seen
from streams.settings import Settings

CUT = [slice(0, end) for end in (0, 1, 11, 12, 25, 26, 60, 61, -1)]  # of a batch


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
    assert set(re.findall(r"\brecords\.(\w+)", source)) == {"has_next", "size_in_bytes"}
    assert "req = FetchRequest(" in inspect.getsource(Fetcher._get_actions_per_node)


@pytest.mark.parametrize(
    ("asked", "waits_ms"), [([0, 1], IDLE_WAIT_MS), ([0, 1, 2], IDLE_WAIT_MS), ([1], FETCH_WAIT_MS)]
)
async def test_a_fetch_waits_long_where_no_partition_of_its_broker_is_left_out(
    monkeypatch, asked, waits_ms
):
    """Partitions 0 and 1 are fetched from broker 7, 2 from another."""
    sent = []

    async def proc(self, assignment, node_id, request):
        sent.append(request.build(FetchRequest_v4))
        return False

    fetcher = BatchFetcher.__new__(BatchFetcher)
    fetcher._client = SimpleNamespace(taken=dict)
    fetcher._select_read_replica = lambda tp: 7 if tp.partition < 2 else 8
    monkeypatch.setattr(Fetcher, "_proc_fetch_request", proc)
    topics = [("readings", [(number, 0, 1 << 20) for number in asked])]
    request = FetchRequest(FETCH_WAIT_MS, 1, 1 << 20, 0, topics)
    assignment = SimpleNamespace(tps=[TopicPartition("readings", number) for number in range(3)])
    await fetcher._proc_fetch_request(assignment, 7, request)
    assert [struct.max_wait_time for struct in sent] == [waits_ms]


@pytest.mark.parametrize("codec", [0, DefaultRecordBatch.CODEC_GZIP])
def test_the_stock_fetcher_is_shown_whether_there_is_a_whole_batch(codec):
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, 0, 1 << 20)
    builder.append(0, 1_000, None, b"value", [])
    batch = bytes(builder.build())
    for fetched in (batch, batch * 2, batch + batch[:-1], *map(batch.__getitem__, CUT)):
        theirs, shown = MemoryRecords(fetched), MemoryRecords(seen(memoryview(fetched)))
        assert theirs.has_next() == shown.has_next()
        assert (theirs.size_in_bytes() > 0) == (shown.size_in_bytes() > 0)


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


@pytest.mark.kafka
@pytest.mark.parametrize("isolation", ["read_uncommitted", "read_committed"])
async def test_what_librdkafka_writes_is_read_as_librdkafka_reads_it(broker, isolation):
    confluent = pytest.importorskip("confluent_kafka", reason="pip install 'gridloom[bench]'")
    settings = Settings(brokers=broker, namespace=f"f{uuid.uuid4().hex[:8]}.")
    topic = settings.topic("events")
    async with admin(settings) as client:
        await client.create_topics([NewTopic(topic, 2, 1)])
    written = sum(
        _write_by_librdkafka(confluent, broker, topic, codec, transactional)
        for codec in ("none", "gzip", "snappy", "lz4", "zstd")
        for transactional in (False, True)
    )
    expected = _read_by_librdkafka(confluent, broker, topic, isolation)
    consumer = new_consumer(settings, of=BatchConsumer, isolation_level=isolation)
    await consumer.start()
    assert await _read_by_batches(consumer, topic, 2) == expected
    await consumer.stop()
    aborted = 5 * _RECORDS
    assert written == 5 * 3 * _RECORDS
    read = sum(map(len, expected.values()))
    assert read == (written if isolation == "read_uncommitted" else written - aborted)


@pytest.mark.kafka
@pytest.mark.parametrize("codec", ["none", "gzip"])
async def test_holes_that_compaction_leaves_in_what_librdkafka_wrote_are_holes(
    broker, codec, monkeypatch
):
    confluent = pytest.importorskip("confluent_kafka", reason="pip install 'gridloom[bench]'")
    settings = Settings(brokers=broker, namespace=f"f{uuid.uuid4().hex[:8]}.")
    topic, tp = settings.topic("events"), TopicPartition(settings.topic("events"), 0)
    async with admin(settings) as client:
        await client.create_topics([NewTopic(topic, 1, 1)])
    _write_by_librdkafka(confluent, broker, topic, codec, False, partitions=1)
    answers = []
    monkeypatch.setattr(
        "streams.fetch.parse",
        lambda fetched, *rest: answers.append(bytes(fetched)) or parse(fetched, *rest),
    )
    consumer = new_consumer(settings, of=BatchConsumer)
    await consumer.start()
    whole = (await _read_by_batches(consumer, topic, 1))[tp]
    await consumer.stop()
    thinned = b"".join(_compacted(batch, codec, keep=5) for batch in _batches(b"".join(answers)))
    records = parse(thinned, 0)
    assert records.error is None
    assert [_record(records, row) for row in range(len(records))] == whole[::5]
    assert records.next_offset == _RECORDS


def _batches(fetched):
    """Whole batches of a log."""
    at = 0
    while at < len(fetched):
        size = 12 + int.from_bytes(fetched[at + 8 : at + 12])
        yield fetched[at : at + size]
        at += size


def _compacted(batch, codec, keep):
    """A batch as the cleaner leaves it: some records gone, first and last offset as they were."""
    body = gzip.decompress(batch[61:]) if codec == "gzip" else batch[61:]
    records, at = [], 0
    while at < len(body):
        start, shift, size = at, 0, 0
        while True:
            size |= (body[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if body[at - 1] < 128:
                break
        at += size >> 1  # zigzag of a positive number
        records.append(body[start:at])
    first = int.from_bytes(batch[:8])
    kept = [r for number, r in enumerate(records, first) if number % keep == 0]
    body = b"".join(kept)
    made = bytearray(batch[:61] + (gzip.compress(body) if codec == "gzip" else body))
    made[8:12] = (len(made) - 12).to_bytes(4)
    made[57:61] = len(kept).to_bytes(4)
    made[17:21] = crc32c(bytes(made[21:])).to_bytes(4)
    return bytes(made)


_RECORDS = 40


_HEADERS = [("ce_id", b"1"), ("none", None), ("\u00e9", b"\xff")]


def _write_by_librdkafka(confluent, broker, topic, codec, transactional, partitions=2):
    """_RECORDS that count; with `transactional` as many that are aborted; how many in all."""
    options = {"bootstrap.servers": broker, "compression.type": codec, "linger.ms": 20}
    if transactional:
        options["transactional.id"] = uuid.uuid4().hex
    client = confluent.Producer(options)
    if transactional:
        client.init_transactions(30)
    for kept in (True, False) if transactional else (True,):
        if transactional:
            client.begin_transaction()
        for number in range(_RECORDS):
            client.produce(
                topic,
                None if number % 7 == 3 else b'{"n": %d}' % number * (1 + number % 30),
                key=b"k%d" % (number % 5),
                partition=number % partitions,
                timestamp=1_750_000_000_000 + number,
                headers=[("ce_id", b"%d" % number), ("none", None), ("\u00e9", b"\xff")][
                    : number % 4
                ],
            )
        client.flush(30)
        if transactional:
            (client.commit_transaction if kept else client.abort_transaction)(30)
    return _RECORDS * (2 if transactional else 1)


def _read_by_librdkafka(confluent, broker, topic, isolation, partitions=2):
    consumer = confluent.Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": uuid.uuid4().hex,
            "isolation.level": isolation,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([confluent.TopicPartition(topic, p, 0) for p in range(partitions)])
    found = {TopicPartition(topic, p): [] for p in range(partitions)}
    at_end = set()
    while len(at_end) < partitions:
        message = consumer.poll(30)
        assert message is not None
        if message.error():
            assert message.error().code() == confluent.KafkaError._PARTITION_EOF, message.error()
            at_end.add(message.partition())
            continue
        found[TopicPartition(topic, message.partition())].append(
            (
                message.offset(),
                message.timestamp()[1],
                message.key(),
                message.value(),
                list(message.headers() or []),
            )
        )
    consumer.close()
    return found


async def _read_by_batches(consumer, topic, partitions):
    tps = [TopicPartition(topic, p) for p in range(partitions)]
    consumer.assign(tps)
    ends = await consumer.end_offsets(tps)
    found = {tp: [] for tp in tps}
    while any([await consumer.position(tp) < end for tp, end in ends.items()]):
        for tp, polled in (await consumer.getmany(timeout_ms=500)).items():
            for records in polled:
                assert records.error is None
                found[tp] += [_record(records, row) for row in range(len(records))]
    return found


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
