"""The match's oracle: options one by one from the definitions, in plain Python, and HiGHS' optimum.

It knows nothing of the kernel's code.
"""

from itertools import product
from math import ceil, inf, isfinite

import highspy

from kernels.match import Jobs, Sites, Terms
from tests.property.match_cases import Problem


def need(jobs: Jobs, sites: Sites, job: int, site: int) -> list[int]:
    """Whole units of capacity that the job takes at the site."""
    pue = int(sites.pue_ppm[site])
    return [
        -(-int(asked) * pue // 1_000_000) if k in (2, 4) else int(asked)
        for k, asked in enumerate(jobs.demand[job])
    ]


def factor_of(terms: Terms | None, jobs: Jobs, job: int, site: int) -> float:
    """Factor of the costs by the first rule that names the pair; inf = forbidden."""
    for r in range(len(terms.rules.factor_ppm) if terms else 0):
        if terms.rules.covers[r, site] and _names(terms.rules, r, jobs, job):
            factor = int(terms.rules.factor_ppm[r])
            return inf if factor == -1 else factor / 1_000_000
    return 1.0


def _names(who, row: int, jobs: Jobs, job: int) -> bool:
    return all(
        getattr(who, name)[row] in (-1, getattr(jobs, name)[job])
        for name in ("tenant", "pairing", "job_class")
    )


def is_member(terms: Terms, q: int, jobs: Jobs, job: int) -> bool:
    """Whether the quota counts the job."""
    return _names(terms.quotas, q, jobs, job) != bool(terms.quotas.others[q])


def exceeds(terms: Terms | None, problem: Problem, job: int, site: int, slots: range) -> bool:
    """Whether the job alone is more than a quota allows."""
    jobs, sites = problem[:2]
    taken = [*need(jobs, sites, job, site), 1]
    return any(
        terms.quotas.covers[q, site]
        and is_member(terms, q, jobs, job)
        and any(-1 < terms.quotas.limit[q, t, k] < taken[k] for t in slots for k in range(6))
        for q in range(len(terms.quotas.quota_id) if terms else 0)
    )


def options_of(
    problem: Problem, terms: Terms | None = None
) -> list[tuple[int, int, int, int, float]]:
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
        factor = factor_of(terms, jobs, i, m)
        if factor == inf:
            continue
        if jobs.origin_hub[i] >= 0:
            cost += policy.latency_price_per_ms * rtt
        kilowatts = jobs.demand[i, 2] / 1000 * sites.pue_ppm[m] / 1e6
        for start in range(max(0, int(jobs.release_slot[i])), horizon):
            if jobs.deadline_slot[i] != -1 and start + runs > jobs.deadline_slot[i]:
                continue
            free = sites.capacity[m, start : min(start + runs, horizon)]
            if (free < need(jobs, sites, i, m)).any():
                continue
            if exceeds(terms, problem, i, m, range(start, min(start + runs, horizon))):
                continue
            energy = 0.0
            for slot in range(start, start + runs):
                t = min(slot, horizon - 1)
                per_kwh = policy.energy_weight * series.price_per_mwh[m, t] / 1000
                per_kwh += policy.carbon_price_per_kg * series.ci_kg_per_kwh[m, t]
                energy += kilowatts * per_kwh
            found.append((i, m, start, runs, cost + factor * energy))
    return found


def can_move(problem: Problem, job: int) -> bool:
    """Whether the job is at a site that is up, so that leaving it counts."""
    current = int(problem[0].current_site[job])
    return current >= 0 and bool(problem[1].up[current])


def lifted(problem: Problem, terms: Terms | None = None) -> list[float]:
    """Reject costs; of the jobs with options, one outweighs all of lower priority."""
    jobs = problem[0]
    with_option = {option[0] for option in options_of(problem, terms)}
    costs, below = jobs.reject_cost.tolist(), 0.0
    for priority in range(4):
        rows = [i for i in with_option if jobs.priority[i] == priority]
        for i in rows:
            costs[i] += below
        below += sum(costs[i] for i in rows)
    return costs


def optimum_of(
    problem: Problem, terms: Terms | None = None, leader: list[int] | None = None
) -> float:
    """HiGHS on the textbook model: x[option] binary, one capacity row a site, slot and resource;

    one row a quota, slot and what it limits; one row a group apart, site and slot; every job at
    the option of its leader.
    """
    jobs, sites, series, _, policy = problem
    n, horizon = len(jobs.job_id), series.price_per_mwh.shape[1]
    options, reject = options_of(problem, terms), lifted(problem, terms)
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
            x * float(need(jobs, sites, i, m)[k])
            for x, (i, site, start, runs, _) in zip(place, options, strict=True)
            if site == m and start <= t < start + runs
        ]
        if use:
            highs.addConstr(sum(use[1:], use[0]) <= float(sites.capacity[m, t, k]))
    for q, t, k in product(
        range(len(terms.quotas.quota_id) if terms else 0), range(horizon), range(6)
    ):
        use = [
            x * float([*need(jobs, sites, i, m), 1][k])
            for x, (i, m, start, runs, _) in zip(place, options, strict=True)
            if start <= t < start + runs
            and terms.quotas.covers[q, m]
            and is_member(terms, q, jobs, i)
        ]
        if use and terms.quotas.limit[q, t, k] != -1:
            highs.addConstr(sum(use[1:], use[0]) <= float(terms.quotas.limit[q, t, k]))
    for group, m, t in product(
        set(jobs.apart.tolist()) - {-1}, range(len(sites.site_id)), range(horizon)
    ):
        use = [
            x * 1.0
            for x, (i, site, start, runs, _) in zip(place, options, strict=True)
            if site == m and start <= t < start + runs and jobs.apart[i] == group
        ]
        if use:
            highs.addConstr(sum(use[1:], use[0]) <= 1.0)
    chosen = {option[:3]: x for x, option in zip(place, options, strict=True)}
    for i, first in enumerate(leader or []):
        for _, m, start in {at for at in chosen if at[0] in (i, first)} if i != first else ():
            mine, other = (chosen.get((j, m, start), refuse[0] * 0.0) for j in (i, first))
            highs.addConstr(mine - other == 0)
    leaving = [
        x
        for x, (i, m, *_) in zip(place, options, strict=True)
        if policy.max_moves >= 0 and can_move(problem, i) and jobs.current_site[i] != m
    ]
    if leaving:
        highs.addConstr(sum(leaving, refuse[0] * 0.0) <= policy.max_moves)
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(highs.getInfo().objective_function_value)
