"""On small random problems the match is feasible, and HiGHS' optimum lies between its bounds.

The oracle enumerates options one by one from the definitions, in plain Python, and knows nothing
of the kernel's code.
"""

from dataclasses import replace
from itertools import product
from math import ceil, inf, isfinite

import highspy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.match import (
    Certificate,
    Jobs,
    Network,
    Plan,
    Policy,
    Reason,
    Series,
    Sites,
    Status,
    certify,
    match,
)

HOUR_MS = 3_600_000
Problem = tuple[Jobs, Sites, Series, Network, Policy]


def _random_problem(seed: int) -> Problem:
    """A small problem with every kind of constraint; loads from slack to overfull."""
    random = np.random.default_rng(seed)
    n, m, slots, hubs = (int(random.integers(*span)) for span in ((1, 13), (1, 4), (1, 5), (1, 4)))
    cores = random.integers(1, 9, n) * 1000
    accel = random.choice([0, 0, 1000, 2000], n)
    watts = random.integers(100, 4000, n)
    green = np.where(random.random(n) < 0.3, watts, 0)
    mbps = random.integers(0, 50, n)
    hours = random.choice([1, 1, 2, 3, 7], n)
    release = random.integers(0, slots, n)
    demand = np.column_stack([cores, accel, watts, mbps, green])
    jobs = Jobs.of(
        [f"job-{k}" for k in random.permutation(n)],
        demand,
        job_class=random.integers(0, 3, n),
        precision=random.integers(0, 4, n),
        duration_ms=hours * HOUR_MS - random.integers(0, HOUR_MS, n),
        release_slot=release,
        deadline_slot=np.where(
            random.random(n) < 0.6, release + hours + random.integers(0, 4, n), -1
        ),
        origin_hub=random.integers(-1, hubs, n),
        max_rtt_ms=random.choice([5.0, 15.0, inf], n),
        residency=np.where(random.random(n) < 0.3, random.integers(1, 2**hubs, n), -1),
        affinity=np.where(random.random(n) < 0.1, random.integers(0, m, n), -1),
        data_gb=random.uniform(0, 40, n),
        data_site=random.integers(-1, m, n),
        current_site=random.integers(-1, m, n),
        migration_cost=random.uniform(0, 2, n),
        reject_cost=random.uniform(0, 8, n),
        priority=random.integers(0, 4, n) if random.random() < 0.3 else 0,
    )
    load = random.uniform(0.3, 1.5)
    total = (demand * np.minimum(hours, slots)[:, None]).sum(axis=0) / (slots * m * load)
    capacity = (total * random.uniform(0.3, 1.7, (m, slots, 5))).astype(np.int64)
    sites = Sites.of(
        [f"site-{k}" for k in range(m)],
        capacity,
        slots,
        hub=random.integers(0, hubs, m),
        pue_ppm=random.integers(1_000_000, 1_600_000, m),
        classes=random.choice([7, 7, 3, 5], m),
        rate_ppm=random.choice([0, 500_000, 1_000_000, 1_000_000, 2_000_000], (m, 3, 4)),
        up=random.random(m) < 0.9,
    )
    rtt = random.uniform(1, 25, (hubs, hubs))
    rtt[random.random((hubs, hubs)) < 0.1] = inf
    series = Series.of(
        HOUR_MS, random.uniform(-50, 900, (m, slots)), random.uniform(0, 0.9, (m, slots))
    )
    network = Network.of(rtt, random.uniform(0, 0.05, (hubs, hubs)))
    return jobs, sites, series, network, Policy(carbon_price_per_kg=0.1)


