"""Meter: what becomes of a reading, and what usage it makes. Both twins, same answers."""

from collections.abc import Callable

import numpy as np
import pytest

from kernels.meter import Slots, _core, reference
from kernels.meter.layout import READING, Outcome
from schemas import READINGS, USAGE
from schemas.errors import DecodeError
from schemas.registry import Meter
from streams.agent import STAGES, Batch
from streams.agents.meter import step
from streams.registry import EMPTY, Registry

HOUR_MS = 3_600_000
QUARTER_MS = 900_000
T0 = 1_700_000_000_000 // QUARTER_MS * QUARTER_MS

TWINS = pytest.mark.parametrize("ledger", [reference.Ledger, _core.Ledger], ids=["plain", "core"])
NewLedger = Callable[..., object]


def reading(end: int, quantity: int, **given: object) -> dict[str, object]:
    """A reading of the quarter hour that is the end-th since T0; received as it ends."""
    row: dict[str, object] = {
        "meter_id": "m1",
        "register": "it.energy",
        "kind": "delta",
        "start_ms": T0 + (end - 1) * QUARTER_MS,
        "end_ms": T0 + end * QUARTER_MS,
        "quantity": quantity,
        "unit": "mJ",
        "revision": 0,
        "quality": "ACTUAL",
        "epoch": 0,
        "site_id": "site-1",
        "rack_id": "rack-1",
        "hub_id": "hub-1",
        "account_id": "account-1",
        "source": "device-a",
        "source_partition": 0,
        "source_offset": 0,
        "source_row": 0,
        "received_ms": T0 + end * QUARTER_MS,
        "registry_offset": 0,
    }
    return row | given


def counter(end: int, quantity: int, **given: object) -> dict[str, object]:
    return reading(end, quantity, kind="register", **given)


