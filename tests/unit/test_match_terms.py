"""Terms by hand: quotas, reservations, rules, weights and groups that are kept apart."""

from typing import Any

import numpy as np
import pytest

from kernels.match import (
    ANY,
    LIMITED,
    Jobs,
    Network,
    Policy,
    Quotas,
    Reason,
    Rules,
    Series,
    Sites,
    Status,
    Terms,
    match,
)
from schemas.errors import FieldError

HOUR_MS = 3_600_000
CORES, POWER, COUNT = LIMITED.index("cores_milli"), LIMITED.index("power_w"), LIMITED.index("jobs")


def _jobs(count: int, **columns: Any) -> Jobs:
    """Jobs of 4 cores, 1 kW and one hour each, worth 10 each."""
    given = {"duration_ms": HOUR_MS, "reject_cost": 10.0, **columns}
    return Jobs.of([f"job-{k}" for k in range(count)], [[4000, 0, 1000, 0, 0]] * count, **given)


def _sites(*cores: int, **columns: Any) -> Sites:
    capacity = [[free, 4000, 100_000, 1000, 100_000] for free in cores]
    return Sites.of([f"site-{k}" for k in range(len(cores))], capacity, 1, **columns)


def _series(*price_per_mwh: float) -> Series:
    return Series.of(HOUR_MS, [[price] for price in price_per_mwh], 0.0)


def _limit(**limits: int) -> list[list[int]]:
    return [[limits.get(name, ANY) for name in LIMITED]]


def test_a_tenant_gets_no_more_than_its_quota_and_others_what_is_left() -> None:
    sites = _sites(16_000)
    quota = Quotas.of(["of-0"], _limit(cores_milli=8000), [[True]], 1, tenant=[0])
    plan = match(
        _jobs(5, tenant=[0, 0, 0, 1, 1]), sites, _series(200.0), terms=Terms.of(sites, quota)
    )
    assert (plan.site >= 0).tolist() == [True, True, False, True, True]
    assert plan.reason[2] == Reason.REJECTED_QUOTA
    assert (plan.reason_quota[2], plan.reason_resource[2]) == (0, CORES)
    assert plan.quota_used[0, 0, CORES] == 8000
    assert plan.gap_rel < 0.002


def test_the_price_of_a_quota_is_what_the_next_job_of_the_tenant_would_save() -> None:
    sites = _sites(16_000)
    quota = Quotas.of(["of-0"], _limit(cores_milli=8000), [[True]], 1, tenant=[0])
    jobs = _jobs(4, tenant=0, reject_cost=[10.0, 9.0, 8.0, 7.0])
    plan = match(jobs, sites, _series(200.0), terms=Terms.of(sites, quota))
    assert (plan.site >= 0).tolist() == [True, True, False, False]
    # one more job saves 8 less the 0.2 that it costs; one less loses 9 less 0.2
    worth = plan.quota_prices[0, 0, CORES] * 4000
    assert 7.8 - 1e-6 <= worth <= 8.8 + 1e-6
    assert plan.relax[2] == 4000.0


def test_a_quota_counts_power_as_the_site_sees_it() -> None:
    sites = _sites(40_000, pue_ppm=1_500_000)
    quota = Quotas.of(["watts"], _limit(power_w=3000), [[True]], 1)
    plan = match(_jobs(3), sites, _series(200.0), terms=Terms.of(sites, quota))
    assert plan.rejects == 1
    assert plan.quota_used[0, 0, POWER] == 3000


def test_what_is_reserved_for_a_pairing_is_not_given_to_others() -> None:
    sites = _sites(16_000)
    quota = Quotas.of(
        ["all-but-7"], _limit(cores_milli=8000), [[True]], 1, pairing=[7], others=[True]
    )
    jobs = _jobs(5, pairing=[7, ANY, ANY, ANY, ANY])
    plan = match(jobs, sites, _series(200.0), terms=Terms.of(sites, quota))
    assert plan.site.tolist()[0] == 0
    assert int((plan.site[1:] >= 0).sum()) == 2


