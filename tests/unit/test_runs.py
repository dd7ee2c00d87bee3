"""Runs: the runtime given several messages at once, from real bytes to outputs and dead letters."""

import asyncio
from collections import defaultdict
from types import SimpleNamespace

import pytest
from faust.types import TP

import streams.agents  # noqa: F401  (registers the stages)
from schemas import DEAD_LETTER, READINGS, USAGE
from schemas.codec import ARROW, REGISTRY_OFFSET, decode, encode, event_headers
from schemas.registry import Meter
from streams.agent import STAGES, Batch, Part
from streams.gather import Message, alike, gather, lengths
from streams.journal import Journal
from streams.registry import Registry
from streams.runtime import StageRunner
from streams.settings import Settings
from tests.unit.journal_log import Log

NO_BATCH = b"no batch"
TP0 = TP("readings", 0)
SETTINGS = Settings(brokers="none", save_messages=100, save_ms=100_000)


def reading(meter="m", quarter=0, quantity=1_000, **given):
    row = {
        "meter_id": meter,
        "register": "it.energy",
        "kind": "delta",
        "start_ms": quarter * 900_000,
        "end_ms": (quarter + 1) * 900_000,
        "quantity": quantity,
        "unit": "mJ",
        "revision": 0,
        "quality": "ACTUAL",
        "epoch": 0,
        "site_id": "site",
        "rack_id": "",
        "hub_id": "hub",
        "account_id": "payer",
        "source": "gateway",
        "source_partition": 0,
        "source_offset": 0,
        "source_row": 0,
        "received_ms": 1_000_000,
        "registry_offset": -1,
    }
    return row | given


def record(offset, *rows, value=None, registry_offset="-1"):
    headers = event_headers(READINGS.event_type, f"e{offset}", "/test", ARROW)
    headers.append((REGISTRY_OFFSET, registry_offset.encode()))
    value = encode(READINGS, READINGS.rows(list(rows))) if value is None else value
    return SimpleNamespace(offset=offset, value=value, headers=headers, timestamp=7_000 + offset)


class Consumer:
    """What the runtime asks of the transport."""

    def __init__(self):
        self.holes = defaultdict(set)
        self.restarts = []
        self.sought = []

    async def restart(self, tp, offset):
        self.restarts.append(offset)

    async def seek(self, tp, offset):
        self.sought.append(offset)

    async def earliest_offsets(self, tp):
        return {tp: 0}

    def highwater(self, tp):
        return 0


