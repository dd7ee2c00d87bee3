"""The closing report's figures, from rows alone."""

import json
import math
from types import SimpleNamespace

import pytest

from schemas.registry import Condition, Contract, Site, format_entry
from streams import report
from streams.report import Report
from streams.settings import Settings


def dispatched(region, tick_ms, step_index=0, gap_rel=0.0, **energies):
    row = dict.fromkeys(report.ENERGIES, 0) | energies
    return row | {
        "domain": "national",
        "region": region,
        "tick_ms": tick_ms,
        "step_index": step_index,
        "gap_rel": gap_rel,
    }


def test_only_the_step_that_is_carried_out_counts():
    rows = [dispatched("north", 0, load_mj=5), dispatched("north", 0, 1, load_mj=100)]

    assert report.energy_by_region(report.carried_out(rows))["north"]["load_mj"] == 5


def test_a_tick_that_was_written_twice_counts_once():
    rows = [dispatched("north", 0, load_mj=5)] * 2 + [dispatched("north", 3_600_000, load_mj=7)]

    assert report.energy_by_region(report.carried_out(rows))["north"]["load_mj"] == 12


def test_energy_beyond_64_bits_stays_exact():
    rows = [dispatched("north", tick, load_mj=2**62 + 1) for tick in range(4)]

    total = report.energy_by_region(report.carried_out(rows))["north"]["load_mj"]

    assert total == 2**64 + 4


@pytest.mark.parametrize(
    ("gaps", "worst"), [([], None), ([1e-6, 3e-4], 3e-4), ([0.0, math.nan], math.inf)]
)
def test_a_tick_without_proof_is_the_worst_of_all(gaps, worst):
    assert report.worst_gap([{"gap_rel": gap} for gap in gaps]) == worst


def decided(job_id, tick_ms, state, reason="OK", domain="national"):
    return {
        "domain": domain,
        "job_id": job_id,
        "tick_ms": tick_ms,
        "state": state,
        "reason": reason,
    }


def test_the_latest_tick_of_a_job_decides():
    rows = [
        decided("a", 2, "placed"),
        decided("a", 1, "rejected", "NO_POWER"),
        decided("b", 1, "planned"),
        decided("b", 2, "rejected", "NO_CORES"),
    ]

    placed = report.placed(rows)

    assert placed.states == {"placed": 1, "rejected": 1}
    assert placed.rejected == {"NO_CORES": 1}


def test_the_same_job_id_in_two_domains_is_two_jobs():
    rows = [decided("a", 1, "placed"), decided("a", 1, "placed", domain="city")]

    assert report.placed(rows).states == {"placed": 2}


def line(line_id, revision, amount_micro, price=500_000, account_id="tenant"):
    return {
        "line_id": line_id,
        "revision": revision,
        "account_id": account_id,
        "price_micro_per_kwh": price,
        "quantity_mj": 3_600_000_000,
        "amount_micro": amount_micro,
        "currency": "CNY",
    }


def test_a_bill_is_the_highest_revision_of_each_line_by_price():
    rows = [
        line("x", 2, 500_000),
        line("x", 1, 499_999),
        line("y", 1, 900_000, price=900_000),
        line("z", 1, 77, account_id="another"),
    ]

    total = report.bill_of("tenant", rows)

    assert (total.lines, total.amount_micro, total.quantity_mj) == (2, 1_400_000, 7_200_000_000)
    assert total.by_price == {500_000: (3_600_000_000, 500_000), 900_000: (3_600_000_000, 900_000)}


def contract(contract_id, columns=("line_id", "revision", "amount_micro"), **rest):
    where = rest.pop("where", (Condition("account_id", "eq", "tenant"),))
    given = {"subscriber": "s", "topic": "settlement"} | rest
    return Contract(id=contract_id, columns=columns, where=where, **given)


