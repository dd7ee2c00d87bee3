"""Meter as a function of a set: no duplicate, order, cut or restart changes what is metered."""

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.meter import Slots, _core, reference
from schemas import READINGS, USAGE
from schemas.codec import encode

STEP_MS = 1_000
RATING_W, MODULUS = 5, 12_000
QUALITIES = ["ACTUAL", "ESTIMATE", "QUESTIONABLE", "RESET"]
TWINS = pytest.mark.parametrize("ledger", [reference.Ledger, _core.Ledger], ids=["plain", "core"])

identities = st.tuples(
    st.sampled_from(["a", "b"]),  # source
    st.sampled_from(["m1", "m2"]),
    st.integers(1, 7),  # end
    st.integers(1, 2),  # length
    st.integers(0, 2),  # revision
)
contents = st.tuples(
    st.sampled_from(["delta", "register", "register", "gauge"]),
    st.integers(0, 11_999),
    st.sampled_from(QUALITIES[:3]),
    st.integers(0, 1),  # epoch
)


def row(identity, content):
    source, meter_id, end, length, revision = identity
    kind, quantity, quality, epoch = content
    return {
        "meter_id": meter_id,
        "register": "it.energy",
        "kind": kind,
        "start_ms": (end - length) * STEP_MS,
        "end_ms": end * STEP_MS,
        "quantity": quantity,
        "unit": "mJ",
        "revision": revision,
        "quality": quality,
        "epoch": epoch,
        "site_id": f"site-of-{meter_id}",
        "rack_id": "",
        "hub_id": "hub",
        "account_id": f"payer-of-{meter_id}",
        "source": source,
        "source_partition": 0,
        "source_offset": 0,
        "source_row": 0,
        "received_ms": end * STEP_MS,
        "registry_offset": 0,
    }


# distinct ids, so that no reading conflicts with another whatever comes first
reading_sets = st.dictionaries(identities, contents, max_size=24).map(
    lambda chosen: [row(identity, content) for identity, content in chosen.items()]
)


@st.composite
def deliveries(draw):
    """A set of readings, and one way to deliver it: some twice, in any order, in any batches."""
    readings = draw(reading_sets)
    twice = draw(st.lists(st.sampled_from(readings), max_size=6)) if readings else []
    order = draw(st.permutations(readings + twice))
    return readings, order, draw(cuts(len(order)))


def cuts(size):
    return st.lists(st.integers(0, size), max_size=4).map(lambda inner: [0, *sorted(inner), size])


def facts(meter_id, ends_ms):
    return [(RATING_W, MODULUS)] * len(ends_ms)


def apply_all(slots, rows, bounds):
    """Usage batches of the rows applied in batches cut at `bounds`; the identity on each."""
    emitted = []
    for start, stop in pairwise(bounds):
        batch = READINGS.rows(rows[start:stop])
        applied = slots.apply(batch, facts)
        counted = applied.accepted + applied.duplicate + applied.superseded + len(applied.refused)
        assert counted == stop - start
        emitted.append(applied)
    return emitted


def highest(emitted):
    """key -> the row of the highest revision; no revision of a key is said twice."""
    usage = {}
    for applied in emitted:
        keys = set()
        for changed in applied.changed.to_pylist():
            key = tuple(changed[name] for name in USAGE.key)
            assert key not in keys, "of one batch only the last revision of a key is emitted"
            keys.add(key)
            assert key not in usage or changed["revision"] > usage[key]["revision"]
            usage[key] = changed
    return usage


def expected(readings):
    """The oracle: key -> (start, quantity, quality), straight from the whole set."""
    slots = defaultdict(list)
    for reading in readings:
        slots[tuple(reading[name] for name in USAGE.key)].append(reading)
    winners = {
        key: min(slot, key=lambda r: (-r["revision"], r["source"], r["start_ms"]))
        for key, slot in slots.items()
    }
    usage = {}
    for key, this in winners.items():
        if this["kind"] != "register":
            usage[key] = (this["start_ms"], this["quantity"], this["quality"])
            continue
        earlier = [w for k, w in winners.items() if k[:3] == key[:3] and k[3] < key[3]]
        if earlier:
            before = max(earlier, key=lambda w: w["end_ms"])
            usage[key] = (before["end_ms"], *counted(before, this))
    return usage


def counted(before, this):
    most = RATING_W * (this["end_ms"] - before["end_ms"])
    passed = (this["quantity"] - before["quantity"]) % MODULUS
    if this["epoch"] == before["epoch"] and passed <= most:
        return passed, max(this["quality"], before["quality"], key=QUALITIES.index)
    if this["epoch"] >= before["epoch"] and this["quantity"] <= most:
        return this["quantity"], "RESET"
    return 0, "QUESTIONABLE"


def values(usage):
    return {key: (u["start_ms"], u["quantity"], u["quality"]) for key, u in usage.items()}


@TWINS
@given(deliveries())
@settings(max_examples=150, deadline=None)
def test_usage_depends_on_the_set_of_readings_alone(ledger, delivery):
    readings, order, bounds = delivery
    emitted = apply_all(Slots(ledger=ledger), order, bounds)
    assert values(highest(emitted)) == expected(readings)
    assert sum(len(applied.refused) for applied in emitted) == 0
    assert sum(applied.duplicate for applied in emitted) == len(order) - len(readings)


@TWINS
@given(deliveries())
@settings(max_examples=100, deadline=None)
def test_the_revision_of_a_delta_or_gauge_is_the_number_of_its_readings(ledger, delivery):
    readings, order, bounds = delivery
    for key, usage in highest(apply_all(Slots(ledger=ledger), order, bounds)).items():
        said = [r for r in readings if tuple(r[name] for name in USAGE.key) == key]
        assert usage["revision"] >= len(said)
        assert usage["kind"] == "register" or usage["revision"] == len(said)


