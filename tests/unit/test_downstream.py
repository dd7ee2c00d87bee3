"""Downstream: a consumer's state is a set, whatever comes again, late or out of order."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streams.agents  # noqa: F401  (registers the stages)
from gridloom import Downstream
from schemas import PLACEMENTS, USAGE
from schemas.codec import decode, header_map
from streams.agent import STAGES
from streams.emit import records_of
from tests.contract.cases import log

METER = STAGES["meter.readings"]


def usage(meter: int, revision: int, end: int = 1) -> dict[str, object]:
    """The row of a meter's slot; its quantity follows from its revision."""
    return {
        "meter_id": f"m{meter}",
        "register": "it.energy",
        "kind": "delta",
        "start_ms": (end - 1) * 900_000,
        "end_ms": end * 900_000,
        "quantity": 100 * meter + revision,
        "unit": "mJ",
        "revision": revision,
        "quality": "ACTUAL",
        "epoch": 0,
        "site_id": "s",
        "hub_id": "h",
        "account_id": "a",
        "received_ms": 0,
    }


def taken(rows: list[dict[str, object]]) -> tuple[Downstream, int]:
    """The set after these rows one by one, and the total that its changes add up to."""
    found, total = Downstream(USAGE), 0
    for row in rows:
        for change in found.take(USAGE.rows([row])):
            total += change.row["quantity"] - (change.before["quantity"] if change.before else 0)
    return found, total


ROWS = st.lists(st.builds(usage, st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=30)


@given(ROWS, st.randoms())
def test_duplicates_and_any_order_change_neither_the_rows_nor_a_total(rows, random) -> None:
    highest: dict[object, int] = {}
    for row in rows:
        highest[row["meter_id"]] = max(highest.get(row["meter_id"], 0), row["revision"])
    again = [*rows, *random.choices(rows, k=len(rows))]
    random.shuffle(again)

    found, total = taken(again)

    assert {row["meter_id"]: row["revision"] for row in found} == highest
    assert total == sum(100 * int(meter[1:]) + n for meter, n in highest.items())
    refused = found.duplicate + found.superseded + found.conflicting
    assert found.accepted + refused == len(again)
    assert found.conflicting == 0


def test_what_comes_again_is_counted_apart_from_what_is_late() -> None:
    found, _ = taken([usage(1, 2), usage(1, 2), usage(1, 1), usage(1, 3)])

    counts = (found.accepted, found.duplicate, found.superseded, found.conflicting)
    assert counts == (2, 1, 1, 0)


def test_of_two_rows_of_one_revision_the_first_stays() -> None:
    found, total = taken([usage(1, 2), usage(1, 2) | {"quantity": 7}])

    assert (found.conflicting, total) == (1, 102)


def test_a_placement_of_an_earlier_tick_does_not_come_back() -> None:
    found = Downstream(PLACEMENTS)
    columns = {c.name: _some(c.type) for c in PLACEMENTS.columns if c.required}
    rows = [columns | {"job_id": "j", "tick_ms": tick_ms} for tick_ms in (1, 2, 1, 2)]

    changes = [found.take(PLACEMENTS.rows([row])) for row in rows]

    assert [len(change) for change in changes] == [1, 1, 0, 0]
    assert [row["tick_ms"] for row in found] == [2]
    assert (found.duplicate, found.superseded) == (1, 1)


def _some(column: pa.DataType) -> object:
    if pa.types.is_floating(column):
        return 0.0
    return 0 if pa.types.is_integer(column) else False if column == pa.bool_() else ""


def test_rows_that_are_forgotten_are_the_old_ones() -> None:
    found, _ = taken([usage(1, 1, end=1), usage(1, 1, end=2), usage(1, 1, end=3)])

    assert found.forget(900_000) == 1
    assert sorted(row["end_ms"] for row in found) == [1_800_000, 2_700_000]


@pytest.mark.parametrize("again_from", [0, 3, 7])
def test_an_agent_that_crashes_and_sends_again_is_not_felt(again_from: int) -> None:
    batches = log().batches(METER.source, [150])[:12]
    straight, state = [], METER.state()
    for batch in batches:
        saved = state.dump() if batch.offset == again_from else None
        if saved is not None:
            cut = saved
        straight.append(records_of(METER, batch, METER.step(state, batch)))
    resumed = METER.state.load(cut)  # the crash came after the last output, before its save
    again = [records_of(METER, b, METER.step(resumed, b)) for b in batches[again_from:]]

    once, twice = Downstream(USAGE), Downstream(USAGE)
    for records in straight:
        take(once, records)
    for records in [*straight, *again]:
        take(twice, records)

    assert list(twice) == list(once)
    sent = Counter(len(decode(USAGE, r.value, header_map(r.headers))) for s in again for r in s)
    assert twice.duplicate + twice.superseded == sum(size * n for size, n in sent.items()) > 0


def take(found: Downstream, records: list) -> None:
    for record in records:
        if record.topic == USAGE.name:
            found.take(decode(USAGE, record.value, header_map(record.headers)))
