"""Windows: what a reading adds to its rack, site and hub. Both twins, same answers."""

import numpy as np
import pytest

from kernels.rollup import WINDOW_MS, Windows, _core, reference, sketch
from kernels.rollup.samples import mean_power_mw
from schemas import READINGS, ROLLUPS, ROLLUPS_PARTIAL
from schemas.errors import DecodeError
from schemas.units import half_even
from streams.agent import STAGES, Batch
from streams.agents.rollup import merge_step, step
from streams.registry import EMPTY

MINUTE_MS = 60_000
T0 = 1_700_000_000_000 // WINDOW_MS * WINDOW_MS
TWINS = pytest.mark.parametrize("ledger", [reference.Ledger, _core.Ledger], ids=["plain", "core"])


def reading(minute: int, quantity: int, **given: object) -> dict[str, object]:
    """A meter's reading of one minute of the first window's hour, received as it ends."""
    start_ms = T0 + minute * MINUTE_MS
    row: dict[str, object] = {
        "meter_id": "m1",
        "register": "it.energy",
        "kind": "delta",
        "start_ms": start_ms,
        "end_ms": start_ms + MINUTE_MS,
        "quantity": quantity,
        "unit": "mJ",
        "revision": 0,
        "quality": "ACTUAL",
        "epoch": 0,
        "site_id": "site-1",
        "rack_id": "rack-1",
        "hub_id": "hub-1",
        "account_id": "account-1",
        "source": "device",
        "source_partition": 0,
        "source_offset": 0,
        "source_row": 0,
        "received_ms": start_ms + MINUTE_MS,
        "registry_offset": 0,
    }
    return row | given


def rolled(windows, *rows):
    """(rack rows, partial rows) of one batch, by (level, id)."""
    applied = windows.apply(READINGS.rows(list(rows)), partition=3)
    return [
        {(row["level"], row["id"]): row for row in batch.to_pylist()}
        for batch in (applied.rollups, applied.partials)
    ]


def counts(applied):
    return applied.accepted, applied.duplicate, applied.superseded, len(applied.refused)


@TWINS
def test_a_delta_is_sampled_as_mean_power_and_its_energy_is_summed(ledger):
    racks, partials = rolled(
        Windows(ledger=ledger), reading(0, 60_000_000), reading(1, 120_000_000)
    )
    assert racks == {
        ("rack", "site-1/rack-1"): {
            "level": "rack",
            "id": "site-1/rack-1",
            "hub_id": "hub-1",
            "register": "it.energy",
            "unit": "mW",
            "start_ms": T0,
            "end_ms": T0 + WINDOW_MS,
            "revision": 2,
            "count": 2,
            "sum": 3_000_000,
            "min": 1_000_000,
            "max": 2_000_000,
            "energy_mj": 180_000_000,
            "mean": 1_500_000.0,
            "p95": pytest.approx(2_000_000, rel=0.01),
            "pue_ppm": None,
        }
    }
    assert partials.keys() == {("site", "site-1"), ("hub", "hub-1")}
    site = partials["site", "site-1"]
    assert (site["sum"], site["energy_mj"], site["partition"]) == (3_000_000, 180_000_000, 3)
    assert sketch.decode(site["sketch"]) == {
        int(bucket): 1 for bucket in sketch.buckets(np.array([1_000_000, 2_000_000]))
    }


@TWINS
def test_a_gauge_is_sampled_as_it_is_and_is_never_energy(ledger):
    row = reading(0, 295_150, kind="gauge", unit="mK", register="inlet")
    racks, _ = rolled(Windows(ledger=ledger), row)
    (rack,) = racks.values()
    assert (rack["unit"], rack["sum"], rack["energy_mj"]) == ("mK", 295_150, 0)


@TWINS
def test_a_counter_s_reading_is_accepted_and_not_sampled(ledger):
    windows = Windows(ledger=ledger)
    row = reading(0, 5, kind="register", start_ms=0)
    applied = windows.apply(READINGS.rows([row, row]), 0)
    assert counts(applied) == (1, 1, 0, 0)
    assert (applied.rollups.num_rows, applied.partials.num_rows) == (0, 0)