def metered(ledger: NewLedger, *rows: dict[str, object], rating_w: int = 0, modulus: int = 0):
    """The last usage row of each end after applying the rows one by one: end -> row."""
    slots = Slots(ledger=ledger)
    usage = {}
    for row in rows:
        applied = slots.apply(
            READINGS.rows([row]), lambda meter, ends: [(rating_w, modulus)] * len(ends)
        )
        for changed in applied.changed.to_pylist():
            known = usage.get(changed["end_ms"])
            assert known is None or changed["revision"] > known["revision"]
            usage[changed["end_ms"]] = changed
    return {(end_ms - T0) // QUARTER_MS: row for end_ms, row in usage.items()}


def spans(usage):
    """end -> (start, quantity, quality), times in quarter hours since T0."""
    return {
        end: ((row["start_ms"] - T0) // QUARTER_MS, row["quantity"], row["quality"])
        for end, row in usage.items()
    }


def counts(applied):
    return applied.accepted, applied.duplicate, applied.superseded, len(applied.refused)


@TWINS
def test_a_delta_reading_becomes_usage_of_its_interval(ledger):
    (row,) = Slots(ledger=ledger).apply(READINGS.rows([reading(1, 500)])).changed.to_pylist()
    assert row == {
        "meter_id": "m1",
        "register": "it.energy",
        "kind": "delta",
        "start_ms": T0,
        "end_ms": T0 + QUARTER_MS,
        "quantity": 500,
        "unit": "mJ",
        "quality": "ACTUAL",
        "revision": 1,
        "epoch": 0,
        "site_id": "site-1",
        "hub_id": "hub-1",
        "account_id": "account-1",
        "received_ms": T0 + QUARTER_MS,
    }


@TWINS
def test_a_gauge_reading_is_a_level_of_its_own_slot(ledger):
    rows = [reading(1, 500), reading(1, 21, kind="gauge", unit="mW", source="device-b")]
    usage = Slots(ledger=ledger).apply(READINGS.rows(rows)).changed.to_pylist()
    assert [(row["kind"], row["quantity"], row["unit"]) for row in usage] == [
        ("delta", 500, "mJ"),
        ("gauge", 21, "mW"),
    ]


@TWINS
def test_a_duplicate_reading_never_changes_a_total(ledger):
    slots = Slots(ledger=ledger)
    slots.apply(READINGS.rows([reading(1, 500)]))
    again = slots.apply(READINGS.rows([reading(1, 500, source_offset=7)] * 3))
    assert again.changed.num_rows == 0
    assert counts(again) == (0, 3, 0, 0)


@TWINS
def test_a_higher_revision_replaces_and_a_lower_one_is_superseded(ledger):
    usage = metered(
        ledger, reading(1, 500, revision=1), reading(1, 700, revision=2), reading(1, 900)
    )
    assert spans(usage) == {1: (0, 700, "ACTUAL")}
    assert usage[1]["revision"] == 3
    slots = Slots(ledger=ledger)
    batch = [reading(1, 500, revision=1), reading(1, 700, revision=2), reading(1, 900)]
    applied = slots.apply(READINGS.rows(batch))
    assert counts(applied) == (2, 0, 1, 0)
    assert applied.changed.num_rows == 1, "of one batch's revisions only the last is emitted"


@TWINS
def test_between_sources_of_one_slot_the_smallest_name_decides_in_any_order(ledger):
    a, b = reading(1, 10, source="a"), reading(1, 20, source="b")
    assert spans(metered(ledger, a, b)) == spans(metered(ledger, b, a)) == {1: (0, 10, "ACTUAL")}


@TWINS
def test_a_conflict_is_refused_and_names_both_values(ledger):
    slots = Slots(ledger=ledger)
    slots.apply(READINGS.rows([reading(1, 500)]))
    applied = slots.apply(READINGS.rows([reading(2, 1), reading(1, 501), reading(3, 1)]))
    (refusal,) = applied.refused
    assert (refusal.row, refusal.reason, refusal.field) == (1, "conflict", "quantity")
    assert "500 mJ" in refusal.message
    assert "501 mJ" in refusal.message
    assert "higher revision" in refusal.message
    assert counts(applied) == (2, 0, 0, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("unit", "mW"), ("kind", "gauge"), ("quality", "ESTIMATE"), ("epoch", 1)],
)
@TWINS
def test_a_conflict_is_any_other_content_of_one_id(ledger, field, value):
    applied = Slots(ledger=ledger).apply(
        READINGS.rows([reading(1, 500), reading(1, 500) | {field: value}])
    )
    assert [(r.row, r.reason, r.field) for r in applied.refused] == [(1, "conflict", field)]


@pytest.mark.parametrize(
    ("given", "reason", "field"),
    [
        ({"kind": "sum"}, "unknown_value", "kind"),
        ({"unit": "BTU"}, "unknown_value", "unit"),
        ({"quality": "GUESS"}, "unknown_value", "quality"),
        ({"end_ms": T0}, "interval_reversed", "end_ms"),
        ({"quantity": -1}, "negative", "quantity"),
    ],
)
@TWINS
def test_a_row_that_cannot_be_metered_is_refused_and_its_neighbours_are_not(
    ledger, given, reason, field
):
    applied = Slots(ledger=ledger).apply(
        READINGS.rows([reading(1, 1), reading(1, 500, source="b") | given, reading(2, 1)])
    )
    assert [(r.row, r.reason, r.field) for r in applied.refused] == [(1, reason, field)]
    assert spans({r["end_ms"]: r for r in applied.changed.to_pylist()}).__len__() == 2


@TWINS
def test_a_closed_slot_refuses_revisions_and_an_open_one_does_not(ledger):
    slots = Slots(retention_ms=49 * HOUR_MS, ledger=ledger)
    slots.apply(READINGS.rows([reading(1, 500), reading(2, 500)]))
    now = T0 + QUARTER_MS + 49 * HOUR_MS
    applied = slots.apply(
        READINGS.rows(
            [
                reading(1, 600, revision=1, received_ms=now),
                reading(2, 600, revision=1, received_ms=now),
            ]
        )
    )
    assert [(r.row, r.reason) for r in applied.refused] == [(0, "late_revision")]
    assert "49 h" in applied.refused[0].message
    assert applied.changed.column("quantity").to_pylist() == [600]


@TWINS
def test_closed_slots_leave_the_state(ledger):
    slots = Slots(ledger=ledger)
    slots.apply(READINGS.rows([reading(end, 1) for end in range(1, 1001)]))
    full = len(slots.dump())
    slots.apply(READINGS.rows([reading(100_000, 1)]))
    assert len(slots.dump()) < full / 4
    assert len(Slots.load(slots.dump(), ledger)._ledger) == 1


@TWINS
def test_a_counter_that_was_silent_past_retention_still_counts_from_its_last_reading(ledger):
    slots = Slots(ledger=ledger)
    slots.apply(READINGS.rows([counter(1, 100), counter(2, 150)]))
    slots = Slots.load(slots.dump(), ledger)
    slots.apply(READINGS.rows([reading(5_000, 1, meter_id="other")]))
    slots = Slots.load(slots.dump(), ledger)
    (row,) = slots.apply(READINGS.rows([counter(5_000, 450)])).changed.to_pylist()
    assert (row["start_ms"], row["quantity"]) == (T0 + 2 * QUARTER_MS, 300)


@TWINS
def test_another_version_of_the_state_is_refused(ledger):
    dumped = Slots(ledger=ledger).dump()
    with pytest.raises(DecodeError, match="version 99"):
        Slots.load(bytes([99]) + dumped[1:], ledger)
    with pytest.raises(DecodeError, match="none"):
        Slots.load(b"", ledger)


def test_both_twins_hold_one_reading_in_the_documented_layout():
    assert READING.itemsize == 96


def test_the_step_asks_the_registry_what_holds_at_each_reading_s_end():
    registry = Registry()
    registry.put(Meter(id="m1", site_id="site-1", account_id="a", register_modulus=1_000), 0)
    later = Meter(
        id="m1", site_id="s", account_id="a", rating_w=1, valid_from_ms=T0 + 3 * QUARTER_MS
    )
    registry.put(later, 1)
    rows = [counter(1, 990), counter(2, 10), counter(3, 5 * 10**9)]
    emit = step(Slots(), Batch(READINGS, 0, 0, READINGS.rows(rows), registry.at(1), 1))
    (usage,) = emit.outputs
    assert usage.topic is USAGE
    assert [(r["quantity"], r["quality"]) for r in usage.rows.to_pylist()] == [
        (20, "ACTUAL"),  # rolled over at 1,000
        (0, "QUESTIONABLE"),  # 1 W cannot have counted this in a quarter hour, nor from 0
    ]
    assert emit.accepted == 3


def test_the_step_is_registered_once_and_turns_refusals_into_dead_letters():
    assert STAGES["meter.readings"].step is step
    rows = READINGS.rows([reading(1, 1), reading(1, 2)])
    emit = step(Slots(), Batch(READINGS, 0, 0, rows, EMPTY))
    assert [(r.row, r.reason) for r in emit.refused] == [(1, "conflict")]


def test_an_empty_batch_changes_nothing():
    emit = step(Slots(), Batch(READINGS, 0, 0, READINGS.empty, EMPTY))
    assert (emit.outputs, emit.refused, emit.accepted) == ([], [], 0)


@TWINS
def test_a_ledger_that_outgrows_its_table_knows_every_reading_and_gives_it_in_pieces(ledger):
    rows = np.zeros(5_000, READING)
    rows["meter_id"], rows["end_ms"] = np.arange(5_000) % 7, 1 + np.arange(5_000)
    grown = ledger(rows[:0], ["a text"] * 7, 10**6)
    for at in range(0, 5_000, 700):
        assert not grown.apply(rows[at : at + 700])[0].any()
    assert (grown.apply(rows)[0] == Outcome.DUPLICATE).all()

    pieces, at = [], 0
    while at < len(grown):
        piece, at = grown.piece(at, 999)
        pieces.append(piece)
    assert [len(piece) for piece in pieces] == [999] * 5 + [5]
    assert np.concatenate(pieces).tobytes() == grown.rows().tobytes()

    filled = ledger(rows[:0], ["a text"] * 7, 10**6)
    filled.reserve(5_000)
    for piece in pieces:
        filled.fill(piece)
    assert filled.rows().tobytes() == grown.rows().tobytes()
    assert (filled.apply(rows)[0] == Outcome.DUPLICATE).all()