@TWINS
@given(deliveries(), st.data())
@settings(max_examples=100, deadline=None)
def test_other_batches_of_one_order_give_the_same_rows_and_revisions(ledger, delivery, data):
    _, order, bounds = delivery
    other = data.draw(cuts(len(order)))
    first = highest(apply_all(Slots(ledger=ledger), order, bounds))
    assert highest(apply_all(Slots(ledger=ledger), order, other)) == first


@TWINS
@given(st.lists(st.tuples(identities, contents), max_size=24), st.data())
@settings(max_examples=100, deadline=None)
def test_a_restart_at_any_cut_gives_the_same_bytes(ledger, rows, data):
    order = [row(identity, content) for identity, content in rows]
    bounds = data.draw(cuts(len(order)))
    running = Slots(retention_ms=3 * STEP_MS, ledger=ledger)
    restarted = Slots(retention_ms=3 * STEP_MS, ledger=ledger)
    for start, stop in pairwise(bounds):
        (one,) = apply_all(running, order[start:stop], [0, stop - start])
        (other,) = apply_all(restarted, order[start:stop], [0, stop - start])
        assert encode(USAGE, other.changed) == encode(USAGE, one.changed)
        assert other.refused == one.refused
        assert restarted.dump() == running.dump()
        restarted = Slots.load(restarted.dump(), ledger)


@TWINS
@given(st.lists(st.tuples(identities, contents), max_size=40), st.data())
@settings(max_examples=150, deadline=None)
def test_a_restart_from_a_base_and_what_was_added_gives_the_same_bytes(ledger, rows, data):
    order = [row(identity, content) for identity, content in rows]
    running = Slots(retention_ms=3 * STEP_MS, ledger=ledger)
    chained = Slots(retention_ms=3 * STEP_MS, ledger=ledger)
    base, sealed = list(chained.base(rows=2)), []
    for start, stop in pairwise(data.draw(cuts(len(order)))):
        (one,) = apply_all(running, order[start:stop], [0, stop - start])
        (other,) = apply_all(chained, order[start:stop], [0, stop - start])
        assert encode(USAGE, other.changed) == encode(USAGE, one.changed)
        assert other.refused == one.refused
        match data.draw(st.sampled_from(["go on", "seal", "base", "restart"])):
            case "seal":
                sealed.append(chained.added())
                chained.growth.seal()
            case "base":
                base, sealed = list(chained.base(rows=3)), []
            case "restart":
                chained = Slots.load_chain(base, [*sealed, chained.added()], ledger)
    assert Slots.load_chain(base, [*sealed, chained.added()], ledger).dump() == running.dump()


@TWINS
@given(st.lists(st.tuples(identities, contents), max_size=40), st.data())
@settings(max_examples=150, deadline=None)
def test_dropping_closed_readings_at_any_cut_changes_no_byte(ledger, rows, data):
    order = [row(identity, content) for identity, content in rows]
    running = Slots(retention_ms=2 * STEP_MS, ledger=ledger)
    cleaned = Slots(retention_ms=2 * STEP_MS, ledger=ledger)
    for start, stop in pairwise(data.draw(cuts(len(order)))):
        (one,) = apply_all(running, order[start:stop], [0, stop - start])
        (other,) = apply_all(cleaned, order[start:stop], [0, stop - start])
        assert encode(USAGE, other.changed) == encode(USAGE, one.changed)
        assert other.refused == one.refused
        live = cleaned._ledger.live()
        cleaned._ledger.compact()
        assert len(cleaned) == live == len(running._ledger.rows())
        assert cleaned.dump() == running.dump()


@given(st.lists(st.tuples(identities, contents), max_size=24), st.data())
@settings(max_examples=150, deadline=None)
def test_both_twins_give_the_same_bytes_conflicts_and_closing_included(rows, data):
    order = [row(identity, content) for identity, content in rows]
    bounds = data.draw(cuts(len(order)))
    plain = Slots(retention_ms=4 * STEP_MS, ledger=reference.Ledger)
    core = Slots(retention_ms=4 * STEP_MS, ledger=_core.Ledger)
    said = apply_all(plain, order, bounds), apply_all(core, order, bounds)
    for one, other in zip(*said, strict=True):
        assert encode(USAGE, one.changed) == encode(USAGE, other.changed)
        assert one.refused == other.refused
        assert (one.accepted, one.duplicate, one.superseded) == (
            other.accepted,
            other.duplicate,
            other.superseded,
        )
    assert plain.dump() == core.dump()
    assert Slots.load(plain.dump(), _core.Ledger).dump() == core.dump()


@TWINS
@given(st.lists(st.integers(0, 166), min_size=2, max_size=12), st.data())
@settings(max_examples=100, deadline=None)
def test_a_counter_s_intervals_add_up_to_what_it_counted_in_any_order(ledger, steps, data):
    """Each step is within 5 W x 1 s = 5,000 mJ; the whole may roll over 12,000 several times."""
    reached = [sum(steps[: n + 1]) for n in range(len(steps))]
    rows = [
        row(("a", "m1", n + 1, 1, 0), ("register", 30 * count % MODULUS, "ACTUAL", 0))
        for n, count in enumerate(reached)
    ]
    order = data.draw(st.permutations(rows))
    usage = highest(apply_all(Slots(ledger=ledger), order, data.draw(cuts(len(order)))))
    assert sum(u["quantity"] for u in usage.values()) == 30 * (reached[-1] - reached[0])
    assert all(u["quantity"] >= 0 for u in usage.values())
