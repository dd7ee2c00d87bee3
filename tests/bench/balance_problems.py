"""The networks of the balance suite: eight regions as energy operators know them, and other sizes.

Each region: a load with a daily swing, sun and wind, imports and exports at a price that swings
twice a day, four units, a battery of 1.2 h, 15 % of its load deferrable. Links: a ring and chords,
both ways, 2 % loss.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np

from kernels.balance import Network, Sites

F64 = np.ndarray
Problem = TypeVar("Problem", Network, Sites)


def network(random: np.random.Generator, regions: int, steps: int) -> Network:
    """A day in `steps` steps."""
    dt = 24 / steps
    hour = np.arange(steps) * dt
    some, each = (regions, steps), (regions, 1)
    base = random.uniform(8, 20, each)
    sun = np.maximum(0, np.sin(np.pi * (hour % 24 - 6) / 12)) * random.uniform(5, 25, each)
    gusts = np.sin(hour / random.uniform(3, 9, each) + random.uniform(0, 6, each))
    wind = random.uniform(2, 12, each) * (1 + 0.6 * gusts) + random.normal(0, 0.5, some)
    price = 60 + 35 * np.sin(2 * np.pi * (hour - 14) / 12) + random.normal(0, 6, some)
    swing = 1 + 0.15 * np.sin(2 * np.pi * (hour - 9) / 24)
    ring = [(r, (r + 1) % regions) for r in range(regions)]
    chords = [(r, (r + regions // 2) % regions) for r in range(regions // 2)]
    links = [(a, b) for a, b in ring + chords if a != b]
    cap = random.uniform(2, 6, len(links))
    return Network.of(
        regions=tuple(f"region-{r}" for r in range(regions)),
        dt_h=dt,
        load_mw=base * swing + random.normal(0, 0.4, some),
        ren_avail_mw=sun + np.maximum(wind, 0),
        import_max_mw=np.repeat(0.9 * base, steps, axis=1),
        export_max_mw=np.repeat(0.5 * base, steps, axis=1),
        import_price=price,
        export_price=np.where(price > 0, 0.9 * price, price),
        grid_ci=np.tile(0.25 + 0.15 * np.cos(2 * np.pi * (hour - 13) / 24), each),
        flex_max_mw=np.repeat(0.15 * base, steps, axis=1),
        flex_energy_mwh=0.15 * 24 * 0.3 * base[:, 0],
        supply_cap_mw=np.tile([2.0, 2.0, 1.5, 1.5], each),
        supply_cost=np.tile([75.0, 95.0, 140.0, 260.0], each),
        storage_charge_mw=0.35 * base,
        storage_discharge_mw=0.35 * base,
        storage_eta_c=0.95,
        storage_eta_d=0.94,
        storage_retain=1 - 0.0005 * dt,
        storage_soc0_mwh=0.6 * base,
        storage_soc_min_mwh=0.06 * base,
        storage_soc_max_mwh=1.2 * base,
        storage_wear=1.0,
        storage_terminal_value=40.0,
        link_from=[a for a, _ in links] + [b for _, b in links],
        link_to=[b for _, b in links] + [a for a, _ in links],
        link_cap_mw=np.concatenate([cap, cap]),
        link_loss=0.02,
        link_tariff=0.5,
        carbon_price=50.0,
        voll=5000.0,
    )


def next_tick(random: np.random.Generator, problem: Problem) -> Problem:
    """The same horizon with loads and prices 2 % off: what a warm start gets."""
    price = 1 + 0.02 * random.normal(size=problem.load_mw.shape)
    return replace(
        problem,
        load_mw=problem.load_mw * (1 + 0.02 * random.normal(size=problem.load_mw.shape)),
        import_price=problem.import_price * price,
        export_price=problem.export_price * price,
    )


def columns_of(net: Network) -> dict[str, object]:
    """What Network.of was given, so that a measured call builds its network too."""
    return {name: getattr(net, name) for name in net.__slots__}