def _need(jobs: Jobs, sites: Sites, job: int, site: int) -> list[int]:
    """Whole units of capacity that the job takes at the site."""
    pue = int(sites.pue_ppm[site])
    return [
        -(-int(asked) * pue // 1_000_000) if k in (2, 4) else int(asked)
        for k, asked in enumerate(jobs.demand[job])
    ]


def _options(problem: Problem) -> list[tuple[int, int, int, int, float]]:
    """(job, site, start, slots it runs, cost) of all that is allowed and fits an empty site."""
    jobs, sites, series, network, policy = problem
    horizon = series.price_per_mwh.shape[1]
    found = []
    for i, m in product(range(len(jobs.job_id)), range(len(sites.site_id))):
        hub, kind = int(sites.hub[m]), int(jobs.job_class[i])
        rate = int(sites.rate_ppm[m, kind, jobs.precision[i]])
        if not sites.up[m] or not (int(sites.classes[m]) >> kind) & 1 or rate == 0:
            continue
        if jobs.affinity[i] not in (-1, m) or not (int(jobs.residency[i]) >> hub) & 1:
            continue
        rtt = 0.0 if jobs.origin_hub[i] < 0 else network.rtt_ms[jobs.origin_hub[i], hub]
        if not isfinite(rtt) or rtt > jobs.max_rtt_ms[i]:
            continue
        runs = ceil(int(jobs.duration_ms[i]) * 1_000_000 / (rate * series.slot_ms))
        cost = 0.0
        if jobs.data_site[i] not in (-1, m):
            cost += jobs.data_gb[i] * network.price_per_gb[sites.hub[jobs.data_site[i]], hub]
        if jobs.current_site[i] not in (-1, m):
            cost += jobs.migration_cost[i]
        kilowatts = jobs.demand[i, 2] / 1000 * sites.pue_ppm[m] / 1e6
        for start in range(max(0, int(jobs.release_slot[i])), horizon):
            if jobs.deadline_slot[i] != -1 and start + runs > jobs.deadline_slot[i]:
                continue
            free = sites.capacity[m, start : min(start + runs, horizon)]
            if (free < _need(jobs, sites, i, m)).any():
                continue
            energy = 0.0
            for slot in range(start, start + runs):
                t = min(slot, horizon - 1)
                per_kwh = series.price_per_mwh[m, t] / 1000
                per_kwh += policy.carbon_price_per_kg * series.ci_kg_per_kwh[m, t]
                energy += kilowatts * per_kwh
            found.append((i, m, start, runs, cost + energy))
    return found


def _lifted(problem: Problem) -> list[float]:
    """Reject costs; of the jobs with options, one outweighs all of lower priority."""
    jobs = problem[0]
    with_option = {option[0] for option in _options(problem)}
    lifted, below = jobs.reject_cost.tolist(), 0.0
    for priority in range(4):
        rows = [i for i in with_option if jobs.priority[i] == priority]
        for i in rows:
            lifted[i] += below
        below += sum(lifted[i] for i in rows)
    return lifted


def _optimum(problem: Problem) -> float:
    """HiGHS on the textbook model: x[option] binary, one capacity row a site, slot and resource."""
    jobs, sites, series, _, _ = problem
    n, horizon = len(jobs.job_id), series.price_per_mwh.shape[1]
    options, reject = _options(problem), _lifted(problem)
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.setOptionValue("mip_abs_gap", 0.0)
    place = [highs.addBinary(obj=cost) for *_, cost in options]
    refuse = [highs.addBinary(obj=cost) for cost in reject]
    for i in range(n):
        mine = [x for x, option in zip(place, options, strict=True) if option[0] == i]
        highs.addConstr(sum(mine, refuse[i] * 1.0) == 1)
    for m, t, k in product(range(len(sites.site_id)), range(horizon), range(5)):
        use = [
            x * float(_need(jobs, sites, i, m)[k])
            for x, (i, site, start, runs, _) in zip(place, options, strict=True)
            if site == m and start <= t < start + runs
        ]
        if use:
            highs.addConstr(sum(use[1:], use[0]) <= float(sites.capacity[m, t, k]))
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(highs.getInfo().objective_function_value)


def _assert_feasible(problem: Problem, plan: Plan) -> None:
    """Every placement is an option, and no capacity is exceeded, in Python's integers."""
    jobs, sites, series, _, _ = problem
    horizon = series.price_per_mwh.shape[1]
    allowed = {(i, m, s): (runs, cost) for i, m, s, runs, cost in _options(problem)}
    used = np.zeros((len(sites.site_id), horizon, 5), dtype=object)
    for i, (m, s) in enumerate(zip(plan.site.tolist(), plan.slot.tolist(), strict=True)):
        assert (plan.reason[i] == Reason.PLACED) == (m >= 0)
        if m < 0:
            continue
        runs, cost = allowed[i, m, s]
        assert plan.slots[i] == runs
        assert abs(plan.cost_micro[i] - cost * 1e6) <= 1
        for t in range(s, min(s + runs, horizon)):
            used[m, t] += np.array(_need(jobs, sites, i, m), dtype=object)
    assert (used == plan.used).all()
    assert (used <= sites.capacity).all()


def _tolerance(problem: Problem) -> float:
    return 1e-7 * (1.0 + sum(_lifted(problem)))


_SLOWLY = settings(
    max_examples=220, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1))
