"""Settle: corrections, late usage and late prices; the same bill however the input is cut."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.registry import Account, Band, Tariff
from streams.settle import GRACE_MS, RETENTION_MS, Ledger, bill
from tests.unit.settle_cases import (
    HOUR_MS,
    KWH_MJ,
    T0,
    an_hour,
    flat,
    priced,
    registered,
    settle,
    tick_at,
    usage,
)


def test_a_revised_slot_gives_a_correction_that_is_what_one_bill_would_have_been():
    quarters = [usage(end, 1000 * end) for end in (1, 2, 3, 4)]
    revised = usage(2, 7 * KWH_MJ, revision=2)
    ledger, registry = Ledger(), priced(500_000)

    _, (first,) = settle(ledger, registry, quarters)
    _, (second,) = settle(ledger, registry, [revised])
    _, (once,) = settle(
        Ledger(), registry, [revised if r["end_ms"] == revised["end_ms"] else r for r in quarters]
    )

    assert (first["charge_class"], first["corrects_line"], first["revision"]) == ("usage", None, 4)
    assert (second["charge_class"], second["corrects_line"]) == ("correction", first["line_id"])
    assert second["quantity_mj"] == 7 * KWH_MJ + 8000
    assert second == once
    assert bill([second, first]) == {first["line_id"]: once}


def test_a_slot_that_comes_again_or_in_an_older_revision_changes_nothing():
    ledger, registry = Ledger(), priced(1)
    settle(ledger, registry, [an_hour(0, revision=2)])

    emit, lines = settle(ledger, registry, [an_hour(0, revision=2), an_hour(0, 5, revision=1)])

    assert (emit.accepted, emit.duplicate, emit.superseded, lines) == (0, 1, 1, [])


def test_an_incomplete_hour_is_billed_after_the_grace_and_late_usage_bills_it_again():
    ledger, registry, due_ms = Ledger(), priced(1), T0 + HOUR_MS + GRACE_MS

    _, early = settle(ledger, registry, [usage(1), usage(2), usage(4), tick_at(due_ms - 1)])
    _, (partial,) = settle(ledger, registry, [tick_at(due_ms)])
    _, nothing = settle(ledger, registry, [tick_at(due_ms + 1)])
    _, (whole,) = settle(ledger, registry, [usage(3, received_ms=due_ms + 2)])

    assert (early, nothing) == ([], [])
    assert [
        (x["slots_present"], x["slots_expected"], x["quantity_mj"]) for x in (partial, whole)
    ] == [
        (3, 4, 3 * KWH_MJ),
        (4, 4, 4 * KWH_MJ),
    ]
    assert whole["revision"] > partial["revision"]


def test_a_complete_hour_does_not_wait_and_says_what_of_it_is_estimated():
    quarters = [usage(1), usage(2, quality="ESTIMATE"), usage(3, quality="QUESTIONABLE")]
    ledger = Ledger()
    assert settle(ledger, priced(1), quarters)[1] == []

    _, (line,) = settle(ledger, priced(1), [usage(4)])

    assert (line["estimated_mj"], line["quantity_mj"]) == (KWH_MJ, 4 * KWH_MJ)


def test_usage_of_a_closed_period_is_refused_alone_and_says_what_to_do():
    last_ms = T0 + HOUR_MS + RETENTION_MS
    ledger, registry = Ledger(), priced(1)

    emit, lines = settle(
        ledger, registry, [tick_at(last_ms), usage(1), tick_at(last_ms + 1), usage(2), an_hour(40)]
    )

    (refused,) = emit.refused
    assert (refused.row, refused.reason, refused.field) == (3, "late_revision", "end_ms")
    assert "settlement correction" in refused.message
    assert [(x["start_ms"], x["quantity_mj"]) for x in lines] == [
        (T0, KWH_MJ),  # what came before it closed is billed
        (T0 + 40 * HOUR_MS, KWH_MJ),
    ]
    assert all(start_ms > T0 for _, _, _, start_ms in ledger.periods), "forgotten"


def test_a_late_price_bills_again_what_it_touches_and_nothing_else():
    registry = registered(
        Account(id="a", tariff_id="t"),
        Account(id="b", tariff_id="u"),
        flat(10),
        flat(10, id="u"),
        flat(25, valid_from_ms=T0 + HOUR_MS),
    )
    hours = [an_hour(0), an_hour(1), an_hour(1, account_id="b"), usage(9)]
    ledger = Ledger()
    _, before = settle(ledger, registry, hours, offset=3)

    _, after = settle(ledger, registry, [], offset=4)
    _, stale = settle(ledger, registry, [usage(10), usage(11), usage(12)], offset=3)

    assert [line["amount_micro"] for line in before] == [10, 10, 10]
    (line,) = after
    assert (line["account_id"], line["start_ms"], line["amount_micro"]) == ("a", T0 + HOUR_MS, 25)
    assert (line["charge_class"], line["revision"]) == ("correction", 2)
    # a batch that knows less does not bring the old price back
    assert [x["price_micro_per_kwh"] for x in stale] == [25]


def test_a_tariff_in_another_currency_bills_again():
    registry = registered(Account(id="a", tariff_id="t"), flat(10), flat(10, currency="EUR"))
    ledger = Ledger()
    settle(ledger, registry, [an_hour(0)], offset=1)

    _, lines = settle(ledger, registry, [], offset=2)

    assert [(x["currency"], x["revision"]) for x in lines] == [("EUR", 2)]


def test_usage_whose_tariff_went_away_waits_for_it_and_is_not_lost():
    registry = registered(
        Account(id="a", tariff_id="t"),
        flat(10),
        Account(id="b", tariff_id="t"),
        Account(id="a", tariff_id="typo"),
        flat(30, id="typo"),
    )
    ledger, late_ms = Ledger(), T0 + HOUR_MS + 2 * RETENTION_MS
    settle(ledger, registry, [usage(1), usage(1, account_id="b")], offset=2)

    _, others = settle(ledger, registry, [tick_at(late_ms)], offset=3)
    ledger = Ledger.load(ledger.dump())
    _, found = settle(ledger, registry, [], offset=4)

    assert [(x["account_id"], x["amount_micro"]) for x in others] == [("b", 10)]
    assert [(x["account_id"], x["amount_micro"]) for x in found] == [("a", 30)]
    assert not ledger.periods


SLOTS = st.tuples(st.sampled_from("ab"), st.sampled_from("mn"), st.integers(1, 8))
QUANTITIES = st.one_of(st.just(0), st.integers(-(10**6), 10**13))
PRICES = {("a", 0): 333_333, ("a", 1): 1_250_001, ("b", 0): 7, ("b", 1): 7}


def two_prices():
    bands = (Band(0, 1, 333_333), Band(1, 24, 1_250_001))
    return registered(
        Account(id="a", tariff_id="t"),
        Tariff(id="t", bands=bands),
        Account(id="b", tariff_id="u"),
        flat(7, id="u"),
    )


def plain_bill(rows):
    """(account, meter, hour) -> (revision, mJ, micro) in exact fractions, of all rows at once."""
    slots = {}
    for row in rows:
        key = (row["account_id"], row["meter_id"], row["end_ms"])
        if key not in slots or row["revision"] > slots[key]["revision"]:
            slots[key] = row
    hours = {}
    for (account, meter, end_ms), row in slots.items():
        key = (account, meter, (end_ms - 1 - T0) // HOUR_MS)
        revision, mj = hours.get(key, (0, 0))
        hours[key] = (revision + row["revision"], mj + row["quantity"])
    return {
        key: (revision, mj, round(Fraction(mj, KWH_MJ) * PRICES[key[0], key[2]]))
        for key, (revision, mj) in hours.items()
    }


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(SLOTS, st.lists(QUANTITIES, min_size=1, max_size=3), max_size=20), st.data())
def test_any_order_cut_and_restart_bills_what_all_of_it_at_once_would(slots, data):
    rows = [
        usage(end, quantity, account_id=account, meter_id=meter, revision=revision + 1)
        for (account, meter, end), quantities in slots.items()
        for revision, quantity in enumerate(quantities)
    ]
    rows = data.draw(st.permutations(rows + rows[: data.draw(st.integers(0, len(rows)))]))
    registry, lines = two_prices(), []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    straight, resumed = Ledger(), Ledger()
    parts = [rows[i:j] for i, j in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    for part in [*parts, [tick_at(T0 + 2 * HOUR_MS + GRACE_MS)]]:
        _, made = settle(straight, registry, part)
        resumed = Ledger.load(resumed.dump())
        assert settle(resumed, registry, part)[1] == made
        assert resumed.dump() == straight.dump()
        lines += made

    owed = {
        (x["account_id"], x["meter_id"], (x["start_ms"] - T0) // HOUR_MS): (
            x["revision"],
            x["quantity_mj"],
            x["amount_micro"],
        )
        for x in bill(lines).values()
    }
    assert owed == plain_bill(rows)
