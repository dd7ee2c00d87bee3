"""Prices of quotas by the smoothed dual: HiGHS' linear program is the bound's oracle."""

from dataclasses import replace
from itertools import product

import highspy
import numpy as np
import pytest
from kernels.match._pooled import Pooled as Compiled

from kernels.match import (
    ANY,
    LIMITED,
    Jobs,
    Network,
    Plan,
    Policy,
    Quotas,
    Series,
    Sites,
    Terms,
    match,
)
from kernels.match.pooled import Pooled as Plain
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem as Rows
from kernels.match.problem import compile_problem
from kernels.match.smooth import is_smooth_better
from tests.property.match_cases import Problem
from tests.property.match_oracle import is_member, lifted, need, options_of

HOUR_MS = 3_600_000
TENANTS = 3


def _problem(jobs: int, sites: int, seed: int) -> tuple[Problem, Terms]:
    """One-hour runs of three tenants, who get a part of what they ask for at half of the sites."""
    random = np.random.default_rng(seed)
    n, m = jobs, sites
    cores = random.choice([2, 4, 8, 16, 32], n)
    accel = random.choice([0, 1, 2, 4, 8], n, p=[0.5, 0.2, 0.1, 0.1, 0.1])
    watts = ((6 * cores + 550 * accel) * random.uniform(0.8, 1.2, n)).astype(np.int64)
    demand = np.column_stack([1000 * cores, 1000 * accel, watts, 0 * cores, 0 * cores])
    pue = random.integers(1_080_000, 1_500_000, m)
    share = demand.sum(axis=0) / 0.9 * random.dirichlet(np.full(m, 3.0))[:, None]
    share[:, 2] *= pue / 1e6
    room = share.astype(np.int64)
    room -= room % [2000, 1000, 1, 1, 1]  # the linear program knows no whole jobs
    tenant = random.integers(0, TENANTS, n)
    table = Jobs.of(
        [f"job-{i:04d}" for i in range(n)],
        demand,
        duration_ms=HOUR_MS,
        data_gb=random.lognormal(1, 1, n),
        data_site=random.integers(0, m, n),
        reject_cost=watts * 0.004 + 3.0,
        tenant=tenant,
    )
    network = Network.of(np.zeros((m, m)), random.uniform(0.0, 0.2, (m, m)))
    columns = (
        table,
        Sites.of(
            [f"site-{j}" for j in range(m)],
            room[:, None],
            1,
            hub=np.arange(m),
            pue_ppm=pue,
        ),
        Series.of(HOUR_MS, random.uniform(250, 850, (m, 1)), 0.5),
        network,
        Policy(0.2, gap_target=0.001),
    )
    limit = np.full((TENANTS, len(LIMITED)), ANY)
    for of in range(TENANTS):
        wanted = demand[tenant == of, :3].sum(axis=0) * 2 // 5
        limit[of, :3] = wanted - wanted % [2000, 1000, 1]  # nor here
    covers = np.tile(np.arange(m) < m // 2, (TENANTS, 1))
    quotas = Quotas.of(
        [f"of-{of}" for of in range(TENANTS)], limit, covers, 1, tenant=range(TENANTS)
    )
    return columns, Terms.of(columns[1], quotas)


def _rows(problem: Problem, terms: Terms) -> Rows:
    return compile_problem(*problem, terms=terms).problem


def _linear(problem: Problem, terms: Terms) -> float:
    """Optimum of the textbook model with fractions of jobs."""
    jobs, sites, horizon = *problem[:2], problem[2].price_per_mwh.shape[1]
    options, reject = options_of(problem, terms), lifted(problem, terms)
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    for cost in [*[option[4] for option in options], *reject]:
        highs.addCol(cost, 0.0, 1.0, 0, [], [])
    rows: dict[tuple, tuple[float, dict[int, float]]] = {
        ("job", i): (1.0, {len(options) + i: 1.0}) for i in range(len(reject))
    }
    for at, (i, m, start, runs, _) in enumerate(options):
        rows["job", i][1][at] = 1.0
        taken, slots = need(jobs, sites, i, m), range(start, min(start + runs, horizon))
        for t, k in product(slots, range(5)):
            row = rows.setdefault(("site", m, t, k), (float(sites.capacity[m, t, k]), {}))
            row[1][at] = float(taken[k])
        for q in range(len(terms.quotas.quota_id)):
            if terms.quotas.covers[q, m] and is_member(terms, q, jobs, i):
                for t, k in product(slots, range(5)):
                    limit = float(terms.quotas.limit[q, t, k])
                    if limit >= 0:
                        row = rows.setdefault(("quota", q, t, k), (limit, {}))
                        row[1][at] = float(taken[k])
    for (kind, *_), (limit, taken) in rows.items():
        least = limit if kind == "job" else -highspy.kHighsInf
        highs.addRow(least, limit, len(taken), list(taken), list(taken.values()))
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(highs.getInfo().objective_function_value)


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_with_quotas_reaches_the_linear_program(seed: int) -> None:
    problem, terms = _problem(400, 4, seed)
    assert is_smooth_better(_rows(problem, terms))
    plan, linear = match(*problem, terms=terms), _linear(problem, terms)
    assert plan.quota_prices.any()  # the quotas bind
    assert linear * (1 - 0.0015) <= plan.dual <= linear * (1 + 1e-9)


def _nation(seed: int) -> tuple[Jobs, Sites, Series, Quotas]:
    """Jobs of three tenants, cities of three hubs in turn, and a quota for two tenants."""
    random = np.random.default_rng(seed)
    n, slots = 240, 3
    cores, hours = random.integers(1, 17, n) * 1000, random.integers(1, 3, n)
    demand = np.column_stack([cores, 0 * cores, cores // 10, 0 * cores, 0 * cores])
    jobs = Jobs.of(
        [f"job-{k:03d}" for k in range(n)],
        demand,
        duration_ms=hours * HOUR_MS,
        reject_cost=random.uniform(1, 4, n) * cores / 1000,
        tenant=random.integers(0, 3, n),
    )
    total = int((cores * hours).sum())
    cities = 12
    capacity = np.zeros((cities, slots, 5), np.int64)
    capacity[:, :, 0] = random.uniform(0.6, 1.4, (cities, 1)) * total / (cities * slots)
    capacity[:, :, 2] = 10**6
    sites = Sites.of([f"city-{k}" for k in range(cities)], capacity, slots)
    price = 200 + 300 * (np.arange(cities) // 4)[:, None] + random.uniform(0, 50, (cities, 1))
    limit = np.full((2, 6), ANY)
    limit[:, LIMITED.index("cores_milli")] = total // (4 * slots)
    quotas = Quotas.of(["0", "1"], limit, np.ones((2, cities)), slots, tenant=[0, 1])
    return jobs, sites, Series.of(HOUR_MS, np.repeat(price, slots, axis=1), 0.0), quotas


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_of_a_lumpy_day_with_quotas_is_near_the_linear_program(seed: int) -> None:
    """240 jobs at 12 cities in 3 slots; their sizes are a good share of what a city has."""
    jobs, sites, series, quotas = _nation(seed)
    limit = np.where(quotas.limit == ANY, ANY, quotas.limit // 1000 * 1000)  # whole cores
    quotas = replace(quotas, limit=limit)
    step = np.gcd.reduce(jobs.demand[:, :2])  # cores and accelerators: a site draws what is asked
    room = sites.capacity.copy()
    room[:, :, :2] -= room[:, :, :2] % np.maximum(step, 1)
    sites = replace(sites, capacity=room)
    terms, problem = Terms.of(sites, quotas), (jobs, sites, series, Network.of(), Policy())
    plan, linear = match(*problem, terms=terms), _linear(problem, terms)
    assert plan.quota_prices.any()
    assert linear * 0.98 <= plan.dual <= linear * (1 + 1e-9)
    assert plan.primal <= 1.05 * linear


def test_a_limit_counts_as_far_as_whole_demands_can_fill_it() -> None:
    """Two runs of 4 cores fit in 11, and no price says that the third is nearly there."""
    sites = Sites.of(["site"], [[40_000, 0, 100_000, 0, 0]], 1)
    limit = [[11_000, ANY, ANY, ANY, ANY, ANY]]
    quota = Quotas.of(["of-0"], limit, [[True]], 1, tenant=[0])
    jobs = Jobs.of(
        [f"job-{k}" for k in range(3)],
        [[4000, 0, 1000, 0, 0]] * 3,
        duration_ms=HOUR_MS,
        reject_cost=10.0,
        tenant=0,
    )
    series = Series.of(HOUR_MS, [[200.0]], 0.0)
    plan = match(jobs, sites, series, terms=Terms.of(sites, quota))
    assert plan.rejects == 1
    assert plan.gap_rel < 0.01
    assert plan.relax.max() == 1000.0  # of the limit as given


def test_many_jobs_under_quotas_are_placed_near_the_linear_program() -> None:
    """Nearer than local search without regard to who is in which quota, which ends at 0.6 %."""
    problem, terms = _problem(1200, 4, 0)
    plan, linear = match(*problem, terms=terms), _linear(problem, terms)
    assert plan.rejects > 0
    assert plan.primal <= 1.0055 * linear


@pytest.mark.parametrize("slots", [1, 3])
def test_both_engines_agree_where_quotas_bind(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if slots == 1:
        (*columns, policy), terms = _problem(200, 4, 3)
    else:
        *columns, quotas = _nation(0)
        few = columns[0].take(np.arange(100))
        columns, policy = [few, *columns[1:], Network.of()], Policy(gap_target=0.1)
        terms = Terms.of(columns[1], quotas)
    assert is_smooth_better(_rows((*columns, policy), terms))
    policy = replace(policy, passes=1, scan=4, candidates=4, work=1_000, iterations=4)
    compiled = match(*columns, policy, terms=terms)
    monkeypatch.setenv("GRIDLOOM_PURE", "1")
    plain = match(*columns, policy, terms=terms)
    for name in Plan.__dataclass_fields__:
        left, right = getattr(compiled, name), getattr(plain, name)
        assert np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right, name


@pytest.mark.parametrize("engine", [Compiled, Plain])
def test_the_curvature_is_how_the_expected_use_falls_as_prices_rise(engine: type) -> None:
    problem, terms = _problem(60, 4, 5)
    rows = _rows(problem, terms)
    tables, loops = PriceTables(rows), engine(rows)
    tau = 0.5 * float(rows.fixed[np.isfinite(rows.fixed)].mean() + 1.0)
    count = rows.capacity.size
    column = np.arange(count).reshape(rows.capacity.shape)
    unit = np.maximum(rows.capacity[:4, 0].max(axis=0), 1).astype(np.float64)

    def soft(prices: np.ndarray):
        table = tables.at(prices.reshape(column.shape) / unit)
        return loops.soften(table, np.arange(len(rows.row)), tau, 1.0, column, 1.0 / unit, count, 1)

    prices = np.random.default_rng(1).uniform(0.5, 5.0, count)
    here, step = soft(prices), 1e-3
    whole = np.triu(here.curvature) + np.triu(here.curvature, 1).T
    for q in range(count):
        ahead, behind = prices.copy(), prices.copy()
        ahead[q] += step
        behind[q] -= step
        falls = (soft(behind).use - soft(ahead).use) / (2 * step)
        assert np.allclose(falls, whole[q], rtol=2e-2, atol=2e-3 * whole.max())
