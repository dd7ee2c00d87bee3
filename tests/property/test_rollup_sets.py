"""Rollup as a function of a set: no duplicate, order, cut, split or restart changes a window."""

from collections import defaultdict
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.rollup import Merge, Windows, _core, reference
from schemas import READINGS, ROLLUPS, ROLLUPS_PARTIAL
from schemas.codec import encode

WINDOW_MS = 4_000
TWINS = pytest.mark.parametrize("ledger", [reference.Ledger, _core.Ledger], ids=["plain", "core"])

identities = st.tuples(
    st.sampled_from(["a", "b"]),  # source
    st.sampled_from(["m1", "m2", "m3"]),
    st.integers(1, 9),  # end, s
    st.integers(1, 3),  # length, s
    st.integers(0, 2),  # revision
    st.sampled_from(["it.energy", "facility.energy"]),
)
contents = st.tuples(
    st.sampled_from(["delta", "delta", "register", "gauge"]),
    st.integers(0, 50_000),
    st.sampled_from(["", "rack-1", "rack-2"]),
    st.sampled_from(["site-1", "site-2"]),
)


def row(identity, content):
    source, meter_id, end, length, revision, register = identity
    kind, quantity, rack_id, site_id = content
    return {
        "meter_id": meter_id,
        "register": register,
        "kind": kind,
        "start_ms": (end - length) * 1_000,
        "end_ms": end * 1_000,
        "quantity": quantity,
        "unit": "mW" if kind == "gauge" else "mJ",
        "revision": revision,
        "quality": "ACTUAL",
        "epoch": 0,
        "site_id": site_id,
        "rack_id": rack_id,
        "hub_id": "hub",
        "account_id": "payer",
        "source": source,
        "source_partition": 0,
        "source_offset": 0,
        "source_row": 0,
        "received_ms": end * 1_000,
        "registry_offset": 0,
    }


# distinct ids, so that which of two equal ids came first cannot matter
reading_sets = st.dictionaries(identities, contents, max_size=24).map(
    lambda chosen: [row(identity, content) for identity, content in chosen.items()]
)


def cuts(size):
    return st.lists(st.integers(0, size), max_size=4).map(lambda inner: [0, *sorted(inner), size])


@st.composite
def deliveries(draw):
    """A set of readings, and one way to deliver it: some twice, in any order, in any batches."""
    readings = draw(reading_sets)
    twice = draw(st.lists(st.sampled_from(readings), max_size=6)) if readings else []
    order = draw(st.permutations(readings + twice))
    return readings, order, draw(cuts(len(order)))


def windows_of(ledger, lateness_ms=10**9):
    return Windows(WINDOW_MS, lateness_ms, ledger)


def apply_all(windows, rows, bounds, partition=0):
    emitted = []
    for start, stop in pairwise(bounds):
        applied = windows.apply(READINGS.rows(rows[start:stop]), partition)
        counted = applied.accepted + applied.duplicate + applied.superseded + len(applied.refused)
        assert counted == stop - start
        emitted.append(applied)
    return emitted


def highest(topic, batches):
    """key -> the row of the highest revision; no revision of a key is said twice."""
    best = {}
    for batch in batches:
        for changed in batch.to_pylist():
            key = tuple(changed[name] for name in topic.key)
            assert key not in best or changed["revision"] > best[key]["revision"]
            best[key] = changed
    return best


def expected(readings):
    """The oracle: (level, id, register, start) -> (revision, samples, energy), from the set."""
    slots = defaultdict(list)
    for r in readings:
        slots[r["meter_id"], r["register"], r["kind"], r["start_ms"], r["end_ms"]].append(r)
    windows = defaultdict(lambda: [0, [], 0])
    for slot in slots.values():
        if slot[0]["kind"] == "register":
            continue
        for key in {key for reading in slot for key in keys_of(reading)}:
            windows[key][0] += len(slot)
        winner = min(slot, key=lambda r: (-r["revision"], r["source"]))
        for key in keys_of(winner):
            windows[key][1].append(sample_of(winner))
            windows[key][2] += winner["quantity"] if winner["kind"] == "delta" else 0
    return windows


def keys_of(reading):
    start_ms = reading["start_ms"] // WINDOW_MS * WINDOW_MS
    yield "site", reading["site_id"], reading["register"], start_ms
    yield "hub", reading["hub_id"], reading["register"], start_ms
    if reading["rack_id"]:
        yield "rack", f"{reading['site_id']}/{reading['rack_id']}", reading["register"], start_ms


def sample_of(reading):
    if reading["kind"] == "gauge":
        return reading["quantity"]
    return round(Fraction(reading["quantity"] * 1_000, reading["end_ms"] - reading["start_ms"]))


