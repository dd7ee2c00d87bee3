"""Journal: one complete cut is in the log at every moment, whoever wrote and wherever it broke."""

import asyncio
import threading
from dataclasses import replace

import orjson
import pytest

import streams.agents  # noqa: F401  (registers the stages)
from schemas import READINGS
from streams import journal as module
from streams.agent import STAGES, Batch
from streams.agents.meter import step
from streams.counts import Counts
from streams.journal import Journal, JournalError, saved_counts
from streams.registry import EMPTY
from streams.settings import Settings
from streams.settle import Period
from tests.unit.journal_log import Log

METER, SETTLE = STAGES["meter.readings"], STAGES["settle.usage"]
QUARTER_MS = 900_000
T0 = 1_767_225_600_000


def journal_of(log, stage=METER, part_rows=4, **reader):
    return Journal(Settings(), stage, log, log.reader(**reader), part_rows)


async def loaded(log, generation=9, partition=0, **given):
    cuts = await journal_of(log, **given).load({partition}, generation)
    return cuts[partition]


def batch(offset, rows=3):
    """A message of readings: each of a slot of its own."""
    readings = []
    for n in range(rows):
        end_ms = T0 + (offset * 10 + n) * QUARTER_MS
        row = dict.fromkeys(READINGS.by_name, f"{offset}") | {"kind": "delta", "unit": "mJ"}
        row |= {"quality": "ACTUAL", "start_ms": end_ms - QUARTER_MS, "end_ms": end_ms}
        row |= {"quantity": offset * 10 + n, "received_ms": end_ms, "source_offset": offset}
        row |= dict.fromkeys(("revision", "epoch", "source_partition", "registry_offset"), 0)
        readings.append(row | {"source_row": n})
    return Batch(READINGS, 0, offset, READINGS.rows(readings), EMPTY)


def apply(cut, offset):
    emit = step(cut.state, batch(offset))
    cut.offset = offset
    cut.counts.add(Counts(consumed=3, accepted=emit.accepted, duplicate=emit.duplicate))


def holds(cut, offset):
    """Whether the cut's state is that after exactly the messages 0..offset."""
    again = [step(cut.state, batch(n)) for n in range(offset + 2)]
    known = [emit.duplicate for emit in again]
    return cut.offset == offset and known == [3] * (offset + 1) + [0]


async def saved(log, messages, generation=1, every=1, partition=0, part_rows=4):
    """An owner that applies so many messages, saving after every so many."""
    cut = await loaded(log, generation, partition, part_rows=part_rows)
    for offset in range(cut.offset + 1, cut.offset + 1 + messages):
        apply(cut, offset)
        if (offset + 1) % every == 0:
            await journal_of(log, part_rows=part_rows).save(cut)
    return cut


async def test_where_nothing_was_saved_the_state_is_empty_before_the_first_message():
    cut = await loaded(Log())

    assert (cut.offset, cut.counts, len(cut.state)) == (-1, Counts(), 0)


@pytest.mark.parametrize("part_rows", [1, 4, 1_000], ids=["parts", "some", "whole"])
async def test_a_crash_between_any_two_writes_loses_no_cut(part_rows):
    log, ends = Log(), []
    for generation in (1, 2, 3):
        cut = await loaded(log, generation, part_rows=part_rows)
        for offset in range(cut.offset + 1, cut.offset + 5):
            apply(cut, offset)
            begun = len(log.records)
            await journal_of(log, part_rows=part_rows).save(cut)
            ends.append((begun, len(log.records)))

    for offset, (begun, end) in enumerate(ends):
        found = [(await loaded(log, end=n, part_rows=part_rows)).offset for n in range(begun, end)]
        assert found == sorted(found)
        assert set(found) <= {offset - 1, offset}
        assert holds(await loaded(log, end=end, part_rows=part_rows), offset)
        for n in range(begun, end):
            cut = await loaded(log, end=n, part_rows=part_rows)
            assert holds(cut, cut.offset)
            assert cut.counts.accepted == 3 * (cut.offset + 1)


async def test_only_the_newest_cut_and_its_parts_are_left_alive():
    log = Log()
    for generation in (1, 2):
        await saved(log, 5, generation)
    alive = {}
    for record in log.records:
        alive[record.key] = record.value
    left = {key for key, value in alive.items() if value is not None}

    (key,) = [key for key in left if key.count(b"/") == 1]
    header = orjson.loads(alive[key].split(b"\n")[0])
    assert left == {key, *(name.encode() for name in header["base"] + header["added"])}
    assert header["added"] or header["base"], "the case is large enough for parts"


