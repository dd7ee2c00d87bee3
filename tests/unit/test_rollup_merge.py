"""Merge: sites and hubs from the parts of several partitions, and their PUE."""

import pytest

from kernels.rollup import WINDOW_MS, Merge, sketch
from kernels.rollup.merge_reference import MAX_LAG_MS, RETENTION_MS
from schemas import ROLLUPS_PARTIAL
from schemas.errors import DecodeError
from schemas.units import INT64_MAX

T0 = 1_700_000_000_000 // WINDOW_MS * WINDOW_MS


def partial(partition: int, revision: int, *samples: int, **given: object) -> dict[str, object]:
    """A partition's part of a site window: its samples are powers, its energies the same x 60."""
    counts: dict[int, int] = {}
    for bucket in sketch.buckets(list(samples)).tolist():
        counts[bucket] = counts.get(bucket, 0) + 1
    row: dict[str, object] = {
        "level": "site",
        "id": "site-1",
        "hub_id": "hub-1",
        "register": "it.energy",
        "unit": "mW",
        "start_ms": T0,
        "end_ms": T0 + WINDOW_MS,
        "revision": revision,
        "count": len(samples),
        "sum": sum(samples),
        "min": min(samples, default=0),
        "max": max(samples, default=0),
        "energy_mj": sum(samples) * 60,
        "partition": partition,
        "sketch": sketch.encode(counts),
    }
    return row | given


def merged(merge, *rows):
    return merge.apply(ROLLUPS_PARTIAL.rows(list(rows)))


def counts(applied):
    return applied.accepted, applied.duplicate, applied.superseded, len(applied.refused)


def at(window: int) -> dict[str, object]:
    start_ms = T0 + window * WINDOW_MS
    return {"start_ms": start_ms, "end_ms": start_ms + WINDOW_MS}


def test_a_split_site_is_the_sum_of_its_parts():
    (row,) = merged(Merge(), partial(0, 2, 10, 40), partial(1, 3, 20, 30, 90)).rollups.to_pylist()
    assert (row["revision"], row["count"], row["sum"], row["min"], row["max"]) == (
        5,
        5,
        190,
        10,
        90,
    )
    assert row["energy_mj"] == 190 * 60
    assert row["mean"] == 38.0
    assert row["p95"] == pytest.approx(90, rel=0.01)
    assert row["pue_ppm"] is None


def test_a_part_that_comes_again_or_late_changes_nothing():
    merge = Merge()
    merged(merge, partial(0, 2, 10, 40))
    applied = merged(merge, partial(0, 2, 10, 40), partial(0, 1, 10))
    assert counts(applied) == (0, 1, 1, 0)
    assert applied.rollups.num_rows == 0


def test_a_higher_revision_replaces_its_partition_s_part_alone():
    merge = Merge()
    merged(merge, partial(0, 1, 10), partial(1, 1, 500))
    (row,) = merged(merge, partial(0, 2, 10, 20)).rollups.to_pylist()
    assert (row["revision"], row["sum"]) == (3, 530)


def test_a_part_without_samples_has_no_say_in_the_extremes():
    (row,) = merged(Merge(), partial(0, 2), partial(1, 1, 7)).rollups.to_pylist()
    assert (row["count"], row["min"], row["max"]) == (1, 7, 7)
    (row,) = merged(Merge(), partial(0, 2)).rollups.to_pylist()
    assert (row["count"], row["min"], row["max"], row["mean"], row["p95"]) == (0, 0, 0, 0.0, 0.0)


def test_pue_is_facility_over_it_energy_half_to_even():
    applied = merged(
        Merge(),
        partial(0, 1, 2_000_000),
        partial(1, 4, 600_001, 2_000_000, register="facility.energy"),
    )
    pue = next(row for row in applied.rollups.to_pylist() if row["register"] == "pue")
    # 2,600,001 / 2,000,000 = 1.3000005 -> 1,300,000.5 ppm -> even
    assert (pue["pue_ppm"], pue["unit"], pue["revision"]) == (1_300_000, "ppm", 5)
    assert (pue["count"], pue["sum"], pue["min"], pue["max"]) == (1, *[1_300_000] * 3)
    assert (pue["mean"], pue["p95"], pue["energy_mj"]) == (1_300_000.0, 1_300_000.0, 0)


