"""Counters: differences between neighbours, rollover, reset, splits. Both twins, same answers."""

import pytest

from kernels.meter import Slots, _core, reference
from schemas import READINGS

STEP_MS = 1_000
T0 = 1_700_000_000_000
TWINS = pytest.mark.parametrize("ledger", [reference.Ledger, _core.Ledger], ids=["plain", "core"])


def counter(end: int, quantity: int, **given: object) -> dict[str, object]:
    """A counter's reading `end` seconds after T0; its own start is a second before."""
    row: dict[str, object] = {
        "meter_id": "m1",
        "register": "it.energy",
        "kind": "register",
        "start_ms": T0 + (end - 1) * STEP_MS,
        "end_ms": T0 + end * STEP_MS,
        "quantity": quantity,
        "unit": "mJ",
        "revision": 0,
        "quality": "ACTUAL",
        "epoch": 0,
        "site_id": "site-1",
        "rack_id": "",
        "hub_id": "hub-1",
        "account_id": "account-1",
        "source": "device",
        "source_partition": 0,
        "source_offset": 0,
        "source_row": 0,
        "received_ms": T0 + end * STEP_MS,
        "registry_offset": 0,
    }
    return row | given


def usage(ledger, *rows, rating_w=0, modulus=0, together=False):
    """end -> (start, quantity, quality) of the highest revisions, in seconds since T0."""
    slots = Slots(ledger=ledger)
    best = {}
    for batch in [list(rows)] if together else [[row] for row in rows]:
        applied = slots.apply(
            READINGS.rows(batch), lambda meter, ends: [(rating_w, modulus)] * len(ends)
        )
        for row in applied.changed.to_pylist():
            end = (row["end_ms"] - T0) // STEP_MS
            assert end not in best or best[end]["revision"] < row["revision"]
            best[end] = row
    return {
        end: ((row["start_ms"] - T0) // STEP_MS, row["quantity"], row["quality"])
        for end, row in best.items()
    }


@TWINS
def test_the_first_reading_of_a_counter_is_where_counting_starts(ledger):
    assert usage(ledger, counter(1, 1_000)) == {}
    assert usage(ledger, counter(1, 1_000), counter(2, 1_250)) == {2: (1, 250, "ACTUAL")}


@TWINS
def test_a_late_reading_splits_the_interval_and_the_total_stays(ledger):
    split = usage(ledger, counter(1, 100), counter(9, 900), counter(4, 300))
    assert split == {4: (1, 200, "ACTUAL"), 9: (4, 600, "ACTUAL")}
    assert sum(quantity for _, quantity, _ in split.values()) == 900 - 100


@TWINS
def test_a_reading_before_the_first_gives_the_first_its_interval(ledger):
    assert usage(ledger, counter(5, 500), counter(2, 200)) == {5: (2, 300, "ACTUAL")}


@TWINS
def test_a_revision_moves_energy_between_neighbours_and_keeps_the_total(ledger):
    rows = [counter(1, 100), counter(2, 200), counter(3, 300), counter(2, 250, revision=1)]
    corrected = usage(ledger, *rows)
    assert corrected == {2: (1, 150, "ACTUAL"), 3: (2, 50, "ACTUAL")}
    assert usage(ledger, *rows, together=True) == corrected


@TWINS
def test_a_superseded_reading_does_not_disturb_the_interval_after_it(ledger):
    slots = Slots(ledger=ledger)
    slots.apply(READINGS.rows([counter(1, 1), counter(2, 20, revision=1), counter(3, 30)]))
    applied = slots.apply(READINGS.rows([counter(2, 19)]))
    assert applied.superseded == 1
    assert [(r["quantity"], r["revision"]) for r in applied.changed.to_pylist()] == [(19, 2)]


@TWINS
def test_a_rollover_within_the_rating_counts_on(ledger):
    rows = [counter(1, 990), counter(2, 15)]
    assert usage(ledger, *rows, modulus=1_000, rating_w=1) == {2: (1, 25, "ACTUAL")}


@TWINS
def test_a_rollover_beyond_the_rating_is_a_reset_counted_from_zero(ledger):
    # 1 W x 1 s = 1,000 mJ; rolled over it would be 4,600
    rows = [counter(1, 5_900), counter(2, 500)]
    assert usage(ledger, *rows, modulus=10_000, rating_w=1) == {2: (1, 500, "RESET")}


@pytest.mark.parametrize(("reached", "expected"), [(1_000, "ACTUAL"), (1_001, "QUESTIONABLE")])
@TWINS
def test_the_rating_times_the_time_is_the_most_that_can_be_counted(ledger, reached, expected):
    later = usage(ledger, counter(1, 2_000), counter(2, 2_000 + reached), rating_w=1)
    assert later == {2: (1, reached if expected == "ACTUAL" else 0, expected)}


@TWINS
def test_a_decrease_without_rollover_is_a_reset_counted_from_zero(ledger):
    assert usage(ledger, counter(1, 900), counter(2, 40)) == {2: (1, 40, "RESET")}


@TWINS
def test_a_new_epoch_is_a_reset_even_where_the_count_is_higher(ledger):
    rows = [counter(1, 900), counter(2, 950, epoch=1), counter(3, 970, epoch=1)]
    assert usage(ledger, *rows) == {2: (1, 950, "RESET"), 3: (2, 20, "ACTUAL")}


@TWINS
def test_a_counter_that_goes_back_an_epoch_or_changes_its_unit_counts_nothing(ledger):
    rows = [counter(1, 900, epoch=1), counter(2, 950), counter(3, 960, unit="ppm")]
    assert usage(ledger, *rows) == {2: (1, 0, "QUESTIONABLE"), 3: (2, 0, "QUESTIONABLE")}


@TWINS
def test_the_worse_quality_of_two_neighbours_is_the_interval_s(ledger):
    rows = [counter(1, 1, quality="ESTIMATE"), counter(2, 2), counter(3, 4, quality="QUESTIONABLE")]
    assert usage(ledger, *rows) == {2: (1, 1, "ESTIMATE"), 3: (2, 2, "QUESTIONABLE")}


@TWINS
def test_a_counter_read_by_two_collectors_is_counted_once(ledger):
    rows = [counter(end, end * 100, source=f"collector-{end % 2}") for end in range(1, 9)]
    assert sum(quantity for _, quantity, _ in usage(ledger, *rows).values()) == 700


@TWINS
def test_counts_and_ratings_near_64_bits_stay_exact(ledger):
    top = 2**63 - 1
    rows = [counter(1, 0), counter(2, top)]
    assert usage(ledger, *rows) == {2: (1, top, "ACTUAL")}
    assert usage(ledger, *rows, rating_w=top) == {2: (1, top, "ACTUAL")}
    back = [counter(1, top), counter(2, 3)]
    assert usage(ledger, *back, modulus=top, rating_w=top) == {2: (1, 3, "ACTUAL")}
