"""The one contract that every stage keeps: its rows are a function of the log alone."""

import random
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pytest

import streams.agents  # noqa: F401  (registers the stages)
from schemas import DEAD_LETTER, TOPICS
from schemas.codec import decode
from streams.agent import STAGES, Batch, Emit, Stage, State
from streams.emit import records_of
from streams.journal import Journal
from streams.settings import Settings
from tests.contract.cases import log
from tests.unit.journal_log import Log

pytestmark = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)

# The sets: their rows do not rest on the order in which readings, usage or partials come.
ANY_ORDER = {"meter.readings", "rollup.readings", "rollup.rollups.partial", "settle.usage"}
NUMBERED = {"revision"}
BAD_ROWS = (0, 1, 7)


class Spoiled(NamedTuple):
    """Fields that make a row bad for a stage, and the reason it must give."""

    fields: dict[str, Any]
    reason: str


SPOILED = {
    "meter.readings": Spoiled({"unit": "furlong"}, "unknown_value"),
    "rollup.readings": Spoiled({"quantity": -1, "revision": 9}, "negative"),
    "rollup.rollups.partial": Spoiled({"sketch": b"\xff", "revision": 10**6}, "bad_input"),
    "settle.usage": Spoiled({"account_id": "nobody", "meter_id": "of-nobody"}, "no_tariff"),
    "dispatch.market": Spoiled({"domain": "atlantis", "source_row": -5}, "unknown_domain"),
}

Rows = dict[tuple[Any, ...], dict[str, Any]]


def batches(stage: Stage, *sizes: int) -> list[Batch]:
    assert stage.source.name in log().rows, (
        f"stage {stage.name} has no contract case: give {stage.source.name} rows in cases.py"
    )
    return log().batches(stage.source, sizes)


def run(stage: Stage, given: list[Batch], state: State | None = None) -> tuple[State, list[Emit]]:
    """Apply the batches; the identity is checked at every one."""
    state = state if state is not None else stage.state()
    emits = []
    for batch in given:
        emit = stage.step(state, batch)
        terms = emit.accepted + emit.duplicate + emit.superseded + len(emit.refused)
        assert terms == batch.rows.num_rows, f"identity broken at offset {batch.offset}"
        emits.append(emit)
    return state, emits


def newest(stage: Stage, emits: list[Emit]) -> Rows:
    """Topic and key -> the row that counts: the highest revision, else the last."""
    found: Rows = {}
    for emit in emits:
        for output in emit.outputs:
            key_columns = TOPICS[output.topic.name].key
            for row in output.rows.to_pylist():
                key = (output.topic.name, *(row[name] for name in key_columns))
                known = found.get(key)
                if known is None or row.get("revision", 0) >= known.get("revision", 0):
                    found[key] = row
        for delivery in emit.deliveries:
            key = (delivery.topic, delivery.key)
            found[key] = orjson.loads(delivery.value)
    return found


def test_a_replay_from_zero_gives_identical_bytes(stage: Stage) -> None:
    given = batches(stage, 300)
    runs = [run(stage, given) for _ in range(2)]
    bytes_of = [
        [records_of(stage, batch, emit) for batch, emit in zip(given, emits, strict=True)]
        for _, emits in runs
    ]
    assert bytes_of[0] == bytes_of[1]
    assert runs[0][0].dump() == runs[1][0].dump()
    assert any(records for records in bytes_of[0]), "the case brings nothing forth"


@pytest.mark.parametrize("sizes", [(1000,), (7, 130, 41), (64,)], ids=["large", "odd", "small"])
def test_other_batch_sizes_give_the_same_rows(stage: Stage, sizes: tuple[int, ...]) -> None:
    _, whole = run(stage, batches(stage, 10**9))
    _, cut = run(stage, batches(stage, *sizes))
    assert newest(stage, cut) == newest(stage, whole)


def test_messages_that_come_again_change_nothing(stage: Stage) -> None:
    given = batches(stage, 200)
    again = [b for batch in given for b in (batch, batch)]
    _, once = run(stage, given)
    _, twice = run(stage, again)
    assert newest(stage, twice) == newest(stage, once)
    if stage.agent in ("meter", "rollup", "dispatch"):  # they remember every row
        assert sum(emit.accepted for emit in twice[1::2]) == 0


def test_a_restart_after_any_message_gives_identical_outputs(stage: Stage) -> None:
    given = batches(stage, 250)
    state, emits = run(stage, given)
    straight = [records_of(stage, b, e) for b, e in zip(given, emits, strict=True)]
    resumed: State = stage.state()
    for batch, expected in zip(given, straight, strict=True):
        resumed = stage.state.load(resumed.dump())
        _, (emit,) = run(stage, [batch], resumed)
        assert records_of(stage, batch, emit) == expected, f"differs at offset {batch.offset}"
    assert resumed.dump() == state.dump()