class Sent(list):
    """A producer that keeps what it is given."""

    async def send(self, topic, value, key, partition, headers):
        self.append(SimpleNamespace(topic=topic, value=value, headers=dict(headers)))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class World:
    """One runner of the meter's stage, a journal in memory and what came out."""

    def __init__(self, step=None, gathers=True):
        registry = Registry()
        for offset in range(2):
            registry.put(Meter(id="m", site_id="s", account_id="a"), offset)
        self.sent, self.acked, self.steps = Sent(), [], []
        stage = STAGES["meter.readings"]
        self._step = step or stage.step
        stage = type(stage)("meter", READINGS, (USAGE,), stage.state, self.step, gathers)
        self.app = SimpleNamespace(consumer_generation_id=1, rebalancing=False, consumer=Consumer())
        self.log = Log()
        journal = Journal(SETTINGS, stage, self.log, self.log.reader())
        reader = SimpleNamespace(registry=registry, wait_for=lambda offset: asyncio.sleep(0))
        self.runner = StageRunner(self.app, stage, SETTINGS, self.sent, reader, journal)

    def step(self, state, batch):
        self.steps.append((batch.place, batch.registry_offset))
        return self._step(state, batch)

    async def run(self, *records):
        """Hand over one run; then what a fall back asks to read again, as the transport would."""
        event = self.event(*records)
        await self.runner.handle(event)
        while self.app.consumer.restarts:
            first = self.app.consumer.restarts.pop(0)
            await self.runner.handle(self.event(*(r for r in records if r.offset >= first)))

    def event(self, *records):
        message = SimpleNamespace(tp=TP0, run=list(records), generation_id=1)
        ack = lambda: self.acked.append([r.offset for r in records])  # noqa: E731
        return SimpleNamespace(message=message, ack=ack)

    def letters(self):
        return [
            row
            for r in self.sent
            if r.topic == DEAD_LETTER.name
            for row in decode(DEAD_LETTER, r.value, {}).to_pylist()
        ]

    def usage(self):
        return [
            (row["meter_id"], row["end_ms"] // 900_000, row["quantity"])
            for r in self.sent
            if r.topic == USAGE.name
            for row in decode(USAGE, r.value, {}).to_pylist()
        ]

    @property
    def counts(self):
        counts = self.runner.work[TP0].cut.counts
        counts.check()
        return counts.consumed, counts.accepted, counts.duplicate, counts.dead_lettered


@pytest.fixture
async def world():
    made = World()
    await made.runner.load({TP0})
    return made


async def test_a_run_is_one_step_and_is_acknowledged_by_the_save_that_covers_it(world):
    await world.run(
        record(0, reading("m")), record(1, reading("n"), reading("m")), record(2, reading("m"))
    )

    assert world.steps == [("0-2", -1)]
    assert world.usage() == [("m", 1, 1_000), ("n", 1, 1_000)]
    assert world.counts == (4, 2, 2, 0)
    assert [r.headers["ce_id"] for r in world.sent] == [b"meter.readings/0/0-2/0"]
    assert world.acked == []
    await world.runner.save_all()
    assert world.acked == [[0, 1, 2]]


async def test_a_refused_row_names_its_own_message_and_row(world):
    bad = reading("m", quantity=2_000)  # another content of the same id
    await world.run(record(0, reading("m"), reading("n")), record(1, reading("o"), bad))

    (letter,) = world.letters()
    place = (letter["source_offset"], letter["source_row"], letter["received_ms"])
    assert place == (1, 1, 7_001)
    assert letter["reason"] == "conflict"
    assert world.counts == (4, 3, 0, 1)


async def test_a_message_without_rows_changes_nothing(world):
    await world.run(record(0, reading("m")), record(1), record(2, reading("m", quantity=5)))

    assert [(r["source_offset"], r["source_row"]) for r in world.letters()] == [(2, 0)]
    assert world.usage() == [("m", 1, 1_000)]
    assert world.counts == (2, 1, 0, 1)
    await world.runner.save_all()
    assert world.acked == [[0, 1, 2]]


async def test_a_message_that_is_no_batch_goes_to_dead_letters_alone_and_in_order(world):
    await world.run(
        record(0, reading("m")), record(1, value=NO_BATCH), record(2, reading("m", quantity=5))
    )

    letters = [(r["source_offset"], r["source_row"], r["reason"]) for r in world.letters()]
    assert letters == [(1, -1, "unsupported"), (2, 0, "conflict")]
    assert world.letters()[0]["original"] == NO_BATCH
    assert world.usage() == [("m", 1, 1_000)]
    assert world.counts == (3, 1, 0, 2)


async def test_messages_of_other_registry_offsets_are_steps_of_their_own(world):
    stamps = ["0", "0", "1", "0", "nonsense", "0", "0"]
    await world.run(
        *(record(n, reading("m", n), registry_offset=stamp) for n, stamp in enumerate(stamps))
    )

    assert world.steps == [("0-1", 0), ("2", 1), ("3", 0), ("5-6", 0)]
    assert [letter["source_offset"] for letter in world.letters()] == [4]
    assert "'nonsense'" in world.letters()[0]["message"]
    assert [end for _, end, _ in world.usage()] == [1, 2, 3, 4, 6, 7]


async def test_a_step_that_raises_sends_only_its_own_message_to_dead_letters():
    def step(state, batch):
        emit = STAGES["meter.readings"].step(state, batch)
        if "poison" in batch.rows["meter_id"].to_pylist():
            raise RuntimeError("with its state half changed")
        return emit

    world = World(step)
    await world.runner.load({TP0})
    meters = ["m", "n", "poison", "o", "p"]
    await world.run(*(record(n, reading(meter)) for n, meter in enumerate(meters)))

    assert [(r["source_offset"], r["reason"]) for r in world.letters()] == [(2, "step_failed")]
    assert {meter for meter, _, _ in world.usage()} == {"m", "n", "o", "p"}
    assert world.counts == (5, 4, 0, 1)
    await world.runner.save_all()
    assert world.acked == [[0, 1, 2, 3, 4]]


async def test_what_of_a_run_is_applied_already_is_not_applied_again(world):
    records = [record(n, reading("m", n)) for n in range(4)]
    await world.run(*records[:2])
    await world.run(*records)  # read again from its start

    assert world.steps == [("0-1", -1), ("2-3", -1)]
    assert world.counts == (4, 4, 0, 0)
    await world.runner.save_all()
    assert world.acked == [[0, 1], [0, 1, 2, 3]]
    await world.run(*records[:3])
    assert world.acked[2:] == [[0, 1, 2]]  # saved: acknowledged at once


async def test_a_partition_lost_within_a_run_is_left_to_its_new_owner(world):
    records = [record(n, reading("m", n), registry_offset=str(n % 2)) for n in range(3)]
    measure = world.runner._measure

    def lost(*given):
        measure(*given)
        world.app.rebalancing = True

    world.runner._measure = lost
    await world.run(*records)
    await world.runner.save_all()

    assert world.steps == [("0", 0)]
    assert world.acked == world.log.records == []


async def test_a_save_within_a_run_does_not_acknowledge_the_run(world):
    world.runner.settings = SETTINGS.model_copy(update={"save_messages": 1})
    saved = []
    save = world.runner._save

    async def noted(tp, work):
        await save(tp, work)
        saved.append((work.saved_offset, len(world.acked)))

    world.runner._save = noted
    world.runner._saved = lambda tp, work, size, took_s: setattr(
        work, "saved_offset", work.cut.offset
    )
    await world.run(*(record(n, reading("m", n), registry_offset=str(n % 2)) for n in range(3)))

    assert saved == [(0, 0), (1, 0), (2, 1)]


def test_rows_of_messages_with_other_texts_are_one_batch_in_order():
    given = [
        [reading("m"), reading("n", account_id="x")],
        [reading("n"), reading("ö", 3)],
        [reading("m", unit="mW", kind="gauge")],
    ]
    messages = [Message(record(n, *rows)) for n, rows in enumerate(given)]

    joined = gather(READINGS, messages)

    assert joined is not None
    assert joined.to_pylist() == [row for rows in given for row in rows]
    assert joined.schema.equals(READINGS.schema)
    joined.validate(full=True)
    assert lengths(READINGS, messages) == [2, 2, 1]


def test_messages_that_cannot_all_be_read_are_not_joined():
    messages = [Message(record(0, reading())), Message(record(1, value=NO_BATCH))]
    assert gather(READINGS, messages) is None
    assert gather(READINGS, messages[:1]) is not None


def test_messages_up_to_the_one_that_failed_go_alone():
    messages = [Message(record(n, value=b"")) for n in range(5)]
    groups = [[m.offset for m in group] for group in alike(messages, alone_to=2)]
    assert groups == [[0], [1], [2], [3, 4]]


def test_a_row_of_a_batch_knows_its_message():
    rows = READINGS.rows([reading(quarter=n) for n in range(3)])
    parts = [Part(offset, 10 * offset) for offset in range(4, 9)]
    batch = Batch(
        READINGS, 0, 8, rows, None, timestamp_ms=80, parts=parts, lengths=lambda: [0, 2, 0, 1, 0]
    )
    assert batch.sources([2, 0, 1]) == [((7, 70), 0), ((5, 50), 0), ((5, 50), 1)]
    assert batch.place == "4-8"
    alone = Batch(READINGS, 0, 7, rows, None, timestamp_ms=70)
    assert (alone.sources([2]), alone.place) == ([((7, 70), 2)], "7")


async def test_a_stage_that_does_not_gather_gets_one_message_at_a_time():
    world = World(gathers=False)
    await world.runner.load({TP0})
    await world.run(record(0, reading("m")), record(1, value=NO_BATCH), record(2, reading("n")))
    await world.runner.save_all()

    assert world.steps == [("0", -1), ("2", -1)]
    assert world.acked == [[0, 1, 2]]


async def test_what_a_slow_save_put_off_is_saved_once_nothing_comes_any_more(world):
    now_s = 1_000.0
    world.runner._now = lambda: now_s
    await world.run(record(0, reading("m")))
    work = world.runner.work[TP0]
    work.save_s, work.next_save_s = 0.5, now_s + 5.0  # the last one took half a second
    work.oldest_s -= SETTINGS.save_ms / 1000  # old enough to be saved
    world.runner.settings = SETTINGS.model_copy(update={"save_ms": 100})

    now_s += 0.4
    await world.runner.save_due()
    assert world.acked == []
    now_s += 0.2
    await world.runner.save_due()
    assert world.acked == [[0]]


async def test_a_slow_save_is_put_off_while_rows_come(world):
    now_s = 1_000.0
    world.runner._now = lambda: now_s
    world.runner.settings = SETTINGS.model_copy(update={"save_ms": 100})
    await world.run(record(0, reading("m")))
    work = world.runner.work[TP0]
    work.save_s, work.next_save_s = 0.5, now_s + 5.0
    for number in range(1, 12):
        now_s += 0.49
        await world.run(record(number, reading("m", quarter=number)))
        await world.runner.save_due()
        assert (world.acked == []) is (now_s < 1_005.0)
