"""Merge: both twins say the same, and so does whoever starts again in the middle."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.rollup import WINDOW_MS, Merge, _merge, merge_reference, sketch
from kernels.rollup.merge_reference import MAX_LAG_MS, RETENTION_MS
from schemas import ROLLUPS, ROLLUPS_PARTIAL
from schemas.codec import encode
from schemas.units import INT64_MAX

TWINS = pytest.mark.parametrize(
    "ledger", [merge_reference.Ledger, _merge.Ledger], ids=["plain", "core"]
)
FAR = (RETENTION_MS + WINDOW_MS) // WINDOW_MS
FURTHER = (RETENTION_MS + MAX_LAG_MS + WINDOW_MS) // WINDOW_MS
T0 = 1_700_000_000_000 // WINDOW_MS * WINDOW_MS

amounts = st.one_of(
    st.integers(0, 1_000), st.sampled_from([INT64_MAX // 2, INT64_MAX, -1, -INT64_MAX - 1])
)
samples = st.lists(st.integers(0, 10**12), max_size=40)


@st.composite
def partials(draw, registers=("it.energy", "facility.energy", "pue")):
    """A part of one of a few windows: mostly good, some of whose figures cannot be added."""
    values = draw(samples)
    counts: dict[int, int] = {}
    for bucket in sketch.buckets(values).tolist() if values else []:
        counts[bucket] = counts.get(bucket, 0) + 1
    window = draw(st.sampled_from([0, 0, 0, 1, 2, FAR, FURTHER]))
    start_ms = T0 + window * WINDOW_MS
    encoded = sketch.encode(counts)
    return {
        "level": draw(st.sampled_from(["site", "hub"])),
        "id": draw(st.sampled_from(["a", "b"])),
        "hub_id": draw(st.sampled_from(["hub-1", "hub-2"])),
        "register": draw(st.sampled_from(registers)),
        "unit": draw(st.sampled_from(["mW"] * 5 + ["mK"])),
        "start_ms": start_ms,
        "end_ms": start_ms + draw(st.sampled_from([WINDOW_MS] * 5 + [3 * WINDOW_MS])),
        "revision": draw(st.sampled_from([0, 1, 2, 3, 4, INT64_MAX // 4, INT64_MAX])),
        "count": draw(st.sampled_from([len(values)] * 9 + [77])),
        "sum": draw(st.one_of(st.just(sum(values)), amounts)),
        "min": min(values, default=0),
        "max": max(values, default=0),
        "energy_mj": draw(amounts),
        "partition": draw(st.integers(0, 3)),
        "sketch": draw(st.sampled_from([encoded] * 9 + [encoded + b"\x80", b"\0\1\0\1"])),
    }


rows = st.lists(partials(), max_size=30)


def cuts(size):
    return st.lists(st.integers(0, size), max_size=5).map(lambda at: sorted({0, size, *at}))


def applied(merge, given_rows):
    """What a batch brought, as bytes and tuples."""
    merged = merge.apply(ROLLUPS_PARTIAL.rows(given_rows))
    counts = merged.accepted, merged.duplicate, merged.superseded
    assert sum(counts) + len(merged.refused) == len(given_rows)
    return encode(ROLLUPS, merged.rollups), merged.refused, counts


@given(rows, st.data())
@settings(max_examples=100, deadline=None)
def test_both_twins_give_the_same_bytes_closing_and_faults_included(order, data):
    plain, core = Merge(merge_reference.Ledger), Merge(_merge.Ledger)
    for start, stop in pairwise(data.draw(cuts(len(order)))):
        assert applied(plain, order[start:stop]) == applied(core, order[start:stop])
        assert plain.dump() == core.dump()
    assert Merge.load(plain.dump(), _merge.Ledger).dump() == core.dump()
    assert Merge.load(core.dump(), merge_reference.Ledger).dump() == core.dump()


@TWINS
@given(rows, st.data())
@settings(max_examples=60, deadline=None)
def test_a_restart_at_any_cut_gives_the_same_bytes(ledger, order, data):
    running, restarted = Merge(ledger), Merge(ledger)
    for start, stop in pairwise(data.draw(cuts(len(order)))):
        assert applied(running, order[start:stop]) == applied(restarted, order[start:stop])
        assert restarted.dump() == running.dump()
        restarted = Merge.load(restarted.dump(), ledger)


@TWINS
@given(rows, st.data())
@settings(max_examples=60, deadline=None)
def test_a_restart_from_a_base_and_what_was_added_gives_the_same_bytes(ledger, order, data):
    running, chained = Merge(ledger), Merge(ledger)
    base, sealed = list(chained.base(rows=2)), []
    for start, stop in pairwise(data.draw(cuts(len(order)))):
        assert applied(running, order[start:stop]) == applied(chained, order[start:stop])
        match data.draw(st.sampled_from(["go on", "seal", "base", "restart"])):
            case "seal":
                sealed.append(chained.added())
                chained.growth.seal()
            case "base":
                base, sealed = list(chained.base(rows=3)), []
            case "restart":
                chained = Merge.load_chain(base, [*sealed, chained.added()], ledger)
    assert Merge.load_chain(base, [*sealed, chained.added()], ledger).dump() == running.dump()


def part(**others):
    """A part of one window of a site, with one sample of 5."""
    return {
        "level": "site",
        "id": "a",
        "hub_id": "hub-1",
        "register": "it.energy",
        "unit": "mW",
        "start_ms": T0,
        "end_ms": T0 + WINDOW_MS,
        "revision": 1,
        "count": 1,
        "sum": 5,
        "min": 5,
        "max": 5,
        "energy_mj": 7,
        "partition": 0,
        "sketch": sketch.encode({int(sketch.buckets([5])[0]): 1}),
    } | others


@TWINS
def test_a_partition_that_is_new_reopens_no_window_not_even_after_a_restart(ledger):
    """Its part alone would have a lower revision than what was said: refused, not lost there."""
    late = {"start_ms": T0 + FAR * WINDOW_MS, "end_ms": T0 + (FAR + 1) * WINDOW_MS}
    running = Merge(ledger)
    applied(running, [part(revision=9)])
    base, sealed = list(running.base(1)), []
    applied(running, [part(**late)])  # closes the first
    sealed.append(running.added())
    running.growth.seal()
    chained = Merge.load_chain(base, [*sealed, running.added()], ledger)
    loaded = Merge.load(running.dump(), ledger)
    longer = {"end_ms": late["end_ms"]}  # whatever it says of the end, the window is that one
    for merge in (running, chained, loaded):
        for row in (part(partition=1), part(partition=2, **longer), part(revision=10)):
            _, (refused,), _ = applied(merge, [row])
            assert (refused.reason, refused.field) == ("late_revision", "start_ms")
        _, refused, (accepted, *_) = applied(merge, [part(partition=1, **late)])
        assert not refused
        assert accepted == 1


@TWINS
def test_a_row_closes_what_comes_behind_it_in_its_own_batch(ledger):
    late = {"start_ms": T0 + FAR * WINDOW_MS, "end_ms": T0 + (FAR + 1) * WINDOW_MS}
    merged = Merge(ledger).apply(ROLLUPS_PARTIAL.rows([part(), part(**late), part(revision=2)]))
    assert [row["revision"] for row in merged.rollups.to_pylist()] == [1, 1]
    assert [(refusal.row, refusal.reason) for refusal in merged.refused] == [(2, "late_revision")]


@TWINS
def test_a_revision_below_1_is_refused_and_two_of_a_pue_fit(ledger):
    half = INT64_MAX // 2
    rows = [part(revision=0), part(revision=half), part(revision=1, partition=1)]
    rows.append(part(revision=half, register="facility.energy"))
    merged = Merge(ledger).apply(ROLLUPS_PARTIAL.rows(rows))
    assert [(refusal.row, refusal.reason, refusal.field) for refusal in merged.refused] == [
        (0, "bad_input", "revision"),
        (2, "overflow", "revision"),
    ]
    assert merged.rollups.to_pylist()[-1]["revision"] == 2 * half


@TWINS
def test_parts_that_were_replaced_are_cleaned_out_and_nothing_else_changes(ledger, monkeypatch):
    monkeypatch.setattr("kernels.rollup.merge._CLEAN_ROWS", 8)
    merge = Merge(ledger)
    list(merge.base(1))
    for revision in range(1, 30):
        given_rows = [part(revision=revision, partition=number) for number in range(2)]
        merged = merge.apply(ROLLUPS_PARTIAL.rows(given_rows))
        (said,) = merged.rollups.to_pylist()
        assert (said["revision"], said["sum"], said["count"]) == (2 * revision, 10, 2)
        assert len(merge) <= 10
    assert not merge.growth.has_base