async def test_a_restart_from_any_cut_in_the_journal_gives_identical_outputs(stage: Stage) -> None:
    given = batches(stage, 250)
    state, emits = run(stage, given)
    topic = Log()
    for batch, expected in zip(given, emits, strict=True):
        journal = Journal(Settings(), stage, topic, topic.reader(), part_rows=100)
        cut = (await journal.load({0}, generation=batch.offset))[0]
        assert cut.offset == batch.offset - 1
        _, (emit,) = run(stage, [batch], cut.state)
        assert records_of(stage, batch, emit) == records_of(stage, batch, expected)
        cut.offset = batch.offset
        await journal.save(cut)
    journal = Journal(Settings(), stage, topic, topic.reader())
    assert (await journal.load({0}, generation=99))[0].state.dump() == state.dump()


def test_an_empty_batch_changes_nothing(stage: Stage) -> None:
    state, _ = run(stage, batches(stage, 300)[:2])
    before = state.dump()
    _, (emit,) = run(stage, [log().batch(stage.source, stage.source.empty, 99)], state)
    assert not emit.refused
    assert state.dump() == before


@pytest.mark.parametrize("seed", range(2))
def test_any_order_of_the_rows_gives_the_same_rows(stage: Stage, seed: int) -> None:
    if stage.name not in ANY_ORDER:
        pytest.skip("what it decides rests on the order: ticks, or the delivery's own")
    rows = sound(stage)
    order = random.Random(seed).sample(range(rows.num_rows), rows.num_rows)
    shuffled = rows.take(order)
    given = [
        log().batch(stage.source, shuffled.slice(at, 250), at // 250)
        for at in range(0, rows.num_rows, 250)
    ]
    _, straight = run(stage, [log().batch(stage.source, rows, 0)])
    _, mixed = run(stage, given)
    assert values(newest(stage, mixed)) == values(newest(stage, straight))


def sound(stage: Stage) -> pa.RecordBatch:
    """The source's rows, of each id the first: of two that differ the log's order decides."""
    (batch,) = batches(stage, 10**9)
    key = {*stage.source.key, "revision"} & stage.source.by_name.keys()
    ids = zip(*(batch.rows.column(name).to_pylist() for name in sorted(key)), strict=True)
    first: dict[object, int] = {}
    for row, of in enumerate(ids):
        first.setdefault(of, row)
    return batch.rows.take(list(first.values()))


def values(rows: Rows) -> Rows:
    """What the rows say: a revision's number may rest on the order, never the values under it."""
    return {
        key: {name: value for name, value in row.items() if name not in NUMBERED}
        for key, row in rows.items()
    }


def test_bad_rows_are_refused_and_change_no_other_row(stage: Stage) -> None:
    assert (stage.name in SPOILED) != (stage.agent == "deliver"), (
        f"say in SPOILED what {stage.name} refuses"
    )
    if stage.agent == "deliver":
        pytest.skip("it refuses nothing: its rows were made by an agent")
    good = batches(stage, 100)
    mixed = [spoiled(stage, batch) for batch in good]
    _, straight = run(stage, good)
    _, emits = run(stage, mixed)
    for batch, emit, alone in zip(mixed, emits, straight, strict=True):
        bad = [*BAD_ROWS, *(moved(refused.row) for refused in alone.refused)]
        assert sorted(refused.row for refused in emit.refused) == sorted(bad)
        letters = [r for r in records_of(stage, batch, emit) if r.topic == DEAD_LETTER.name]
        rows = [row for r in letters for row in decode(DEAD_LETTER, r.value, {}).to_pylist()]
        reasons = {row["source_row"]: row["reason"] for row in rows}
        assert reasons.keys() == set(bad)
        assert {reasons[row] for row in BAD_ROWS} == {SPOILED[stage.name].reason}
    assert newest(stage, emits) == newest(stage, straight)


def moved(row: int) -> int:
    """Where a row is once BAD_ROWS are among the rows."""
    for place in BAD_ROWS:
        row += place <= row
    return row


def spoiled(stage: Stage, batch: Batch) -> Batch:
    """The batch with a copy of its first row, made bad, at each of BAD_ROWS."""
    rows = batch.rows.to_pylist()
    bad = rows[0] | SPOILED[stage.name].fields
    for place in BAD_ROWS:
        rows.insert(place, bad)
    return log().batch(stage.source, stage.source.rows(rows), batch.offset)
