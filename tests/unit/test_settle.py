"""Settle: the price of an hour, money as whole micro-units, and what is not billed."""

from fractions import Fraction

import pytest

from schemas.registry import PRICE_MAX_MICRO_PER_KWH, Account, Band, Tariff
from streams.settle import ENERGY_MAX_MJ, Ledger
from tests.unit.settle_cases import (
    HOUR_MS,
    KWH_MJ,
    T0,
    an_hour,
    flat,
    priced,
    registered,
    settle,
    usage,
)


@pytest.mark.parametrize("zone_h", [8, 0, -5, 14, -14])
def test_an_hour_costs_what_its_local_hour_costs_also_across_midnight(zone_h):
    bands = (Band(22, 24, 4), Band(0, 7, 1), Band(7, 8, 2), Band(8, 22, 3))
    tariff = Tariff(id="t", bands=bands, utc_offset_ms=zone_h * HOUR_MS)
    local = [1] * 7 + [2] + [3] * 14 + [4] * 2
    registry = registered(Account(id="a", tariff_id="t"), tariff)

    _, lines = settle(Ledger(), registry, [an_hour(hour) for hour in range(48)])

    assert [line["amount_micro"] for line in lines] == [local[(h + zone_h) % 24] for h in range(48)]


def test_in_a_zone_of_half_hours_a_period_has_the_price_of_its_beginning():
    bands = (Band(0, 7, 1), Band(7, 24, 2))
    tariff = Tariff(id="t", bands=bands, utc_offset_ms=5 * HOUR_MS + HOUR_MS // 2)
    registry = registered(Account(id="a", tariff_id="t"), tariff)

    _, lines = settle(Ledger(), registry, [an_hour(hour) for hour in (0, 1, 2, 18, 19)])

    # from 05:30, 06:30, 07:30, 23:30 and 00:30 local time
    assert [line["price_micro_per_kwh"] for line in lines] == [1, 1, 2, 2, 1]


def test_a_tariff_and_an_account_change_at_their_dates():
    registry = registered(
        Account(id="a", tariff_id="t"),
        flat(10),
        flat(20, valid_from_ms=T0 + HOUR_MS),
        flat(30, valid_from_ms=T0 + 2 * HOUR_MS + 1),
        Account(id="a", tariff_id="u", valid_from_ms=T0 + 4 * HOUR_MS),
        flat(40, id="u", currency="EUR"),
    )

    _, lines = settle(Ledger(), registry, [an_hour(hour) for hour in range(5)])

    assert [line["price_micro_per_kwh"] for line in lines] == [10, 20, 20, 30, 40]
    assert [line["tariff_id"] for line in lines] == ["t"] * 4 + ["u"]
    assert [line["currency"] for line in lines] == ["CNY"] * 4 + ["EUR"]


@pytest.mark.parametrize(
    ("quantity_mj", "price", "amount_micro"),
    [
        (KWH_MJ // 2, 1, 0),  # 0.5
        (KWH_MJ // 2, 3, 2),  # 1.5
        (KWH_MJ // 2, 5, 2),  # 2.5
        (KWH_MJ // 2 + 1, 1, 1),
        (KWH_MJ // 2 - 1, 3, 1),
        (1, 1, 0),
        (0, 10**6, 0),
        (-KWH_MJ // 2, 1, 0),
        (-KWH_MJ // 2, 3, -2),
        (-KWH_MJ // 2, 5, -2),
        (7 * KWH_MJ, 0, 0),
        (2**53 + 1, 3_600_000_000, 2**53 + 1),  # exact where a float is not
    ],
)
def test_money_is_rounded_half_to_even(quantity_mj, price, amount_micro):
    _, (line,) = settle(Ledger(), priced(price), [an_hour(0, quantity_mj)])

    assert (line["quantity_mj"], line["amount_micro"]) == (quantity_mj, amount_micro)


def test_money_is_rounded_once_a_line_not_once_a_slot():
    quarters = [usage(end, KWH_MJ * 3 // 8) for end in (1, 2, 3, 4)]

    _, (line,) = settle(Ledger(), priced(1), quarters)

    assert line["amount_micro"] == 2  # 1.5; each alone would be 0


def test_an_account_without_a_tariff_is_refused_and_the_others_are_billed():
    registry = registered(Account(id="a", tariff_id="t"), flat(1), Account(id="b", tariff_id="no"))
    rows = [an_hour(0, account_id=account) for account in ("nobody", "a", "b")]

    emit, (line,) = settle(Ledger(), registry, rows)

    assert [(r.row, r.reason, r.field) for r in emit.refused] == [
        (0, "no_tariff", "account_id"),
        (2, "no_tariff", "account_id"),
    ]
    assert "'nobody'" in emit.refused[0].message
    assert line["account_id"] == "a"


@pytest.mark.parametrize("changed", [{"unit": "mW"}, {"kind": "gauge"}])
def test_only_amounts_of_energy_are_priced(changed):
    emit, lines = settle(Ledger(), priced(1), [an_hour(0, **changed)])

    assert (emit.accepted, emit.refused, lines) == (1, [], [])


def test_the_most_that_is_admitted_fits_at_any_price_and_more_is_refused():
    ledger, registry = Ledger(), priced(PRICE_MAX_MICRO_PER_KWH)
    half = ENERGY_MAX_MJ // 2

    emit, (line,) = settle(
        ledger,
        registry,
        [
            usage(1, half),
            usage(2, ENERGY_MAX_MJ - half + 1),
            usage(3, 0),
            usage(2, ENERGY_MAX_MJ - half),
            usage(4, 0),
            usage(1, half + 1, revision=2),
        ],
    )

    assert [(r.row, r.reason, r.field) for r in emit.refused] == [
        (1, "overflow", "quantity"),
        (5, "overflow", "quantity"),
    ]
    assert line["quantity_mj"] == ENERGY_MAX_MJ
    assert line["amount_micro"] == round(Fraction(ENERGY_MAX_MJ * PRICE_MAX_MICRO_PER_KWH, KWH_MJ))
    _, (less,) = settle(ledger, registry, [usage(1, half - 1, revision=2)])
    assert less["quantity_mj"] == ENERGY_MAX_MJ - 1
