"""The transport's three books on Faust's own consumer, without a broker: owed, sought, sent.

A run is shown as the offsets of its records.
"""

import asyncio
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from kernels.records import CorruptBatchError, Records, parse
from schemas.codec import ARROW, event_headers
from streams import runs
from streams.runs import RUN_BYTES, RUN_ROW_BYTES, TEXT_BYTES, records_of, runs_of
from streams.transport import AHEAD_RUNS, ExactConsumer, ExactConsumerThread, ExactTransport

P0, P1 = TP("readings", 0), TP("readings", 1)


def record(offset: int, size: int = 0) -> SimpleNamespace:
    """A record as aiokafka hands it over."""
    names = ("timestamp", "timestamp_type", "checksum")
    rest: dict[str, Any] = dict.fromkeys(names, 0) | {"headers": (), "key": None, "value": b""}
    sizes = {"serialized_key_size": 0, "serialized_value_size": size}
    return SimpleNamespace(topic="readings", partition=0, offset=offset, **rest, **sizes)


class Fetched(ExactConsumer):
    """The consumer with what the next fetches bring, in place of a broker."""

    fetches: list[dict[TP, list[Any]]]

    def highwater(self, tp: TP) -> int:
        return 0

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        self.asked = set(active_partitions)
        return self.fetches.pop(0)