def test_a_job_larger_than_its_quota_is_told_which() -> None:
    sites = _sites(16_000)
    quota = Quotas.of(["small"], _limit(cores_milli=3999), [[True]], 1)
    plan = match(_jobs(1), sites, _series(200.0), terms=Terms.of(sites, quota))
    assert plan.reason.tolist() == [Reason.REJECTED_QUOTA]
    assert (plan.reason_quota[0], plan.reason_resource[0]) == (0, CORES)


def test_a_rule_makes_a_class_prefer_other_sites() -> None:
    sites = _sites(16_000, 16_000)
    rules = Rules.of([2_000_000], [[True, False]], job_class=[1])
    jobs = _jobs(2, job_class=[0, 1])
    plan = match(jobs, sites, _series(200.0, 300.0), terms=Terms.of(sites, rules=rules))
    assert plan.site.tolist() == [0, 1]
    assert plan.cost_micro.tolist() == [200_000, 300_000]


def test_the_first_rule_that_names_a_pair_holds() -> None:
    sites = _sites(16_000)
    rules = Rules.of([1_000_000, ANY], [[True], [True]], tenant=[3, ANY])
    plan = match(_jobs(2, tenant=[3, 4]), sites, _series(200.0), terms=Terms.of(sites, rules=rules))
    assert plan.reason.tolist() == [Reason.PLACED, Reason.REJECTED_RULE]


def test_weights_of_energy_and_latency_decide_between_sites() -> None:
    network = Network.of([[1.0, 30.0], [30.0, 1.0]])
    sites, series = _sites(16_000, 16_000, hub=[0, 1]), _series(500.0, 200.0)
    jobs = _jobs(1, origin_hub=0)
    assert match(jobs, sites, series, network).site.tolist() == [1]
    near = match(jobs, sites, series, network, Policy(latency_price_per_ms=0.02))
    assert near.site.tolist() == [0]
    assert near.cost_micro.tolist() == [520_000]
    light = Policy(latency_price_per_ms=0.01, energy_weight=0.5)
    assert match(jobs, sites, series, network, light).cost_micro.tolist() == [260_000]


def test_replicas_that_are_kept_apart_never_share_a_site_at_once() -> None:
    sites = _sites(40_000, 40_000)
    plan = match(_jobs(3, apart=0), sites, _series(200.0, 300.0))
    assert sorted(plan.site.tolist()) == [ANY, 0, 1]
    assert plan.reason[plan.site == ANY].tolist() == [Reason.REJECTED_APART]
    assert match(_jobs(3), sites, _series(200.0, 300.0)).site.tolist() == [0, 0, 0]


def test_one_after_the_other_they_may() -> None:
    sites = Sites.of(["a"], [[40_000, 0, 100_000, 0, 0]], 2)
    plan = match(_jobs(2, apart=0), sites, Series.of(HOUR_MS, [[200.0, 300.0]], 0.0))
    assert sorted(plan.slot.tolist()) == [0, 1]


def test_a_bad_quota_or_rule_is_named_and_the_others_hold() -> None:
    sites = _sites(16_000)
    limits = np.vstack([_limit(cores_milli=-5), _limit(cores_milli=4000)])
    quotas = Quotas.of(["bad", "good"], limits, [[True], [True]], 1)
    rules = Rules.of([-2, 2_000_000], [[True], [True]])
    plan = match(_jobs(3), sites, _series(200.0), terms=Terms.of(sites, quotas, rules))
    assert [(e.table, e.row, e.column, e.value) for e in plan.errors] == [
        ("quotas", 0, "cores_milli", "-5"),
        ("rules", 0, "factor_ppm", "-2"),
    ]
    assert Status.BAD_INPUT in plan.status
    assert plan.rejects == 2
    assert plan.cost_micro.max() == 400_000