@TWINS
def test_a_meter_without_rack_counts_for_its_site_and_hub(ledger):
    racks, partials = rolled(Windows(ledger=ledger), reading(0, 1, rack_id=""))
    assert racks == {}
    assert partials.keys() == {("site", "site-1"), ("hub", "hub-1")}


@TWINS
def test_a_reading_belongs_to_the_window_of_its_start(ledger):
    racks = (
        Windows(ledger=ledger)
        .apply(READINGS.rows([reading(14, 1, end_ms=T0 + 20 * MINUTE_MS), reading(15, 1)]), 0)
        .rollups
    )
    assert racks.column("start_ms").to_pylist() == [T0, T0 + WINDOW_MS]


@TWINS
def test_equal_rack_names_of_two_sites_are_two_racks(ledger):
    racks, _ = rolled(
        Windows(ledger=ledger), reading(0, 1), reading(0, 1, meter_id="m2", site_id="site-2")
    )
    assert racks.keys() == {("rack", "site-1/rack-1"), ("rack", "site-2/rack-1")}


@TWINS
def test_a_duplicate_changes_no_window(ledger):
    windows = Windows(ledger=ledger)
    windows.apply(READINGS.rows([reading(0, 60_000)]), 0)
    again = windows.apply(READINGS.rows([reading(0, 60_000), reading(0, 99_000)]), 0)
    assert counts(again) == (0, 2, 0, 0)
    assert (again.rollups.num_rows, again.partials.num_rows) == (0, 0)


@TWINS
def test_a_revision_replaces_its_sample_and_the_extremes_follow(ledger):
    windows = Windows(ledger=ledger)
    rolled(windows, reading(0, 60_000), reading(1, 120_000), reading(2, 180_000))
    racks, partials = rolled(windows, reading(2, 90_000, revision=1))
    for row in (*racks.values(), *partials.values()):
        assert (row["revision"], row["count"], row["sum"]) == (4, 3, 4_500)
        assert (row["min"], row["max"], row["energy_mj"]) == (1_000, 2_000, 270_000)


@TWINS
def test_a_lower_revision_is_superseded_and_counted(ledger):
    windows = Windows(ledger=ledger)
    applied = windows.apply(READINGS.rows([reading(0, 60_000, revision=1), reading(0, 6_000)]), 0)
    assert counts(applied) == (1, 0, 1, 0)
    assert applied.rollups.to_pylist()[0]["revision"] == 2
    assert applied.rollups.to_pylist()[0]["sum"] == 1_000


@TWINS
def test_two_sources_of_one_interval_are_one_sample(ledger):
    racks, _ = rolled(
        Windows(ledger=ledger), reading(0, 60_000, source="b"), reading(0, 120_000, source="a")
    )
    (rack,) = racks.values()
    assert (rack["count"], rack["sum"]) == (1, 2_000)


@TWINS
def test_a_revision_that_moves_the_meter_empties_the_rack_it_left(ledger):
    windows = Windows(ledger=ledger)
    rolled(windows, reading(0, 60_000))
    racks, partials = rolled(windows, reading(0, 60_000, revision=1, rack_id="rack-2"))
    left, entered = racks["rack", "site-1/rack-1"], racks["rack", "site-1/rack-2"]
    assert (left["revision"], left["count"], left["sum"], left["mean"]) == (2, 0, 0, 0.0)
    assert (entered["revision"], entered["count"], entered["sum"]) == (2, 1, 1_000)
    assert partials["site", "site-1"]["count"] == 1


