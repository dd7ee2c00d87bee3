"""The match's oracle: options one by one from the definitions, in plain Python, and HiGHS' optimum.

It knows nothing of the kernel's code.
"""

from itertools import product
from math import ceil, isfinite

import highspy

from kernels.match import Jobs, Sites
from tests.property.match_cases import Problem


def need(jobs: Jobs, sites: Sites, job: int, site: int) -> list[int]:
    """Whole units of capacity that the job takes at the site."""
    pue = int(sites.pue_ppm[site])
    return [
        -(-int(asked) * pue // 1_000_000) if k in (2, 4) else int(asked)
        for k, asked in enumerate(jobs.demand[job])
    ]


def options_of(problem: Problem) -> list[tuple[int, int, int, int, float]]:
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
            if (free < need(jobs, sites, i, m)).any():
                continue
            energy = 0.0
            for slot in range(start, start + runs):
                t = min(slot, horizon - 1)
                per_kwh = series.price_per_mwh[m, t] / 1000
                per_kwh += policy.carbon_price_per_kg * series.ci_kg_per_kwh[m, t]
                energy += kilowatts * per_kwh
            found.append((i, m, start, runs, cost + energy))
    return found


def can_move(problem: Problem, job: int) -> bool:
    """Whether the job is at a site that is up, so that leaving it counts."""
    current = int(problem[0].current_site[job])
    return current >= 0 and bool(problem[1].up[current])


def lifted(problem: Problem) -> list[float]:
    """Reject costs; of the jobs with options, one outweighs all of lower priority."""
    jobs = problem[0]
    with_option = {option[0] for option in options_of(problem)}
    costs, below = jobs.reject_cost.tolist(), 0.0
    for priority in range(4):
        rows = [i for i in with_option if jobs.priority[i] == priority]
        for i in rows:
            costs[i] += below
        below += sum(costs[i] for i in rows)
    return costs


def optimum_of(problem: Problem) -> float:
    """HiGHS on the textbook model: x[option] binary, one capacity row a site, slot and resource."""
    jobs, sites, series, _, policy = problem
    n, horizon = len(jobs.job_id), series.price_per_mwh.shape[1]
    options, reject = options_of(problem), lifted(problem)
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