@pytest.mark.parametrize("part_rows", [1, 1_000], ids=["parts", "whole"])
async def test_an_owner_that_lost_the_partition_cannot_bring_its_older_state_back(part_rows):
    log = Log()
    old = await saved(log, 2, generation=1, part_rows=part_rows)
    await saved(log, 3, generation=2, part_rows=part_rows)

    apply(old, 2)
    await journal_of(log, part_rows=part_rows).save(old)

    assert holds(await loaded(log), 4)


async def test_a_save_writes_what_is_new_and_not_the_whole_state_again():
    log = Log()
    cut = await loaded(log, 1)
    sizes = []
    for offset in range(60):
        apply(cut, offset)
        sizes.append(await journal_of(log).save(cut))

    assert len(cut.state) == 180
    assert max(sizes[40:]) < 2 * max(sizes[:20])  # the names of the parts are in every cut


async def test_what_a_step_added_is_packed_at_once_and_a_late_save_writes_it():
    log = Log()
    journal = journal_of(log)
    cut = await saved(log, 2)
    before = len(log.records)
    for offset in range(2, 8):
        apply(cut, offset)
        journal.seal(cut)

    assert cut.state.growth.rows < 4, "what is left to pack is less than a part"
    assert len([part for part in cut.chain.added if part.value is not None]) == 3
    assert len(log.records) == before, "nothing is written before the save"
    await journal.save(cut)
    assert holds(await loaded(log), 7)


async def test_partitions_of_one_topic_do_not_mix():
    log = Log()
    await saved(log, 3)

    assert (await loaded(log, partition=1)).offset == -1


async def test_a_cut_without_all_of_its_parts_is_passed_over_for_one_that_has_them():
    log = Log()
    await saved(log, 1, part_rows=1_000)
    await saved(log, 3, generation=2, every=3, part_rows=1)
    dead = [record for record in log.records if record.value is None]
    parts = [record for record in log.records if record.key.count(b"/") == 2]

    def keep(record):
        return record not in dead and record is not parts[-1]

    assert parts
    assert holds(await loaded(log, keep=keep), 0)
    with pytest.raises(JournalError, match=r"(?s)no cut with all of its parts.*delete topic"):
        await loaded(log, keep=lambda r: r not in parts and r.key.startswith(b"p0/2"))


@pytest.mark.parametrize(
    ("stage", "version", "named"), [(SETTLE, 1, "meter.readings"), (METER, 99, "version 99")]
)
async def test_a_journal_of_another_stage_or_version_is_refused_with_the_next_step(
    monkeypatch, stage, version, named
):
    log = Log()
    await saved(log, 1)
    monkeypatch.setattr(stage.state, "VERSION", version)

    with pytest.raises(JournalError, match=rf"(?s){named}.*delete topic journal"):
        await loaded(log, stage=stage)


async def test_a_state_that_does_not_grow_by_rows_is_cut_into_pieces(monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", 100)
    log = Log()
    cut = await loaded(log, 1, stage=SETTLE)
    period = Period(slots={900_000: (0, 1, 5, False)}, line_revision=1)
    cut.state.periods = {("a", "m" * 300, "r", n): period for n in range(5)}
    cut.offset = 7
    await journal_of(log, SETTLE).save(cut)

    found = await loaded(log, stage=SETTLE)

    assert max(len(record.value) for record in log.records[:-1]) <= 100
    assert found.state.dump() == cut.state.dump()
    assert found.offset == 7


async def test_counts_are_of_the_newest_cut_of_each_partition(monkeypatch):
    log = Log()
    stale = await saved(log, 2)
    await saved(log, 2, generation=2)
    await journal_of(log).save(stale)
    await saved(log, 2, partition=1)
    monkeypatch.setattr(module, "read_all", log.reader())

    assert await saved_counts(Settings(), METER) == Counts(consumed=18, accepted=18)


async def test_while_a_state_is_loaded_everything_else_goes_on():
    class Slow:
        VERSION = 1
        others_ran = threading.Event()

        def dump(self):
            return b""

        @classmethod
        def load(cls, dumped):
            assert cls.others_ran.wait(10), "the load held up the loop"
            return cls()

    stage, log = replace(METER, state=Slow), Log()
    await journal_of(log, stage).save(await loaded(log, stage=stage))
    load = asyncio.create_task(loaded(log, stage=stage))
    while not Slow.others_ran.is_set() and not load.done():
        await asyncio.sleep(0)
        Slow.others_ran.set()
    assert (await load).offset == -1
