"""The one contract that every stage keeps: its rows are a function of the log alone."""

from typing import Any

import orjson
import pytest

import streams.agents  # noqa: F401  (registers the stages)
from schemas import TOPICS
from streams.agent import STAGES, Batch, Emit, Stage, State
from streams.emit import records_of
from tests.contract.cases import log

pytestmark = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)

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


def test_an_empty_batch_changes_nothing(stage: Stage) -> None:
    state, _ = run(stage, batches(stage, 300)[:2])
    before = state.dump()
    _, (emit,) = run(stage, [log().batch(stage.source, stage.source.empty, 99)], state)
    assert not emit.refused
    assert state.dump() == before