async def _ignore(*_: Any) -> None: ...


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Fetched:
    app = faust.App("books", broker="kafka://127.0.0.1:1", consumer_auto_offset_reset="earliest")
    transport = ExactTransport(app.conf.broker_consumer, app)
    made = Fetched(transport, _ignore, _ignore, _ignore)
    monkeypatch.setattr(app.topics, "acks_enabled_for", lambda topic: True)
    made._active_partitions = {P0, P1}
    made.flow_active = made._ready = made._sought = True
    return made


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of one record."""
    monkeypatch.setattr(runs, "RUN_RECORDS", 1)


def offsets(run: list[Any]) -> list[int]:
    return [record.offset for record in run]


async def delivered(consumer: Fetched, *fetches: dict[TP, list[int]]) -> list[tuple[TP, list[int]]]:
    consumer.fetches = [{tp: list(map(record, some)) for tp, some in f.items()} for f in fetches]
    found = []
    while consumer.fetches:
        async for tp, message in consumer.getmany(timeout=0.0):
            assert message.offset == message.run[0].offset, "what is acknowledged"
            found.append((tp, offsets(message.run)))
            consumer.done_with(message)
    return found


class Message:
    """What a stream acknowledges."""

    def __init__(self, tp: TP, offset: int) -> None:
        self.acked, self.tp, self.topic, self.offset = False, tp, tp.topic, offset


def ack(consumer: Fetched, tp: TP, offset: int) -> None:
    assert consumer.ack(Message(tp, offset))


def test_a_run_ends_at_a_hole_and_before_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUN_RECORDS", 3)
    half, rows = TEXT_BYTES + RUN_ROW_BYTES // 2, TEXT_BYTES + RUN_ROW_BYTES

    def cut(*records: Any) -> list[list[int]]:
        return [offsets(run) for run in runs_of(records)]

    assert cut() == []
    assert cut(record(1), record(2), record(5), record(6)) == [[1, 2], [5, 6]]
    assert cut(*map(record, range(7))) == [[0, 1, 2], [3, 4, 5], [6]]
    assert cut(record(1, half), record(2, half), record(3, 1)) == [[1, 2, 3]]
    assert cut(record(1, half), record(2, half), record(3, TEXT_BYTES + 1)) == [[1, 2], [3]]
    assert cut(record(1, rows + 1), record(2, -1), record(3, rows)) == [[1], [2, 3]]
    assert cut(record(1, 3 * RUN_BYTES), record(2, -1), record(3, rows)) == [[1], [2, 3]]


def test_a_run_of_small_messages_ends_before_it_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "RUN_BYTES", 3 * TEXT_BYTES)

    def cut(*records: Any) -> list[list[int]]:
        return [offsets(run) for run in runs_of(records)]

    whole = [record(offset, TEXT_BYTES) for offset in range(4)]
    assert cut(*whole) == [[0, 1, 2], [3]]
    assert cut(*whole[:3], record(3, 0), record(4, 1)) == [[0, 1, 2, 3], [4]]


async def test_a_fetch_is_delivered_as_runs_of_each_partition(consumer: Fetched) -> None:
    found = await delivered(consumer, {P0: [1, 2, 5, 6], P1: [8, 9]}, {P0: [7]})

    assert sorted(found) == [(P0, [1, 2]), (P0, [5, 6]), (P0, [7]), (P1, [8, 9])]
    assert consumer.holes == {P0: {(3, 5)}}
    assert consumer._owed == {}


async def test_the_first_unacknowledged_run_is_what_is_committed(consumer: Fetched) -> None:
    await delivered(consumer, {P0: [5, 6]}, {P0: [7]}, {P0: [8, 9]})

    assert consumer._new_offset(P0) == 5
    ack(consumer, P0, 7)
    assert consumer._new_offset(P0) == 5
    ack(consumer, P0, 5)
    assert consumer._new_offset(P0) == 8
    ack(consumer, P0, 8)
    assert consumer._new_offset(P0) == 10


async def test_a_seek_into_a_run_does_not_commit_what_is_not_acknowledged(
    consumer: Fetched,
) -> None:
    await delivered(consumer, {P0: [5, 6, 7]}, {P0: [8, 9]})
    await consumer.seek(P0, 7)

    assert await delivered(consumer, {P0: [7, 8, 9]}) == []  # fetched before the seek was done
    assert consumer._new_offset(P0) == 5
    consumer._jump.clear()  # as the next fetch does
    assert await delivered(consumer, {P0: [7, 8]}) == [(P0, [7, 8])]
    assert consumer.holes == {}
    ack(consumer, P0, 7)
    assert consumer._new_offset(P0) == 5
    ack(consumer, P0, 5)
    assert consumer._new_offset(P0) == 9


async def test_a_restart_within_a_run_is_done_with_all_before_it(consumer: Fetched) -> None:
    """The first part of the run is saved, and nobody will acknowledge the run any more."""
    await delivered(consumer, {P0: [3, 4]}, {P0: [5, 6, 7]})
    ack(consumer, P0, 3)
    await consumer.restart(P0, 6)

    assert consumer._jump == {P0: 6}
    assert consumer._new_offset(P0) == 6
    consumer._jump.clear()
    await delivered(consumer, {P0: [6, 7]})
    assert consumer._new_offset(P0) == 6
    ack(consumer, P0, 6)
    assert consumer._new_offset(P0) == 8


async def test_a_seek_while_a_run_is_handed_over_is_not_committed_over(
    consumer: Fetched,
) -> None:
    consumer.fetches = [{P0: list(map(record, (4, 5, 6)))}]
    async for _ in consumer.getmany(timeout=0.0):
        await consumer.seek(P0, 4)

    assert consumer._new_offset(P0) == 4


async def test_a_rebalance_within_a_fetch_forgets_what_was_not_delivered(
    consumer: Fetched,
) -> None:
    consumer.fetches = [{P0: list(map(record, (1, 2, 5, 6)))}]
    got = []
    async for _, message in consumer.getmany(timeout=0.0):
        got.append(offsets(message.run))
        consumer._new_assignment()

    assert got == [[1, 2]]
    assert (consumer._owed, consumer._end, dict(consumer._sent)) == ({}, {}, {})


async def test_no_partition_is_fetched_between_a_seek_and_the_resume_after_it(
    consumer: Fetched,
) -> None:
    consumer._new_assignment()
    consumer._active_partitions = {P0}
    consumer.resume_flow()  # of an assignment that has not sought yet
    consumer.fetches = [{P0: [record(1)]}]
    async for _ in consumer.getmany(timeout=0.0):
        pytest.fail("delivered before the seek")
    assert consumer.fetches, "nothing may be pulled either"

    consumer._sought = True
    consumer.resume_flow()
    assert await delivered(consumer, {P0: [1]}) == [(P0, [1])]


async def test_what_a_stop_of_the_flow_cuts_off_is_owed(
    consumer: Fetched, one_by_one: None
) -> None:
    consumer.fetches = [{P0: list(map(record, (1, 2, 3)))}]
    consumer._owed[P0] = 1  # as the fetch on the consumer's thread notes it
    got = []
    async for _, message in consumer.getmany(timeout=0.0):
        got.append(message.offset)
        if message.offset == 2:
            consumer.stop_flow()

    assert got == [1, 2]
    assert consumer._owed[P0] == 2  # whether the second one arrived is not known


async def _taken(consumer: Fetched, count: int) -> tuple[list[Any], asyncio.Task[None]]:
    """What was delivered of a fetch of so many runs, as far as nothing is done with."""
    consumer.loop = asyncio.get_running_loop()
    consumer.fetches, got = [{P0: list(map(record, range(count)))}], []

    async def take() -> None:
        async for _, message in consumer.getmany(timeout=0.0):
            got.append(message)

    task = asyncio.create_task(take())
    await asyncio.wait([task], timeout=0.05)
    return got, task


async def test_delivery_is_a_few_runs_ahead_of_what_is_done_with(
    consumer: Fetched, one_by_one: None
) -> None:
    got, task = await _taken(consumer, AHEAD_RUNS + 2)
    assert [message.offset for message in got] == list(range(AHEAD_RUNS))

    consumer.done_with(got[0])
    await asyncio.wait([task], timeout=0.05)
    assert len(got) == AHEAD_RUNS + 1
    consumer.done_with(got[1])
    await task
    assert [message.offset for message in got] == list(range(AHEAD_RUNS + 2))


async def test_a_stop_of_the_flow_ends_the_wait_and_what_was_ahead_is_forgotten(
    consumer: Fetched, one_by_one: None
) -> None:
    consumer._owed[P0] = 0
    before, task = await _taken(consumer, AHEAD_RUNS + 1)
    consumer.stop_flow()
    await task
    assert consumer._owed[P0] == AHEAD_RUNS

    consumer.resume_flow()
    got, task = await _taken(consumer, AHEAD_RUNS + 1)
    assert len(got) == AHEAD_RUNS
    for message in before:
        consumer.done_with(message)  # of the flow that was stopped
    await asyncio.wait([task], timeout=0.05)
    assert len(got) == AHEAD_RUNS
    consumer.done_with(got[0])
    await task


async def test_a_seek_makes_the_batch_in_hand_stale(consumer: Fetched, one_by_one: None) -> None:
    consumer.fetches = [{P0: list(map(record, (4, 5, 6)))}]
    got = []
    async for _, message in consumer.getmany(timeout=0.0):
        got.append(message.offset)
        await consumer.seek(P0, 4)

    assert got == [4]
    assert consumer._jump[P0] == 4
    assert list(consumer._sent[P0]) == []


async def test_a_hole_is_listed_and_nothing_is_committed_over_a_record(consumer: Fetched) -> None:
    await delivered(consumer, {P0: [1]}, {P0: [5]})

    assert consumer.holes[P0] == {(2, 5)}
    ack(consumer, P0, 5)
    assert consumer._new_offset(P0) == 1


async def test_the_drain_loop_is_never_told_to_drop(consumer: Fetched) -> None:
    consumer._read_offset[P0] = 99  # Faust's own book would drop what is below
    await delivered(consumer, {P0: [1]})

    assert consumer._read_offset[P0] is None


@pytest.mark.parametrize(
    ("owed", "jump", "sought"), [({P0: 3}, {}, [3]), ({P0: 3}, {P0: 9}, [3, 9]), ({}, {P1: 2}, [])]
)
async def test_the_next_fetch_seeks_first_and_a_jump_wins_over_a_debt(
    consumer: Fetched, monkeypatch: pytest.MonkeyPatch, owed: Any, jump: Any, sought: list[int]
) -> None:
    """P1 is not assigned: it is not sought."""
    calls: list[Any] = []

    async def fetched(self: Any, client: Any, *_: Any) -> Any:
        calls.append("fetch")
        return {P0: [parse(_written([(None, b"value", [])] * 12), 9)]}

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetched)
    client = SimpleNamespace(assignment=lambda: {P0}, seek=lambda tp, offset: calls.append(offset))
    consumer._owed.update(owed)
    consumer._jump.update(jump)
    thread = ExactConsumerThread(consumer, loop=None)

    await thread._fetch_records(client, {P0})

    assert calls == [*sought, "fetch"]
    assert (consumer._owed, consumer._jump) == ({P0: 9}, {})


def _written(records: list[tuple[bytes | None, bytes | None, Any]], codec: int = 0) -> bytes:
    """Records from offset 0 on as a producer writes them."""
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, 0, 1 << 20)
    for offset, (key, value, headers) in enumerate(records):
        builder.append(offset, 1_000 + offset, key, value, headers)
    return bytes(builder.build())


@pytest.mark.parametrize("codec", [0, DefaultRecordBatch.CODEC_GZIP])
def test_the_records_of_a_fetch_are_what_aiokafka_makes_of_it(codec: int) -> None:
    headers = [*event_headers("io.type", "id", "/here", ARROW), ("gl_registry_offset", b"7")]
    given: list[Any] = [
        (None, b"one", headers),
        (b"key", None, []),
        (b"", b"", [("Content-Type", b"x"), *headers[:2]]),
        (None, b"two" * 9, headers),
    ]
    fetched = _written(given, codec)

    found = records_of(P0, parse(fetched, 1))

    assert offsets(found) == [1, 2, 3]
    for ours, theirs in zip(found, list(DefaultRecordBatch(fetched))[1:], strict=True):
        assert (ours.topic, ours.partition, ours.timestamp) == (*P0, theirs.timestamp)
        assert (ours.key, ours.value) == (theirs.key, theirs.value)
        sizes = [-1 if of is None else len(of) for of in (theirs.key, theirs.value)]
        assert [ours.serialized_key_size, ours.serialized_value_size] == sizes
        wanted = [pair for pair in theirs.headers if pair[0].lower() in runs.HEADERS]
        assert ours.headers == wanted
    assert found[1].headers == [("Content-Type", b"x")]


async def test_what_comes_before_a_damaged_batch_is_delivered_and_then_it_is_said(
    consumer: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = _written([(None, b"value", [])] * 3)
    damaged = sound[:-1] + b"?"
    answers: list[dict[TP, list[Records]]] = [
        {P0: [parse(damaged, 0)], P1: [parse(sound, 1)]},
        {P0: [parse(damaged, 0)]},
    ]

    async def fetched(*_: Any) -> Any:
        return answers.pop(0)

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetched)
    client = SimpleNamespace(assignment=lambda: {P0, P1})
    thread = ExactConsumerThread(consumer, loop=None)

    brought = await thread._fetch_records(client, {P0, P1})

    assert {tp: offsets(records) for tp, records in brought.items()} == {P1: [1, 2]}
    assert consumer._owed == {P1: 1}
    with pytest.raises(CorruptBatchError, match="checksum"):
        await thread._fetch_records(SimpleNamespace(assignment=set), {P0})


async def test_a_new_assignment_starts_where_the_state_asks_else_where_committed(
    consumer: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def committed() -> dict[TP, int]:
        return {P0: 3, P1: 4}

    async def asked(tps: set[TP]) -> dict[TP, int]:
        assert tps == {P0, P1}
        return {P0: 40}

    monkeypatch.setattr(consumer, "seek_to_committed", committed)
    monkeypatch.setattr(consumer, "assignment", lambda: {P0, P1})
    consumer.transport.start_offsets = asked
    consumer._new_assignment()

    await consumer.perform_seek()

    assert consumer._jump == {P0: 40, P1: 4}
    assert (consumer._sought, consumer._ready) == (True, False)
