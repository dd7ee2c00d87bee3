"""On small random problems the match is feasible, and HiGHS' optimum lies between its bounds.

The oracle enumerates options one by one from the definitions, in plain Python, and knows nothing
of the kernel's code.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.match import Certificate, Plan, Reason, Status, certify, match
from tests.property.match_cases import Problem, random_problem
from tests.property.match_oracle import can_move, lifted, need, optimum_of, options_of


def _assert_feasible(problem: Problem, plan: Plan) -> None:
    """Every placement is an option, and no capacity is exceeded, in Python's integers."""
    jobs, sites, series, _, _ = problem
    horizon = series.price_per_mwh.shape[1]
    allowed = {(i, m, s): (runs, cost) for i, m, s, runs, cost in options_of(problem)}
    used = np.zeros((len(sites.site_id), horizon, 5), dtype=object)
    for i, (m, s) in enumerate(zip(plan.site.tolist(), plan.slot.tolist(), strict=True)):
        assert (plan.reason[i] == Reason.PLACED) == (m >= 0)
        if m < 0:
            continue
        runs, cost = allowed[i, m, s]
        assert plan.slots[i] == runs
        assert abs(plan.cost_micro[i] - cost * 1e6) <= 1
        for t in range(s, min(s + runs, horizon)):
            used[m, t] += np.array(need(jobs, sites, i, m), dtype=object)
    assert (used == plan.used).all()
    assert (used <= sites.capacity).all()


def _tolerance(problem: Problem) -> float:
    return 1e-7 * (1.0 + sum(lifted(problem)))


_SLOWLY = settings(
    max_examples=220, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1))
def test_the_optimum_lies_between_dual_and_primal(seed: int) -> None:
    problem = random_problem(seed)
    plan = match(*problem)
    _assert_feasible(problem, plan)
    optimum = optimum_of(problem)
    assert plan.dual <= optimum + _tolerance(problem)
    assert optimum <= plan.primal + _tolerance(problem)
    assert plan.dual <= plan.primal


@settings(_SLOWLY, max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), budget=st.integers(0, 3))
def test_no_more_jobs_leave_their_site_than_the_budget_allows(seed: int, budget: int) -> None:
    *columns, policy = random_problem(seed)
    problem = (*columns, replace(policy, max_moves=budget))
    jobs, plan = problem[0], match(*problem)
    _assert_feasible(problem, plan)
    moved = [
        i
        for i, m in enumerate(plan.site.tolist())
        if m >= 0 and can_move(problem, i) and m != jobs.current_site[i]
    ]
    assert len(moved) <= budget
    optimum = optimum_of(problem)
    assert plan.dual <= optimum + _tolerance(problem)
    assert optimum <= plan.primal + _tolerance(problem)


def test_the_mean_excess_over_the_optimum_is_small() -> None:
    excess = []
    for seed in range(120):
        problem = random_problem(seed)
        jobs = replace(problem[0], priority=np.zeros_like(problem[0].priority))
        problem = (jobs, *problem[1:])
        plan, optimum = match(*problem), optimum_of(problem)
        scale = sum(lifted(problem))
        excess.append((plan.primal - optimum) / max(scale, 1e-9))
    assert np.mean(excess) < 0.01
    assert np.quantile(excess, 0.5) < 1e-6


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1), weight=st.floats(0, 3))
def test_no_prices_at_all_can_lift_the_bound_above_theoptimum_of(seed: int, weight: float) -> None:
    problem = random_problem(seed)
    plan = match(*problem)
    random = np.random.default_rng(seed)
    prices = weight * random.exponential(1e-3, plan.prices.shape)
    proof = _certify(problem, plan, prices)
    assert not proof.violations
    assert proof.dual <= optimum_of(problem) + _tolerance(problem)
    assert proof.primal == plan.primal


def _certify(problem: Problem, plan: Plan, prices: np.ndarray) -> Certificate:
    return certify(*problem, plan.site, plan.slot, prices)


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1))
def test_both_engines_give_the_same_plan(seed: int) -> None:
    problem = random_problem(seed)
    compiled = match(*problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRIDLOOM_PURE", "1")
        plain = match(*problem)
    _assert_same(compiled, plain)


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_jobs_does_not_matter(seed: int) -> None:
    problem = random_problem(seed)
    jobs = problem[0]
    order = np.random.default_rng(seed).permutation(len(jobs.job_id))
    one, other = match(*problem), match(jobs.take(order), *problem[1:])
    for name in ("site", "slot", "slots", "cost_micro", "reason", "reason_site", "reason_resource"):
        assert (getattr(one, name)[order] == getattr(other, name)).all(), name
    assert (one.prices == other.prices).all()
    assert one.primal == other.primal
    assert one.dual == other.dual


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1))
def test_a_warm_start_is_never_worse_than_keeping_the_plan(seed: int) -> None:
    problem = random_problem(seed)
    before = match(*problem)
    again = match(*problem, warm=before.warm())
    assert again.primal <= before.primal
    _assert_feasible(problem, again)


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1), power=st.sampled_from([-3, 1, 5]))
def test_a_power_of_two_in_the_unit_of_money_changes_no_placement(seed: int, power: int) -> None:
    jobs, sites, series, network, policy = random_problem(seed)
    factor = 2.0**power
    scaled = match(
        replace(
            jobs,
            migration_cost=jobs.migration_cost * factor,
            reject_cost=jobs.reject_cost * factor,
        ),
        sites,
        replace(series, price_per_mwh=series.price_per_mwh * factor),
        replace(network, price_per_gb=network.price_per_gb * factor),
        replace(policy, carbon_price_per_kg=policy.carbon_price_per_kg * factor),
    )
    plan = match(jobs, sites, series, network, policy)
    assert (scaled.site == plan.site).all()
    assert (scaled.slot == plan.slot).all()
    assert scaled.primal == plan.primal * factor


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1))
def test_a_job_rejected_for_capacity_has_no_room_left_anywhere(seed: int) -> None:
    problem = random_problem(seed)
    jobs, sites, series, _, _ = problem
    plan = match(*problem)
    free, reject = sites.capacity - plan.used, lifted(problem)
    horizon = series.price_per_mwh.shape[1]
    options = options_of(problem)
    for i in np.flatnonzero(plan.reason == Reason.REJECTED_CAPACITY).tolist():
        for job, m, s, runs, cost in options:
            if job == i and cost < reject[i]:
                taken = need(jobs, sites, i, m)
                assert (free[m, s : min(s + runs, horizon)] < taken).any()
        assert plan.reason_site[i] >= 0
        assert plan.reason_resource[i] >= 0


def test_a_problem_without_scarcity_is_solved_to_itsoptimum_of() -> None:
    problem = random_problem(7)
    sites = replace(problem[1], capacity=problem[1].capacity * 0 + 10**9)
    plan = match(problem[0], sites, *problem[2:])
    assert Status.GAP_MET in plan.status
    assert plan.primal == pytest.approx(optimum_of((problem[0], sites, *problem[2:])))


def _assert_same(one: Plan, other: Plan) -> None:
    for name in Plan.__dataclass_fields__:
        left, right = getattr(one, name), getattr(other, name)
        assert np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right, name
