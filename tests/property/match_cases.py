"""Random problems of the match, small enough for an exact solver."""

from math import inf

import numpy as np

from kernels.match import Jobs, Network, Policy, Series, Sites

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
