"""A nation hands quotas to hubs and hubs to cities; each level is solved by the same kernel."""

from dataclasses import replace

import numpy as np
import pytest

from kernels.match import ANY, LIMITED, Jobs, Plan, Policy, Quotas, Series, Sites, Terms, match
from kernels.match.hierarchy import Handed, hand_down

HOUR_MS = 3_600_000
SLOTS, HUBS, CITIES = 3, 3, 4
POLICY = Policy(gap_target=0.002)


def _nation(seed: int) -> tuple[Jobs, Sites, Series, Quotas]:
    """Jobs of three tenants, cities in the order of their hubs, and a quota for two tenants."""
    random = np.random.default_rng(seed)
    n = 240
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
    cities = HUBS * CITIES
    capacity = np.zeros((cities, SLOTS, 5), np.int64)
    capacity[:, :, 0] = random.uniform(0.6, 1.4, (cities, 1)) * total / (cities * SLOTS)
    capacity[:, :, 2] = 10**6
    sites = Sites.of([f"city-{k}" for k in range(cities)], capacity, SLOTS)
    price = 200 + 300 * (np.arange(cities) // CITIES)[:, None] + random.uniform(0, 50, (cities, 1))
    limit = np.full((2, 6), ANY)
    limit[:, LIMITED.index("cores_milli")] = total // (4 * SLOTS)
    quotas = Quotas.of(["0", "1"], limit, np.ones((2, cities)), SLOTS, tenant=[0, 1])
    return jobs, sites, Series.of(HOUR_MS, np.repeat(price, SLOTS, axis=1), 0.0), quotas


def _as_sites(sites: Sites, series: Series, of: np.ndarray) -> tuple[Sites, Series]:
    """Cities put together: as much as all of them, at their mean price."""
    groups = range(int(of.max()) + 1)
    capacity = np.stack([sites.capacity[of == g].sum(axis=0) for g in groups])
    price = np.stack([series.price_per_mwh[of == g].mean(axis=0) for g in groups])
    made = Sites.of([f"group-{g}" for g in groups], capacity, SLOTS)
    return made, Series.of(HOUR_MS, price, 0.0)


def _all_levels(seed: int) -> tuple[list[Handed], list[Plan], list[np.ndarray], Quotas]:
    """What the nation hands to its hubs, their plans over cities, and the jobs of each."""
    jobs, sites, series, quotas = _nation(seed)
    hub_of = np.arange(HUBS * CITIES) // CITIES
    hubs, hub_series = _as_sites(sites, series, hub_of)
    national = replace(quotas, covers=np.ones((2, HUBS), np.bool_))
    plan = match(jobs, hubs, hub_series, policy=POLICY, terms=Terms.of(hubs, national))
    handed = hand_down(jobs, hubs, plan, national)
    plans = []
    for hub, given in enumerate(handed):
        of_hub = np.flatnonzero(hub_of == hub)
        cities = Sites.of(sites.site_id[of_hub], sites.capacity[of_hub], SLOTS)
        prices = Series.of(HOUR_MS, series.price_per_mwh[of_hub], 0.0)
        terms = Terms.of(cities, given.quotas(national, f"hub-{hub}", CITIES))
        plans.append(match(jobs.take(given.rows), cities, prices, policy=POLICY, terms=terms))
    return handed, plans, [given.rows for given in handed], national


@pytest.mark.parametrize("seed", range(3))
def test_the_parts_of_the_children_never_exceed_the_parents_quota(seed: int) -> None:
    handed, plans, _, national = _all_levels(seed)
    held = national.limit != ANY
    parts = sum(np.where(held, given.limit[:2], 0) for given in handed)
    assert (parts[held] == national.limit[held]).all()
    used = sum(plan.quota_used[:2] for plan in plans)
    assert (used[held] <= national.limit[held]).all()
    for given, plan in zip(handed, plans, strict=True):
        own = given.limit != ANY
        assert (plan.quota_used[own] <= given.limit[own]).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_hub_hands_on_to_its_cities_what_the_nation_handed_to_it(seed: int) -> None:
    jobs, sites, _, _ = _nation(seed)
    handed, plans, rows, national = _all_levels(seed)
    for hub, (given, plan) in enumerate(zip(handed, plans, strict=True)):
        of_hub = slice(hub * CITIES, (hub + 1) * CITIES)
        cities = Sites.of(sites.site_id[of_hub], sites.capacity[of_hub], SLOTS)
        quotas = given.quotas(national, f"hub-{hub}", CITIES)
        parts = hand_down(jobs.take(rows[hub]), cities, plan, quotas)
        held = given.limit != ANY
        total = sum(np.where(held, part.limit[:3], 0) for part in parts)
        assert (total[held] == given.limit[held]).all()
        assert sorted(np.concatenate([part.rows for part in parts]).tolist()) == sorted(
            np.flatnonzero(plan.site >= 0).tolist()
        )


@pytest.mark.parametrize("seed", range(3))
def test_level_by_level_costs_little_more_than_all_at_once(seed: int) -> None:
    jobs, sites, series, quotas = _nation(seed)
    once = match(jobs, sites, series, policy=POLICY, terms=Terms.of(sites, quotas))
    _, plans, rows, _ = _all_levels(seed)
    placed = np.zeros(len(jobs.job_id), np.bool_)
    cost = 0.0
    for plan, of in zip(plans, rows, strict=True):
        placed[of] = plan.site >= 0
        cost += float(plan.cost_micro.sum()) / 1e6
    cost += float(jobs.reject_cost[~placed].sum())
    assert once.dual <= cost
    assert cost <= 1.25 * once.primal  # lumpy: a fragment of a hub fits no job


def test_what_nobody_uses_is_handed_out_in_equal_parts_to_the_unit() -> None:
    sites = Sites.of(["a", "b", "c"], [[9, 9, 9, 9, 9]] * 3, 1)
    quotas = Quotas.of(["q"], [[11, ANY, ANY, ANY, ANY, ANY]], [[True, True, False]], 1)
    jobs = Jobs.of([], np.zeros((0, 5)))
    plan = match(jobs, sites, Series.of(HOUR_MS, [[1.0]] * 3, 0.0), terms=Terms.of(sites, quotas))
    handed = hand_down(jobs, sites, plan, quotas)
    assert [int(part.limit[0, 0, 0]) for part in handed] == [6, 5, ANY]
    assert [int(part.limit[1, 0, 0]) for part in handed] == [9, 9, 9]