def test_the_optimum_lies_between_dual_and_primal(seed: int) -> None:
    problem = _random_problem(seed)
    plan = match(*problem)
    _assert_feasible(problem, plan)
    optimum = _optimum(problem)
    assert plan.dual <= optimum + _tolerance(problem)
    assert optimum <= plan.primal + _tolerance(problem)
    assert plan.dual <= plan.primal


def test_the_mean_excess_over_the_optimum_is_small() -> None:
    excess = []
    for seed in range(120):
        problem = _random_problem(seed)
        jobs = replace(problem[0], priority=np.zeros_like(problem[0].priority))
        problem = (jobs, *problem[1:])
        plan, optimum = match(*problem), _optimum(problem)
        scale = sum(_lifted(problem))
        excess.append((plan.primal - optimum) / max(scale, 1e-9))
    assert np.mean(excess) < 0.01
    assert np.quantile(excess, 0.5) < 1e-6


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1), weight=st.floats(0, 3))
def test_no_prices_at_all_can_lift_the_bound_above_the_optimum(seed: int, weight: float) -> None:
    problem = _random_problem(seed)
    plan = match(*problem)
    random = np.random.default_rng(seed)
    prices = weight * random.exponential(1e-3, plan.prices.shape)
    proof = _certify(problem, plan, prices)
    assert not proof.violations
    assert proof.dual <= _optimum(problem) + _tolerance(problem)
    assert proof.primal == plan.primal


def _certify(problem: Problem, plan: Plan, prices: np.ndarray) -> Certificate:
    return certify(*problem, plan.site, plan.slot, prices)


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1))
def test_both_engines_give_the_same_plan(seed: int) -> None:
    problem = _random_problem(seed)
    compiled = match(*problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRIDLOOM_PURE", "1")
        plain = match(*problem)
    _assert_same(compiled, plain)


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_jobs_does_not_matter(seed: int) -> None:
    problem = _random_problem(seed)
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
    problem = _random_problem(seed)
    before = match(*problem)
    again = match(*problem, warm=before.warm())
    assert again.primal <= before.primal
    _assert_feasible(problem, again)


@_SLOWLY
@given(seed=st.integers(0, 2**32 - 1), power=st.sampled_from([-3, 1, 5]))
def test_a_power_of_two_in_the_unit_of_money_changes_no_placement(seed: int, power: int) -> None:
    jobs, sites, series, network, policy = _random_problem(seed)
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
    problem = _random_problem(seed)
    jobs, sites, series, _, _ = problem
    plan = match(*problem)
    free, reject = sites.capacity - plan.used, _lifted(problem)
    horizon = series.price_per_mwh.shape[1]
    options = _options(problem)
    for i in np.flatnonzero(plan.reason == Reason.REJECTED_CAPACITY).tolist():
        for job, m, s, runs, cost in options:
            if job == i and cost < reject[i]:
                need = _need(jobs, sites, i, m)
                assert (free[m, s : min(s + runs, horizon)] < need).any()
        assert plan.reason_site[i] >= 0
        assert plan.reason_resource[i] >= 0


def test_a_problem_without_scarcity_is_solved_to_its_optimum() -> None:
    problem = _random_problem(7)
    sites = replace(problem[1], capacity=problem[1].capacity * 0 + 10**9)
    plan = match(problem[0], sites, *problem[2:])
    assert Status.GAP_MET in plan.status
    assert plan.primal == pytest.approx(_optimum((problem[0], sites, *problem[2:])))


def _assert_same(one: Plan, other: Plan) -> None:
    for name in Plan.__dataclass_fields__:
        left, right = getattr(one, name), getattr(other, name)
        assert np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right, name
