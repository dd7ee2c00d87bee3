"""The match by hand: costs, windows, reasons, bad rows and the small cases at the edges."""

from dataclasses import replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from kernels.match import (
    ANY,
    RESOURCES,
    Jobs,
    Network,
    Plan,
    Policy,
    Reason,
    Series,
    Sites,
    Status,
    Warm,
    match,
)
from schemas.errors import FieldError

HOUR_MS = 3_600_000
CORES, ACCEL, POWER, NETWORK, GREEN = range(5)


def _jobs(count: int = 1, cores: int = 4000, watts: int = 1000, **columns: Any) -> Jobs:
    """Jobs job-0, job-1, ... of 4 cores, 1 kW and one hour each, worth 10 each."""
    demand = [[cores, 0, watts, 0, 0]] * count
    given = {"duration_ms": HOUR_MS, "reject_cost": 10.0, **columns}
    return Jobs.of([f"job-{k}" for k in range(count)], demand, **given)


def _sites(count: int = 2, slots: int = 1, cores: int = 8000, **columns: Any) -> Sites:
    capacity = [[cores, 4000, 100_000, 1000, 100_000]] * count
    return Sites.of([f"site-{k}" for k in range(count)], capacity, slots, **columns)


def _series(*price_per_mwh: Any, ci: float = 0.0) -> Series:
    """A row a site: its price by slot."""
    return Series.of(HOUR_MS, np.atleast_2d(np.array(price_per_mwh, float).T).T, ci)


def _only_reason(plan: Plan) -> Reason:
    assert len(plan.reason) == 1
    return Reason(plan.reason[0])


# -- cost ----------------------------------------------------------------------------------------


def test_a_job_goes_where_its_energy_is_cheapest() -> None:
    plan = match(_jobs(), _sites(), _series(300.0, 200.0))
    assert plan.site.tolist() == [1]
    assert plan.cost_micro.tolist() == [200_000]  # 1 kW x 1 h x 200 per MWh = 0.2
    assert plan.primal == pytest.approx(0.2)
    assert plan.status == Status.GAP_MET


def test_pue_and_carbon_are_part_of_the_price() -> None:
    sites = _sites(pue_ppm=[1_500_000, 1_000_000])
    series = Series.of(HOUR_MS, [[200.0], [200.0]], [[0.1], [0.9]])
    without = match(_jobs(), sites, series)
    assert without.site.tolist() == [1]
    assert without.cost_micro.tolist() == [200_000]
    carbon = match(_jobs(), sites, series, policy=Policy(carbon_price_per_kg=1.0))
    assert carbon.site.tolist() == [0]
    assert carbon.cost_micro.tolist() == [450_000]  # 1.5 kWh x (0.2 + 0.1 kg x 1)


def test_data_and_migration_weigh_against_cheap_energy() -> None:
    network = Network.of([[0.0, 5.0], [5.0, 0.0]], [[0.0, 0.01], [0.01, 0.0]])
    sites, series = _sites(hub=[0, 1]), _series(300.0, 200.0)
    near = match(_jobs(data_gb=20.0, data_site=0), sites, series, network)
    assert near.site.tolist() == [0]
    assert near.cost_micro.tolist() == [300_000]
    far = match(_jobs(data_gb=5.0, data_site=0), sites, series, network)
    assert far.site.tolist() == [1]
    assert far.cost_micro.tolist() == [250_000]
    stays = match(_jobs(current_site=0, migration_cost=0.2), sites, series, network)
    assert (stays.site.tolist(), stays.moves) == ([0], 0)
    moves = match(_jobs(current_site=0, migration_cost=0.05), sites, series, network)
    assert (moves.site.tolist(), moves.moves, moves.cost_micro.tolist()) == ([1], 1, [250_000])


