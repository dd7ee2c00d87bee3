"""Random problems of the match, small enough for an exact solver."""

from dataclasses import replace
from math import inf

import numpy as np

from kernels.match import Jobs, Network, Policy, Quotas, Rules, Series, Sites, Terms

HOUR_MS = 3_600_000
Problem = tuple[Jobs, Sites, Series, Network, Policy]


def random_problem(seed: int) -> Problem:
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


def random_terms(seed: int) -> tuple[Problem, Terms]:
    """A small problem with quotas, rules, weights and groups that are kept apart."""
    jobs, sites, series, network, policy = random_problem(seed)
    random = np.random.default_rng(seed + 1)
    n, (m, slots) = len(jobs.job_id), sites.capacity.shape[:2]
    jobs = replace(
        jobs,
        # few filters and room to spare, so that the terms decide
        max_rtt_ms=np.full(n, inf),
        residency=np.full(n, -1),
        reject_cost=4 * jobs.reject_cost,
        tenant=random.integers(-1, 3, n),
        pairing=random.integers(-1, 2, n),
        apart=np.where(random.random(n) < 0.4, random.integers(0, 2, n), -1),
    )
    policy = replace(
        policy,
        energy_weight=float(random.choice([1.0, 0.5])),
        latency_price_per_ms=float(random.choice([0.0, 0.01])),
    )
    sites = replace(
        sites,
        capacity=2 * sites.capacity,
        classes=np.full(m, 7),
        rate_ppm=np.maximum(sites.rate_ppm, 500_000),
    )
    q, r = int(random.integers(0, 4)), int(random.integers(0, 3))
    total = np.append(jobs.demand.sum(axis=0), n)
    limit = (total * random.uniform(0.05, 0.8, (q, slots, 6))).astype(np.int64)
    limit[:, :, 5] += 1
    limit[random.random((q, slots, 6)) < 0.6] = -1
    quotas = Quotas.of(
        [f"quota-{k}" for k in range(q)],
        limit,
        random.random((q, m)) < 0.7,
        slots,
        tenant=random.integers(-1, 3, q),
        pairing=random.choice([-1, -1, 0, 1], q),
        job_class=random.choice([-1, -1, 0, 1, 2], q),
        others=random.random(q) < 0.2,
    )
    rules = Rules.of(
        random.choice([-1, 500_000, 1_000_000, 1_300_000], r),
        random.random((r, m)) < 0.6,
        tenant=random.choice([-1, -1, 0, 1], r),
        pairing=random.choice([-1, -1, 0, 1], r),
        job_class=random.choice([-1, 0, 1, 2], r),
    )
    return (jobs, sites, series, network, policy), Terms.of(sites, quotas, rules)