def test_terms_of_other_sites_or_slots_are_refused_by_name() -> None:
    sites = _sites(16_000)
    quota = Quotas.of(["q"], _limit(jobs=1), [[True, True]], 1)
    with pytest.raises(FieldError, match="quotas for 2 sites"):
        match(_jobs(1), sites, _series(200.0), terms=Terms.of(sites, quota))
    later = Quotas.of(["q"], _limit(jobs=1), [[True]], 2)
    with pytest.raises(FieldError, match="limits of 2 slots"):
        match(_jobs(1), sites, _series(200.0), terms=Terms.of(sites, later))


def test_a_warm_start_knows_the_prices_of_quotas() -> None:
    sites = _sites(16_000)
    quota = Quotas.of(["of-0"], _limit(cores_milli=8000), [[True]], 1, tenant=[0])
    terms, jobs = Terms.of(sites, quota), _jobs(4, tenant=0, reject_cost=[10.0, 9.0, 8.0, 7.0])
    before = match(jobs, sites, _series(200.0), terms=terms)
    again = match(jobs, sites, _series(200.0), terms=terms, warm=before.warm())
    assert again.iterations == 0
    assert (again.site == before.site).all()
    assert again.gap_rel <= before.gap_rel + 1e-9


def test_a_group_that_runs_together_shares_a_site_and_a_start_or_waits_as_one() -> None:
    sites = _sites(8000, 12_000)
    jobs = _jobs(3, together=5)
    plan = match(jobs, sites, _series(200.0, 300.0))
    assert plan.site.tolist() == [1, 1, 1]
    assert plan.cost_micro.tolist() == [900_000, 0, 0]
    assert plan.primal == pytest.approx(0.9)
    none = match(jobs, _sites(8000, 11_999), _series(200.0, 300.0))
    assert none.reason.tolist() == [Reason.REJECTED_TOO_LARGE] * 3
    assert none.primal == pytest.approx(30.0)


def test_a_group_goes_by_its_strictest_limit_and_a_move_of_it_is_one() -> None:
    network = Network.of([[1.0, 30.0], [30.0, 1.0]])
    sites, series = _sites(16_000, 16_000, hub=[0, 1]), _series(500.0, 200.0)
    jobs = _jobs(2, together=0, origin_hub=0, max_rtt_ms=[np.inf, 5.0])
    assert match(jobs, sites, series, network).site.tolist() == [0, 0]
    held = _jobs(2, together=0, current_site=0)
    assert match(held, sites, series, network, Policy(max_moves=0)).site.tolist() == [0, 0]
    moved = match(held, sites, series, network, Policy(max_moves=1))
    assert (moved.site.tolist(), moved.moves) == ([1, 1], 1)


def test_a_group_bound_to_two_sites_has_none() -> None:
    plan = match(_jobs(2, together=0, affinity=[0, 1]), _sites(9000, 9000), _series(1.0, 1.0))
    assert plan.reason.tolist() == [Reason.REJECTED_AFFINITY] * 2


def test_a_job_unlike_its_group_is_left_out_and_named() -> None:
    jobs = _jobs(3, together=0, duration_ms=[HOUR_MS, 2 * HOUR_MS, HOUR_MS])
    plan = match(jobs, _sites(16_000), _series(200.0))
    assert plan.site.tolist() == [0, ANY, 0]
    assert plan.reason[1] == Reason.BAD_INPUT
    (error,) = plan.errors
    assert (error.row, error.column, error.value) == (1, "duration_ms", str(2 * HOUR_MS))
    assert error.message == f"send {HOUR_MS}, as job-0 has"


def test_a_group_that_asks_for_too_much_in_all_is_left_out() -> None:
    jobs = Jobs.of(["a", "b"], [[2**39, 0, 0, 0, 0]] * 2, together=0, reject_cost=1.0)
    plan = match(jobs, _sites(16_000), _series(200.0))
    assert plan.reason.tolist() == [Reason.BAD_INPUT] * 2
    assert {error.column for error in plan.errors} == {"together"}


def test_groups_that_run_together_are_kept_apart_from_each_other() -> None:
    jobs = _jobs(4, together=[0, 0, 1, 1], apart=7)
    plan = match(jobs, _sites(40_000, 40_000), _series(200.0, 300.0))
    assert plan.site[0] == plan.site[1] != plan.site[2] == plan.site[3]