def test_the_moves_budget_goes_to_the_job_that_saves_most() -> None:
    jobs = _jobs(3, current_site=0, watts=1000)
    jobs.demand[:, POWER] = [1000, 3000, 2000]
    budget = Policy(max_moves=1, gap_target=1e-6)
    plan = match(jobs, _sites(cores=16_000), _series(300.0, 200.0), policy=budget)
    assert plan.site.tolist() == [0, 1, 0]
    assert plan.primal == pytest.approx(0.3 + 0.6 + 0.6)
    assert plan.gap_rel < 0.01


def test_jobs_of_a_site_that_is_down_do_not_use_up_the_moves_budget() -> None:
    sites = _sites(3, cores=16_000, up=[False, True, True])
    jobs = _jobs(3, current_site=[0, 0, 1])
    plan = match(jobs, sites, _series(1.0, 300.0, 200.0), policy=Policy(max_moves=0))
    assert plan.site.tolist() == [2, 2, 1]


def test_a_job_that_may_neither_stay_nor_move_is_rejected() -> None:
    jobs = _jobs(2, current_site=0, affinity=[1, ANY])
    plan = match(jobs, _sites(), _series(300.0, 200.0), policy=Policy(max_moves=0))
    assert plan.site.tolist() == [-1, 0]
    assert plan.dual <= plan.primal == pytest.approx(10.0 + 0.3)


def test_a_job_waits_for_the_cheapest_hours_before_its_deadline() -> None:
    prices = [900.0, 500.0, 100.0, 100.0, 50.0]
    plan = match(_jobs(duration_ms=2 * HOUR_MS, deadline_slot=4), _sites(1, 5), _series(prices))
    assert (plan.slot.tolist(), plan.slots.tolist()) == ([2], [2])
    assert plan.cost_micro.tolist() == [200_000]


def test_a_faster_site_takes_fewer_slots() -> None:
    rate = np.full((1, 3, 4), 3_000_000)
    plan = match(_jobs(duration_ms=4 * HOUR_MS), _sites(1, 4, rate_ppm=rate), _series([100.0] * 4))
    assert plan.slots.tolist() == [2]  # 4 h / 3 = 1.33 slots
    assert plan.cost_micro.tolist() == [200_000]


def test_energy_past_the_horizon_is_paid_at_the_last_price() -> None:
    plan = match(_jobs(duration_ms=10 * HOUR_MS), _sites(1, 2), _series([500.0, 100.0]))
    assert plan.slot.tolist() == [1]
    assert plan.slots.tolist() == [10]
    assert plan.cost_micro.tolist() == [1_000_000]
    assert plan.used[0, :, CORES].tolist() == [0, 4000]


def test_facility_power_is_rounded_up_to_whole_watts() -> None:
    sites = _sites(1, pue_ppm=1_333_333)
    plan = match(_jobs(watts=1000), sites, _series(100.0))
    assert plan.used[0, 0, POWER] == 1334
    short = replace(sites, capacity=sites.capacity.copy())
    short.capacity[0, 0, POWER] = 1333
    assert _only_reason(match(_jobs(watts=1000), short, _series(100.0))) == (
        Reason.REJECTED_TOO_LARGE
    )


# -- capacity ------------------------------------------------------------------------------------


def test_a_full_site_sends_the_job_that_loses_least_elsewhere() -> None:
    jobs = _jobs(3, migration_cost=[0.0, 0.05, 0.0], current_site=[ANY, 0, ANY])
    plan = match(jobs, _sites(cores=8000), _series(100.0, 300.0))
    assert sorted(plan.site.tolist()) == [0, 0, 1]
    assert plan.site[1] == 0  # leaving would cost it a migration on top
    assert plan.primal == pytest.approx(0.5)


def test_the_price_of_a_full_site_is_what_the_next_job_would_pay_more_elsewhere() -> None:
    plan = match(_jobs(3), _sites(cores=8000), _series(100.0, 300.0))
    assert plan.prices[0, 0, CORES] * 4000 == pytest.approx(0.2, rel=0.02)
    assert plan.prices[1].max() == 0.0
    moved = int(np.flatnonzero(plan.site == 1)[0])
    assert plan.reason[moved] == Reason.PLACED
    assert (plan.reason_site[moved], plan.reason_resource[moved]) == (0, CORES)