def test_there_is_no_pue_row_until_both_registers_are_known():
    merge = Merge()
    registers = merged(merge, partial(0, 1, 5)).rollups.column("register").to_pylist()
    assert registers == ["it.energy"]
    facility = partial(0, 1, 6, register="facility.energy")
    assert merged(merge, facility).rollups.column("register").to_pylist() == [
        "facility.energy",
        "pue",
    ]


def test_pue_of_an_idle_window_is_null_and_replaces_the_one_before():
    merge = Merge()
    merged(merge, partial(0, 1, 5), partial(0, 1, 6, register="facility.energy"))
    applied = merged(merge, partial(0, 2, 0))
    pue = next(row for row in applied.rollups.to_pylist() if row["register"] == "pue")
    assert (pue["pue_ppm"], pue["count"], pue["sum"], pue["revision"]) == (None, 0, 0, 3)


def test_a_pue_past_64_bits_is_null():
    rows = [
        partial(0, 1, 1, energy_mj=1),
        partial(0, 1, 1, register="facility.energy", energy_mj=INT64_MAX),
    ]
    pue = merged(Merge(), *rows).rollups.to_pylist()[-1]
    assert (pue["register"], pue["pue_ppm"]) == ("pue", None)


@pytest.mark.parametrize(
    ("given", "reason", "field"),
    [
        ({"unit": "mK"}, "bad_input", "unit"),
        ({"sketch": b"\x80"}, "bad_input", "sketch"),
        ({"count": 9}, "bad_input", "sketch"),
        ({"sum": INT64_MAX}, "overflow", "sum"),
        ({"energy_mj": INT64_MAX}, "overflow", "energy_mj"),
    ],
)
def test_a_part_that_does_not_fit_is_refused_and_the_others_stay(given, reason, field):
    merge = Merge()
    merged(merge, partial(0, 1, 10))
    applied = merged(merge, partial(1, 1, 10, **given), partial(2, 1, 30))
    assert [(r.row, r.reason, r.field) for r in applied.refused] == [(0, reason, field)]
    assert [row["sum"] for row in applied.rollups.to_pylist()] == [40]


def test_a_partition_that_is_behind_keeps_its_windows_open():
    merge = Merge()
    windows_ahead = (RETENTION_MS + WINDOW_MS) // WINDOW_MS
    merged(merge, partial(0, 1, 10), partial(1, 1, 10))
    merged(merge, partial(0, 1, 10, **at(windows_ahead)))
    applied = merged(merge, partial(1, 2, 10, 20))
    assert [row["sum"] for row in applied.rollups.to_pylist()] == [40]
    merged(merge, partial(1, 1, 10, **at(windows_ahead)))
    closed = merged(merge, partial(1, 3, 10, 20, 30))
    assert [r.reason for r in closed.refused] == ["late_revision"]


def test_a_partition_that_fell_silent_does_not_keep_windows_for_ever():
    merge = Merge()
    merged(merge, partial(0, 1, 10), partial(1, 1, 10))
    far = (RETENTION_MS + MAX_LAG_MS) // WINDOW_MS
    merged(merge, *(partial(0, 1, 10, **at(window)) for window in range(1, far + 1)))
    restored = Merge.load(merge.dump())
    assert len(restored) <= far  # of far + 2 parts


def test_a_restart_keeps_parts_marks_and_bytes():
    merge = Merge()
    merged(merge, partial(0, 1, 10), partial(1, 5, 20, 30))
    restarted = Merge.load(merge.dump())
    assert restarted.dump() == merge.dump()
    more = partial(0, 2, 10, 11), partial(1, 1, 9, **at(3))
    one, other = merged(merge, *more), merged(restarted, *more)
    assert other.rollups.equals(one.rollups)
    assert restarted.dump() == merge.dump()


def test_an_empty_state_is_dumped_and_another_version_is_refused():
    dumped = Merge().dump()
    assert Merge.load(dumped).dump() == dumped
    with pytest.raises(DecodeError, match="version 7"):
        Merge.load(bytes([7]) + dumped[1:])