def check(said, windows):
    """Each said row against the oracle's window; p95 within 1 % of the exact nearest rank."""
    assert said.keys() == windows.keys()
    for key, (revision, samples, energy_mj) in windows.items():
        row = said[key]
        assert (row["revision"], row["count"], row["sum"], row["energy_mj"]) == (
            revision,
            len(samples),
            sum(samples),
            energy_mj,
        )
        ordered = sorted(samples) or [0]
        assert (row["min"], row["max"]) == (ordered[0], ordered[-1])
        assert row["mean"] == (sum(samples) / len(samples) if samples else 0.0)
        exact = ordered[-(-95 * len(samples) // 100) - 1] if samples else 0
        assert abs(row["p95"] - exact) <= 0.01 * exact * (1 + 1e-9)


@TWINS
@given(deliveries())
@settings(max_examples=150, deadline=None)
def test_windows_depend_on_the_set_of_readings_alone(ledger, delivery):
    readings, order, bounds = delivery
    emitted = apply_all(windows_of(ledger), order, bounds)
    merge = Merge()
    merged = [merge.apply(applied.partials) for applied in emitted]
    said = highest(ROLLUPS, [a.rollups for a in emitted] + [m.rollups for m in merged])
    check({key: row for key, row in said.items() if key[2] != "pue"}, expected(readings))
    assert sum(applied.duplicate for applied in emitted) == len(order) - len(readings)
    assert not any(applied.refused for applied in (*emitted, *merged))


@given(reading_sets, st.data())
@settings(max_examples=100, deadline=None)
def test_a_site_split_over_partitions_merges_to_the_same_windows(readings, data):
    """Meters spread over three partitions, their partials mixed, some sent twice."""
    partials = []
    for partition in range(3):
        part = [r for r in readings if r["meter_id"] == f"m{partition + 1}"]
        windows = windows_of(_core.Ledger)
        for applied in apply_all(windows, part, data.draw(cuts(len(part))), partition):
            partials += applied.partials.to_pylist()
    mixed = partials + partials[: data.draw(st.integers(0, len(partials)))]
    order = data.draw(st.permutations(mixed))
    merge = Merge()
    batches = []
    for start, stop in pairwise(data.draw(cuts(len(order)))):
        merged = merge.apply(ROLLUPS_PARTIAL.rows(order[start:stop]))
        counted = merged.accepted + merged.duplicate + merged.superseded + len(merged.refused)
        assert (counted, merged.refused) == (stop - start, [])
        batches.append(merged.rollups)
        merge = Merge.load(merge.dump())
    said = highest(ROLLUPS, batches)
    windows = {key: window for key, window in expected(readings).items() if key[0] != "rack"}
    check({key: row for key, row in said.items() if key[2] != "pue"}, windows)
    check_pue(said, windows)


def check_pue(said, windows):
    for level, place, register, start_ms in windows:
        it = windows.get((level, place, "it.energy", start_ms))
        facility = windows.get((level, place, "facility.energy", start_ms))
        if register == "it.energy" and facility:
            row = said[level, place, "pue", start_ms]
            known = it[2] and facility[2]
            exact = round(Fraction(facility[2] * 1_000_000, it[2])) if known else None
            assert (row["pue_ppm"], row["revision"]) == (exact, it[0] + facility[0])
        elif not (it and facility):
            assert (level, place, "pue", start_ms) not in said


@TWINS
@given(deliveries(), st.data())
@settings(max_examples=100, deadline=None)
def test_other_batches_give_the_same_rows_and_revisions(ledger, delivery, data):
    _, order, bounds = delivery
    other = data.draw(cuts(len(order)))
    first, second = (apply_all(windows_of(ledger), order, b) for b in (bounds, other))
    for topic, name in ((ROLLUPS, "rollups"), (ROLLUPS_PARTIAL, "partials")):
        said, again = (highest(topic, [getattr(a, name) for a in e]) for e in (first, second))
        assert said == again


@TWINS
@given(st.lists(st.tuples(identities, contents), max_size=24), st.data())
@settings(max_examples=100, deadline=None)
def test_a_restart_at_any_cut_gives_the_same_bytes(ledger, rows, data):
    order = [row(identity, content) for identity, content in rows]
    running, restarted = windows_of(ledger, 3_000), windows_of(ledger, 3_000)
    for start, stop in pairwise(data.draw(cuts(len(order)))):
        (one,) = apply_all(running, order[start:stop], [0, stop - start])
        (other,) = apply_all(restarted, order[start:stop], [0, stop - start])
        assert encode(ROLLUPS, other.rollups) == encode(ROLLUPS, one.rollups)
        assert encode(ROLLUPS_PARTIAL, other.partials) == encode(ROLLUPS_PARTIAL, one.partials)
        assert other.refused == one.refused
        assert restarted.dump() == running.dump()
        restarted = Windows.load(restarted.dump(), ledger)


@TWINS
@given(st.lists(st.tuples(identities, contents), max_size=40), st.data())
@settings(max_examples=150, deadline=None)
def test_a_restart_from_a_base_and_what_was_added_gives_the_same_bytes(ledger, rows, data):
    order = [row(identity, content) for identity, content in rows]
    running, chained = windows_of(ledger, 3_000), windows_of(ledger, 3_000)
    base, sealed = list(chained.base(rows=2)), []
    for start, stop in pairwise(data.draw(cuts(len(order)))):
        (one,) = apply_all(running, order[start:stop], [0, stop - start])
        (other,) = apply_all(chained, order[start:stop], [0, stop - start])
        assert encode(ROLLUPS, other.rollups) == encode(ROLLUPS, one.rollups)
        assert encode(ROLLUPS_PARTIAL, other.partials) == encode(ROLLUPS_PARTIAL, one.partials)
        assert other.refused == one.refused
        match data.draw(st.sampled_from(["go on", "seal", "base", "restart"])):
            case "seal":
                sealed.append(chained.added())
                chained.growth.seal()
            case "base":
                base, sealed = list(chained.base(rows=3)), []
            case "restart":
                chained = Windows.load_chain(base, [*sealed, chained.added()], ledger)
    assert Windows.load_chain(base, [*sealed, chained.added()], ledger).dump() == running.dump()


# many readings of the same instants, of which some come again
crowded = st.builds(
    lambda source, meter, end, revision: (source, meter, end, 1, revision, "it.energy"),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["m1", "m2"]),
    st.integers(3, 9),
    st.integers(0, 1),
)


@TWINS
@given(st.lists(st.tuples(identities | crowded, contents), max_size=60), st.data())
@settings(max_examples=150, deadline=None)
def test_dropping_closed_readings_at_any_cut_changes_no_byte(ledger, rows, data):
    order = [row(identity, content) for identity, content in rows]
    running, cleaned = windows_of(ledger, 1_000), windows_of(ledger, 1_000)
    for start, stop in pairwise(data.draw(cuts(len(order)))):
        (one,) = apply_all(running, order[start:stop], [0, stop - start])
        (other,) = apply_all(cleaned, order[start:stop], [0, stop - start])
        assert encode(ROLLUPS, other.rollups) == encode(ROLLUPS, one.rollups)
        assert encode(ROLLUPS_PARTIAL, other.partials) == encode(ROLLUPS_PARTIAL, one.partials)
        assert other.refused == one.refused
        assert (other.accepted, other.duplicate) == (one.accepted, one.duplicate)
        live = cleaned._ledger.live()
        cleaned._ledger.compact()
        assert len(cleaned) == live == running._ledger.live()
        assert cleaned.dump() == running.dump()


@TWINS
@pytest.mark.parametrize("texts_too", [False, True], ids=["readings", "texts"])
def test_a_state_that_drops_what_is_closed_says_the_same_rows(ledger, texts_too, monkeypatch):
    order = [
        row((source, f"m{end % 3}", end, 1, revision, "it.energy"), ("delta", end, "", "site-1"))
        for end in range(1, 60)
        for source, revision in (("a", 0), (f"source-{end}", 0), ("a", 1), ("a", 0), ("a", 1))
    ]
    kept, dropping = windows_of(ledger, 2_000), windows_of(ledger, 2_000)
    monkeypatch.setattr("kernels.rollup.windows._CLEAN_ROWS", 8)
    dropping._clean_at = 8
    dropping._texts_at = 8 if texts_too else 10**9
    bounds = [*range(0, len(order), 7), len(order)]
    for one, other in zip(*(apply_all(w, order, bounds) for w in (kept, dropping)), strict=True):
        assert encode(ROLLUPS_PARTIAL, other.partials) == encode(ROLLUPS_PARTIAL, one.partials)
        assert (other.accepted, other.duplicate) == (one.accepted, one.duplicate)
    assert len(dropping) < len(kept) == 3 * 59
    assert (len(dropping._symbols.names) < len(kept._symbols.names)) == texts_too
    assert dropping.dump() == kept.dump()


@given(st.lists(st.tuples(identities, contents), max_size=24), st.data())
@settings(max_examples=150, deadline=None)
def test_both_twins_give_the_same_bytes_closing_included(rows, data):
    order = [row(identity, content) for identity, content in rows]
    bounds = data.draw(cuts(len(order)))
    plain, core = windows_of(reference.Ledger, 4_000), windows_of(_core.Ledger, 4_000)
    said = apply_all(plain, order, bounds), apply_all(core, order, bounds)
    for one, other in zip(*said, strict=True):
        assert encode(ROLLUPS, one.rollups) == encode(ROLLUPS, other.rollups)
        assert encode(ROLLUPS_PARTIAL, one.partials) == encode(ROLLUPS_PARTIAL, other.partials)
        assert one.refused == other.refused
    assert plain.dump() == core.dump()
    assert Windows.load(plain.dump(), _core.Ledger).dump() == core.dump()