@pytest.mark.parametrize("pure", ["0", "1"])
def test_room_that_no_whole_job_fills_is_not_held_against_the_bound(
    pure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fractions of jobs would fill 2.75 places and cost 0.35; whole ones fill 2 and cost 0.5."""
    monkeypatch.setenv("GRIDLOOM_PURE", pure)
    sites = _sites(cores=8000)
    sites.capacity[0, 0, CORES] = 11_000
    plan = match(_jobs(3), sites, _series(100.0, 300.0))
    assert plan.primal == pytest.approx(0.5)
    assert plan.primal * 0.99 <= plan.dual <= plan.primal


def test_jobs_take_turns_in_one_site() -> None:
    plan = match(_jobs(4, cores=8000), _sites(1, 4), _series([100.0, 90.0, 80.0, 70.0]))
    assert sorted(plan.slot.tolist()) == [0, 1, 2, 3]
    assert (plan.used[0, :, CORES] == 8000).all()


def test_capacity_by_slot_is_kept_in_every_slot_of_a_run() -> None:
    capacity = np.full((1, 4, 5), 10_000)
    capacity[0, 1, CORES] = 0
    sites = Sites.of(["site"], capacity, 4)
    plan = match(_jobs(duration_ms=2 * HOUR_MS), sites, _series([1.0, 1.0, 50.0, 90.0]))
    assert plan.slot.tolist() == [2]


def test_green_power_binds_only_the_jobs_that_ask_for_it() -> None:
    demand = [[1000, 0, 1000, 0, 1000], [1000, 0, 1000, 0, 0]]
    jobs = Jobs.of(["green", "plain"], demand, duration_ms=HOUR_MS, reject_cost=10.0)
    capacity = [[8000, 0, 9000, 0, 0], [8000, 0, 9000, 0, 5000]]
    plan = match(jobs, Sites.of(["a", "b"], capacity, 1), _series(100.0, 300.0))
    assert plan.site.tolist() == [1, 0]


def test_one_job_of_a_priority_outweighs_all_jobs_below_it() -> None:
    jobs = Jobs.of(
        ["a", "b", "c"],
        [[4000, 0, 1, 0, 0], [4000, 0, 1, 0, 0], [8000, 0, 1, 0, 0]],
        duration_ms=HOUR_MS,
        reject_cost=[1000.0, 1000.0, 0.001],
        priority=[1, 1, 2],
    )
    plan = match(jobs, _sites(1), _series(100.0))
    assert plan.site.tolist() == [ANY, ANY, 0]
    equal = match(replace(jobs, priority=np.zeros(3, np.int64)), _sites(1), _series(100.0))
    assert equal.site.tolist() == [0, 0, ANY]


def test_ties_go_to_the_lower_job_id_whatever_the_order() -> None:
    jobs = Jobs.of(["b", "c", "a"], [[8000, 0, 1000, 0, 0]] * 3, reject_cost=10.0)
    plan = match(jobs, _sites(1), _series(100.0))
    assert plan.site.tolist() == [ANY, ANY, 0]


# -- reasons -------------------------------------------------------------------------------------

REJECTIONS: dict[str, tuple[Reason, dict[str, Any], dict[str, Any]]] = {
    "affinity": (Reason.REJECTED_AFFINITY, {"affinity": 7}, {}),
    "site down": (Reason.REJECTED_SITE_DOWN, {}, {"up": False}),
    "pinned to a down site": (Reason.REJECTED_SITE_DOWN, {"affinity": 1}, {"up": [True, False]}),
    "residency": (Reason.REJECTED_RESIDENCY, {"residency": 0b10}, {}),
    "class": (Reason.REJECTED_CLASS, {"job_class": 2}, {"classes": 0b011}),
    "precision": (
        Reason.REJECTED_PRECISION,
        {"precision": 0},
        {"rate_ppm": np.tile([0, 1, 1, 1], (2, 3, 1)) * 1_000_000},
    ),
    "latency": (Reason.REJECTED_LATENCY, {"origin_hub": 0, "max_rtt_ms": 1.0}, {}),
    "no path": (Reason.REJECTED_LATENCY, {"origin_hub": 1}, {}),
    "release": (Reason.REJECTED_RELEASE, {"release_slot": 1}, {}),
    "deadline": (Reason.REJECTED_DEADLINE, {"deadline_slot": 1, "duration_ms": 2 * HOUR_MS}, {}),
    "deadline missed": (Reason.REJECTED_DEADLINE, {"deadline_slot": -5}, {}),
    "too large": (Reason.REJECTED_TOO_LARGE, {"cores": 9000}, {}),
    "cost": (Reason.REJECTED_COST, {"reject_cost": 0.05}, {}),
}


@pytest.mark.parametrize("case", REJECTIONS)
def test_a_rejected_job_names_the_filter_that_left_it_no_option(case: str) -> None:
    reason, job, site = REJECTIONS[case]
    network = Network.of([[2.0, inf], [inf, inf]])
    plan = match(_jobs(**job), _sites(**site), _series(100.0, 200.0), network)
    assert _only_reason(plan) == reason
    assert plan.site.tolist() == [ANY]
    assert plan.rejects == 1
    assert plan.dual <= plan.primal
    assert plan.primal == pytest.approx(job.get("reject_cost", 10.0))


# what each column of the job, or the capacity of cores, is raised by: the amount told
RELAXED: dict[str, tuple[dict[str, Any], str, float]] = {
    "latency": ({"origin_hub": 0, "max_rtt_ms": 1.5}, "max_rtt_ms", 0.5),
    "release": ({"release_slot": 5}, "release_slot", -4.0),
    "deadline": ({"deadline_slot": 1, "duration_ms": 2 * HOUR_MS}, "deadline_slot", 1.0),
    "too large": ({"cores": 9000}, "capacity", 1000.0),
    "cost": ({"reject_cost": 0.05}, "reject_cost", 0.05),
}


@pytest.mark.parametrize("case", RELAXED)
def test_the_amount_told_and_no_less_places_the_rejected_job(case: str) -> None:
    job, column, amount = RELAXED[case]
    network = Network.of([[2.0]])
    sites, series = _sites(1, 2), _series([100.0, 100.0])
    plan = match(_jobs(**job), sites, series, network)
    assert plan.site.tolist() == [ANY]
    assert plan.relax.tolist() == pytest.approx([abs(amount)])
    for share, placed in ((0.5, False), (1.0, True)):
        jobs, more = _jobs(**job), replace(sites, capacity=sites.capacity.copy())
        changed = more.capacity[:, :, CORES] if column == "capacity" else getattr(jobs, column)
        changed += np.ceil(amount * share) if changed.dtype == float else int(amount * share)
        if column in ("reject_cost", "max_rtt_ms"):
            changed += amount * share - np.ceil(amount * share)
        assert (match(jobs, more, series, network).site[0] >= 0) == placed


def test_a_job_without_room_is_told_how_much_more_would_hold_it() -> None:
    plan = match(_jobs(2, cores=5000, reject_cost=[9.0, 5.0]), _sites(1), _series(100.0))
    assert plan.site.tolist() == [0, ANY]
    assert plan.relax.tolist() == [0.0, 2000.0]  # 5,000 asked, 3,000 of 8,000 free


def test_the_second_best_answer_is_told_beside_the_plan() -> None:
    plan = match(_jobs(), _sites(3), _series(300.0, 200.0, 400.0))
    assert plan.site.tolist() == [1]
    assert plan.second_cost.tolist() == pytest.approx([0.3])
    alone = match(_jobs(), _sites(1), _series(300.0))
    assert alone.second_cost.tolist() == [10.0]  # its rejection


def test_one_more_accelerator_is_worth_what_the_job_next_in_line_would_save() -> None:
    demand = [[1000, 1000, 100, 0, 0]] * 5
    jobs = Jobs.of([f"job-{k}" for k in range(5)], demand, reject_cost=[9, 8, 7, 6, 5])
    plan = match(jobs, _sites(1), _series(0.0))
    assert plan.rejects == 1
    assert 5.0 - 0.1 <= plan.worth()[0, ACCEL] <= 6.0 + 0.1


def test_too_large_names_the_resource_that_is_short() -> None:
    jobs = Jobs.of(["job"], [[1000, 9000, 1000, 0, 0]], reject_cost=1.0)
    plan = match(jobs, _sites(), _series(100.0, 100.0))
    assert RESOURCES[plan.reason_resource[0]] == "accel_milli"


def test_a_job_without_room_names_the_site_and_resource_in_its_way() -> None:
    plan = match(_jobs(3, cores=8000, reject_cost=[5.0, 9.0, 7.0]), _sites(), _series(100.0, 150.0))
    assert plan.reason.tolist() == [Reason.REJECTED_CAPACITY, Reason.PLACED, Reason.PLACED]
    assert (plan.reason_site[0], plan.reason_resource[0]) == (0, CORES)


def test_a_pinned_job_without_room_is_told_in_the_status() -> None:
    plan = match(_jobs(3, affinity=0), _sites(), _series(100.0, 150.0))
    assert plan.rejects == 1
    assert Status.INFEASIBLE_PINNED in plan.status


# -- bad input -----------------------------------------------------------------------------------

BAD_JOBS: dict[str, tuple[str, float]] = {
    "job_class": ("job_class", 3),
    "precision": ("precision", -1),
    "duration_ms": ("duration_ms", 0),
    "origin_hub": ("origin_hub", 5),
    "max_rtt_ms": ("max_rtt_ms", nan),
    "data_gb": ("data_gb", -1.0),
    "data_site": ("data_site", 9),
    "current_site": ("current_site", 2),
    "migration_cost": ("migration_cost", inf),
    "reject_cost": ("reject_cost", nan),
    "priority": ("priority", 4),
}


@pytest.mark.parametrize("case", BAD_JOBS)
def test_a_bad_field_costs_its_own_job_and_no_other(case: str) -> None:
    column, value = BAD_JOBS[case]
    jobs = _jobs(3)
    getattr(jobs, column)[1] = value
    plan = match(jobs, _sites(), _series(100.0, 200.0))
    assert plan.reason.tolist() == [Reason.PLACED, Reason.BAD_INPUT, Reason.PLACED]
    assert [(error.table, error.row, error.column) for error in plan.errors] == [
        ("jobs", 1, column)
    ]
    assert float(plan.errors[0].value) == pytest.approx(value, nan_ok=True)
    assert Status.BAD_INPUT in plan.status
    alone = match(_jobs(3).take(np.array([0, 2])), _sites(), _series(100.0, 200.0))
    assert plan.site[[0, 2]].tolist() == alone.site.tolist()
    assert plan.primal == alone.primal


def test_demand_below_zero_is_named_by_its_resource() -> None:
    jobs = Jobs.of(["job"], [[1000, 0, -5, 0, 0]])
    plan = match(jobs, _sites(), _series(100.0, 100.0))
    assert plan.errors[0][:4] == ("jobs", 0, "power_w", "-5")


def test_the_second_row_of_a_job_id_is_refused() -> None:
    jobs = Jobs.of(["a", "b", "a"], [[1000, 0, 1000, 0, 0]] * 3, reject_cost=1.0)
    plan = match(jobs, _sites(), _series(100.0, 100.0))
    assert plan.reason.tolist() == [Reason.PLACED, Reason.PLACED, Reason.BAD_INPUT]


@pytest.mark.parametrize("column", ["pue_ppm", "hub", "classes", "capacity", "price"])
def test_a_bad_site_is_down_and_the_others_serve(column: str) -> None:
    sites, series = _sites(), _series(100.0, 200.0)
    if column == "price":
        series.price_per_mwh[0, 0] = nan
    else:
        getattr(sites, column)[0] = -1
    plan = match(_jobs(2), sites, series)
    assert plan.site.tolist() == [1, 1]
    assert {(error.table, error.row) for error in plan.errors} == {("sites", 0)}


def test_columns_of_the_wrong_shape_are_refused_by_name() -> None:
    with pytest.raises(FieldError, match="reject_cost"):
        _jobs(3, reject_cost=[1.0, 2.0])
    with pytest.raises(FieldError, match="fractions"):
        Jobs.of(["a"], [[0.5, 0, 0, 0, 0]])
    with pytest.raises(FieldError, match="same sites and slots"):
        match(_jobs(), _sites(2), _series(100.0))
    with pytest.raises(FieldError, match="no such column"):
        _jobs(colour=3)


# -- edges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("pure", ["0", "1"])
def test_no_jobs_and_no_sites_give_empty_plans(
    slots: int, pure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRIDLOOM_PURE", pure)
    series = Series.of(HOUR_MS, np.empty((0, slots)), 0.0)
    nothing = match(_jobs(0), _sites(), _series(100.0, 100.0))
    assert (len(nothing.site), nothing.primal, nothing.status) == (0, 0.0, Status.GAP_MET)
    nowhere = match(_jobs(2), _sites(0, slots), series)
    assert nowhere.reason.tolist() == [Reason.REJECTED_SITE_DOWN] * 2
    assert nowhere.primal == 20.0
    neither = match(_jobs(0), _sites(0, slots), series)
    assert neither.used.shape == (0, slots, 5)


def test_all_sites_down_rejects_all_jobs_with_that_reason() -> None:
    plan = match(_jobs(4), _sites(up=False), _series(100.0, 100.0))
    assert (plan.reason == Reason.REJECTED_SITE_DOWN).all()
    assert plan.gap_rel < 1e-9


def test_a_resource_without_capacity_binds_only_who_asks_for_it() -> None:
    jobs = Jobs.of(["a", "b"], [[1000, 0, 10, 0, 0], [1000, 1000, 10, 0, 0]], reject_cost=9.0)
    sites = Sites.of(["site"], [[8000, 0, 1000, 0, 0]], 1)
    plan = match(jobs, sites, _series(100.0))
    assert plan.reason.tolist() == [Reason.PLACED, Reason.REJECTED_TOO_LARGE]


def test_jobs_that_need_nothing_are_placed() -> None:
    plan = match(_jobs(3, cores=0, watts=0), _sites(), _series(100.0, 100.0))
    assert plan.site.tolist() == [0, 0, 0]
    assert plan.primal == 0.0


def test_paid_consumption_is_taken() -> None:
    plan = match(_jobs(reject_cost=0.0), _sites(), _series(-100.0, 50.0))
    assert plan.cost_micro.tolist() == [-100_000]
    assert plan.dual <= plan.primal == pytest.approx(-0.1)


def test_a_warm_plan_of_other_jobs_and_sites_is_no_hindrance() -> None:
    stale = Warm(
        np.array(["gone", "job-0"]),
        np.array([0, 9], np.int32),
        np.array([0, 4], np.int32),
        np.full((7, 2, 5), nan),
    )
    plan = match(_jobs(2), _sites(), _series(100.0, 200.0), warm=stale)
    assert plan.site.tolist() == [0, 0]


def test_a_plan_warms_the_next_tick_shifted_by_the_slots_elapsed() -> None:
    plan = match(_jobs(4, cores=8000), _sites(1, 4), _series([100.0, 90.0, 80.0, 70.0]))
    warm = plan.warm(1)
    assert (warm.slot == np.maximum(plan.slot - 1, 0)).all()
    assert warm.prices is not None
    assert (warm.prices[0, :3] == plan.prices[0, 1:]).all()