@TWINS
def test_a_closed_window_refuses_rows_and_leaves_the_state(ledger):
    windows = Windows(ledger=ledger)
    windows.apply(READINGS.rows([reading(minute, 60_000) for minute in range(15)]), 0)
    closing_ms = T0 + WINDOW_MS + windows.lateness_ms
    open_still = windows.apply(
        READINGS.rows([reading(0, 1, revision=1, received_ms=closing_ms - 1)]), 0
    )
    assert counts(open_still) == (1, 0, 0, 0)
    closed = windows.apply(READINGS.rows([reading(0, 1, revision=2, received_ms=closing_ms)]), 0)
    assert [(r.row, r.reason) for r in closed.refused] == [(0, "late_revision")]
    windows.apply(READINGS.rows([reading(10_000, 1)]), 0)
    assert len(Windows.load(windows.dump(), ledger)._ledger) == 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"kind": "sum"}, "unknown_value"),
        ({"unit": "BTU"}, "unknown_value"),
        ({"end_ms": T0}, "interval_reversed"),
        ({"quantity": -5}, "negative"),
        ({"end_ms": T0 + 1, "quantity": 2**62}, "overflow"),
        ({"kind": "gauge", "unit": "mK"}, "bad_input"),
        ({"kind": "gauge", "unit": "mW", "quantity": 2**63 - 1}, "overflow"),
    ],
)
@TWINS
def test_a_row_that_cannot_be_sampled_is_refused_and_its_neighbours_are_not(ledger, given, reason):
    windows = Windows(ledger=ledger)
    bad = reading(0, 60_000, meter_id="m2") | given
    applied = windows.apply(READINGS.rows([reading(0, 60_000), bad, reading(1, 60_000)]), 0)
    assert [(r.row, r.reason) for r in applied.refused] == [(1, reason)]
    assert "meter m2" in applied.refused[0].message
    (rack,) = applied.rollups.to_pylist()
    assert (rack["count"], rack["sum"], rack["energy_mj"]) == (2, 2_000, 120_000)


@TWINS
def test_another_version_of_the_state_is_refused(ledger):
    with pytest.raises(DecodeError, match="version 99"):
        Windows.load(bytes([99]) + Windows(ledger=ledger).dump()[1:], ledger)


@pytest.mark.parametrize(
    ("quantity_mj", "duration_ms"),
    [
        (1, 2_000),  # 0.5 -> 0
        (3, 2_000),  # 1.5 -> 2
        (5, 2_000),  # 2.5 -> 2
        (7, 3_000),
        (0, 1),
        (10_260_000_000_000_000, 3_600_000),  # 2,850 MW for an hour: x 1000 passes 64 bits
        (2**63 - 1, 86_400_000),
        (2**63 - 1, 900_000),
    ],
)
def test_mean_power_is_rounded_half_to_even_without_leaving_integers(quantity_mj, duration_ms):
    power, overflow = mean_power_mw(np.array([quantity_mj]), np.array([duration_ms]))
    exact = half_even(quantity_mj * 1000, duration_ms)
    assert not overflow[0]
    assert int(power[0]) == exact


def test_mean_power_past_64_bits_is_told_not_wrapped():
    _, overflow = mean_power_mw(np.array([2**63 - 1, 2**53]), np.array([1, 1]))
    assert overflow.tolist() == [True, False]


def test_both_stages_are_registered_and_the_second_reads_what_the_first_writes():
    first, second = STAGES["rollup.readings"], STAGES["rollup.rollups.partial"]
    assert (first.step, second.step) == (step, merge_step)
    assert second.source in first.outputs
    emit = step(
        first.state(), Batch(READINGS, 2, 0, READINGS.rows([reading(0, 60_000_000)]), EMPTY)
    )
    assert [output.topic for output in emit.outputs] == [ROLLUPS, ROLLUPS_PARTIAL]
    partials = emit.outputs[1].rows
    merged = merge_step(second.state(), Batch(ROLLUPS_PARTIAL, 0, 0, partials, EMPTY))
    (output,) = merged.outputs
    assert [(r["level"], r["id"], r["energy_mj"]) for r in output.rows.to_pylist()] == [
        ("site", "site-1", 60_000_000),
        ("hub", "hub-1", 60_000_000),
    ]


def test_empty_batches_change_nothing():
    for stage, topic in (
        ("rollup.readings", READINGS),
        ("rollup.rollups.partial", ROLLUPS_PARTIAL),
    ):
        emit = STAGES[stage].step(STAGES[stage].state(), Batch(topic, 0, 0, topic.empty, EMPTY))
        assert (emit.outputs, emit.refused, emit.accepted) == ([], [], 0)


@pytest.mark.parametrize("window_ms", [0, -1])
def test_a_window_has_a_length(window_ms):
    with pytest.raises(ValueError, match=f"windows of {window_ms} ms; give 1 or more"):
        Windows(window_ms)
