"""Instances of the match suite: a network of cities, and lumpy days.

`network` draws as the prototype's generator did (match-bench/gen.py, real, K = 3),
number for number, so that its figures can be compared. Demands are rounded up and capacities
down to whole units. Users and data of each job are at a place of its own.
"""

import numpy as np

from kernels.match import Jobs, Network, Series, Sites

HOUR_MS = 3_600_000
Columns = tuple[Jobs, Sites, Series, Network]

CARBON_PRICE_PER_KG = 0.2


def network(jobs: int, sites: int, seed: int = 1, load: float = 0.9) -> Columns:
    """General, intelligent and super jobs of one slot; the load is that of every resource."""
    draw = np.random.default_rng(seed)
    n, m = jobs, sites
    kind = draw.choice(3, size=n, p=[0.45, 0.4, 0.15])
    by_kind = (
        draw.choice([2, 4, 8, 16, 32], n),
        draw.choice([8, 12, 16, 64, 96], n, p=[0.3, 0.25, 0.2, 0.15, 0.1]),
        draw.choice([64, 128, 256], n),
    )
    cores = np.choose(kind, by_kind)
    accel = (
        draw.choice([1, 2, 4, 8], n, p=[0.6, 0.15, 0.1, 0.15]),
        draw.choice([0, 4], n),
    )
    accel = np.choose(kind, (0 * kind, *accel))
    watts = 1000 * (0.006 * cores + 0.55 * accel) * draw.uniform(0.8, 1.2, n)
    place = draw.uniform(0, 1, (m, 2)) * [2500.0, 1800.0]
    home = place[draw.integers(0, m, n)] + draw.normal(0, 120, (n, 2))
    km = np.sqrt(((home[:, None, :] - place[None]) ** 2).sum(axis=2))
    rtt = 2.0 * km / 200.0 * 1.4 + 2.0
    stands = draw.choice([12.0, 25.0, 60.0, 1e9], n, p=[0.25, 0.25, 0.2, 0.3])
    gram_per_kwh, price = draw.uniform(80, 850, m), draw.uniform(0.25, 0.85, m)
    pue = draw.uniform(1.08, 1.5, m)
    hours = draw.lognormal(1.0, 1.0, n).clip(0.1, 100)
    data_gb = draw.lognormal(3, 1.5, n).clip(0.1, 20_000)
    share = draw.dirichlet(np.full(m, 3.0))

    asked = np.column_stack([1000.0 * cores, 1000.0 * accel, watts])
    demand = np.zeros((n, 5), np.int64)
    demand[:, :3] = np.ceil(asked)
    pue_ppm = np.rint(pue * 1e6).astype(np.int64)
    capacity = np.zeros((m, 5), np.int64)
    drawn = np.column_stack([np.ones(m), np.ones(m), pue_ppm / 1e6])
    capacity[:, :3] = asked.sum(axis=0) / load * share[:, None] * drawn
    per_kwh = pue * (price + gram_per_kwh / 1000 * CARBON_PRICE_PER_KG)
    cost = (watts / 1000 * hours)[:, None] * per_kwh + data_gb[:, None] * km * 1e-5
    nowhere = np.zeros((m, m))
    own = m + np.arange(n)
    return (
        Jobs.of(
            [f"job-{i:06d}" for i in range(n)],
            demand,
            job_class=kind,
            duration_ms=np.rint(hours * HOUR_MS).astype(np.int64),
            origin_hub=own,
            max_rtt_ms=np.maximum(stands, rtt.min(axis=1) + 1e-9),
            data_gb=data_gb,
            data_hub=own,
            reject_cost=cost.max(axis=1) * 5 + cost.mean() * 4,
        ),
        Sites.of(
            [f"site-{j:03d}" for j in range(m)], capacity, 1, hub=np.arange(m), pue_ppm=pue_ppm
        ),
        Series.of(1000, price[:, None] * 1000, gram_per_kwh[:, None] / 1000),
        Network.of(np.concatenate([nowhere, rtt]), np.concatenate([nowhere, km * 1e-5])),
    )


def lumpy_day(jobs: int = 200, sites: int = 24, slots: int = 24, seed: int = 1) -> Columns:
    """Runs of 2 to 8 hours whose demands are a good share of a site; 90 % of five resources."""
    draw = np.random.default_rng(seed)
    n, m = jobs, sites
    kind = draw.choice(3, n, p=[0.35, 0.45, 0.2])
    many = draw.choice([4, 8, 16, 32, 64], n, p=[0.2, 0.3, 0.2, 0.2, 0.1])
    accel = np.choose(kind, (0 * kind, many, draw.choice([0, 8], n)))
    cores = np.choose(
        kind,
        (draw.choice([32, 64, 128], n), accel * 8, draw.choice([128, 256, 512], n)),
    )
    watts = ((6 * cores + 600 * accel) * draw.uniform(0.8, 1.2, n)).astype(np.int64)
    mbps = draw.choice([0, 0, 500, 2000], n)
    green = np.where(draw.random(n) < 0.2, watts // 2, 0)
    demand = np.column_stack([cores * 1000, accel * 1000, watts, mbps, green]).astype(np.int64)
    runs, release = draw.integers(2, 9, n), draw.integers(0, slots - 8, n)
    slack = draw.choice([0, 2, 6, slots], n)
    share = draw.dirichlet(np.full(m, 3.0))
    pue = draw.integers(1_080_000, 1_500_000, m)
    total = (demand * runs[:, None]).sum(axis=0) / 0.9 / slots
    capacity = np.maximum(total * share[:, None], np.quantile(demand, 0.6, axis=0)).astype(np.int64)
    demand = np.minimum(demand, capacity.max(axis=0))  # the largest site could hold any job
    capacity[:, [2, 4]] = -(-capacity[:, [2, 4]] * pue[:, None] // 10**6)
    place = draw.uniform(0, 1, (m, 2)) * [2500.0, 1800.0]
    km = np.sqrt(((place[:, None] - place) ** 2).sum(axis=2))
    origin = draw.integers(0, m, n)
    stands = draw.choice([12.0, 25.0, 60.0, np.inf], n, p=[0.1, 0.2, 0.3, 0.4])
    large = (demand > capacity[origin]).any(axis=1)
    hour = np.arange(slots) / 24 * 2 * np.pi
    price = draw.uniform(250, 850, (m, 1)) * (1 + 0.4 * np.sin(hour + draw.uniform(0, 6, (m, 1))))
    return (
        Jobs.of(
            [f"job-{i:06d}" for i in range(n)],
            demand,
            job_class=kind,
            duration_ms=runs * HOUR_MS,
            release_slot=release,
            deadline_slot=np.where(slack == slots, -1, np.minimum(release + runs + slack, slots)),
            origin_hub=origin,
            max_rtt_ms=np.where(large, np.inf, stands),
            data_gb=draw.lognormal(3, 1.5, n).clip(0.1, 20_000),
            data_site=origin,
            reject_cost=watts * runs * 0.004 + 5.0,
        ),
        Sites.of(
            [f"site-{j:03d}" for j in range(m)], capacity, slots, hub=np.arange(m), pue_ppm=pue
        ),
        Series.of(HOUR_MS, price, np.repeat(draw.uniform(0.08, 0.85, (m, 1)), slots, axis=1)),
        Network.of(2.0 + km / 70, km * 1e-5),
    )