def test_the_billed_contract_delivers_one_accounts_lines_as_json():
    contracts = [
        contract("a", where=()),
        contract("b", columns=("line_id", "amount_micro")),
        contract("c", format="arrow"),
        contract("d", topic="usage", columns=("meter_id",)),
        contract("e"),
    ]

    assert report.billed_contract(contracts) == ("e", "tenant")
    assert report.billed_contract(contracts[:4]) is None


def a_report(**changed):
    given = {
        "energy_mj": {},
        "ticks": 0,
        "worst_gap_rel": {},
        "placements": report.placed([]),
        "bill": None,
        "identity": {},
        "dead_letters": {},
    }
    return Report(**given | changed)


def terms(consumed, accepted, duplicate=0, superseded=0, dead_lettered=0):
    return {
        "consumed": consumed,
        "accepted": accepted,
        "duplicate": duplicate,
        "superseded": superseded,
        "dead_lettered": dead_lettered,
    }


def test_a_row_that_vanished_is_named_as_a_problem():
    whole = a_report(identity={"meter.readings": terms(10, 6, 2, 1, 1)})
    broken = a_report(identity={"meter.readings": terms(10, 6, 2, 1, 0)})

    assert whole.problems() == []
    assert broken.problems() == ["identity of meter.readings does not hold"]


def test_a_bill_delivered_otherwise_is_named_as_a_problem():
    bill = report.bill_of("tenant", [line("x", 1, 500_000)])
    bill.contract, bill.delivered_micro = "out.bill", 499_999

    assert a_report(bill=bill).problems() == ["the bill in out.bill differs from the settlement"]


def test_the_json_form_has_no_infinity():
    gaps = a_report(worst_gap_rel={"balance": math.inf, "match": 0.1}).as_json()["worst_gap_rel"]

    assert gaps == {"balance": None, "match": 0.1}


def test_the_json_form_of_a_bill_is_whole_integers_by_price():
    bill = report.bill_of("tenant", [line("y", 1, 2**60 + 1, price=7), line("x", 1, 5, price=3)])

    found = json.loads(json.dumps(a_report(bill=bill).as_json()))["bill"]

    assert found["amount_micro"] == 2**60 + 6
    assert [(p["price"], p["amount_micro"]) for p in found["by_price_micro_per_kwh"]] == [
        (3, 5),
        (7, 2**60 + 1),
    ]


@pytest.mark.parametrize(("seconds", "rate"), [(0.0, 0.0), (4.0, 2.5)])
def test_the_rate_of_a_run_that_took_no_time_is_not_a_division_by_zero(seconds, rate):
    assert a_report(readings=10, seconds=seconds).rows_per_s == rate


@pytest.fixture
def topic(monkeypatch):
    """Fills the one topic that is read: (key, value) a record."""

    def fill(*records):
        async def read_all(settings, name):
            for key, value in records:
                yield SimpleNamespace(key=key, value=value)

        async def partitions_of(settings, names):
            return {name: {0} for name in names} if records else {}

        monkeypatch.setattr(report, "read_all", read_all)
        monkeypatch.setattr(report, "partitions_of", partitions_of)

    return fill


async def test_a_bad_registry_record_does_not_keep_the_report_from_the_others(topic):
    kept, gone = contract("kept"), contract("gone")
    topic(
        (b"1", format_entry(contract("old"))),
        (b"2", format_entry(gone)),
        (b"3", b"no json"),
        (b"4", b'{"kind":"contract","id":"c"}'),
        (b"1", format_entry(kept)),
        (b"2", None),
        (b"5", format_entry(Site(id="s", hub_id="h"))),
    )

    assert await report.registered_contracts(Settings()) == [kept]


async def test_the_subscribers_sum_is_of_the_highest_revision_of_each_line(topic):
    lines = [line("x", 2, 5), line("x", 1, 4), line("y", 1, 2**60)]
    topic(*((b"", json.dumps(row).encode()) for row in lines))

    assert await report.delivered_micro(Settings(), "out.bill") == 2**60 + 5


async def test_a_contract_whose_topic_does_not_exist_delivers_nothing_yet(topic):
    topic()

    assert await report.delivered_micro(Settings(), "out.bill") is None
